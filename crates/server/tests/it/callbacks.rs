//! Callbacks by HTTP: handed over by another platform, refused, kept, sent again.

use sealpost_contract::EndStatus;
use serde_json::{Value, json};

use crate::support::{Flow, TestApp, receipt};

fn ended_elsewhere(id: &str) -> Value {
    json!({
        "sign_end_time": "2021-03-22 18:24:29",
        "sign_flow_status": "2",
        "sign_flow_id": id,
        "sign_file_url": "http://",
    })
}

fn flow(id: &str) -> Flow {
    Flow {
        id: id.to_owned(),
        shown: Value::Null,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_that_ended_elsewhere_is_delivered_as_it_was_handed_over() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let members = ended_elsewhere("587a2f4738d44391835198df570b6ee6");
    let accepted = channel.post("/v1/callbacks", &members).await;
    assert_eq!(
        accepted.status,
        202,
        "{}",
        String::from_utf8_lossy(&accepted.body)
    );
    let callback = channel
        .received(&flow("587a2f4738d44391835198df570b6ee6"))
        .await;
    assert_eq!(
        serde_json::from_str::<Value>(&callback.to_json()).unwrap(),
        members
    );

    let again = channel.post("/v1/callbacks", &members).await;
    assert_eq!(
        (again.status.as_u16(), again.json()),
        (202, accepted.json()),
        "the same again answers as before"
    );
    let mut other = members;
    other["sign_flow_status"] = "3".into();
    let refused = channel.post("/v1/callbacks", &other).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (409, &json!("callback_conflict"))
    );
    let control = channel
        .post("/v1/callbacks", &ended_elsewhere("a\u{0}b"))
        .await;
    assert_eq!(control.status, 422, "no database keeps every character");
    assert_eq!(control.json()["errors"][0]["field"], json!("sign_flow_id"));
    assert_eq!(channel.all_received().len(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_hands_over_one_callback() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let hand_over = async |id| {
        channel
            .post_once("/v1/callbacks", "once", &ended_elsewhere(id))
            .await
    };
    let accepted = hand_over("a1").await;
    assert_eq!(accepted.status, 202);
    let again = hand_over("a1").await;
    assert_eq!(
        (again.status.as_u16(), again.json()),
        (202, accepted.json())
    );
    let other = hand_over("a2").await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["code"]),
        (409, &json!("idempotency_key_reused"))
    );
    let kept = channel.get("/v1/callbacks?sign_flow_id=a2").await.json();
    assert_eq!(kept["data"], json!([]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_our_own_flow_cannot_be_handed_over() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let own = channel.create_flow(receipt()).await;
    let refused = channel
        .post("/v1/callbacks", &ended_elsewhere(&own.id))
        .await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (409, &json!("callback_conflict"))
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_acknowledged_is_retried_three_times_kept_and_sent_again() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let answers = [
        (200, r#"{"response_code":"999"}"#),
        (500, "oops"),
        (200, r#"{"response_code":0}"#),
        (302, ""),
    ];
    for (status, body) in answers {
        channel.will_answer(status, body);
    }
    let made = channel.create_flow(receipt()).await;
    app.signer("张三").signs().await;
    let failed = channel.callback_in(&made, "failed").await;
    let attempts = failed["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 4, "1 + 3 attempts");
    assert_eq!(attempts[0]["answer"], r#"{"response_code":"999"}"#);
    assert_eq!(attempts[1]["http_status"], 500);
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt["acknowledged"] == false && attempt["reason"].is_string())
    );
    assert!(channel.all_received().is_empty());

    let path = format!("/v1/callbacks/{}/redeliver", failed["id"].as_str().unwrap());
    let again = channel.post_once(&path, "once", &json!({})).await;
    assert_eq!(
        again.status,
        202,
        "{}",
        String::from_utf8_lossy(&again.body)
    );
    let done = channel.callback_in(&made, "acknowledged").await;
    assert_eq!(
        (
            done["round"].as_u64(),
            done["attempts"].as_array().map(Vec::len)
        ),
        (Some(2), Some(5))
    );
    assert_eq!(
        channel.received(&made).await.sign_flow_status,
        EndStatus::Completed
    );
    let replayed = channel.post_once(&path, "once", &json!({})).await;
    assert_eq!(
        (
            replayed.status.as_u16(),
            replayed.header("idempotency-replayed")
        ),
        (202, "true")
    );
    assert_eq!(
        replayed.json()["round"],
        2,
        "the same key starts no further round"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redelivery_that_was_refused_uses_no_key() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    for _ in 0..4 {
        channel.will_answer(503, "");
    }
    app.app()
        .pause_channel(&channel.id, "so that it waits")
        .await
        .unwrap();
    channel.post("/v1/callbacks", &ended_elsewhere("a1")).await;
    let waiting = channel.callback_in(&flow("a1"), "waiting").await;
    let path = format!(
        "/v1/callbacks/{}/redeliver",
        waiting["id"].as_str().unwrap()
    );
    let early = channel.post_once(&path, "once", &json!({})).await;
    assert_eq!(
        (early.status.as_u16(), &early.json()["code"]),
        (409, &json!("still_waiting"))
    );
    app.app().resume_channel(&channel.id).await.unwrap();
    channel.callback_in(&flow("a1"), "failed").await;
    let again = channel.post_once(&path, "once", &json!({})).await;
    assert_eq!(
        (
            again.status.as_u16(),
            again.header("idempotency-replayed"),
            again.json()["round"].as_u64()
        ),
        (202, "", Some(2))
    );
    channel.received(&flow("a1")).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_failed_since_a_time_are_sent_again() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    for _ in 0..12 {
        channel.will_answer(503, "");
    }
    let ids = ["a1", "a2", "a3"];
    for id in ids {
        assert_eq!(
            channel
                .post("/v1/callbacks", &ended_elsewhere(id))
                .await
                .status,
            202
        );
    }
    for id in ids {
        channel.callback_in(&flow(id), "failed").await;
    }
    let failed = channel
        .get("/v1/callbacks?state=failed&limit=2")
        .await
        .json();
    assert_eq!(
        (
            failed["data"].as_array().map(Vec::len),
            failed["next_cursor"].is_string()
        ),
        (Some(2), true)
    );
    let none = channel
        .post(
            "/v1/callbacks/redeliver",
            &json!({ "since": "2100-01-01T00:00:00Z" }),
        )
        .await;
    let none = none.json();
    assert_eq!(
        (&none["state"], &none["total"], &none["redelivered"]),
        (&json!("finished"), &json!(0), &json!(0))
    );
    let all = channel
        .post(
            "/v1/callbacks/redeliver",
            &json!({ "since": "2020-01-01T00:00:00Z" }),
        )
        .await;
    let all = all.json();
    assert_eq!(
        (&all["state"], &all["total"], &all["redelivered"]),
        (&json!("finished"), &json!(3), &json!(3))
    );
    let path = format!("/v1/callbacks/redeliveries/{}", all["id"].as_str().unwrap());
    assert_eq!(channel.get(&path).await.json(), all, "it can be looked up");
    assert_eq!(app.channel("5i5j").await.get(&path).await.status, 404);
    for id in ids {
        channel.callback_in(&flow(id), "acknowledged").await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_may_name_its_own_address() {
    let app = TestApp::start().await;
    let (channel, other) = (app.channel("lianjia").await, app.channel("5i5j").await);
    let elsewhere = other.get("/v1/callbacks").await;
    assert_eq!(elsewhere.status, 200);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/own", listener.local_addr().unwrap());
    let router = axum::Router::new().route(
        "/own",
        axum::routing::post(|| async { axum::Json(json!({ "response_code": "000" })) }),
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut request = receipt();
    request["callback_url"] = url.clone().into();
    let made = channel.create_flow(request).await;
    app.signer("张三").signs().await;
    let told = channel.callback_in(&made, "acknowledged").await;
    assert_eq!(told["url"], url);
    assert!(channel.all_received().is_empty());
    app.stop().await;
}
