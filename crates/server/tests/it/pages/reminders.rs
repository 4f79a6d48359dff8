//! Reminders that go out by themselves; through the gateway of `code`.

use serde_json::json;

use super::code::gateway;
use crate::support::{PATIENCE, TestApp, receipt_for};

const HOUR: i64 = 60 * 60 * 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signers_are_reminded_once_before_the_deadline() {
    let (gateway, sent) = gateway().await;
    let app = TestApp::start_with(|config| config.notify.sms = Some(gateway)).await;
    let channel = app.channel("链家").await;
    let mut request = receipt_for(&["张三", "李四"]);
    request["signers"][0]["mobile"] = json!("13812345678");
    let flow = channel.create_flow(request).await;
    let link = app.signer("张三").url;

    // A week is left: nobody is reminded. A day is left: whoever can be reached is, once, with the link.
    app.app().move_clock(6 * 24 * HOUR - HOUR);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(sent.lock().unwrap().is_empty());
    app.app().move_clock(2 * HOUR);
    let begun = std::time::Instant::now();
    while sent.lock().unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "no reminder went out");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let message = sent.lock().unwrap()[0].clone();
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
    assert_eq!(sent.lock().unwrap().len(), 1);
    app.stop().await;
}
