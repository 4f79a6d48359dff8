//! `kill -9` at any moment loses nothing: `sealpost serve` is killed again and again under load, against a receiver with a
//! ledger. Every callback that was answered 202 must arrive, and one that arrives twice must have been under way at a kill.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sealpost_contract::Callback;
use serde_json::json;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::delivery_process::{add_channel, get, hand_over, read_message, start_server};

/// How often the server is killed.
const KILLS: u64 = 25;

/// Clients that hand over callbacks at once.
const CLIENTS: u64 = 8;

/// The most time that the whole test may take.
const LIMIT: Duration = Duration::from_secs(180);

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
            clients.spawn(hand_over(
                address,
                key.clone(),
                round * CLIENTS + client,
                u64::MAX,
            ));
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
        if missing == 0 && waiting.is_some_and(|waiting| waiting["data"] == json!([])) {
            break;
        }
        assert!(
            began.elapsed() < LIMIT,
            "{missing} of {} are lost, or still under way",
            accepted.len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let failed = get(address, &key, "/v1/callbacks?state=failed&limit=1")
        .await
        .unwrap();
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
                    && *killed < pair[0] + Duration::from_secs(5)
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
