//! What an operator sees of delivery: lanes in `/metrics` and `/readyz`, redeliveries of many and how far they have got.

use std::time::{Duration, Instant};

use sealpost_contract::Schedule;
use sealpost_store::{FailedSince, Store};
use serde_json::{Value, json};

use crate::support::{Channel, TestApp};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hands over so many callbacks that the receiver refuses, four attempts each.
async fn hand_over_in_vain(channel: &Channel, callbacks: usize) {
    for _ in 0..4 * callbacks {
        channel.will_answer(500, "");
    }
    for number in 0..callbacks {
        let accepted = channel
            .post(
                "/v1/callbacks",
                &json!({
                    "sign_end_time": "2021-03-22 18:24:29",
                    "sign_flow_status": "2",
                    "sign_flow_id": format!("{number:032x}"),
                    "sign_file_url": "https://sealpost.example/f/0123456789abcdefghijklmn",
                }),
            )
            .await;
        assert_eq!(accepted.status, 202);
    }
}

/// Asks until the answer fits.
async fn until(
    what: &str,
    mut ask: impl AsyncFnMut() -> Value,
    fits: impl Fn(&Value) -> bool,
) -> Value {
    let began = Instant::now();
    loop {
        let answer = ask().await;
        if fits(&answer) {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_only_fails_is_shown_with_its_breaker() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    hand_over_in_vain(&channel, 6).await;
    let open = |ready: &Value| ready["delivery"]["breakers_open"] == 1;
    let ready = until(
        "a breaker opens",
        async || app.get("/readyz").await.json(),
        open,
    )
    .await;
    assert_eq!(ready["ready"], true, "one bad endpoint stops nobody");
    let lane = &ready["delivery"]["worst"][0];
    assert_eq!(
        (&lane["channel"], &lane["breaker"], &lane["paused"]),
        (&json!(channel.id), &json!("open"), &json!(false))
    );
    assert!(lane["open_until"].is_string(), "{lane}");

    let metrics = String::from_utf8(app.get("/metrics").await.body.to_vec()).unwrap();
    let labels = format!("{{lane=\"{}\",channel=\"{}\"}}", lane["lane"], channel.id);
    for line in [
        format!("sealpost_lane_breaker{labels} 2"),
        format!("sealpost_lane_paused{labels} 0"),
        "sealpost_breakers_open 1".to_owned(),
        "sealpost_database_up 1".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}:\n{metrics}"
        );
    }
    for name in ["window", "queued", "running", "overdue_seconds"] {
        let start = format!("sealpost_lane_{name}{labels} ");
        assert!(metrics.contains(&start), "{start}:\n{metrics}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_down_for_long_takes_no_node_out_of_service() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    hand_over_in_vain(&channel, 40).await;
    let rest_after = async |known: Option<&str>| {
        let ready = until(
            "the breaker opens again",
            async || app.get("/readyz").await.json(),
            |ready: &Value| {
                // At no moment, neither in a rest nor when it is over.
                assert_eq!(ready["checks"]["oldest_due"], "ok", "{ready}");
                let end = ready["delivery"]["worst"][0]["open_until"].as_str();
                end.is_some() && end != known
            },
        )
        .await;
        assert_eq!(ready["ready"], true, "{ready}");
        let end = &ready["delivery"]["worst"][0]["open_until"];
        end.as_str().unwrap().to_owned()
    };
    let mut rest = rest_after(None).await;
    // Each rest ends in a probe that fails, and the next is twice as long: the oldest has been due for seven minutes after four.
    for _ in 0..4 {
        let end: jiff::Timestamp = rest.parse().unwrap();
        let left = end.as_millisecond() - app.app().now();
        app.app().move_clock(left.max(0));
        rest = rest_after(Some(&rest)).await;
    }
    until(
        "how old the oldest is shows",
        async || {
            let metrics = String::from_utf8(app.get("/metrics").await.body.to_vec()).unwrap();
            let oldest = metrics
                .lines()
                .find_map(|line| line.strip_prefix("sealpost_callback_oldest_due_seconds "));
            json!(oldest.unwrap().parse::<f64>().unwrap())
        },
        |oldest| oldest.as_f64() > Some(420.0),
    )
    .await;
    app.stop().await;
}

/// A channel of which three callbacks have failed for good.
async fn channel_with_three_failed(app: &TestApp) -> Channel {
    let schedule = Schedule::new([10, 10, 10]).unwrap();
    let channel = app.channel_with("lianjia", schedule).await;
    hand_over_in_vain(&channel, 3).await;
    let failed = async || channel.get("/v1/callbacks?state=failed").await.json();
    until("three fail", failed, are_three).await;
    channel
}

fn are_three(page: &Value) -> bool {
    page["data"].as_array().is_some_and(|data| data.len() == 3)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redelivery_that_somebody_left_is_finished_and_can_be_watched() {
    let app = TestApp::start().await;
    let channel = channel_with_three_failed(&app).await;

    // As a process that died after it had begun: nobody takes the steps.
    let other = Store::open(&app.data()).unwrap();
    let which = FailedSince {
        channel_id: Some(channel.id.clone()),
        since: 0,
        until: i64::MAX,
    };
    let begun = other.start_redelivery(which, 1).await.unwrap();
    let path = format!("/v1/callbacks/redeliveries/{}", begun.id);
    let shown = async || channel.get(&path).await.json();
    let finished = |shown: &Value| shown["state"] == "finished";
    let end = until("the worker finishes it", shown, finished).await;
    assert_eq!((&end["total"], &end["redelivered"]), (&json!(3), &json!(3)));
    let acknowledged = async || channel.get("/v1/callbacks?state=acknowledged").await.json();
    until("they arrive", acknowledged, are_three).await;
    let metrics = String::from_utf8(app.get("/metrics").await.body.to_vec()).unwrap();
    for line in [
        "sealpost_redeliveries_running 0",
        "sealpost_redeliveries_remaining 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}:\n{metrics}"
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redelivery_that_fails_keeps_no_other_waiting() {
    let app = TestApp::start().await;
    let channel = channel_with_three_failed(&app).await;

    // As processes that died after they had begun. No step of the first can be kept.
    let other = Store::open(&app.data()).unwrap();
    let database = rusqlite::Connection::open(app.data().join("sealpost.sqlite")).unwrap();
    database
        .execute_batch(
            "CREATE TRIGGER the_first_fails BEFORE UPDATE ON redeliveries WHEN OLD.id = 1
             BEGIN SELECT RAISE (ABORT, 'for the test'); END",
        )
        .unwrap();
    let all_failed = |channel_id: Option<&str>| FailedSince {
        channel_id: channel_id.map(str::to_owned),
        since: 0,
        until: i64::MAX,
    };
    // Of a channel that has none, so that whichever step comes first leaves the second one all three.
    let first = other.start_redelivery(all_failed(Some("nobody")), 1).await;
    let first = first.unwrap().id;
    let second = other
        .start_redelivery(all_failed(Some(&channel.id)), 1)
        .await;
    let path = format!("/v1/callbacks/redeliveries/{}", second.unwrap().id);
    let shown = async || channel.get(&path).await.json();
    let finished = |shown: &Value| shown["state"] == "finished";
    let end = until("the second is finished", shown, finished).await;
    assert_eq!(end["redelivered"], 3);
    let kept = other.find_redelivery(first).await.unwrap().unwrap();
    assert_eq!((kept.stepped_at, kept.finished_at), (1, None));

    database
        .execute_batch("DROP TRIGGER the_first_fails")
        .unwrap();
    until(
        "the first is finished when it can be",
        async || {
            let kept = other.find_redelivery(first).await.unwrap().unwrap();
            json!(kept.finished_at)
        },
        |finished_at| !finished_at.is_null(),
    )
    .await;
    app.stop().await;
}
