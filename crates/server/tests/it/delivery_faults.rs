//! Delivery while the system refuses the server something.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sealpost_contract::Callback;
use serde_json::json;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::delivery_process::{
    add_channel, get, hand_over, read_message, start_server_with_descriptors,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_callbacks_wait_and_lose_no_attempt() {
    // A slow channel, so that there are soon more attempts at once than descriptors.
    let arrivals: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = listener.local_addr().unwrap();
    let log = Arc::clone(&arrivals);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some((_, body)) = read_message(&mut stream).await {
                    let flow = Callback::parse(&body).unwrap().sign_flow_id.to_string();
                    *log.lock().unwrap().entry(flow).or_default() += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    let answer =
                        "HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{\"response_code\":\"000\"}";
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let key = add_channel(&folder, receiver);
    let (mut server, address) = start_server_with_descriptors(folder.path(), 40).await;
    let mut clients = JoinSet::new();
    for client in 0..4 {
        clients.spawn(hand_over(address, key.clone(), client, 60));
    }
    let accepted: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(accepted.len(), 240);

    let began = Instant::now();
    loop {
        let waiting = get(address, &key, "/v1/callbacks?state=waiting&limit=1").await;
        if waiting
            .as_ref()
            .is_some_and(|waiting| waiting["data"] == json!([]))
        {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(50),
            "callbacks still wait: {waiting:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let arrivals = arrivals.lock().unwrap().clone();
    assert!(
        accepted.iter().all(|flow| arrivals.get(flow) == Some(&1)),
        "each arrives, and once"
    );
    let acknowledged = get(address, &key, "/v1/callbacks?state=acknowledged&limit=100")
        .await
        .unwrap();
    for callback in acknowledged["data"].as_array().unwrap() {
        assert_eq!(
            callback["attempts_in_round"], 1,
            "what was never sent is no attempt: {callback}"
        );
    }
    server.kill().unwrap();
    server.wait().unwrap();
}
