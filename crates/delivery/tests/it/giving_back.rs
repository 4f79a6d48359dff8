//! What an engine has leased and does not send comes back at once, when the engine stops, when an endpoint fails or rests, and
//! when a callback that was promised to it never comes; and nothing comes back that is being sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use sealpost_delivery::client::Trust;
use sealpost_delivery::{Config, Engine};
use sealpost_store::{
    Accepted, CallbackFilter, CallbackId, CallbackState, NewCallback, Placed, StoredCallback,
};

use crate::support::{
    Does, TestEndpoint, TestStore, callback, eventually, http, leased, local, new_id, now, ok, open,
};

/// No shutdown here needs it, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(600);

/// An engine whose clock stands still until the test moves it, and whose leases outlive the test.
struct Clocked {
    engine: Engine,
    clock: Arc<AtomicI64>,
}

impl Clocked {
    async fn start(test: &TestStore, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(Trust::load(None).unwrap());
        config.policy = local();
        config.deadline = Duration::from_secs(1800);
        config.lease = Duration::from_secs(1800);
        config.poll = Duration::from_millis(50);
        change(&mut config);
        let clock = Arc::new(AtomicI64::new(now()));
        let read = Arc::clone(&clock);
        let engine = Engine::start(
            test.store.clone(),
            config,
            Arc::new(move || read.load(Ordering::SeqCst)),
            Arc::new(open),
            now().unsigned_abs(),
        );
        Self {
            engine: engine.await.unwrap(),
            clock,
        }
    }

    /// Moves the clock and waits for a poll at that time.
    async fn moves_by(&self, millis: i64) {
        let at = self.clock.fetch_add(millis, Ordering::SeqCst) + millis;
        eventually("a poll", async || {
            (self.engine.health().last_poll_at == Some(at)).then_some(())
        })
        .await;
    }

    /// A callback that is leased to the engine and committed, and not handed over yet.
    async fn promised(&self, test: &TestStore, channel: &str, flow: u64) -> (NewCallback, Placed) {
        let new = leased(&self.engine, channel, flow).await;
        match test.store.accept_callback(new.clone()).await.unwrap() {
            Accepted::New(placed) => (new, placed),
            other => panic!("{other:?}"),
        }
    }

    async fn accept(&self, channel: &str, flow: u64) -> CallbackId {
        new_id(
            self.engine
                .accept(channel, None, &callback(flow))
                .await
                .unwrap(),
        )
    }
}

/// Keeps callbacks that nobody has leased, before an engine runs.
async fn keep(test: &TestStore, channel: &str, count: u32) {
    for flow in 0..count {
        let new = NewCallback {
            id: CallbackId::new(now(), flow),
            channel_id: channel.to_owned(),
            url: None,
            sign_flow_id: callback(flow.into()).sign_flow_id,
            body: callback(flow.into()).to_json().into(),
            due_at: 0,
            lease: None,
        };
        new_id(test.store.accept_callback(new).await.unwrap());
    }
}

async fn all(test: &TestStore) -> Vec<StoredCallback> {
    let all = CallbackFilter::default();
    test.store.callbacks(all, None, 1000).await.unwrap()
}

async fn in_progress(test: &TestStore) -> usize {
    let all = all(test).await;
    all.iter().filter(|callback| callback.in_progress).count()
}

/// Answers the first so many at once, and the rest when it is told to.
async fn holding(at_once: usize) -> (TestEndpoint, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let answer = http("200 OK", r#"{"response_code":"000"}"#);
    let told = Arc::clone(&released);
    let endpoint = TestEndpoint::start(move |number| {
        if number < at_once {
            ok()
        } else {
            Does::When(Arc::clone(&told), answer.clone())
        }
    });
    (endpoint.await, released)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_is_given_back_after_five_seconds_and_not_before() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("promised", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let clocked = Clocked::start(&test, |_| ()).await;
    let first = clocked.accept(&channel, 1).await;
    test.until(first, CallbackState::Acknowledged).await;

    let (new, placed) = clocked.promised(&test, &channel, 2).await;
    clocked.moves_by(5000).await;
    // Outcomes are recorded in their order: what the poll might have given back is on disk when this is.
    let third = clocked.accept(&channel, 3).await;
    test.until(third, CallbackState::Acknowledged).await;
    assert!(test.find(placed.id).await.in_progress);
    clocked.engine.hand_over(new, placed);
    test.until(placed.id, CallbackState::Acknowledged).await;

    let (_, never) = clocked.promised(&test, &channel, 4).await;
    clocked.moves_by(5001).await;
    test.until(never.id, CallbackState::Acknowledged).await;
    clocked.engine.shut_down(LIMIT).await;
    assert_eq!(endpoint.received().len(), 4);
    assert_eq!(clocked.engine.health().totals.fenced, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_is_not_given_back_while_it_is_sent() {
    let (endpoint, released) = holding(1).await;
    let test = TestStore::new();
    let channel = test
        .channel("slow", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let clocked = Clocked::start(&test, |_| ()).await;
    let first = clocked.accept(&channel, 1).await;
    test.until(first, CallbackState::Acknowledged).await;
    let (new, placed) = clocked.promised(&test, &channel, 2).await;
    clocked.engine.hand_over(new, placed);
    eventually("it is being sent", async || {
        (endpoint.received().len() == 2).then_some(())
    })
    .await;
    clocked.moves_by(60_000).await;
    released.store(true, Ordering::Relaxed);
    test.until(placed.id, CallbackState::Acknowledged).await;
    clocked.engine.shut_down(LIMIT).await;
    assert_eq!(endpoint.received().len(), 2);
    assert_eq!(clocked.engine.health().totals.fenced, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_over_while_the_engine_stops_comes_back_unsent() {
    let (endpoint, released) = holding(0).await;
    let test = TestStore::new();
    let channel = test
        .channel("stops", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let clocked = Clocked::start(&test, |_| ()).await;
    let first = clocked.accept(&channel, 1).await;
    eventually("it is being sent", async || {
        (endpoint.received().len() == 1).then_some(())
    })
    .await;
    let (new, placed) = clocked.promised(&test, &channel, 2).await;
    // The shutdown begins first, and waits for what is being sent.
    tokio::join!(clocked.engine.shut_down(LIMIT), async {
        let late = clocked.engine.new_callback(&channel, None, &callback(3));
        assert_eq!(late.lease, None, "it stops");
        clocked.engine.hand_over(new, placed);
        released.store(true, Ordering::Relaxed);
    });
    assert_eq!(test.find(first).await.state, CallbackState::Acknowledged);
    let kept = test.find(placed.id).await;
    assert!(!kept.in_progress && kept.attempts == 0, "{kept:?}");
    assert_eq!(kept.due_at, Some(clocked.clock.load(Ordering::SeqCst)));
    assert_eq!(endpoint.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_breaks_off_what_is_not_over_at_its_limit() {
    let endpoint = TestEndpoint::start(|_| Does::Hang).await;
    let test = TestStore::new();
    let channel = test
        .channel("hangs", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let clocked = Clocked::start(&test, |_| ()).await;
    let id = clocked.accept(&channel, 1).await;
    eventually("it is being sent", async || {
        (endpoint.received().len() == 1).then_some(())
    })
    .await;
    // The attempt's own deadline is half an hour.
    let stop = clocked.engine.shut_down(Duration::from_secs(2));
    tokio::time::timeout(Duration::from_secs(120), stop)
        .await
        .expect("the shutdown ends");
    // A machine that needs longer than the limit to record it does so afterwards.
    eventually("it is given back", async || {
        (!test.find(id).await.in_progress).then_some(())
    })
    .await;
    assert_eq!(test.find(id).await.attempts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_without_need() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("quick", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let clocked = Clocked::start(&test, |_| ()).await;
    let id = clocked.accept(&channel, 1).await;
    test.until(id, CallbackState::Acknowledged).await;
    let stop = clocked.engine.shut_down(Duration::from_secs(3600));
    tokio::time::timeout(Duration::from_secs(120), stop)
        .await
        .expect("the shutdown ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_only_fails_keeps_no_lease() {
    let released = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&released);
    let fails = move |_| Does::When(Arc::clone(&told), http("503 Service Unavailable", ""));
    let endpoint = TestEndpoint::start(fails).await;
    let test = TestStore::new();
    let channel = test
        .channel("broken", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    keep(&test, &channel, 100).await;
    let clocked = Clocked::start(&test, |_| ()).await;
    // More than it takes to open the breaker, so that no claim is under way as that happens: its callbacks would wait leased.
    eventually("as many are held as may be", async || {
        (endpoint.received().len() == 2 && clocked.engine.health().held == 32).then_some(())
    })
    .await;
    released.store(true, Ordering::Relaxed);
    eventually("the breaker opens, and nothing is held", async || {
        let health = clocked.engine.health();
        (health.breakers_open == 1 && health.held == 0).then_some(())
    })
    .await;
    assert_eq!(in_progress(&test).await, 0);
    let sent = endpoint.received().len();
    assert!((20..24).contains(&sent), "{sent}");
    // The rest is over: one probe.
    clocked.moves_by(30_000).await;
    eventually("a probe fails, and nothing is held", async || {
        let probed = endpoint.received().len() > sent;
        (probed && clocked.engine.health().held == 0).then_some(())
    })
    .await;
    clocked.engine.shut_down(LIMIT).await;
    assert_eq!(endpoint.received().len(), sent + 1);
    let attempts: u32 = all(&test).await.iter().map(|kept| kept.attempts).sum();
    assert_eq!(
        attempts as usize,
        sent + 1,
        "a probe is an attempt like any other"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_gives_back_all_but_what_is_being_sent() {
    let (endpoint, released) = holding(0).await;
    let test = TestStore::new();
    let channel = test
        .channel("paused", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    keep(&test, &channel, 20).await;
    let clocked = Clocked::start(&test, |config| config.attempts_per_lane = 2).await;
    eventually("two are being sent, and more are leased", async || {
        let sent = endpoint.received().len();
        (sent == 2 && in_progress(&test).await > 2).then_some(())
    })
    .await;
    let pause = sealpost_store::Pause {
        at: now(),
        reason: "by a person".into(),
    };
    // As another process does it.
    test.store.pause_channel(&channel, pause).await.unwrap();
    eventually("the rest is given back", async || {
        (in_progress(&test).await == 2).then_some(())
    })
    .await;
    released.store(true, Ordering::Relaxed);
    eventually("nothing is held", async || {
        (clocked.engine.health().held == 0).then_some(())
    })
    .await;
    assert_eq!(endpoint.received().len(), 2);
    let waiting = test.store.backlog(now()).await.unwrap().waiting;
    assert_eq!(waiting, 18);
    test.store.resume_channel(&channel).await.unwrap();
    eventually("all are delivered", async || {
        (test.store.backlog(now()).await.unwrap().waiting == 0).then_some(())
    })
    .await;
    clocked.engine.shut_down(LIMIT).await;
    assert_eq!(endpoint.received().len(), 20);
}
