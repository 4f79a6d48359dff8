//! A code before signing, by SMS through the operator's gateway.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::routing::post;
use sealpost_server::config::SmsGateway;
use serde_json::{Value, json};

use super::accessibility;
use super::browser::{Browser, PHONE};
use crate::support::{TestApp, receipt};

/// An SMS gateway that keeps what it is given.
pub(crate) async fn gateway() -> (SmsGateway, Arc<Mutex<Vec<Value>>>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&sent);
    let router = axum::Router::new().route(
        "/send",
        post(async move |Json(message): Json<Value>| {
            keep.lock().unwrap().push(message);
            "ok"
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/send", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let body = r#"{"phone":"{to}","params":["{code}"],"text":"{text}"}"#.to_owned();
    (
        SmsGateway {
            url,
            body,
            authorization: None,
        },
        sent,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_proves_who_they_are_with_a_code() {
    let (gateway, sent) = gateway().await;
    let app = TestApp::start_with(|config| config.notify.sms = Some(gateway)).await;
    let channel = app.channel("链家").await;
    let mut request = receipt();
    request["signers"][1]["mobile"] = json!("138 1234 5678");
    request["signers"][1]["verify"] = json!("code");
    let flow = channel.create_flow(request).await;
    assert!(
        !flow.shown.to_string().contains("1234 5678"),
        "the number is nobody else's business"
    );
    channel.show_in(&flow, "signing").await;

    let phone = Browser::start(PHONE).await;
    phone.open(&app.signer("张三").url).await;
    phone.click("#sign").await;
    phone.draw().await;
    phone.click("#pad-done").await;
    phone.click("#consent").await;
    assert!(phone.text("#confirm").await.contains("138****5678"));
    phone.click("#confirm-send").await;
    phone.see("[data-message=code_missing]").await;
    phone.click("#code-send").await;
    phone.see("[data-message=code_sent]").await;
    let message = sent.lock().unwrap()[0].clone();
    assert_eq!(message["phone"], "13812345678");
    let code = message["params"][0].as_str().unwrap().to_owned();
    assert!(message["text"].as_str().unwrap().contains(&code));
    assert!(
        phone
            .see("#code-send")
            .await
            .attr("disabled")
            .await
            .unwrap()
            .is_some(),
        "not twice within a minute"
    );
    phone.picture("phone-zh-code").await;
    accessibility::check(&phone, "the code").await;

    let wrong = if code == "000000" { "111111" } else { "000000" };
    phone.type_into("#code", wrong).await;
    phone.click("#confirm-send").await;
    phone.see("[data-message=wrong_code]").await;
    phone.type_into("#code", &code).await;
    phone.click("#confirm-send").await;
    phone.see("main[data-stage=completed]").await;

    // The words agreed to and the proof are in the evidence; the number is not.
    let evidence = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await
        .json()
        .to_string();
    for part in ["我已核对收据内容", "code sent to 138****5678"] {
        assert!(evidence.contains(part), "{part}: {evidence}");
    }
    assert!(!evidence.contains("13812345678"));
    phone.close().await;
    app.stop().await;
}
