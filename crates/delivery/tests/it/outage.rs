//! A database that goes away under a running engine and comes back: nothing is lost, nothing is recorded twice, and nobody has
//! to do anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sealpost_delivery::Engine;
use sealpost_store::{Accepted, CallbackId, CallbackState, Error, PostgresOptions, Store};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::support::{Does, TestEndpoint, TestStore, callback, eventually, http, now, ok};

/// No shutdown here needs it, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(600);

/// Clients that hand over callbacks at once.
const CLIENTS: usize = 8;

/// Attempts at once in the one lane, at most.
const ATTEMPTS: usize = 16;

/// Clients that hand over one callback after the other until they are told to stop; like any client, each sends again what
/// was not answered.
struct Clients {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    tasks: JoinSet<Vec<CallbackId>>,
}

impl Clients {
    fn start(engine: &Engine, channel: &str, clients: u64) -> Self {
        let mut all = Self {
            stop: Arc::default(),
            accepted: Arc::default(),
            refused: Arc::default(),
            tasks: JoinSet::new(),
        };
        for client in 0..clients {
            let (engine, channel) = (engine.clone(), channel.to_owned());
            let (stop, accepted, refused) = (
                Arc::clone(&all.stop),
                Arc::clone(&all.accepted),
                Arc::clone(&all.refused),
            );
            all.tasks.spawn(async move {
                let mut ids = Vec::new();
                for flow in (client..).step_by(clients as usize) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // Whatever was not answered may have been kept, so none is given up before there is an answer.
                    let id = loop {
                        match engine.accept(&channel, None, &callback(flow)).await {
                            Ok(Accepted::New(placed)) => break placed.id,
                            Ok(Accepted::Before(id)) => break id,
                            Ok(Accepted::Conflict) => panic!("{flow} is in conflict with itself"),
                            Err(_) => refused.fetch_add(1, Ordering::Relaxed),
                        };
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    };
                    ids.push(id);
                    accepted.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                ids
            });
        }
        all
    }

    /// Waits until so many more have been accepted.
    async fn until_more(&self, more: usize) {
        let before = self.accepted.load(Ordering::Relaxed);
        eventually("callbacks are accepted", async || {
            (self.accepted.load(Ordering::Relaxed) >= before + more).then_some(())
        })
        .await;
    }

    /// Lets them end; every callback that was accepted.
    async fn end(self) -> Vec<CallbackId> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

/// Every callback has been acknowledged by exactly one recorded attempt. Answers when each arrived.
async fn each_was_delivered_once(
    test: &TestStore,
    ids: &[CallbackId],
    endpoint: &TestEndpoint,
) -> HashMap<CallbackId, Vec<Instant>> {
    for id in ids {
        test.until(*id, CallbackState::Acknowledged).await;
        assert_eq!(test.reasons(*id).await, ["ok"], "{id}");
    }
    let mut arrivals: HashMap<CallbackId, Vec<Instant>> = HashMap::new();
    for received in endpoint.received() {
        let id = received.header("webhook-id").unwrap().parse().unwrap();
        arrivals.entry(id).or_default().push(received.at);
    }
    assert_eq!(arrivals.len(), ids.len(), "accepted and arrived");
    arrivals
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_killed_and_started_again_under_load() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let mut options = PostgresOptions::new(cluster.url());
    options.sessions = 4;
    let open = move |folder: &std::path::Path| Store::open_postgres(options, folder).unwrap();
    let test = TestStore::opened(open);
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let channel = test
        .channel("lianjia", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let engine = test
        .engine(|config| {
            // An answer takes milliseconds; what is slow here is the machine.
            config.deadline = Duration::from_secs(16);
            // Leases that the crash has cut off from their holder run out while the test waits.
            config.lease = Duration::from_secs(8);
            config.attempts_per_lane = ATTEMPTS;
        })
        .await;
    let clients = Clients::start(&engine, &channel, CLIENTS as u64);

    let mut crashes = Vec::new();
    for round in 0..2 {
        clients.until_more(100).await;
        let (errors, refused) = (
            engine.health().totals.store_errors,
            clients.refused.load(Ordering::Relaxed),
        );
        let began = Instant::now();
        tokio::task::block_in_place(|| cluster.stop_at_once());
        eventually(
            "the engine meets the outage and shows it, and clients meet it",
            async || {
                let health = engine.health();
                let met = health.totals.store_errors > errors
                    && health.store_error.is_some()
                    && clients.refused.load(Ordering::Relaxed) > refused;
                met.then_some(())
            },
        )
        .await;
        tokio::task::block_in_place(|| cluster.start_again());
        crashes.push((began, now()));
        clients.until_more(100).await;
        eventually("the engine works again", async || {
            engine.health().store_error.is_none().then_some(())
        })
        .await;
        println!("round {round}: {:?}", engine.health().totals);
    }
    let ids = clients.end().await;
    let arrivals = each_was_delivered_once(&test, &ids, &endpoint).await;
    // A claim does not wait for the disk. If the server's memory is lost before the claim is on disk, the engine's lease is: what
    // it delivers of it does not count and is delivered again. Whatever has been recorded is on disk, and with it whatever was
    // committed before it, so that concerns nothing but what the engine held at that moment: what it had taken and whose outcome
    // was not yet recorded. For one lane that is four times its attempts, and what each client was just handing over.
    let most = crashes.len() * (4 * ATTEMPTS + CLIENTS);
    let mut again = 0;
    for (id, at) in &arrivals {
        let over = crashes
            .iter()
            .filter(|(began, over)| id.created_at() <= *over && at.iter().any(|at| at >= began));
        assert!(
            at.len() <= 1 + over.count(),
            "{id} arrived again without a crash in between: {at:?}"
        );
        again += at.len() - 1;
    }
    assert!(again <= most, "{again} of {} arrived again", ids.len());
    println!("{} accepted, {again} arrived again", ids.len());
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_locked_for_longer_than_its_patience() {
    let test = TestStore::new();
    // Slow enough for some to be under way when the lock falls.
    let answer = http("200 OK", r#"{"response_code":"000"}"#);
    let slow = move |_| Does::Late(Duration::from_millis(300), answer.clone());
    let endpoint = TestEndpoint::start(slow).await;
    let channel = test
        .channel("lianjia", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    // The lease outlives the lock, so that nothing needs to be sent twice.
    let engine = test
        .engine(|config| config.lease = Duration::from_secs(600))
        .await;
    let clients = Clients::start(&engine, &channel, CLIENTS as u64);
    clients.until_more(50).await;

    let other = rusqlite::Connection::open(test.folder().join("sealpost.sqlite")).unwrap();
    other.busy_timeout(Duration::from_secs(50)).unwrap();
    tokio::task::block_in_place(|| other.execute_batch("BEGIN IMMEDIATE")).unwrap();
    let locked = Instant::now();
    let busy = engine.accept(&channel, None, &callback(u64::MAX)).await;
    assert!(
        matches!(busy, Err(sealpost_delivery::Error::Store(Error::Busy(_)))),
        "{busy:?}"
    );
    assert!(
        locked.elapsed() >= Duration::from_secs(9),
        "the store has waited as long as it waits"
    );
    eventually("the engine meets the lock", async || {
        engine.health().store_error.map(drop)
    })
    .await;
    other.execute_batch("ROLLBACK").unwrap();

    clients.until_more(50).await;
    eventually("the engine works again", async || {
        engine.health().store_error.is_none().then_some(())
    })
    .await;
    let ids = clients.end().await;
    let arrivals = each_was_delivered_once(&test, &ids, &endpoint).await;
    assert!(
        arrivals.values().all(|at| at.len() == 1),
        "nothing arrived twice"
    );
    assert_eq!(test.store.backlog(now()).await.unwrap().waiting, 0);
    engine.shut_down(LIMIT).await;
}
