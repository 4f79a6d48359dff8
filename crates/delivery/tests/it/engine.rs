//! The whole engine: from the store over real sockets and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sealpost_contract::webhook::{self, Headers};
use sealpost_delivery::Engine;
use sealpost_store::{
    Accepted, CallbackId, CallbackState, FailedSince, Holder, Lease, NewCallback, Redelivered,
};

use crate::support::{
    Does, TestEndpoint, TestStore, callback, code, eventually, http, leased, new_id, now, ok,
    secret,
};

/// No shutdown here needs it, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_arrives_signed_and_is_acknowledged() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("lianjia", Some(&endpoint.url()), "1s,1s,1s")
        .await;
    let engine = test.engine(|_| {}).await;

    let id = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    let kept = test.until(id, CallbackState::Acknowledged).await;
    assert_eq!((kept.round, kept.attempts, kept.in_progress), (1, 1, false));
    assert_eq!(test.reasons(id).await, ["ok"]);
    let attempts = test.store.attempts(id).await.unwrap();
    assert_eq!(attempts[0].http_status, Some(200));
    assert_eq!(
        attempts[0].answer.as_deref(),
        Some(&br#"{"response_code":"000"}"#[..])
    );

    let received = &endpoint.received()[0];
    assert!(received.head.starts_with("POST /callback HTTP/1.1"));
    assert_eq!(received.body, callback(1).to_json());
    assert_eq!(
        received.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(received.header("webhook-id"), Some(id.to_string().as_str()));
    let headers = Headers {
        id: received.header("webhook-id"),
        timestamp: received.header("webhook-timestamp"),
        signature: received.header("webhook-signature"),
    };
    webhook::verify(&[secret()], headers, received.body.as_bytes(), now(), 300).unwrap();

    assert_eq!(
        engine.accept(&channel, None, &callback(1)).await.unwrap(),
        Accepted::Before(id)
    );
    let mut other = callback(1);
    other.sign_flow_status = sealpost_contract::EndStatus::Revoked;
    assert_eq!(
        engine.accept(&channel, None, &other).await.unwrap(),
        Accepted::Conflict
    );
    engine.shut_down(LIMIT).await;
    assert_eq!(endpoint.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_and_three_attempts_send_the_same_bytes_then_it_is_kept_as_failed() {
    let endpoint = TestEndpoint::start(|_| code("999")).await;
    let test = TestStore::new();
    let channel = test
        .channel("beike", Some(&endpoint.url()), "50ms,100ms,200ms")
        .await;
    let engine = test.engine(|_| {}).await;
    let id = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    let kept = test.until(id, CallbackState::Failed).await;
    assert_eq!((kept.round, kept.attempts), (1, 4));
    assert_eq!(test.reasons(id).await, ["response_code"; 4]);
    let received = endpoint.received();
    assert_eq!(received.len(), 4);
    assert!(
        received
            .iter()
            .all(|request| request.body == received[0].body)
    );
    assert!(
        received
            .iter()
            .all(|request| request.header("webhook-id") == Some(id.to_string().as_str()))
    );
    // No wait is cut short, by more than the millisecond that the engine's clock is read to. How promptly the next attempt starts
    // is the simulation's to say, whose time is its own.
    for (pair, wait) in received.windows(2).zip([50, 100, 200]) {
        let waited = pair[1].at - pair[0].at;
        assert!(
            waited >= Duration::from_millis(wait - 1),
            "{waited:?} instead of {wait} ms"
        );
    }
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_refuses_twice_and_then_accepts() {
    let endpoint = TestEndpoint::start(|number| if number < 2 { code("999") } else { ok() }).await;
    let test = TestStore::new();
    let channel = test
        .channel("anjuke", Some(&endpoint.url()), "10ms,10ms,10ms")
        .await;
    let engine = test.engine(|_| {}).await;
    let id = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    test.until(id, CallbackState::Acknowledged).await;
    assert_eq!(
        test.reasons(id).await,
        ["response_code", "response_code", "ok"]
    );
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_inserted_or_redelivered_is_found() {
    let healthy = Arc::new(AtomicBool::new(false));
    let endpoint = TestEndpoint::start({
        let healthy = Arc::clone(&healthy);
        move |_| {
            if healthy.load(Ordering::Relaxed) {
                ok()
            } else {
                code("500")
            }
        }
    })
    .await;
    let test = TestStore::new();
    let channel = test
        .channel("fang", Some(&endpoint.url()), "0s,0s,0s")
        .await;
    let engine = test.engine(|_| {}).await;

    // Inserted without the engine's knowledge, as the command line or another node would.
    let mut ids = Vec::new();
    for flow in 0..3 {
        let new = NewCallback {
            lease: None,
            ..engine.new_callback(&channel, None, &callback(flow))
        };
        ids.push(new_id(test.store.accept_callback(new).await.unwrap()));
    }
    for id in &ids {
        test.until(*id, CallbackState::Failed).await;
    }
    healthy.store(true, Ordering::Relaxed);
    assert_eq!(
        test.store.redeliver(ids[0], now()).await.unwrap(),
        Redelivered::Due
    );
    test.until(ids[0], CallbackState::Acknowledged).await;

    let which = FailedSince {
        channel_id: None,
        since: 0,
        until: now(),
    };
    let begun = test.store.start_redelivery(which, now()).await.unwrap();
    let stepped = test.store.step_redelivery(begun.id, now()).await.unwrap();
    assert_eq!(stepped.map(|stepped| stepped.redelivered), Some(2));
    for id in &ids[1..] {
        let kept = test.until(*id, CallbackState::Acknowledged).await;
        assert_eq!((kept.round, kept.attempts), (2, 1));
        assert_eq!(
            test.reasons(*id).await,
            [
                "response_code",
                "response_code",
                "response_code",
                "response_code",
                "ok"
            ]
        );
    }
    assert_eq!(
        test.store
            .redeliver(CallbackId::new(1, 1), now())
            .await
            .unwrap(),
        Redelivered::NotFound
    );
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_neighbour_delays_nobody() {
    let hanging = TestEndpoint::start(|_| Does::Hang).await;
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let mut dead = Vec::new();
    for number in 0..5 {
        dead.push(
            test.channel(&format!("dead{number}"), Some(&hanging.url()), "8h,8h,8h")
                .await,
        );
    }
    let alive = test
        .channel("alive", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    // The others hang for longer than anybody waits here.
    let engine = test
        .engine(|config| {
            config.attempts = 24;
            config.deadline = Duration::from_secs(600);
        })
        .await;
    let mut flow = 0;
    for channel in &dead {
        for _ in 0..50 {
            flow += 1;
            engine.accept(channel, None, &callback(flow)).await.unwrap();
        }
    }
    for _ in 0..20 {
        flow += 1;
        let id = new_id(engine.accept(&alive, None, &callback(flow)).await.unwrap());
        test.until(id, CallbackState::Acknowledged).await;
    }
    let failed = engine.health().totals.failed;
    assert!(failed.is_empty(), "the others still hang: {failed:?}");
    engine.shut_down(Duration::from_millis(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_larger_than_memory_drains() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("large", Some(&endpoint.url()), "1s,1s,1s")
        .await;
    let filler = test.engine(|_| {}).await;
    filler.shut_down(LIMIT).await;
    for flow in 0..600 {
        let new = filler.new_callback(&channel, None, &callback(flow));
        assert_eq!(new.lease, None, "a stopped engine takes nothing");
        test.store.accept_callback(new).await.unwrap();
    }
    let engine = test.engine(|config| config.held = 16).await;
    eventually("the backlog is gone", async || {
        assert!(engine.health().held <= 16);
        let backlog = test.store.backlog(now()).await.unwrap();
        (backlog.waiting == 0).then_some(())
    })
    .await;
    assert_eq!(endpoint.received().len(), 600);
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_attempts_end_and_gives_back_the_rest() {
    let released = Arc::new(AtomicBool::new(false));
    let endpoint = TestEndpoint::start({
        let released = Arc::clone(&released);
        let answer = http("200 OK", r#"{"response_code":"000"}"#);
        move |_| Does::When(Arc::clone(&released), answer.clone())
    })
    .await;
    let test = TestStore::new();
    let channel = test
        .channel("late", Some(&endpoint.url()), "1s,1s,1s")
        .await;
    let engine = test.engine(|config| config.attempts_per_lane = 2).await;
    let mut ids = Vec::new();
    for flow in 0..10 {
        ids.push(new_id(
            engine
                .accept(&channel, None, &callback(flow))
                .await
                .unwrap(),
        ));
    }
    // And so much is held that no claim is under way, which could still bring something that starts.
    eventually("two attempts are under way", async || {
        (endpoint.received().len() == 2 && engine.health().held > 4).then_some(())
    })
    .await;
    // The shutdown begins first; then the endpoint answers.
    tokio::join!(engine.shut_down(LIMIT), async {
        released.store(true, Ordering::Relaxed);
    });
    let mut acknowledged = 0;
    for id in ids {
        let kept = test.find(id).await;
        assert!(!kept.in_progress, "{kept:?}");
        match kept.state {
            CallbackState::Acknowledged => acknowledged += 1,
            _ => assert!(kept.attempts == 0 && kept.due_at.unwrap() <= now()),
        }
    }
    assert_eq!((acknowledged, endpoint.received().len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_shutdown_meets_nothing_stays_leased() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("many", Some(&endpoint.url()), "1s,1s,1s")
        .await;
    let mut ids = Vec::new();
    for flow in 0..1000 {
        let new = NewCallback {
            id: CallbackId::new(now(), flow),
            channel_id: channel.clone(),
            url: None,
            sign_flow_id: callback(flow.into()).sign_flow_id,
            body: callback(flow.into()).to_json().into(),
            due_at: now(),
            lease: None,
        };
        ids.push(new_id(test.store.accept_callback(new).await.unwrap()));
    }
    // A little later each time, so that it meets a poll, a claim, what a claim brought.
    for wait in 0..12 {
        let engine = test.engine(|config| config.sole = false).await;
        tokio::time::sleep(Duration::from_micros(300) * wait).await;
        engine.shut_down(LIMIT).await;
        for id in &ids {
            let kept = test.find(*id).await;
            assert!(!kept.in_progress, "after {wait}: {kept:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_channel_keeps_everything_and_410_pauses() {
    let gone = Arc::new(AtomicBool::new(true));
    let endpoint = TestEndpoint::start({
        let gone = Arc::clone(&gone);
        move |_| {
            if gone.load(Ordering::Relaxed) {
                Does::Answer(http("410 Gone", ""))
            } else {
                ok()
            }
        }
    })
    .await;
    let test = TestStore::new();
    let channel = test
        .channel("moved", Some(&endpoint.url()), "10ms,10ms,10ms")
        .await;
    let engine = test.engine(|_| {}).await;
    let first = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    let pause = eventually("410 pauses", async || {
        test.store
            .find_channel(&channel)
            .await
            .unwrap()
            .unwrap()
            .paused
    })
    .await;
    assert!(pause.reason.contains("410"));
    eventually("the engine knows", async || {
        (engine.health().resting == 1).then_some(())
    })
    .await;
    let second = new_id(engine.accept(&channel, None, &callback(2)).await.unwrap());
    let sent = endpoint.received().len();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(
        endpoint.received().len(),
        sent,
        "nothing is sent while paused"
    );
    assert_eq!(
        test.find(second).await.attempts,
        0,
        "and no attempt is counted"
    );

    gone.store(false, Ordering::Relaxed);
    test.store.resume_channel(&channel).await.unwrap();
    engine.channel_changed(&channel);
    for id in [first, second] {
        test.until(id, CallbackState::Acknowledged).await;
    }
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_410_says_nothing_of_the_new_address() {
    let released = Arc::new(AtomicBool::new(false));
    let old = TestEndpoint::start({
        let released = Arc::clone(&released);
        move |_| Does::When(Arc::clone(&released), http("410 Gone", ""))
    })
    .await;
    let new = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("moving", Some(&old.url()), "10ms,10ms,10ms")
        .await;
    let engine = test.engine(|_| {}).await;
    let id = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    eventually("an attempt at the old address", async || {
        (old.received().len() == 1).then_some(())
    })
    .await;
    test.store
        .set_channel_delivery(&channel, Some(new.url()), "10ms,10ms,10ms".parse().unwrap())
        .await
        .unwrap();
    engine.channel_changed(&channel);
    released.store(true, Ordering::Relaxed);
    test.until(id, CallbackState::Acknowledged).await;
    assert_eq!(test.reasons(id).await, ["gone", "ok"]);
    let kept = test.store.find_channel(&channel).await.unwrap().unwrap();
    assert_eq!(kept.paused, None, "a person has put the address right");
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_410_of_one_flows_address_stops_no_other() {
    let gone = TestEndpoint::start(|_| Does::Answer(http("410 Gone", ""))).await;
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("both", Some(&endpoint.url()), "10ms,10ms,10ms")
        .await;
    let engine = test.engine(|_| {}).await;
    let target = crate::support::local().check_url(&gone.url()).unwrap();
    let own = engine.accept(&channel, Some(&target), &callback(1)).await;
    let own = new_id(own.unwrap());
    test.until(own, CallbackState::Failed).await;
    assert_eq!(test.reasons(own).await, ["gone"; 4], "kept as failed");
    let kept = test.store.find_channel(&channel).await.unwrap().unwrap();
    assert_eq!(kept.paused, None);
    let other = new_id(engine.accept(&channel, None, &callback(2)).await.unwrap());
    test.until(other, CallbackState::Acknowledged).await;
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_only_fails_is_told_and_so_is_that_it_works_again() {
    let operator = TestEndpoint::start(|_| Does::Answer(http("204 No Content", ""))).await;
    let healthy = Arc::new(AtomicBool::new(false));
    let endpoint = TestEndpoint::start({
        let healthy = Arc::clone(&healthy);
        move |_| {
            if healthy.load(Ordering::Relaxed) {
                ok()
            } else {
                code("500")
            }
        }
    })
    .await;
    let test = TestStore::new();
    let channel = test
        .channel("broken", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let url = sealpost_delivery::guard::Policy::unrestricted()
        .check_url(&operator.url())
        .unwrap();
    let engine = test.engine(|config| config.alert_url = Some(url)).await;
    for flow in 0..60 {
        let accepted = engine.accept(&channel, None, &callback(flow)).await;
        accepted.unwrap();
    }
    let told = async |kind: &str| {
        eventually("the alert is told", async || {
            let received = operator.received();
            let mut alerts = received.iter().flat_map(|request| {
                let message: serde_json::Value = serde_json::from_str(&request.body).unwrap();
                message["alerts"].as_array().unwrap().clone()
            });
            alerts.find(|alert| alert["kind"] == kind)
        })
        .await
    };
    let failing = told("endpoint_failing").await;
    assert_eq!(
        (
            &failing["channel_id"],
            &failing["endpoint"],
            &failing["reason"]
        ),
        (
            &channel.as_str().into(),
            &format!("http://{}", endpoint.address).into(),
            &"response_code".into()
        )
    );
    // An attempt that was under way and fails after the change would begin the rest anew.
    eventually("the last attempts have failed", async || {
        (engine.health().running == 0).then_some(())
    })
    .await;
    healthy.store(true, Ordering::Relaxed);
    // Somebody has looked after it: no waiting for the end of the rest.
    engine.channel_changed(&channel);
    let recovered = told("endpoint_recovered").await;
    assert_eq!(recovered["endpoint"], failing["endpoint"]);
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_without_an_address_waits_for_one() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test.channel("later", None, "1s,1s,1s").await;
    let engine = test.engine(|_| {}).await;
    let id = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    let second = new_id(engine.accept(&channel, None, &callback(2)).await.unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(test.find(id).await.attempts, 0);
    test.store
        .set_channel_delivery(&channel, Some(endpoint.url()), "1s,1s,1s".parse().unwrap())
        .await
        .unwrap();
    engine.channel_changed(&channel);
    test.until(id, CallbackState::Acknowledged).await;
    test.until(second, CallbackState::Acknowledged).await;
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_address_has_a_lane_of_its_own() {
    let own = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test.channel("own", None, "1s,1s,1s").await;
    let engine = test.engine(|_| {}).await;
    let target = crate::support::local().check_url(&own.url()).unwrap();
    let id = new_id(
        engine
            .accept(&channel, Some(&target), &callback(1))
            .await
            .unwrap(),
    );
    test.until(id, CallbackState::Acknowledged).await;
    assert_eq!(test.find(id).await.url.as_deref(), Some(own.url().as_str()));
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_of_an_earlier_run_end_at_the_start() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("killed", Some(&endpoint.url()), "1s,1s,1s")
        .await;
    let before = test.engine(|_| {}).await;
    before.shut_down(LIMIT).await;
    let lease = Some(Lease {
        holder: Holder(42),
        until: now() + 3_600_000,
    });
    let new = NewCallback {
        lease,
        ..before.new_callback(&channel, None, &callback(1))
    };
    let id = new_id(test.store.accept_callback(new).await.unwrap());
    assert!(test.find(id).await.in_progress);
    let engine = test.engine(|_| {}).await;
    test.until(id, CallbackState::Acknowledged).await;
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_only_fails_is_rested() {
    let endpoint = TestEndpoint::start(|_| Does::Close).await;
    let test = TestStore::new();
    let channel = test
        .channel("broken", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let engine = test.engine(|_| {}).await;
    for flow in 0..100 {
        engine
            .accept(&channel, None, &callback(flow))
            .await
            .unwrap();
    }
    eventually("the breaker opens", async || {
        (engine.health().breakers_open == 1).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = endpoint.received().len();
    assert!(
        (20..=40).contains(&sent),
        "{sent} of 100 were sent before the breaker opened"
    );
    let backlog = test.store.backlog(now()).await.unwrap();
    assert_eq!((backlog.waiting, backlog.failed), (100, 0));
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_and_never_handed_over_is_delivered_all_the_same() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let test = TestStore::new();
    let channel = test
        .channel("broken-off", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let engine = test.engine(|_| {}).await;
    let first = new_id(engine.accept(&channel, None, &callback(1)).await.unwrap());
    test.until(first, CallbackState::Acknowledged).await;
    // As when a client hangs up between the commit and what follows it.
    let new = leased(&engine, &channel, 2).await;
    // And this one is not even committed.
    let _never = leased(&engine, &channel, 3).await;
    let id = new_id(test.store.accept_callback(new).await.unwrap());
    test.until(id, CallbackState::Acknowledged).await;
    assert_eq!(test.find(id).await.attempts, 1);
    engine.shut_down(LIMIT).await;
    assert_eq!(endpoint.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_person_is_told() {
    let operator = TestEndpoint::start(|_| Does::Answer(http("204 No Content", ""))).await;
    let endpoint = TestEndpoint::start(|_| code("999")).await;
    let test = TestStore::new();
    let channel = test
        .channel("wrong", Some(&endpoint.url()), "0s,0s,0s")
        .await;
    let url = sealpost_delivery::guard::Policy::unrestricted()
        .check_url(&operator.url())
        .unwrap();
    let engine = test.engine(|config| config.alert_url = Some(url)).await;
    let mut ids = Vec::new();
    for flow in 0..3 {
        ids.push(new_id(
            engine
                .accept(&channel, None, &callback(flow))
                .await
                .unwrap(),
        ));
    }
    let told = eventually("the alerts are told", async || {
        let received = operator.received();
        (!received.is_empty()).then_some(received)
    })
    .await;
    let message: serde_json::Value = serde_json::from_str(&told[0].body).unwrap();
    let alert = &message["alerts"][0];
    assert_eq!(
        (&alert["kind"], &alert["channel_id"], &alert["reason"]),
        (
            &"callback_failed".into(),
            &channel.into(),
            &"response_code".into()
        )
    );
    assert!(
        ids.iter()
            .any(|id| alert["callback_id"] == id.to_string().as_str())
    );
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_an_endpoint_is_gone_is_told() {
    let operator = TestEndpoint::start(|_| Does::Answer(http("204 No Content", ""))).await;
    let endpoint = TestEndpoint::start(|_| Does::Answer(http("410 Gone", ""))).await;
    let test = TestStore::new();
    let channel = test
        .channel("gone", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let url = sealpost_delivery::guard::Policy::unrestricted()
        .check_url(&operator.url())
        .unwrap();
    let engine = test.engine(|config| config.alert_url = Some(url)).await;
    engine.accept(&channel, None, &callback(1)).await.unwrap();
    let told = eventually("the alert is told", async || {
        operator.received().into_iter().next()
    })
    .await;
    let message: serde_json::Value = serde_json::from_str(&told.body).unwrap();
    let alert = &message["alerts"][0];
    assert_eq!(
        (&alert["kind"], &alert["channel_id"]),
        (&"channel_paused".into(), &channel.into())
    );
    engine.shut_down(LIMIT).await;
}

/// Eight attempts at once at first; four for one that did not keep up.
#[tokio::test(flavor = "multi_thread")]
async fn only_an_endpoint_that_does_not_keep_up_is_sent_less() {
    let test = TestStore::new();
    let answers = [
        (code("999"), 8),
        (Does::Answer(http("500 Internal Server Error", "")), 8),
        (Does::Answer(http("503 Service Unavailable", "")), 4),
        (Does::Answer(http("429 Too Many Requests", "")), 4),
        (Does::Close, 4),
    ];
    let engine = test.engine(|_| {}).await;
    for (flow, (does, window)) in (0..).zip(answers) {
        let answer = does.clone();
        let endpoint = TestEndpoint::start(move |_| answer.clone()).await;
        let channel = test
            .channel(&format!("{flow}"), Some(&endpoint.url()), "8h,8h,8h")
            .await;
        let id = new_id(
            engine
                .accept(&channel, None, &callback(flow))
                .await
                .unwrap(),
        );
        eventually("it is attempted", async || {
            (test.find(id).await.attempts == 1).then_some(())
        })
        .await;
        let lanes = engine.lanes();
        let lane = lanes
            .iter()
            .find(|lane| lane.channel_id.as_deref() == Some(&*channel));
        assert_eq!(lane.unwrap().window, window, "{does:?}");
    }
    engine.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_those_to_keep_are_closed_after_use() {
    let test = TestStore::new();
    let endpoints = [
        TestEndpoint::start(|_| ok()).await,
        TestEndpoint::start(|_| ok()).await,
    ];
    let mut channels = Vec::new();
    for (name, endpoint) in ["one", "two"].iter().zip(&endpoints) {
        channels.push(test.channel(name, Some(&endpoint.url()), "3m,30m,8h").await);
    }
    let closing = |endpoint: &TestEndpoint| {
        let received = endpoint.received();
        received
            .iter()
            .filter(|request| request.header("connection") == Some("close"))
            .count()
    };
    let mut flow = 0;
    let mut deliver = async |engine: &Engine, channel: &str| {
        flow += 1;
        let accepted = engine.accept(channel, None, &callback(flow)).await.unwrap();
        test.until(new_id(accepted), CallbackState::Acknowledged)
            .await;
    };

    let engine = test.engine(|_| ()).await;
    for channel in channels.iter().cycle().take(6) {
        deliver(&engine, channel).await;
    }
    assert_eq!(endpoints.iter().map(closing).sum::<usize>(), 0);
    engine.shut_down(Duration::from_secs(10)).await;

    let engine = test.engine(|config| config.connections_kept = 0).await;
    // As long as the other endpoint's connection is kept (that of its first delivery), this one's is one too many.
    eventually("a connection is closed after use", async || {
        for channel in &channels {
            deliver(&engine, channel).await;
        }
        endpoints
            .iter()
            .any(|endpoint| closing(endpoint) > 0)
            .then_some(())
    })
    .await;
    engine.shut_down(Duration::from_secs(10)).await;
}
