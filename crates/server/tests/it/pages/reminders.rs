//! Reminders that go out by themselves; through the gateway of `code`.

use serde_json::json;

use super::code::Gateway;
use crate::support::{PATIENCE, TestApp, receipt_for};

const HOUR: i64 = 60 * 60 * 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signers_are_reminded_once_before_the_deadline() {
    let (gateway, settings) = Gateway::start().await;
    let app = TestApp::start_with(|config| config.notify.sms = Some(settings)).await;
    let channel = app.channel("链家").await;
    let mut request = receipt_for(&["张三", "李四"]);
    request["signers"][0]["mobile"] = json!("13812345678");
    let flow = channel.create_flow(request).await;
    let link = app.signer("张三").url;

    // A week is left: nobody is reminded. A day is left: whoever can be reached is, once, with the link.
    app.app().move_clock(6 * 24 * HOUR - HOUR);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(gateway.sent().is_empty());
    app.app().move_clock(2 * HOUR);
    let begun = std::time::Instant::now();
    while gateway.sent().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "no reminder went out");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let message = gateway.sent()[0].clone();
    assert_eq!(message["phone"], "13812345678");
    assert!(
        message["text"].as_str().unwrap().contains(&link),
        "{message}"
    );
    app.app().move_clock(HOUR);
    let evidence = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await
        .json()
        .to_string();
    assert_eq!(
        evidence.matches("\"kind\":\"reminded\"").count(),
        1,
        "{evidence}"
    );
    assert_eq!(gateway.sent().len(), 1);
    app.stop().await;
}

/// By hand: not within thirty minutes of the start, nor within ten of the last; and the refusal says when.
#[tokio::test]
async fn reminders_by_hand_keep_a_distance() {
    const MINUTE: i64 = 60 * 1000;
    let (gateway, settings) = Gateway::start().await;
    let app = TestApp::start_with(|config| config.notify.sms = Some(settings)).await;
    let channel = app.channel("链家").await;
    let mut request = receipt_for(&["张三"]);
    request["signers"][0]["mobile"] = json!("13812345678");
    let flow = channel.create_flow(request).await;
    let path = format!("/v1/sign-flows/{}/remind", flow.id);
    let remind = async || channel.post(&path, &json!({})).await;
    let refused = async |code: &str, minutes: u32| {
        let answer = remind().await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), problem["code"].as_str()),
            (429, Some(code))
        );
        let wait = answer.headers["retry-after"].to_str().unwrap();
        let wait: u32 = wait.parse().unwrap();
        // The clock runs on while the test does.
        assert!((minutes * 60 - 40..=minutes * 60).contains(&wait), "{wait}");
        assert!(
            problem["again_at"].as_str().unwrap().ends_with('Z'),
            "{problem}"
        );
    };

    refused("started_recently", 30).await;
    app.app().move_clock(30 * MINUTE);
    assert_eq!(remind().await.status, 200);
    refused("reminded_recently", 10).await;
    app.app().move_clock(10 * MINUTE);
    assert_eq!(remind().await.status, 200);
    let begun = std::time::Instant::now();
    while gateway.sent().len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "two reminders went out");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    app.stop().await;
}
