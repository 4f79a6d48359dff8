//! The database refuses what came of one callback, and takes everything else: nobody else waits for that one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use sealpost_delivery::client::Trust;
use sealpost_delivery::guard::Policy;
use sealpost_delivery::{Config, Engine};
use sealpost_store::{CallbackId, CallbackState};

use crate::support::{
    Does, TestEndpoint, TestStore, callback, eventually, http, local, new_id, now, ok, open,
};

const LIMIT: Duration = Duration::from_secs(30);

fn database(test: &TestStore) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(test.folder().join("sealpost.sqlite")).unwrap();
    database.busy_timeout(LIMIT).unwrap();
    database
}

/// Has the database refuse every outcome of this callback. It is still claimed.
fn refuse(database: &rusqlite::Connection, id: CallbackId) {
    let id = id.number();
    database
        .execute_batch(&format!(
            "CREATE TRIGGER refuse_one BEFORE UPDATE ON callbacks WHEN NEW.id = {id} AND NEW.holder IS NULL
             BEGIN SELECT RAISE (ABORT, 'refused'); END"
        ))
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_is_refused_keeps_no_other_waiting() {
    let test = TestStore::new();
    let told = TestEndpoint::start(|_| ok()).await;
    let open_now = Arc::new(AtomicBool::new(false));
    let answer = http("200 OK", r#"{"response_code":"000"}"#);
    let opened = Arc::clone(&open_now);
    let endpoint =
        TestEndpoint::start(move |_| Does::When(Arc::clone(&opened), answer.clone())).await;
    let channel = test
        .channel("lianjia", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let alert_url = Policy::unrestricted().check_url(&told.url()).unwrap();
    let engine = test
        .engine(|config| {
            config.alert_url = Some(alert_url);
            // The leases outlive the test, however busy the machine is, so that nothing is sent again.
            config.lease = Duration::from_secs(600);
        })
        .await;
    let accept = async |flows: std::ops::Range<u64>| {
        let mut ids = Vec::new();
        for flow in flows {
            let accepted = engine.accept(&channel, None, &callback(flow)).await;
            ids.push(new_id(accepted.unwrap()));
        }
        ids
    };
    let mut others = accept(0..40).await;
    let refused = others.remove(17);
    let database = database(&test);
    refuse(&database, refused);
    open_now.store(true, Ordering::Release);

    // Those of its own batch, and those that come later.
    for flows in [None, Some(100..120)] {
        if let Some(flows) = flows {
            others = accept(flows).await;
        }
        for id in &others {
            test.until(*id, CallbackState::Acknowledged).await;
        }
        let kept = test.find(refused).await;
        assert_eq!((kept.state, kept.attempts), (CallbackState::Waiting, 0));
    }
    eventually("it is told", async || {
        told.received().iter().find_map(|request| {
            let message: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            let alerts = message["alerts"].as_array().unwrap();
            let alert = alerts
                .iter()
                .find(|alert| alert["kind"] == "outcome_refused")?;
            assert_eq!(alert["callback_id"], refused.to_string());
            Some(())
        })
    })
    .await;
    let health = engine.health();
    assert_eq!(health.totals.refused, 1);
    assert_eq!(health.store_error, None, "the store works");

    // Once the database takes it, it counts, and nothing was sent again.
    database.execute_batch("DROP TRIGGER refuse_one").unwrap();
    let kept = test.until(refused, CallbackState::Acknowledged).await;
    assert_eq!(kept.attempts, 1);
    let id = refused.to_string();
    let received = endpoint.received();
    let arrived = received
        .iter()
        .filter(|request| request.header("webhook-id") == Some(&id));
    assert_eq!(arrived.count(), 1);
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_whose_outcome_is_refused_is_sent_again_when_its_lease_has_ended() {
    let test = TestStore::new();
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let channel = test
        .channel("lianjia", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let mut config = Config::new(Trust::load(None).unwrap());
    config.policy = local();
    config.deadline = Duration::from_secs(30);
    config.poll = Duration::from_millis(50);
    let passed = Arc::new(AtomicI64::new(0));
    let later = Arc::clone(&passed);
    let clock = move || now() + later.load(Ordering::Acquire);
    let engine = Engine::start(
        test.store.clone(),
        config,
        Arc::new(clock),
        Arc::new(open),
        7,
    );
    let engine = engine.await.unwrap();
    let database = database(&test);
    // Nothing is known of the channel yet, so that the callback is kept without a lease, and claimed once the trigger is there.
    database
        .execute_batch("UPDATE channels SET paused_at = 1")
        .unwrap();
    let refused = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    // What was claimed before the pause was seen is given back, which is not to be refused.
    eventually("the channel rests, and nothing is held", async || {
        let health = engine.health();
        (health.resting == 1 && health.held == 0).then_some(())
    })
    .await;
    refuse(&database, refused);
    database
        .execute_batch("UPDATE channels SET paused_at = NULL")
        .unwrap();
    engine.channel_changed(&channel);
    let sent = async |times: u64| {
        eventually("it is sent and refused", async || {
            let seen = endpoint.received().len() as u64 == times;
            (seen && engine.health().totals.refused == times).then_some(())
        })
        .await;
    };
    sent(1).await;
    // Once for each lease, which is of a minute.
    passed.fetch_add(61_000, Ordering::AcqRel);
    sent(2).await;
    database.execute_batch("DROP TRIGGER refuse_one").unwrap();
    let kept = test.until(refused, CallbackState::Acknowledged).await;
    assert_eq!(kept.attempts, 1);
    eventually("the older one no longer counts", async || {
        (engine.health().held == 0).then_some(())
    })
    .await;
    assert_eq!(endpoint.received().len(), 2);
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_every_outcome_is_no_fault_of_theirs() {
    const CALLBACKS: u64 = 6;
    let test = TestStore::new();
    let told = TestEndpoint::start(|_| ok()).await;
    // The first are answered together, so that none is ever the only one there is.
    let open_now = Arc::new(AtomicBool::new(false));
    let answer = http("200 OK", r#"{"response_code":"500"}"#);
    let opened = Arc::clone(&open_now);
    let endpoint =
        TestEndpoint::start(move |_| Does::When(Arc::clone(&opened), answer.clone())).await;
    let channel = test
        .channel("lianjia", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let alert_url = Policy::unrestricted().check_url(&told.url()).unwrap();
    let engine = test
        .engine(|config| {
            config.alert_url = Some(alert_url);
            config.lease = Duration::from_secs(600);
        })
        .await;
    let mut database = database(&test);
    database
        .execute_batch("UPDATE channels SET paused_at = 1")
        .unwrap();
    engine.channel_changed(&channel);
    let mut ids = Vec::new();
    for flow in 0..CALLBACKS {
        let accepted = engine.accept(&channel, None, &callback(flow)).await;
        ids.push(new_id(accepted.unwrap()));
    }
    eventually("the channel rests, and nothing is held", async || {
        let health = engine.health();
        (health.resting == 1 && health.held == 0).then_some(())
    })
    .await;
    assert_eq!(endpoint.received().len(), 0);
    let all = database.transaction().unwrap();
    all.execute_batch(
        "CREATE TRIGGER refuse_all BEFORE UPDATE ON callbacks WHEN NEW.holder IS NULL
         BEGIN SELECT RAISE (ABORT, 'refused'); END;
         UPDATE channels SET paused_at = NULL",
    )
    .unwrap();
    all.commit().unwrap();
    let errors_before = engine.health().totals.store_errors;
    engine.channel_changed(&channel);
    eventually("several are sent", async || {
        (endpoint.received().len() >= 2).then_some(())
    })
    .await;
    open_now.store(true, Ordering::Release);

    // Long enough for the waits to have become as long as they become.
    eventually("it is tried again and again", async || {
        let health = engine.health();
        assert_eq!(health.totals.refused, 0);
        (health.totals.store_errors >= errors_before + 9).then_some(())
    })
    .await;
    assert!(engine.health().store_error.is_some());
    database.execute_batch("DROP TRIGGER refuse_all").unwrap();
    for id in ids {
        let attempts = eventually("it is recorded", async || {
            let attempts = test.store.attempts(id).await.unwrap();
            (!attempts.is_empty()).then_some(attempts)
        })
        .await;
        assert_eq!(attempts.len(), 1);
        assert!(attempts[0].answer.is_some(), "what was answered is kept");
    }
    assert_eq!(endpoint.received().len() as u64, CALLBACKS);
    assert_eq!(engine.health().totals.refused, 0);
    engine.shut_down(LIMIT).await;
    let refused = told
        .received()
        .iter()
        .any(|request| request.body.contains("outcome_refused"));
    assert!(!refused);
}
