//! Who may join: only nodes with the same master secret and the same place for documents.

use std::time::{Duration, Instant};

use sealpost_server::config::Config;
use sealpost_server::server::Server;

use super::{SECRET, Shared};
use crate::support::{PATIENCE, receipt};

fn config(shared: &Shared, folder: &std::path::Path) -> Config {
    Config {
        data: folder.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        database: Some(shared.database.clone()),
        ..Config::default()
    }
}

async fn refusal(config: Config, secret: &str) -> String {
    let error = Server::start(config, Some(secret)).await.unwrap_err();
    std::error::Error::source(&error).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_master_secret_is_refused() {
    let shared = Shared::start("secret").await;
    let node = shared.node().await;
    let folder = tempfile::tempdir().unwrap();
    let mut other = config(&shared, folder.path());
    other.documents = Some(shared.storage.options());
    let refusal = refusal(other, &"cd".repeat(32)).await;
    assert!(refusal.contains("another master secret"), "{refusal}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_keep_documents_in_one_place() {
    let shared = Shared::start("place").await;
    let folder = tempfile::tempdir().unwrap();
    let [first, second, third] =
        ["a", "a", "b"].map(|name| config(&shared, &folder.path().join(name)));
    let first = Server::start(first, Some(SECRET)).await.unwrap();
    // The same folder, as if it were shared over a network.
    let second = Server::start(second, Some(SECRET)).await.unwrap();
    let refused = refusal(third.clone(), SECRET).await;
    assert!(
        refused.contains("one folder that all nodes share"),
        "{refused}"
    );
    // A copy of the folder is another one, although all that is in it is the same.
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args(["a", "c"])
        .current_dir(folder.path())
        .status();
    assert!(copied.unwrap().success());
    let copy = config(&shared, &folder.path().join("c"));
    let refused = refusal(copy, SECRET).await;
    assert!(
        refused.contains("one folder that all nodes share"),
        "{refused}"
    );
    first.stop().await;
    second.stop().await;
    // Where nobody is, nobody is kept out.
    let third = Server::start(third, Some(SECRET)).await.unwrap();
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_off_says_so() {
    let shared = Shared::start("clock").await;
    let node = shared.node().await;
    let ahead = async || {
        let metrics = String::from_utf8(node.get("/metrics").await.body.to_vec()).unwrap();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("sealpost_clock_ahead_seconds "));
        line.unwrap().parse::<f64>().unwrap()
    };
    assert!(ahead().await.abs() < 1.0);
    node.app().move_clock(3_600_000);
    let begun = Instant::now();
    while ahead().await < 3500.0 {
        assert!(begun.elapsed() < PATIENCE, "it compares its clock");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_takes_any_call() {
    let shared = Shared::start("any").await;
    let [a, b, c] = shared.nodes().await;
    let channel = a.channel("lianjia").await;
    let flow = channel.through(&b).create_flow(receipt()).await;
    a.signer("张三").through(&c).signs_last().await;
    let told = channel.received(&flow).await;
    assert_eq!(told.sign_flow_status.code(), "2");
    // One idempotency key at two nodes makes one flow.
    let (at_a, at_c) = (channel.through(&a), channel.through(&c));
    let (one, other) = (receipt(), receipt());
    let (one, other) = tokio::join!(
        at_a.post_once("/v1/sign-flows", "key-1", &one),
        at_c.post_once("/v1/sign-flows", "key-1", &other)
    );
    assert_eq!(one.json()["sign_flow_id"], other.json()["sign_flow_id"]);
    for node in [a, b, c] {
        node.stop().await;
    }
}
