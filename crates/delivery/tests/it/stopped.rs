//! A process that is stopped (SIGSTOP) for longer than its leases, while another goes on with the same database.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealpost_contract::UtcMillis;
use sealpost_delivery::client::Trust;
use sealpost_delivery::{Config, Engine};
use sealpost_store::{CallbackState, NewCallback, Store};

use crate::support::{
    Does, TestEndpoint, TestStore, callback, eventually, http, local, new_id, open,
};

const CALLBACKS: u64 = 120;

/// Names the database to the other process.
const FOLDER: &str = "SEALPOST_TEST_STOPPED";

/// Two processes must agree on the time.
#[expect(clippy::disallowed_methods, reason = "the clock of two processes")]
fn clock() -> UtcMillis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64
}

async fn engine(store: &Store, seed: u64) -> Engine {
    let mut config = Config::new(Trust::load(None).unwrap());
    config.policy = local();
    config.deadline = Duration::from_secs(3);
    config.lease = Duration::from_secs(4);
    config.sole = false;
    Engine::start(store.clone(), config, Arc::new(clock), Arc::new(open), seed)
        .await
        .unwrap()
}

/// Not a test: what the other process does, until its standard input ends.
#[test]
#[ignore = "the other process of the test below"]
fn the_other_process() {
    let folder = std::env::var(FOLDER).expect("started by the test below");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine =
        runtime.block_on(async { engine(&Store::open(Path::new(&folder)).unwrap(), 1).await });
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    runtime.block_on(engine.shut_down(Duration::from_secs(5)));
}

fn signal(name: &str, process: u32) {
    assert!(
        Command::new("kill")
            .args([name, &process.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Stops a process that is not in the middle of a transaction: one that is keeps SQLite's lock for as long as it sleeps, and
/// then nobody goes on until it wakes.
async fn stop_between_transactions(store: &Store, channel: &str, process: u32) {
    for _ in 0..20 {
        signal("-STOP", process);
        if store.resume_channel(channel).await.is_ok() {
            return;
        }
        signal("-CONT", process);
        store.resume_channel(channel).await.unwrap();
    }
    panic!("the process was in a transaction each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_wakes_after_its_leases_changes_nothing() {
    let answer = http("200 OK", r#"{"response_code":"000"}"#);
    let endpoint =
        TestEndpoint::start(move |_| Does::Late(Duration::from_millis(100), answer.clone())).await;
    let test = TestStore::new();
    let channel = test
        .channel("twice", Some(&endpoint.url()), "8h,8h,8h")
        .await;

    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["stopped::the_other_process", "--exact", "--ignored"])
        .env(FOLDER, test.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let idle = engine(&test.store, 2).await;
    idle.shut_down(Duration::ZERO).await;
    let mut ids = Vec::new();
    for flow in 0..CALLBACKS {
        let now = clock();
        let new = NewCallback {
            due_at: now,
            ..idle.new_callback(&channel, None, &callback(flow))
        };
        ids.push(new_id(test.store.accept_callback(new).await.unwrap()));
    }
    eventually("the other process delivers", async || {
        (endpoint.received().len() > 20).then_some(())
    })
    .await;
    stop_between_transactions(&test.store, &channel, other.id()).await;

    let engine = engine(&test.store, 3).await;
    eventually("the rest is taken over", async || {
        (test.store.backlog(clock()).await.unwrap().waiting == 0).then_some(())
    })
    .await;
    let taken_over = engine.health().totals.acknowledged;
    assert!(taken_over > 0, "nothing was left to take over");
    signal("-CONT", other.id());
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    engine.shut_down(Duration::from_secs(5)).await;

    for id in ids {
        let kept = test.find(id).await;
        assert_eq!(
            (kept.state, kept.attempts),
            (CallbackState::Acknowledged, 1),
            "{id}"
        );
        assert_eq!(test.reasons(id).await, ["ok"]);
    }
    let mut arrivals: HashMap<String, u32> = HashMap::new();
    for received in endpoint.received() {
        *arrivals
            .entry(received.header("webhook-id").unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(arrivals.len() as u64, CALLBACKS);
    let again = arrivals.values().filter(|count| **count > 1).count();
    // What was being sent, or not yet recorded, when the process was stopped.
    assert!(again <= 64, "{again} arrived again");
    assert!(arrivals.values().all(|count| *count <= 2));
}
