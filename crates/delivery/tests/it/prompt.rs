//! What an engine can do at once does not wait for its next look at the database: here it looks every ten minutes.

use std::time::Duration;

use sealpost_delivery::Engine;
use sealpost_store::{CallbackState, NewCallback};

use crate::support::{
    Does, TestEndpoint, TestStore, callback, code, eventually, http, local, new_id, ok,
};

const LIMIT: Duration = Duration::from_secs(600);

/// An engine that has looked once and will not again for ten minutes, unless it is asked to. Its leases outlive the test.
async fn engine(test: &TestStore) -> Engine {
    let engine = test
        .engine(|config| {
            config.poll = Duration::from_secs(600);
            config.lease = Duration::from_secs(3600);
        })
        .await;
    eventually("the first poll", async || engine.health().last_poll_at).await;
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_delivered() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("lianjia", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let engine = engine(&test).await;
    // Of a lane that is not known yet, and so not leased at the commit.
    let first = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    test.until(first, CallbackState::Acknowledged).await;
    // Leased.
    let new = engine.new_callback(&channel, None, &callback(2));
    assert!(new.lease.is_some());
    let placed = match test.store.accept_callback(new.clone()).await.unwrap() {
        sealpost_store::Accepted::New(placed) => placed,
        other => panic!("{other:?}"),
    };
    engine.hand_over(new, placed);
    test.until(placed.id, CallbackState::Acknowledged).await;
    // To an address of its own.
    let target = local().check_url(&endpoint.url()).unwrap();
    let third = engine.accept(&channel, Some(&target), &callback(3)).await;
    test.until(new_id(third.unwrap()), CallbackState::Acknowledged)
        .await;
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_tried_again_when_it_is_due() {
    let endpoint = TestEndpoint::start(|number| if number < 2 { code("999") } else { ok() }).await;
    let test = TestStore::new();
    let channel = test
        .channel("anjuke", Some(&endpoint.url()), "10ms,20ms,8h")
        .await;
    let engine = engine(&test).await;
    let id = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    test.until(id, CallbackState::Acknowledged).await;
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_left_is_found_when_they_say_so() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("fang", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let engine = engine(&test).await;
    let mut ids = Vec::new();
    for flow in 0..100 {
        let new = NewCallback {
            lease: None,
            ..engine.new_callback(&channel, None, &callback(flow))
        };
        ids.push(new_id(test.store.accept_callback(new).await.unwrap()));
    }
    engine.poke();
    for id in ids {
        test.until(id, CallbackState::Acknowledged).await;
    }
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_rests_as_soon_as_its_endpoint_is_gone() {
    let endpoint = TestEndpoint::start(|number| match number {
        0 => Does::Answer(http("410 Gone", "")),
        _ => ok(),
    })
    .await;
    let test = TestStore::new();
    let channel = test
        .channel("moved", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let engine = engine(&test).await;
    let first = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    eventually("it rests", async || {
        (engine.health().resting == 1).then_some(())
    })
    .await;
    let second = new_id(engine.accept(&channel, None, &callback(2)).await.unwrap());
    test.store.resume_channel(&channel).await.unwrap();
    engine.channel_changed(&channel);
    test.until(second, CallbackState::Acknowledged).await;
    assert_eq!(test.reasons(first).await, ["gone"]);
    engine.shut_down(LIMIT).await;
}

/// Nobody has told the engine that the channel rests; it reads so when it is about to send.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_finds_its_channel_paused_gives_everything_back() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("resting", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let engine = engine(&test).await;
    let pause = sealpost_store::Pause {
        at: crate::support::now(),
        reason: "by a person".into(),
    };
    test.store.pause_channel(&channel, pause).await.unwrap();
    // No more than one claim asks for; another that is under way would bring its own after the first attempt.
    let mut ids = Vec::new();
    for flow in 0..3 {
        let new = NewCallback {
            lease: None,
            ..engine.new_callback(&channel, None, &callback(flow))
        };
        ids.push(new_id(test.store.accept_callback(new).await.unwrap()));
    }
    ids.push(new_id(
        engine.accept(&channel, None, &callback(3)).await.unwrap(),
    ));
    eventually("it rests, and nothing is held", async || {
        let health = engine.health();
        (health.resting == 1 && health.held == 0).then_some(())
    })
    .await;
    for id in &ids {
        let kept = test.find(*id).await;
        assert!(!kept.in_progress && kept.attempts == 0, "{kept:?}");
    }
    assert_eq!(endpoint.received().len(), 0);
    test.store.resume_channel(&channel).await.unwrap();
    engine.channel_changed(&channel);
    for id in &ids {
        test.until(*id, CallbackState::Acknowledged).await;
    }
    engine.shut_down(LIMIT).await;
}
