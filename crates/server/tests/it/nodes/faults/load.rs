//! Clients that ask for something all the time, a receiver that keeps a ledger, and the proof that both agree in the end.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use sealpost_contract::Callback;
use sealpost_server::http_client::{Answer, HttpClient};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::delivery_process::read_message;
use crate::support::{receipt, signature};

/// The most time until what a test waits for is there, on a busy machine.
pub(super) const SETTLE: Duration = Duration::from_secs(180);

/// How long a client waits for an answer before it asks the next node.
const CLIENT_PATIENCE: Duration = Duration::from_secs(3);

/// Every status that arrived for each flow.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<HashMap<String, HashSet<String>>>>);

impl Ledger {
    /// A channel's endpoint that listens there and writes down every arrival before it acknowledges; answers where it is.
    pub(super) async fn listen(&self, at: &str) -> SocketAddr {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let ledger = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let ledger = ledger.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some((_, body)) = read_message(&mut stream).await {
                        ledger.write(&Callback::parse(&body).unwrap());
                        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{\"response_code\":\"000\"}";
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        address
    }

    fn write(&self, callback: &Callback) {
        let status = callback.sign_flow_status.code().to_string();
        let mut ledger = self.0.lock().unwrap();
        let statuses = ledger.entry(callback.sign_flow_id.to_string()).or_default();
        statuses.insert(status);
    }
}

/// The nodes' addresses as clients know them: a node that is started again has another.
pub(super) type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// What clients were promised, and when.
#[derive(Default)]
struct Promised {
    callbacks: Vec<String>,
    receipts: Vec<String>,
    signed: Vec<String>,
    /// When any node kept a callback.
    kept_at: Vec<Instant>,
}

/// The clients of one channel.
pub(super) struct Load {
    addresses: Addresses,
    key: String,
    ledger: Ledger,
    done: Arc<AtomicBool>,
    promised: Arc<Mutex<Promised>>,
    clients: Vec<JoinHandle<()>>,
    faults: Vec<(&'static str, Instant)>,
}

impl Load {
    /// Starts two clients that hand over callbacks and one that has receipts made and signs them.
    pub(super) fn start(addresses: Addresses, key: String, ledger: Ledger) -> Load {
        let mut load = Load {
            addresses,
            key,
            ledger,
            done: Arc::default(),
            promised: Arc::default(),
            clients: Vec::new(),
            faults: Vec::new(),
        };
        for number in 0..3 {
            let client = Client {
                number,
                turn: number,
                addresses: Arc::clone(&load.addresses),
                done: Arc::clone(&load.done),
                key: load.key.clone(),
                promised: Arc::clone(&load.promised),
                http: HttpClient::default(),
            };
            load.clients.push(match number {
                2 => tokio::spawn(client.sign()),
                _ => tokio::spawn(client.hand_over()),
            });
        }
        load
    }

    /// Notes that a fault begins.
    pub(super) fn begins(&mut self, fault: &'static str) {
        self.faults.push((fault, Instant::now()));
    }

    /// Waits until a callback that was asked for from now on is kept.
    pub(super) async fn goes_on(&self) {
        let (now, promised) = (Instant::now(), Arc::clone(&self.promised));
        until("a callback is kept again", async || {
            // One that was under way may still be answered.
            let soon = now + Duration::from_millis(100);
            promised
                .lock()
                .unwrap()
                .kept_at
                .last()
                .is_some_and(|at| *at > soon)
        })
        .await;
    }

    /// Lets the clients end, and proves that everything they were promised is there, whole, and once. Prints for each fault the
    /// longest time in which no client was promised anything.
    pub(super) async fn settle(mut self) {
        self.done.store(true, Ordering::Relaxed);
        for client in std::mem::take(&mut self.clients) {
            client.await.unwrap();
        }
        let promised = std::mem::take(&mut *self.promised.lock().unwrap());
        self.arrived(&promised).await;
        self.is_there(&promised).await;
        report(&self.faults, &promised);
    }

    async fn arrived(&self, promised: &Promised) {
        let begun = Instant::now();
        let expected: Vec<&String> = promised.callbacks.iter().chain(&promised.signed).collect();
        loop {
            let missing = {
                let ledger = self.ledger.0.lock().unwrap();
                let missing = expected.iter().filter(|flow| !ledger.contains_key(**flow));
                missing.count()
            };
            if missing == 0 {
                break;
            }
            assert!(
                begun.elapsed() < SETTLE,
                "{missing} of {} are lost, or still under way",
                expected.len()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!(
            "all of {} had arrived {:.1} s after the last request",
            expected.len(),
            begun.elapsed().as_secs_f64()
        );
        let ledger = self.ledger.0.lock().unwrap();
        for (flow, statuses) in ledger.iter() {
            assert_eq!(
                statuses.len(),
                1,
                "{flow} was told to have ended as {statuses:?}"
            );
        }
        for flow in &promised.signed {
            assert_eq!(ledger[flow], HashSet::from(["2".to_owned()]), "{flow}");
        }
    }

    async fn is_there(&self, promised: &Promised) {
        let mut client = Client {
            number: 0,
            turn: 0,
            addresses: Arc::clone(&self.addresses),
            done: Arc::default(),
            key: self.key.clone(),
            promised: Arc::default(),
            http: HttpClient::default(),
        };
        for flow in &promised.receipts {
            let path = format!("/v1/sign-flows/{flow}");
            let shown = client.ask(Method::GET, &path, "", &Value::Null).await;
            let shown = shown.unwrap();
            assert_eq!(shown.status, 200, "{flow} is lost");
            if promised.signed.contains(flow) {
                assert_eq!(shown.json()["sign_flow_status"], "2", "{flow}");
            }
            let path = format!("{path}/file");
            let file = client.ask(Method::GET, &path, "", &Value::Null).await;
            let file = file.unwrap();
            assert!(
                file.status == 200 && file.body.starts_with(b"%PDF-"),
                "the file of {flow} is missing"
            );
            client.turn += 1;
        }
    }
}

/// Waits until something is so.
pub(super) async fn until(what: &str, mut met: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !met().await {
        assert!(begun.elapsed() < SETTLE, "it does not come that {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

struct Client {
    number: usize,
    /// Which node is asked next.
    turn: usize,
    addresses: Addresses,
    done: Arc<AtomicBool>,
    key: String,
    promised: Arc<Mutex<Promised>>,
    http: HttpClient,
}

impl Client {
    /// Asks one node after the other until one answers with success or that it never will, as a client behind a proxy would;
    /// `None` when told to end.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        once: &str,
        body: &Value,
    ) -> Option<Answer> {
        let headers = [
            (AUTHORIZATION, format!("Bearer {}", self.key)),
            (CONTENT_TYPE, "application/json".to_owned()),
            ("idempotency-key".parse().unwrap(), once.to_owned()),
        ];
        let body = match method {
            Method::GET => String::new(),
            _ => body.to_string(),
        };
        while !self.done.load(Ordering::Relaxed) {
            let address = {
                let addresses = self.addresses.lock().unwrap();
                addresses[self.turn % addresses.len()]
            };
            let url = format!("http://{address}{path}");
            let asking = self.http.send(method.clone(), &url, &headers, body.clone());
            match tokio::time::timeout(CLIENT_PATIENCE, asking).await {
                Ok(Ok(answer)) if answer.status.is_success() => return Some(answer),
                Ok(Ok(answer)) if answer.status.is_client_error() && answer.status != 429 => {
                    return Some(answer);
                }
                _ => {
                    self.turn += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        None
    }

    /// Hands over callbacks until told to end.
    async fn hand_over(mut self) {
        for number in 0_u64.. {
            let flow = format!("{:016x}{number:016x}", self.number);
            let body = json!({
                "sign_end_time": "2021-03-22 18:24:29",
                "sign_flow_status": "2",
                "sign_flow_id": flow,
                "sign_file_url": "https://sealpost.example/f/0123456789abcdefghijklmn",
            });
            let asked = self.ask(Method::POST, "/v1/callbacks", &flow, &body).await;
            let Some(answer) = asked else { return };
            assert!(
                answer.status.is_success(),
                "{}",
                String::from_utf8_lossy(&answer.body)
            );
            {
                let mut promised = self.promised.lock().unwrap();
                promised.callbacks.push(flow);
                promised.kept_at.push(Instant::now());
            }
            self.turn += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Has receipts made and signed until told to end.
    async fn sign(mut self) {
        let mark = json!({ "signature_png_base64": STANDARD.encode(signature()) });
        for number in 0_u64.. {
            let once = format!("receipt-{}-{number}", self.number);
            let asked = self
                .ask(Method::POST, "/v1/sign-flows", &once, &receipt())
                .await;
            let Some(made) = asked else { return };
            assert!(
                made.status.is_success(),
                "{}",
                String::from_utf8_lossy(&made.body)
            );
            let made = made.json();
            let flow = made["sign_flow_id"].as_str().unwrap().to_owned();
            self.promised.lock().unwrap().receipts.push(flow.clone());
            let link = made["signers"][1]["sign_url"].as_str().unwrap();
            let (_, token) = link.rsplit_once("/s/").unwrap();
            let path = format!("/s/{token}/sign");
            loop {
                let asked = self.ask(Method::POST, &path, &once, &mark).await;
                let Some(signed) = asked else { return };
                // It is not the buyer's turn before the seal is in; and an answer that was lost was a signature all the same.
                let text = String::from_utf8_lossy(&signed.body).into_owned();
                if signed.status.is_success() || text.contains("already") {
                    self.promised.lock().unwrap().signed.push(flow);
                    break;
                }
                self.turn += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Prints for each fault the longest time in which no client was promised anything.
fn report(faults: &[(&str, Instant)], promised: &Promised) {
    let ends = faults.iter().skip(1).map(|(_, at)| Some(*at)).chain([None]);
    for ((fault, from), until) in faults.iter().zip(ends) {
        let within = |at: &&Instant| **at >= *from && until.is_none_or(|until| **at < until);
        let kept: Vec<Instant> = promised.kept_at.iter().filter(within).copied().collect();
        let starts = std::iter::once(*from).chain(kept.iter().copied());
        let outage = starts
            .zip(&kept)
            .map(|(before, after)| after.duration_since(before))
            .max();
        let seconds = outage.unwrap_or_default().as_secs_f64();
        println!("{seconds:6.2} s  {fault}");
    }
    println!(
        "{} callbacks and {} receipts promised, {} of these signed; none lost, none told twice in two ways, no file missing",
        promised.callbacks.len(),
        promised.receipts.len(),
        promised.signed.len()
    );
    assert!(
        promised.callbacks.len() > 50 && !promised.signed.is_empty(),
        "the test tested nothing"
    );
}
