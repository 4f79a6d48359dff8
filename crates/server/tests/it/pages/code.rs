//! A code before signing: by SMS through the operator's gateway, by mail through a real mail server, and when neither works.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use sealpost_server::config::{Config, MailServer as MailSettings, SmsGateway};
use serde_json::{Value, json};

use super::accessibility;
use super::browser::{PHONE, SMALL_PHONE};
use super::buyer::Buyer;
use super::mail::{Encryption, MailServer};
use crate::nodes::Shared;
use crate::support::{Channel, Flow, Signer, TestApp, receipt, receipt_for};

/// An SMS gateway that keeps what it is given.
#[derive(Clone, Default)]
pub(crate) struct Gateway {
    sent: Arc<Mutex<Vec<Value>>>,
    /// What it answers instead of taking a message.
    refuses: Arc<Mutex<Option<(u16, &'static str)>>>,
}

impl Gateway {
    /// Starts one; these settings lead to it.
    pub(crate) async fn start() -> (Self, SmsGateway) {
        let gateway = Self::default();
        let at = gateway.clone();
        let router = axum::Router::new().route(
            "/send",
            post(async move |Json(message): Json<Value>| at.take(message)),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/send", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let settings = SmsGateway {
            url,
            body: r#"{"phone":"{to}","params":["{code}"],"text":"{text}"}"#.to_owned(),
            authorization: Some("Bearer gateway".to_owned()),
            accepted: Some(r#""Code":"OK""#.to_owned()),
        };
        (gateway, settings)
    }

    fn take(&self, message: Value) -> Response {
        if let Some((status, body)) = *self.refuses.lock().unwrap() {
            return (StatusCode::from_u16(status).unwrap(), body).into_response();
        }
        self.sent.lock().unwrap().push(message);
        r#"{"Code":"OK"}"#.into_response()
    }

    pub(crate) fn sent(&self) -> Vec<Value> {
        self.sent.lock().unwrap().clone()
    }

    /// From now on it answers this; `None`: it takes messages.
    fn answers(&self, answer: Option<(u16, &'static str)>) {
        *self.refuses.lock().unwrap() = answer;
    }
}

/// A receipt whose buyer must enter a code that goes to this contact.
async fn flow_with_code(channel: &Channel, member: &str, contact: &str) -> Flow {
    let mut request = receipt();
    request["signers"][1][member] = json!(contact);
    request["signers"][1]["verify"] = json!("code");
    let flow = channel.create_flow(request).await;
    channel.show_in(&flow, "signing").await;
    flow
}

/// The signer of this number in a flow's evidence, and the kinds of its events.
async fn evidence(channel: &Channel, flow: &Flow, signer: usize) -> (Value, Vec<Value>) {
    let evidence = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await
        .json();
    let events = evidence["events"].as_array().unwrap();
    let what = events.iter().map(|event| event["event"]["what"].clone());
    (evidence["signers"][signer - 1].clone(), what.collect())
}

fn find<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    let found = events.iter().find(|event| event["kind"] == kind);
    found.unwrap_or_else(|| panic!("nothing is {kind}: {events:#?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_proves_who_they_are_with_a_code() {
    let (gateway, settings) = Gateway::start().await;
    let app = TestApp::start_with(|config| config.notify.sms = Some(settings)).await;
    let channel = app.channel("链家").await;
    let flow = flow_with_code(&channel, "mobile", "138 1234 5678").await;
    assert!(
        !flow.shown.to_string().contains("1234 5678"),
        "the number is nobody else's business"
    );

    let buyer = Buyer::at(&app.signer("张三"), PHONE).await;
    let phone = &buyer.browser;
    buyer.draws_and_agrees().await;
    assert!(phone.text("#confirm").await.contains("138****5678"));
    buyer.confirms().await;
    buyer.reads("code_missing").await;
    buyer.asks_for_a_code("code_sent").await;
    let message = gateway.sent()[0].clone();
    assert_eq!(message["phone"], "13812345678");
    let code = message["params"][0].as_str().unwrap().to_owned();
    assert!(message["text"].as_str().unwrap().contains(&code));
    phone.see("#code-send:disabled").await;
    phone.picture("phone-zh-code").await;
    accessibility::check(phone, "the code").await;

    let wrong = if code == "000000" { "111111" } else { "000000" };
    buyer.enters(wrong).await;
    buyer.reads("wrong_code").await;
    buyer.enters(&code).await;
    buyer.sees("completed").await;

    // The words agreed to and the proof are in the evidence, and what was sent; the number is not.
    let (signer, events) = evidence(&channel, &flow, 2).await;
    let sent = find(&events, "notified");
    assert_eq!(
        (&sent["message"], &sent["failure"]),
        (&json!("code"), &Value::Null)
    );
    let proven = find(&events, "authenticated");
    assert_eq!(proven["contact"], "138****5678");
    assert_eq!(proven["method"], "sms");
    let agreed = find(&events, "agreed");
    let words = agreed["consent"].as_str().unwrap();
    assert!(words.contains("我已核对文件内容"));
    assert_eq!(agreed["language"], "zh-CN");
    let digest = sealpost_flow::Digest::of(words.as_bytes()).to_string();
    assert_eq!(agreed["digest"], digest);
    assert_eq!(signer["authentication"]["method"], "sms");
    assert!(!format!("{signer}{events:?}").contains("13812345678"));
    buyer.browser.close().await;
    app.stop().await;
}

/// The same by mail; the mail server wants STARTTLS and a password, and its certificate is the operator's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_comes_by_mail() {
    let server = MailServer::start(Encryption::StartTls);
    let app = TestApp::start_with(|config| by_mail(config, &server, "secret")).await;
    let channel = app.channel("链家").await;
    let flow = flow_with_code(&channel, "email", "zhang@example.com").await;

    let buyer = Buyer::at(&app.signer("张三"), SMALL_PHONE).await;
    buyer.draws_and_agrees().await;
    assert!(
        buyer
            .browser
            .text("#confirm")
            .await
            .contains("z***@example.com")
    );
    buyer.asks_for_a_code("code_sent").await;
    buyer.browser.picture("phone-en-5-code").await;
    let mail = server.mail(0).await;
    assert_eq!(mail["to"], json!(["zhang@example.com"]));
    assert_eq!(mail["encrypted"], true);
    assert!(
        mail["from"]
            .as_str()
            .unwrap()
            .contains("sealpost@example.com")
    );
    assert!(mail["subject"].as_str().unwrap().contains("签署验证码"));
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("新房收据"), "{text}");
    buyer.enters(&six_digits(text)).await;
    buyer.sees("completed").await;
    let (signer, _) = evidence(&channel, &flow, 2).await;
    assert_eq!(signer["authentication"]["method"], "email");
    assert_eq!(signer["authentication"]["contact"], "z***@example.com");
    buyer.browser.close().await;
    app.stop().await;
}

/// Whoever signs by program with a code is on record as proven, though no words were shown to them.
#[tokio::test]
async fn a_code_without_consent_is_on_record() {
    let server = MailServer::start(Encryption::Tls);
    let app = TestApp::start_with(|config| by_mail(config, &server, "secret")).await;
    let channel = app.channel("链家").await;
    let flow = flow_with_code(&channel, "email", "zhang@example.com").await;
    let signer = app.signer("张三");
    assert_eq!(signer.post("/code", &json!({})).await.status, 200);
    let code = six_digits(server.mail(0).await["text"].as_str().unwrap());
    let body = json!({ "typed_name": "张三", "code": code });
    assert_eq!(signer.post("/sign", &body).await.status, 200);
    let (shown, events) = evidence(&channel, &flow, 2).await;
    assert_eq!(find(&events, "authenticated")["method"], "email");
    assert!(events.iter().all(|event| event["kind"] != "agreed"));
    assert_eq!(shown["authentication"]["method"], "email");
    app.stop().await;
}

/// A gateway that fails, in each way that gateways fail: the buyer is told in words, may try again at once, and the operator
/// finds it in the flow's record and in the figures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_fails_is_told_of() {
    let (gateway, settings) = Gateway::start().await;
    let app = TestApp::start_with(|config| config.notify.sms = Some(settings)).await;
    let channel = app.channel("链家").await;
    let flow = flow_with_code(&channel, "mobile", "13812345678").await;
    let buyer = Buyer::at(&app.signer("张三"), PHONE).await;
    buyer.draws_and_agrees().await;

    gateway.answers(Some((200, r#"{"Code":"isv.BUSINESS_LIMIT_CONTROL"}"#)));
    buyer.asks_for_a_code("code_not_sent").await;
    buyer.browser.picture("phone-zh-code-not-sent").await;
    let (_, events) = evidence(&channel, &flow, 2).await;
    let failure = find(&events, "notified")["failure"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(failure.contains("sms.accepted"), "{failure}");

    // More often than codes are sent: what did not go out does not count against the signer, and is on record once.
    gateway.answers(Some((503, "")));
    let signer = app.signer("张三");
    for _ in 0..6 {
        let answer = signer.post("/code", &json!({})).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["code"], "code_not_sent");
        assert_eq!(answer.headers["retry-after"], "10");
    }
    let (_, events) = evidence(&channel, &flow, 2).await;
    assert_eq!(
        events
            .iter()
            .filter(|event| event["kind"] == "notified")
            .count(),
        1
    );
    let metrics = String::from_utf8(app.get("/metrics").await.body.to_vec()).unwrap();
    assert!(
        metrics.contains("outcome=\"code_not_sent\"} 7"),
        "{metrics}"
    );

    gateway.answers(None);
    assert_eq!(signer.post("/code", &json!({})).await.status, 200);
    let code = gateway.sent()[0]["params"][0].as_str().unwrap().to_owned();
    buyer.enters(&code).await;
    buyer.sees("completed").await;
    buyer.browser.close().await;
    app.stop().await;
}

/// A mail server that refuses the password, or the address, or is not believed.
#[tokio::test]
async fn a_mail_server_that_refuses_is_told_of() {
    let server = MailServer::start(Encryption::StartTls);
    let contacts = [
        "zhang@example.com",
        "nobody@example.com",
        "zhang@example.com",
    ];
    let reasons = [
        "user or the password",
        "answered 550",
        "its certificate is not believed",
    ];
    for (case, (contact, reason)) in contacts.into_iter().zip(reasons).enumerate() {
        let password = if case == 0 { "wrong" } else { "secret" };
        let app = TestApp::start_with(|config| {
            by_mail(config, &server, password);
            if case == 2 {
                config.delivery.ca_file = None;
            }
        });
        let app = app.await;
        let channel = app.channel("链家").await;
        let flow = flow_with_code(&channel, "email", contact).await;
        let answer = app.signer("张三").post("/code", &json!({})).await;
        assert_eq!(answer.json()["code"], "code_not_sent", "{reason}");
        let (_, events) = evidence(&channel, &flow, 2).await;
        let failure = find(&events, "notified")["failure"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(failure.contains(reason), "{failure}");
        assert!(!failure.contains("@example.com"), "{failure}");
        app.stop().await;
    }
}

/// Five to one number in an hour, whichever signer they are for, also when the server was restarted in between.
#[tokio::test]
async fn codes_and_their_limits_outlive_a_restart() {
    let (gateway, settings) = Gateway::start().await;
    let app = TestApp::start_with(|config| config.notify.sms = Some(settings)).await;
    let channel = app.channel("链家").await;
    let mut signers = Vec::new();
    for _ in 0..6 {
        let mut request = receipt_for(&["张三"]);
        request["signers"][0]["mobile"] = json!("13812345678");
        request["signers"][0]["verify"] = json!("code");
        channel.create_flow(request).await;
        signers.push(app.signer("张三"));
    }
    for signer in &signers[..3] {
        assert_eq!(signer.post("/code", &json!({})).await.status, 200);
    }
    let first = gateway.sent()[0]["params"][0].as_str().unwrap().to_owned();
    let app = app.restart_with(|_| ()).await;
    for signer in &mut signers {
        let path = signer.url.split("/s/").nth(1).unwrap();
        signer.url = format!("{}/s/{path}", app.base());
    }
    for signer in &signers[3..5] {
        assert_eq!(signer.post("/code", &json!({})).await.status, 200);
    }
    let refused = signers[5].post("/code", &json!({})).await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["code"].as_str()),
        (429, Some("too_many_codes"))
    );
    let wait: u32 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((3000..=3600).contains(&wait), "{wait}");
    let body = json!({ "typed_name": "张三", "code": first });
    assert_eq!(signers[0].post("/sign", &body).await.status, 200);
    app.stop().await;
}

/// A code that one node sent is entered at another; pauses and tries are counted together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_good_on_every_node() {
    let shared = Shared::start("codes").await;
    let (gateway, settings) = Gateway::start().await;
    let node = async || {
        let settings = settings.clone();
        shared
            .node_with(|config| config.notify.sms = Some(settings))
            .await
    };
    let (one, other) = (node().await, node().await);
    let channel = one.channel("链家").await;
    let flow = flow_with_code(&channel, "mobile", "13812345678").await;
    let here = one.signer("张三");
    let there = here.through(&other);

    assert_eq!(here.post("/code", &json!({})).await.status, 200);
    let again = there.post("/code", &json!({})).await;
    assert_eq!(
        (again.status.as_u16(), again.json()["code"].as_str()),
        (429, Some("too_many_codes"))
    );
    let code = gateway.sent()[0]["params"][0].as_str().unwrap().to_owned();
    let enter = async |signer: &Signer, code: &str| {
        let body = json!({ "typed_name": "张三", "code": code });
        signer.post("/sign", &body).await
    };
    let wrong = if code == "000000" { "111111" } else { "000000" };
    for (signer, left) in [(&here, 4), (&there, 3), (&here, 2)] {
        let answer = enter(signer, wrong).await;
        assert_eq!(answer.json()["errors"][0]["limit"], left);
    }
    assert_eq!(enter(&there, &code).await.status, 200);
    channel.show_in(&flow, "completed").await;
    one.stop().await;
    other.stop().await;
}

fn by_mail(config: &mut Config, server: &MailServer, password: &str) {
    config.notify.mail = Some(MailSettings {
        url: server.url(password),
        from: "收据中心 <sealpost@example.com>".to_owned(),
    });
    config.delivery.ca_file = Some(server.ca_file());
}

/// The first six digits in a row.
fn six_digits(text: &str) -> String {
    let mut runs = text.split(|c: char| !c.is_ascii_digit());
    runs.find(|run| run.len() == 6).unwrap().to_owned()
}
