//! `kill -9` at any moment loses nothing: `sealpost serve` is killed again and again under load, against a receiver with a
//! ledger. Every callback that was answered 202 must arrive, and one that arrives twice must have been under way at a kill.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sealpost_contract::Callback;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How often the server is killed.
const KILLS: u64 = 25;

/// Clients that hand over callbacks at once.
const CLIENTS: u64 = 8;

/// The most time that the whole test may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Every arrival of every callback, by flow.
type Ledger = Arc<Mutex<HashMap<String, Vec<Instant>>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_kill_9() {
    let began = Instant::now();
    let ledger = Ledger::default();
    let receiver = start_receiver(Arc::clone(&ledger)).await;
    let folder = tempfile::tempdir().unwrap();
    let key = add_channel(&folder, receiver);

    let mut accepted = Vec::new();
    let mut kills = Vec::new();
    for round in 0..KILLS {
        let (mut server, address) = start_server(folder.path()).await;
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(hand_over(address, key.clone(), round * CLIENTS + client));
        }
        // From just started to well under way; the spread is fixed, what it meets is not.
        tokio::time::sleep(Duration::from_millis(15 + round * 67 % 400)).await;
        server.kill().unwrap();
        kills.push(Instant::now());
        server.wait().unwrap();
        for flows in clients.join_all().await {
            accepted.extend(flows);
        }
    }
    assert!(
        accepted.len() as u64 > 10 * KILLS,
        "only {} were accepted; the test tested nothing",
        accepted.len()
    );

    let (mut server, address) = start_server(folder.path()).await;
    loop {
        let missing = {
            let ledger = ledger.lock().unwrap();
            accepted
                .iter()
                .filter(|flow| !ledger.contains_key(*flow))
                .count()
        };
        let waiting = get(address, &key, "/v1/callbacks?state=waiting&limit=1").await;
        if missing == 0 && waiting["data"] == json!([]) {
            break;
        }
        assert!(
            began.elapsed() < LIMIT,
            "{missing} of {} are lost, or still under way",
            accepted.len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let failed = get(address, &key, "/v1/callbacks?state=failed&limit=1").await;
    assert_eq!(
        failed["data"],
        json!([]),
        "a kill is no attempt that failed"
    );
    server.kill().unwrap();
    server.wait().unwrap();

    let ledger = ledger.lock().unwrap();
    let mut duplicates = 0;
    for (flow, arrivals) in ledger.iter() {
        for pair in arrivals.windows(2) {
            duplicates += 1;
            // What the dead server had written may still be read from the socket a moment after the kill.
            let under_way = kills.iter().any(|killed| {
                pair[0] < *killed + Duration::from_millis(500)
                    && *killed < pair[0] + Duration::from_secs(2)
            });
            assert!(
                under_way,
                "{flow} arrived again although its first arrival was not under way at a kill"
            );
        }
    }
    println!(
        "{} accepted, {} arrived, {duplicates} of them again after one of {KILLS} kills, in {:?}",
        accepted.len(),
        ledger.len(),
        began.elapsed()
    );
    assert!(
        duplicates < ledger.len() / 2,
        "{duplicates} of {} arrived again",
        ledger.len()
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
                    let flow = Callback::parse(&body).unwrap().sign_flow_id.to_string();
                    ledger
                        .lock()
                        .unwrap()
                        .entry(flow)
                        .or_default()
                        .push(Instant::now());
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

fn sealpost(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost"));
    command
        .current_dir(folder)
        .arg("--data")
        .arg(folder.join("data"))
        .env("SEALPOST_DELIVERY_ALLOW_HTTP", "true")
        .env("SEALPOST_DELIVERY_ALLOW_NETWORKS", "127.0.0.0/8")
        .env("SEALPOST_LOG_FORMAT", "json")
        .env("SEALPOST_LOG_FILTER", "info");
    command
}

/// Adds a channel that is called at `receiver`; answers its API key.
fn add_channel(folder: &TempDir, receiver: SocketAddr) -> String {
    let output = sealpost(folder.path())
        .args([
            "channel",
            "add",
            "链家",
            "--json",
            "--callback-url",
            &format!("http://{receiver}/callback"),
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

/// Starts the server and reads from its log where it listens.
async fn start_server(folder: &Path) -> (Child, SocketAddr) {
    let mut server = sealpost(folder)
        .args(["--listen", "127.0.0.1:0", "serve"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stderr = tokio::process::ChildStderr::from_std(server.stderr.take().unwrap()).unwrap();
    let mut lines = BufReader::new(stderr).lines();
    let address = tokio::time::timeout(Duration::from_secs(20), async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let Ok(line) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let address = line["address"]
                .as_str()
                .or(line["fields"]["address"].as_str());
            if let Some(address) = address.and_then(|text| text.parse().ok()) {
                return address;
            }
        }
        panic!("the server ended before it listened");
    });
    let address = address.await.expect("the server listens within 20 s");
    // The rest of the log is read away, so that the server never waits for us.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (server, address)
}

/// Hands over one callback after the other until the server is gone; answers the flows whose callbacks were answered 202.
async fn hand_over(address: SocketAddr, key: String, client: u64) -> Vec<String> {
    let mut accepted = Vec::new();
    let Ok(stream) = TcpStream::connect(address).await else {
        return accepted;
    };
    let mut stream = BufReader::new(stream);
    for number in 0.. {
        let flow = format!("{client:016x}{number:016x}");
        let body = json!({
            "sign_end_time": "2021-03-22 18:24:29",
            "sign_flow_status": "2",
            "sign_flow_id": flow,
            "sign_file_url": "https://sealpost.example/f/0123456789abcdefghijklmn",
        });
        let body = body.to_string();
        let request = format!(
            "POST /v1/callbacks HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(request.as_bytes()).await.is_err() {
            break;
        }
        match read_message(&mut stream).await {
            Some((head, _)) if head.starts_with("HTTP/1.1 202") => accepted.push(flow),
            Some((head, body)) => panic!("{head}\n{}", String::from_utf8_lossy(&body)),
            None => break,
        }
    }
    accepted
}

async fn get(address: SocketAddr, key: &str, path: &str) -> Value {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (head, body) = read_message(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_slice(&body).unwrap()
}

/// Reads one HTTP message with a content-length; `None` when the connection ends first.
async fn read_message(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
