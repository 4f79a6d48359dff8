//! A process that is stopped (SIGSTOP) for longer than its leases, while another goes on with the same database.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealpost_contract::UtcMillis;
use sealpost_delivery::client::Trust;
use sealpost_delivery::{Config, Engine};
use sealpost_store::{CallbackState, NewCallback, Store};

use crate::support::{
    Does, TestEndpoint, TestStore, callback, eventually, http, local, new_id, ok, open,
};

const CALLBACKS: u64 = 120;

/// Attempts at once in the one lane, at most.
const ATTEMPTS: usize = 4;

/// What is answered at once; the rest waits until the process has been stopped.
const FIRST: usize = 30;

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
    // Far more than an answer takes, however busy the machine is: an attempt that failed would be due again in hours.
    config.deadline = Duration::from_secs(16);
    config.lease = Duration::from_secs(8);
    config.attempts_per_lane = ATTEMPTS;
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
    runtime.block_on(engine.shut_down(Duration::from_secs(30)));
}

/// The other process; it does not outlive a test that fails, stopped or not.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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

/// Stops a process and waits until it has stopped, each of its threads: the signal is only delivered when a thread of the
/// process next runs, and on a loaded machine its others go on for a good while until then.
async fn stop(process: u32) {
    signal("-STOP", process);
    eventually("all threads of the process have stopped", async || {
        threads_have_stopped(process).then_some(())
    })
    .await;
}

fn threads_have_stopped(process: u32) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.all(|thread| {
        // A thread that ends meanwhile has no file any more; then something still runs.
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat"));
        // The name, in parentheses, may hold anything; the state is what follows it.
        stat.is_ok_and(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('T'))
    })
}

/// Whether nobody is in the middle of a transaction that writes.
fn nobody_writes(folder: &Path) -> bool {
    let database = rusqlite::Connection::open(folder.join("sealpost.sqlite")).unwrap();
    database.busy_timeout(Duration::from_millis(50)).unwrap();
    database.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
}

/// Stops a process that is not in the middle of a transaction: one that is keeps SQLite's lock for as long as it sleeps, and
/// then nobody goes on until it wakes.
async fn stop_between_transactions(folder: &Path, process: u32) {
    for wait in 0..200 {
        stop(process).await;
        if nobody_writes(folder) {
            return;
        }
        signal("-CONT", process);
        // A little later each time, so as not to meet the same moment of a disk's rhythm again.
        tokio::time::sleep(Duration::from_micros(100 * wait)).await;
    }
    panic!("the process was in a transaction each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_wakes_after_its_leases_changes_nothing() {
    let answer = http("200 OK", r#"{"response_code":"000"}"#);
    let stopped = Arc::new(AtomicBool::new(false));
    let is_stopped = Arc::clone(&stopped);
    let endpoint = TestEndpoint::start(move |number| {
        if number < FIRST {
            ok()
        } else {
            Does::When(Arc::clone(&is_stopped), answer.clone())
        }
    })
    .await;
    let test = TestStore::new();
    let channel = test
        .channel("twice", Some(&endpoint.url()), "8h,8h,8h")
        .await;

    let other = Command::new(std::env::current_exe().unwrap())
        .args(["stopped::the_other_process", "--exact", "--ignored"])
        .env(FOLDER, test.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let mut other = Other(other.unwrap());
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
    eventually("the other process has attempts under way", async || {
        (endpoint.received().len() == FIRST + ATTEMPTS).then_some(())
    })
    .await;
    stop_between_transactions(test.folder(), other.0.id()).await;
    stopped.store(true, Ordering::Relaxed);

    let engine = engine(&test.store, 3).await;
    eventually("the rest is taken over", async || {
        (test.store.backlog(clock()).await.unwrap().waiting == 0).then_some(())
    })
    .await;
    let taken_over = engine.health().totals.acknowledged;
    assert!(taken_over > 0, "nothing was left to take over");
    signal("-CONT", other.0.id());
    drop(other.0.stdin.take());
    assert!(other.0.wait().unwrap().success());
    engine.shut_down(Duration::from_secs(30)).await;

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
    // What was being sent when the process was stopped, and what it held beyond that if it was not yet recorded.
    assert!(
        (ATTEMPTS..=4 * ATTEMPTS).contains(&again),
        "{again} arrived again"
    );
    assert!(arrivals.values().all(|count| *count <= 2));
}
