//! Faults for real, under load and with a ledger: three nodes, each a process, over a PostgreSQL primary with a synchronous
//! standby and a bucket. Nodes are killed and paused, one is cut off from the database, the storage refuses and is slow, and at
//! last the primary is killed and the standby promoted. Afterwards everything that was acknowledged must be there, once.
//!
//! `cargo xtask faults` runs it for longer and prints the outages that clients saw.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
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

use super::SECRET;
use super::pair::Pair;
use crate::delivery_process::{read_message, sealpost, start_command};
use crate::storage::{Passage, Storage, Way};
use crate::support::{receipt, signature};

/// The most time until everything has arrived after the last fault.
const SETTLE: Duration = Duration::from_secs(180);

/// A deadline that each attempt to deliver has, in seconds; leases last a little longer.
const ATTEMPT: &str = "2";

/// Every status that arrived for each flow.
type Ledger = Arc<Mutex<HashMap<String, HashSet<String>>>>;

/// The nodes' addresses as clients know them: a node that is started again has another.
type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// What clients were promised, and when.
#[derive(Default)]
struct Promised {
    callbacks: Vec<String>,
    receipts: Vec<String>,
    signed: Vec<String>,
    /// When any node kept something.
    kept_at: Vec<Instant>,
}

impl Promised {
    fn keep_callback(&mut self, flow: String) {
        self.callbacks.push(flow);
        self.kept_at.push(Instant::now());
    }
}

/// A node with its own ways to the databases.
struct Node {
    process: Child,
    folder: tempfile::TempDir,
    ways: [Passage; 2],
}

struct Cluster {
    pair: Pair,
    storage: Storage,
    nodes: Vec<Node>,
    addresses: Addresses,
}

/// The program with all that the nodes have in common.
fn program(folder: &Path, ways: [SocketAddr; 2], storage: &Storage) -> Command {
    let options = storage.options();
    let [first, second] = ways;
    let mut command = sealpost(folder);
    command
        .env("SEALPOST_SECRET", SECRET)
        .env("SEALPOST_DATABASE_URL", format!("postgres://sealpost@{first},{second}/postgres?target_session_attrs=read-write&sslmode=disable"))
        .env("SEALPOST_DATABASE_SESSIONS", "4")
        .env("SEALPOST_DATABASE_STATEMENT_SECONDS", "5")
        .env("SEALPOST_DELIVERY_ATTEMPT_SECONDS", ATTEMPT)
        .env("SEALPOST_DOCUMENTS_URL", options.to_string())
        .env("SEALPOST_DOCUMENTS_ENDPOINT", options.endpoint.unwrap())
        .env("SEALPOST_DOCUMENTS_ALLOW_HTTP", "true")
        .env("SEALPOST_DOCUMENTS_ACCESS_KEY_ID", "test")
        .env("SEALPOST_DOCUMENTS_SECRET_ACCESS_KEY", "test")
        .env("SEALPOST_DOCUMENTS_SECONDS", "2");
    command
}

impl Cluster {
    async fn start() -> Cluster {
        let mut cluster = Cluster {
            pair: Pair::start(),
            storage: Storage::start("faults").await,
            nodes: Vec::new(),
            addresses: Addresses::default(),
        };
        for _ in 0..3 {
            let (primary, standby) = (
                cluster.pair.primary.to_string(),
                cluster.pair.standby.to_string(),
            );
            let ways = [Passage::to(&primary).await, Passage::to(&standby).await];
            let folder = tempfile::tempdir().unwrap();
            let command = program(
                folder.path(),
                [ways[0].address, ways[1].address],
                &cluster.storage,
            );
            let (process, address) = start_command(command).await;
            cluster.addresses.lock().unwrap().push(address);
            cluster.nodes.push(Node {
                process,
                folder,
                ways,
            });
        }
        cluster
    }

    fn add_channel(&self, receiver: SocketAddr) -> String {
        let node = &self.nodes[0];
        let mut command = program(
            node.folder.path(),
            [node.ways[0].address, node.ways[1].address],
            &self.storage,
        );
        let url = format!("http://{receiver}/callback");
        // So soon again that what failed while a node was paused is not what the test waits for.
        let output = command
            .args([
                "channel",
                "add",
                "链家",
                "--json",
                "--schedule",
                "1s,2s,3s",
                "--callback-url",
                &url,
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let channel: Value = serde_json::from_slice(&output.stdout).unwrap();
        channel["api_key"].as_str().unwrap().to_owned()
    }

    async fn kill_and_restart(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.process.kill().unwrap();
        node.process.wait().unwrap();
        let command = program(
            node.folder.path(),
            [node.ways[0].address, node.ways[1].address],
            &self.storage,
        );
        let (process, address) = start_command(command).await;
        node.process = process;
        self.addresses.lock().unwrap()[index] = address;
    }

    fn signal(&self, index: usize, signal: &str) {
        let process = self.nodes[index].process.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &process])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.process.kill();
            let _ = node.process.wait();
        }
    }
}

/// Asks one node after the other until one answers with success, as a client behind a proxy would; `None` when told to end.
async fn ask(
    addresses: &Addresses,
    done: &AtomicBool,
    turn: &mut usize,
    (method, path): (Method, &str),
    (key, once): (&str, &str),
    body: &Value,
) -> Option<Answer> {
    let http = HttpClient::default();
    let headers = [
        (AUTHORIZATION, format!("Bearer {key}")),
        (CONTENT_TYPE, "application/json".to_owned()),
        ("idempotency-key".parse().unwrap(), once.to_owned()),
    ];
    while !done.load(Ordering::Relaxed) {
        let address = {
            let addresses = addresses.lock().unwrap();
            addresses[*turn % addresses.len()]
        };
        let body = if method == Method::GET {
            String::new()
        } else {
            body.to_string()
        };
        let url = format!("http://{address}{path}");
        let asking = http.send(method.clone(), &url, &headers, body);
        match tokio::time::timeout(Duration::from_secs(3), asking).await {
            Ok(Ok(answer)) if answer.status.is_success() => return Some(answer),
            Ok(Ok(answer)) if answer.status.is_client_error() && answer.status != 429 => {
                return Some(answer);
            }
            _ => {
                *turn += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    None
}

/// Hands over callbacks until told to end.
async fn hand_over(
    client: usize,
    addresses: Addresses,
    done: Arc<AtomicBool>,
    key: String,
    promised: Arc<Mutex<Promised>>,
) {
    let mut turn = client;
    for number in 0_u64.. {
        let flow = format!("{client:016x}{number:016x}");
        let body = json!({
            "sign_end_time": "2021-03-22 18:24:29",
            "sign_flow_status": "2",
            "sign_flow_id": flow,
            "sign_file_url": "https://sealpost.example/f/0123456789abcdefghijklmn",
        });
        let asked = (Method::POST, "/v1/callbacks");
        let Some(answer) = ask(&addresses, &done, &mut turn, asked, (&key, &flow), &body).await
        else {
            return;
        };
        assert!(
            answer.status.is_success(),
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        promised.lock().unwrap().keep_callback(flow);
        turn += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Has receipts made and signed until told to end.
async fn sign(
    client: usize,
    addresses: Addresses,
    done: Arc<AtomicBool>,
    key: String,
    promised: Arc<Mutex<Promised>>,
) {
    let mut turn = client;
    let mark = json!({ "signature_png_base64": STANDARD.encode(signature()) });
    for number in 0_u64.. {
        let once = format!("receipt-{client}-{number}");
        let asked = (Method::POST, "/v1/sign-flows");
        let Some(made) = ask(
            &addresses,
            &done,
            &mut turn,
            asked,
            (&key, &once),
            &receipt(),
        )
        .await
        else {
            return;
        };
        assert!(
            made.status.is_success(),
            "{}",
            String::from_utf8_lossy(&made.body)
        );
        let made = made.json();
        let flow = made["sign_flow_id"].as_str().unwrap().to_owned();
        promised.lock().unwrap().receipts.push(flow.clone());
        let link = made["signers"][1]["sign_url"].as_str().unwrap();
        let (_, token) = link.rsplit_once("/s/").unwrap();
        let path = format!("/s/{token}/sign");
        loop {
            let Some(signed) = ask(
                &addresses,
                &done,
                &mut turn,
                (Method::POST, &path),
                ("", &once),
                &mark,
            )
            .await
            else {
                return;
            };
            // It is not the buyer's turn before the seal is in; and an answer that was lost was a signature all the same.
            let text = String::from_utf8_lossy(&signed.body).into_owned();
            if signed.status.is_success() || text.contains("already") {
                promised.lock().unwrap().signed.push(flow);
                break;
            }
            turn += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_faults() {
    let rounds = std::env::var("TEST_FAULTS_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let mut cluster = Cluster::start().await;
    let ledger = Ledger::default();
    let key = cluster.add_channel(start_receiver(Arc::clone(&ledger)).await);
    let (done, promised) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(Promised::default())),
    );
    let mut clients = Vec::new();
    for client in 0..3 {
        let (addresses, done) = (Arc::clone(&cluster.addresses), Arc::clone(&done));
        let (key, promised) = (key.clone(), Arc::clone(&promised));
        clients.push(if client < 2 {
            tokio::spawn(hand_over(client, addresses, done, key, promised))
        } else {
            tokio::spawn(sign(client, addresses, done, key, promised))
        });
    }

    let mut faults: Vec<(&str, Instant)> = Vec::new();
    for round in 0..rounds {
        let victim = round % 3;
        pause(1).await;
        faults.push(("a node is killed", Instant::now()));
        cluster.kill_and_restart(victim).await;
        pause(2).await;
        faults.push((
            "a node is paused past its leases, and comes back",
            Instant::now(),
        ));
        cluster.signal(victim, "-STOP");
        pause(7).await;
        cluster.signal(victim, "-CONT");
        pause(2).await;
        faults.push(("a node is cut off from the database", Instant::now()));
        cluster.nodes[victim]
            .ways
            .iter()
            .for_each(|way| way.set_way(Way::Silent));
        pause(4).await;
        cluster.nodes[victim]
            .ways
            .iter()
            .for_each(|way| way.set_way(Way::Clear));
        pause(2).await;
        faults.push(("the storage refuses", Instant::now()));
        cluster.storage.set_way(Way::Refusing);
        pause(3).await;
        faults.push(("the storage is slow", Instant::now()));
        cluster
            .storage
            .set_way(Way::Slow(Duration::from_millis(400)));
        pause(2).await;
        cluster.storage.set_way(Way::Clear);
        pause(1).await;
    }
    faults.push((
        "the primary is killed, and the standby promoted",
        Instant::now(),
    ));
    cluster.pair.kill_primary();
    cluster.pair.promote();
    let promoted = Instant::now();
    while promised
        .lock()
        .unwrap()
        .kept_at
        .last()
        .is_none_or(|at| *at <= promoted)
    {
        assert!(
            promoted.elapsed() < SETTLE,
            "nothing is kept after the promotion"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pause(3).await;
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }

    let promised = std::mem::take(&mut *promised.lock().unwrap());
    settle(&cluster, &key, &ledger, &promised).await;
    report(&faults, &promised);
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Waits until all has arrived that was promised, and proves that it is there, whole, and once.
async fn settle(cluster: &Cluster, key: &str, ledger: &Ledger, promised: &Promised) {
    let begun = Instant::now();
    let expected: Vec<&String> = promised.callbacks.iter().chain(&promised.signed).collect();
    loop {
        let missing = {
            let ledger = ledger.lock().unwrap();
            expected
                .iter()
                .filter(|flow| !ledger.contains_key(**flow))
                .count()
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
    for (flow, statuses) in ledger.lock().unwrap().iter() {
        assert_eq!(
            statuses.len(),
            1,
            "{flow} was told to have ended as {statuses:?}"
        );
    }
    let never = AtomicBool::new(false);
    let mut turn = 0;
    for flow in &promised.receipts {
        let path = format!("/v1/sign-flows/{flow}");
        let shown = ask(
            &cluster.addresses,
            &never,
            &mut turn,
            (Method::GET, &path),
            (key, ""),
            &Value::Null,
        )
        .await;
        let shown = shown.unwrap();
        assert_eq!(shown.status, 200, "{flow} is lost");
        let file = ask(
            &cluster.addresses,
            &never,
            &mut turn,
            (Method::GET, &format!("{path}/file")),
            (key, ""),
            &Value::Null,
        )
        .await;
        let file = file.unwrap();
        assert!(
            file.status == 200 && file.body.starts_with(b"%PDF-"),
            "the file of {flow} is missing"
        );
        turn += 1;
    }
    for flow in &promised.signed {
        let ended = ledger.lock().unwrap()[flow].clone();
        assert_eq!(ended, HashSet::from(["2".to_owned()]), "{flow}");
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

/// A channel's endpoint that writes down every arrival before it acknowledges.
async fn start_receiver(ledger: Ledger) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some((_, body)) = read_message(&mut stream).await {
                    let callback = Callback::parse(&body).unwrap();
                    let (flow, status) = (
                        callback.sign_flow_id.to_string(),
                        callback.sign_flow_status.code().to_string(),
                    );
                    ledger
                        .lock()
                        .unwrap()
                        .entry(flow)
                        .or_default()
                        .insert(status);
                    let answer =
                        "HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{\"response_code\":\"000\"}";
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}
