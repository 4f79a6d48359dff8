//! Nodes are replaced one after the other behind a proxy that asks `/readyz`, and no request fails.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::{Shared, hand_over};
use crate::delivery_process::get_whatever;
use crate::support::TestApp;

/// How long a node goes on after it has said that it stops: several looks of the proxy.
const DRAIN: Duration = Duration::from_secs(4);

/// Time between two looks of the proxy at each node.
const LOOK: Duration = Duration::from_millis(100);

/// The nodes that the proxy knows, and whether each was ready when it last looked.
type Nodes = Arc<Mutex<Vec<(SocketAddr, bool)>>>;

/// Passes each connection on to a node that is ready.
async fn proxy(nodes: Nodes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let looked_at = Arc::clone(&nodes);
    tokio::spawn(async move {
        loop {
            let all: Vec<_> = looked_at.lock().unwrap().clone();
            for (node, _) in all {
                let answer = get_whatever(node, "", "/readyz").await;
                let ready = answer.is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200"));
                let mut nodes = looked_at.lock().unwrap();
                if let Some(known) = nodes.iter_mut().find(|(known, _)| *known == node) {
                    known.1 = ready;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let nodes = Arc::clone(&nodes);
            tokio::spawn(async move {
                let mut node = connect(&nodes, turn).await;
                let _ = copy_bidirectional(&mut client, &mut node).await;
            });
        }
    });
    address
}

/// Connects to one of the nodes that are ready, and to the next if that fails, as proxies do.
async fn connect(nodes: &Nodes, turn: usize) -> TcpStream {
    for turn in turn.. {
        let ready: Vec<SocketAddr> = {
            let nodes = nodes.lock().unwrap();
            let ready = nodes.iter().filter(|(_, ready)| *ready);
            ready.map(|(node, _)| *node).collect()
        };
        if !ready.is_empty()
            && let Ok(stream) = TcpStream::connect(ready[turn % ready.len()]).await
        {
            return stream;
        }
        tokio::time::sleep(LOOK).await;
    }
    unreachable!("it goes on until there is one")
}

fn address(node: &TestApp) -> SocketAddr {
    node.base().trim_start_matches("http://").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_request() {
    let shared = Shared::start("rolling").await;
    let start = || shared.node_with(|config| config.drain = DRAIN);
    let first = [start().await, start().await];
    let channel = first[0].channel("lianjia").await;
    let nodes: Nodes = Arc::new(Mutex::new(
        first.iter().map(|node| (address(node), true)).collect(),
    ));
    let front = proxy(Arc::clone(&nodes)).await;

    let (done, made) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let clients: Vec<_> = (0..4_u64)
        .map(|client| {
            let (url, key) = (
                format!("http://{front}/v1/callbacks"),
                channel.api_key.clone(),
            );
            tokio::spawn(hand_over(
                url,
                key,
                client,
                Arc::clone(&done),
                Arc::clone(&made),
            ))
        })
        .collect();

    let mut running = Vec::new();
    for old in first {
        // The new one comes first, and is used once the proxy has seen that it is ready.
        let new = start().await;
        nodes.lock().unwrap().push((address(&new), false));
        let gone = address(&old);
        old.stop().await;
        nodes.lock().unwrap().retain(|(node, _)| *node != gone);
        running.push(new);
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let made = made.load(Ordering::Relaxed);
    println!("{made} requests, none failed");
    assert!(made > 20, "only {made} requests; the test tested nothing");
    for node in running {
        node.stop().await;
    }
}
