//! The engine itself, with all its tasks, dies wherever it stands: its runtime is taken from under it, again and again, as soon
//! as it has accepted so many, while clients hand over callbacks, a second engine works over the same database, the database refuses writes for a while, and
//! endpoints refuse, hang up and are slow. The simulation plays these tasks; here they are real, and so is time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sealpost_delivery::client::Trust;
use sealpost_delivery::{Config, Engine};
use sealpost_store::{Accepted, CallbackId, CallbackState, Store};
use tokio::runtime::{Builder, Runtime};

use crate::support::{
    Does, TestEndpoint, TestStore, callback, code, eventually, http, local, now, ok, open,
};

/// Each has a seed, from which follows when who dies and what an endpoint answers.
const WORLDS: u64 = 3;

/// How often each of the two engines of a world dies.
const LIVES: u64 = 6;

/// What one engine holds at most, and so what its death can cut off from its outcome.
const HELD: usize = 32;

/// Clients that hand over callbacks to one engine.
const CLIENTS: usize = 2;

/// How many callbacks an engine accepts in one of its lives, then it dies.
fn enough(seed: u64, life: u64) -> usize {
    5 + (mix(seed, life) % 70) as usize
}

/// The seed of one of the two engines of a world.
fn of_node(seed: u64, node: u64) -> u64 {
    mix(seed, 1000 * node)
}

/// SplitMix64 of two numbers.
fn mix(seed: u64, number: u64) -> u64 {
    let mut x = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(number.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

async fn engine(store: &Store, seed: u64) -> Engine {
    let mut config = Config::new(Trust::load(None).unwrap());
    config.policy = local();
    // What is slow here answers in a third of a second, or it is the machine. Leases of the dead run out some seconds later.
    config.deadline = Duration::from_secs(8);
    config.lease = Duration::from_secs(4);
    config.poll = Duration::from_millis(100);
    config.attempts_per_lane = 16;
    config.held = HELD;
    config.sole = false;
    Engine::start(store.clone(), config, Arc::new(now), Arc::new(open), seed)
        .await
        .unwrap()
}

/// Acknowledges seven of ten; the rest refuse, hang up after they have read, or are slow.
fn fair(seed: u64, number: usize) -> Does {
    match mix(seed, number as u64) % 10 {
        0 => code("999"),
        1 => Does::Close,
        2 => Does::Late(
            Duration::from_millis(300),
            http("200 OK", r#"{"response_code":"000"}"#),
        ),
        _ => ok(),
    }
}

/// Acknowledges one of five, which keeps the breaker closed; the rest refuse or hang up.
fn poor(seed: u64, number: usize) -> Does {
    match mix(seed, number as u64) % 4 {
        _ if number % 5 == 4 => ok(),
        0 => Does::Close,
        _ => code("999"),
    }
}

/// What clients were told.
#[derive(Default)]
struct Told {
    next: AtomicU64,
    accepted: Mutex<Vec<CallbackId>>,
    refused: Mutex<Vec<u64>>,
}

/// A client that never ends by itself; `here` counts what has been accepted from it and its like.
async fn hand_over(engine: Engine, channels: [String; 2], told: Arc<Told>, here: Arc<AtomicUsize>) {
    loop {
        let flow = told.next.fetch_add(1, Ordering::Relaxed);
        let channel = &channels[(flow % 2) as usize];
        match engine.accept(channel, None, &callback(flow)).await {
            Ok(Accepted::New(placed)) => {
                told.accepted.lock().unwrap().push(placed.id);
                here.fetch_add(1, Ordering::Release);
            }
            Ok(other) => panic!("{flow}: {other:?}"),
            Err(_) => told.refused.lock().unwrap().push(flow),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets an engine live and die.
fn live(store: &Store, seed: u64, channels: &[String; 2], told: &Arc<Told>) {
    for life in 0..LIVES {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let engine = runtime.block_on(engine(store, mix(seed, life)));
        let here = Arc::<AtomicUsize>::default();
        for _ in 0..CLIENTS {
            runtime.spawn(hand_over(
                engine.clone(),
                channels.clone(),
                Arc::clone(told),
                Arc::clone(&here),
            ));
        }
        let began = Instant::now();
        while here.load(Ordering::Acquire) < enough(seed, life) {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "life {life} accepts no more"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        runtime.shutdown_background();
    }
}

/// Makes the database refuse callbacks and their outcomes, now and then.
fn refuse(folder: &std::path::Path, seed: u64) {
    let database = rusqlite::Connection::open(folder.join("sealpost.sqlite")).unwrap();
    database.busy_timeout(Duration::from_secs(30)).unwrap();
    for time in 0..4 {
        std::thread::sleep(Duration::from_millis(100 + mix(seed, time) % 400));
        database
            .execute_batch(
                "CREATE TRIGGER refuse_new BEFORE INSERT ON callbacks BEGIN SELECT RAISE (ABORT, 'refused'); END;
                 CREATE TRIGGER refuse_more BEFORE UPDATE ON callbacks BEGIN SELECT RAISE (ABORT, 'refused'); END",
            )
            .unwrap();
        std::thread::sleep(Duration::from_millis(50 + mix(seed, time) % 150));
        database
            .execute_batch("DROP TRIGGER refuse_new; DROP TRIGGER refuse_more")
            .unwrap();
    }
}

fn world(seed: u64) {
    let runtime = Runtime::new().unwrap();
    let test = TestStore::new();
    let (endpoints, channels) = runtime.block_on(async {
        let endpoints = [
            TestEndpoint::start(move |number| fair(seed, number)).await,
            TestEndpoint::start(move |number| poor(seed, number)).await,
        ];
        let urls = endpoints.each_ref().map(TestEndpoint::url);
        let channels = [
            test.channel("fair", Some(&urls[0]), "20ms,50ms,100ms")
                .await,
            test.channel("poor", Some(&urls[1]), "20ms,50ms,100ms")
                .await,
        ];
        (endpoints, channels)
    });
    let told = Arc::new(Told::default());
    std::thread::scope(|scope| {
        for node in 1..=2 {
            let (store, channels, told) = (&test.store, &channels, &told);
            scope.spawn(move || live(store, of_node(seed, node), channels, told));
        }
        scope.spawn(|| refuse(test.folder(), seed));
    });
    runtime.block_on(async {
        let last = engine(&test.store, mix(seed, 1)).await;
        eventually("everything has ended", async || {
            let backlog = test.store.backlog(now()).await.unwrap();
            (backlog.waiting == 0).then_some(())
        })
        .await;
        last.shut_down(Duration::from_secs(30)).await;
        check(seed, &test, &endpoints, &told).await;
    });
}

async fn check(seed: u64, test: &TestStore, endpoints: &[TestEndpoint; 2], told: &Told) {
    // When each attempt that arrived was begun, in seconds.
    let mut arrivals: HashMap<String, Vec<i64>> = HashMap::new();
    for received in endpoints.iter().flat_map(TestEndpoint::received) {
        let id = received.header("webhook-id").unwrap().to_owned();
        let begun = received.header("webhook-timestamp").unwrap();
        arrivals.entry(id).or_default().push(begun.parse().unwrap());
    }
    let accepted = told.accepted.lock().unwrap().clone();
    let lives = (1..=2).flat_map(|node| (0..LIVES).map(move |life| (node, life)));
    let least: usize = lives
        .map(|(node, life)| enough(of_node(seed, node), life))
        .sum();
    assert!(accepted.len() >= least, "only {} accepted", accepted.len());
    let (mut failed, mut cut_off) = (0, 0);
    for id in &accepted {
        let kept = test.find(*id).await;
        let reasons = test.reasons(*id).await;
        assert_eq!(reasons.len(), kept.attempts as usize, "{id}");
        let (last, before) = reasons.split_last().unwrap();
        assert!(
            before.iter().all(|reason| reason != "ok"),
            "{id}: {reasons:?}"
        );
        match kept.state {
            CallbackState::Acknowledged => assert!(last == "ok" && reasons.len() <= 4, "{id}"),
            CallbackState::Failed => {
                assert!(last != "ok" && reasons.len() == 4, "{id}: {reasons:?}");
                failed += 1;
            }
            CallbackState::Waiting => panic!("{id} still waits"),
        }
        let arrived = &arrivals[&id.to_string()];
        assert!(
            arrived.len() >= reasons.len(),
            "{id}: {} arrivals, {reasons:?}",
            arrived.len()
        );
        cut_off += arrived.len() - reasons.len();
        // It may be read later, by an endpoint that is slow.
        let (last, end) = (arrived.iter().max().unwrap(), kept.ended_at.unwrap());
        assert!(
            last * 1000 <= end,
            "{id} was sent at {last} s, and its end recorded before, at {end} ms"
        );
    }
    let refused = told.refused.lock().unwrap().clone();
    for flow in &refused {
        let id = callback(*flow).sign_flow_id;
        for channel in ["ch_fair", "ch_poor"] {
            let kept = test.store.find_callback_of_flow(channel.into(), id.clone());
            assert_eq!(kept.await.unwrap(), None, "refused, and kept");
        }
    }
    println!(
        "seed {seed}: {} accepted, {} refused; {failed} failed; {cut_off} attempts were cut off from their outcome",
        accepted.len(),
        refused.len()
    );
    // What is held when an engine dies has perhaps been sent, and what came of it is not on disk: not only what is under way, but
    // also what the database has just refused to record.
    assert!(cut_off <= 2 * LIVES as usize * HELD, "{cut_off}");
}

#[test]
fn an_engine_that_dies_anywhere_loses_nothing() {
    std::thread::scope(|scope| {
        for seed in 1..=WORLDS {
            scope.spawn(move || world(seed));
        }
    });
}
