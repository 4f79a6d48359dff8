//! What is wrong is refused clearly: the field, a stable code, the limit; and nothing of it is kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Channel, TestApp, receipt, receipt_for, signature};

/// Method, path, headers and body; the status and the code of the answer.
type Case<'a> = (
    Method,
    &'a str,
    &'a [(&'a str, &'a str)],
    Vec<u8>,
    u16,
    &'a str,
);

/// A request for a receipt, changed.
fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut request = receipt();
    change(&mut request);
    request
}

/// A receipt with one field changed.
fn with_receipt(field: &str, value: Value) -> Value {
    changed(|request| request["document"]["receipt"][field] = value)
}

fn pdf(bytes: &[u8]) -> Value {
    json!({
        "reference": "R",
        "document": { "pdf_base64": STANDARD.encode(bytes) },
        "signers": [{ "type": "person", "name": "张三", "place": { "page": 1, "rect": [10, 10, 90, 50] } }],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_field_of_a_new_flow_is_named() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let person = |name: &str| json!({ "type": "person", "name": name });
    let long_url = format!("https://a.example/{}", "x".repeat(2048));
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        (
            "unknown field",
            changed(|r| r["refrence"] = "x".into()),
            "refrence",
            "unknown_field",
        ),
        (
            "unknown field of the receipt",
            with_receipt("amount", json!(1)),
            "document.receipt.amount",
            "unknown_field",
        ),
        (
            "unknown field of a signer",
            changed(|r| r["signers"][1]["nmae"] = "x".into()),
            "signers[1].nmae",
            "unknown_field",
        ),
        (
            "reference of a wrong type",
            changed(|r| r["reference"] = 1.into()),
            "reference",
            "wrong_type",
        ),
        (
            "reference too long",
            changed(|r| r["reference"] = "x".repeat(65).into()),
            "reference",
            "too_long",
        ),
        (
            "draft of a wrong type",
            changed(|r| r["draft"] = "yes".into()),
            "draft",
            "wrong_type",
        ),
        (
            "no document",
            changed(|r| r["document"] = Value::Null),
            "document",
            "missing",
        ),
        (
            "no kind of document",
            changed(|r| r["document"] = json!({})),
            "document",
            "one_of",
        ),
        (
            "two documents",
            changed(|r| r["document"]["pdf_base64"] = "AA==".into()),
            "document",
            "one_of",
        ),
        (
            "amount of zero",
            with_receipt("amount_fen", json!(0)),
            "document.receipt.amount_fen",
            "out_of_range",
        ),
        (
            "negative amount",
            with_receipt("amount_fen", json!(-1)),
            "document.receipt.amount_fen",
            "out_of_range",
        ),
        (
            "amount beyond the limit",
            with_receipt("amount_fen", json!(1_000_000_000_000_u64)),
            "document.receipt.amount_fen",
            "out_of_range",
        ),
        (
            "amount with a fraction",
            with_receipt("amount_fen", json!(1.5)),
            "document.receipt.amount_fen",
            "wrong_type",
        ),
        (
            "amount as text",
            with_receipt("amount_fen", json!("100")),
            "document.receipt.amount_fen",
            "wrong_type",
        ),
        (
            "a character that the font lacks",
            with_receipt("project", json!("花园😀")),
            "document.receipt.project",
            "missing_glyph",
        ),
        (
            "a character in a signer's name",
            changed(|r| r["signers"][1]["name"] = "张😀".into()),
            "signers[1].name",
            "missing_glyph",
        ),
        (
            "no day",
            with_receipt("issued_on", json!("2026-02-30")),
            "document.receipt.issued_on",
            "bad_format",
        ),
        (
            "payer of a wrong type",
            with_receipt("payer", json!("张三")),
            "document.receipt.payer",
            "wrong_type",
        ),
        (
            "deadline in the past",
            changed(|r| r["expires_at"] = "2020-01-01T00:00:00Z".into()),
            "expires_at",
            "not_in_future",
        ),
        (
            "deadline too far ahead",
            changed(|r| r["expires_at"] = "2100-01-01T00:00:00Z".into()),
            "expires_at",
            "too_far_ahead",
        ),
        (
            "deadline without offset",
            changed(|r| r["expires_at"] = "2027-01-01 00:00:00".into()),
            "expires_at",
            "bad_format",
        ),
        (
            "no signers",
            changed(|r| r["signers"] = json!([])),
            "signers",
            "empty",
        ),
        (
            "signers missing",
            changed(|r| r["signers"] = Value::Null),
            "signers",
            "missing",
        ),
        (
            "eleven signers",
            changed(|r| r["signers"] = vec![person("张三"); 11].into()),
            "signers",
            "out_of_range",
        ),
        (
            "signer of no type",
            changed(|r| r["signers"][1] = json!({ "name": "张三" })),
            "signers[1].type",
            "missing",
        ),
        (
            "signer of an unknown type",
            changed(|r| r["signers"][1]["type"] = "robot".into()),
            "signers[1].type",
            "unknown_value",
        ),
        (
            "signer without a name",
            changed(|r| r["signers"][1] = json!({ "type": "person" })),
            "signers[1].name",
            "missing",
        ),
        (
            "signer with an empty name",
            changed(|r| r["signers"][1]["name"] = " ".into()),
            "signers[1].name",
            "empty",
        ),
        (
            "signer's name too long",
            changed(|r| r["signers"][1]["name"] = "张".repeat(65).into()),
            "signers[1].name",
            "too_long",
        ),
        (
            "order of zero",
            changed(|r| r["signers"][1]["order"] = 0.into()),
            "signers[1].order",
            "out_of_range",
        ),
        (
            "automatic person",
            changed(|r| r["signers"][1]["automatic"] = true.into()),
            "signers[1].automatic",
            "not_permitted",
        ),
        (
            "place on a receipt",
            changed(|r| r["signers"][1]["place"] = json!({})),
            "signers[1].place",
            "not_permitted",
        ),
        (
            "callback URL that is none",
            changed(|r| r["callback_url"] = "nowhere".into()),
            "callback_url",
            "bad_format",
        ),
        (
            "callback URL of another scheme",
            changed(|r| r["callback_url"] = "ftp://a.example/".into()),
            "callback_url",
            "bad_format",
        ),
        (
            "callback URL too long",
            changed(|r| r["callback_url"] = long_url.into()),
            "callback_url",
            "too_long",
        ),
        (
            "callback URL to a private address",
            changed(|r| r["callback_url"] = "https://10.0.0.1/".into()),
            "callback_url",
            "not_permitted",
        ),
        (
            "callback URL to cloud metadata",
            changed(|r| r["callback_url"] = "http://169.254.169.254/".into()),
            "callback_url",
            "not_permitted",
        ),
        (
            "callback URL to a port of mail",
            changed(|r| r["callback_url"] = "https://a.example:25/".into()),
            "callback_url",
            "not_permitted",
        ),
        (
            "callback URL with credentials",
            changed(|r| r["callback_url"] = "https://u:p@a.example/".into()),
            "callback_url",
            "bad_format",
        ),
        ("no PDF", pdf(b"hello"), "document.pdf_base64", "not_a_pdf"),
        (
            "a PDF that is none inside",
            pdf(b"%PDF-1.7\n%%EOF"),
            "document.pdf_base64",
            "damaged",
        ),
        (
            "no base64",
            changed(|r| r["document"] = json!({ "pdf_base64": "*" })),
            "document.pdf_base64",
            "bad_format",
        ),
    ];
    for (what, request, field, code) in cases {
        let answer = channel.post("/v1/sign-flows", &request).await;
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{what}: {problem}");
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{what}"
        );
        let found = problem["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|error| error["field"] == field && error["code"] == code);
        assert!(found, "{what}: no {code} of {field} in {problem}");
    }
    assert_eq!(
        channel.get("/v1/sign-flows").await.json()["data"],
        json!([]),
        "nothing was kept"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_was_broken_is_named_and_the_character_too() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let answer = channel
        .post(
            "/v1/sign-flows",
            &changed(|request| request["reference"] = "x".repeat(65).into()),
        )
        .await
        .json();
    assert_eq!(
        (&answer["errors"][0]["limit"], answer["type"].as_str()),
        (&json!(64), Some("/docs#problem-invalid_fields"))
    );
    let answer = channel
        .post("/v1/sign-flows", &with_receipt("note", json!("好😀")))
        .await
        .json();
    assert!(
        answer["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains('😀'),
        "{answer}"
    );
    // Everything wrong is told at once.
    let request = changed(|request| {
        request["reference"] = "".into();
        request["document"]["receipt"]["amount_fen"] = 0.into();
        request["signers"][0]["order"] = 99.into();
        request["x"] = 1.into();
    });
    let answer = channel.post("/v1/sign-flows", &request).await.json();
    assert_eq!(
        answer["errors"].as_array().map(Vec::len),
        Some(4),
        "{answer}"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_signers_cannot_have_one_place() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let sample = channel.create_flow(receipt()).await;
    let document = channel
        .get(&format!("/v1/sign-flows/{}/file", sample.id))
        .await
        .body;
    let mut request = pdf(&document);
    request["signers"] = json!([
        { "type": "person", "name": "张三", "place": { "page": 1, "rect": [10, 10, 90, 50] } },
        { "type": "person", "name": "李四", "place": { "page": 1, "rect": [80, 40, 160, 90] } },
    ]);
    let problem = channel.post("/v1/sign-flows", &request).await.json();
    assert_eq!(
        (
            problem["errors"][0]["field"].as_str(),
            problem["errors"][0]["code"].as_str()
        ),
        (Some("signers[1].place"), Some("place_taken"))
    );
    request["signers"][1]["place"] = json!({ "page": 7, "rect": [10, 10, 90, 50] });
    let problem = channel.post("/v1/sign-flows", &request).await.json();
    assert_eq!(problem["errors"][0]["code"], "no_such_page", "{problem}");
    request["signers"][1]["place"] = json!({ "page": 1, "rect": [90, 10, 10, 50] });
    let problem = channel.post("/v1/sign-flows", &request).await.json();
    assert_eq!(problem["errors"][0]["code"], "no_area", "{problem}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_at_all_is_a_problem_too() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let json = [("content-type", "application/json")];
    let too_large = vec![b' '; 16 * 1024 * 1024 + 1];
    let cases: Vec<Case<'_>> = vec![
        (
            Method::POST,
            "/v1/sign-flows",
            &json,
            b"{".to_vec(),
            400,
            "malformed_request",
        ),
        (
            Method::POST,
            "/v1/sign-flows",
            &json,
            b"[]".to_vec(),
            400,
            "malformed_request",
        ),
        (
            Method::POST,
            "/v1/sign-flows",
            &json,
            b"\xff\xfe".to_vec(),
            400,
            "malformed_request",
        ),
        (
            Method::POST,
            "/v1/sign-flows",
            &json,
            "[".repeat(100_000).into_bytes(),
            400,
            "malformed_request",
        ),
        (
            Method::POST,
            "/v1/sign-flows",
            &[],
            b"{}".to_vec(),
            415,
            "unsupported_media_type",
        ),
        (
            Method::POST,
            "/v1/sign-flows",
            &[("content-type", "text/plain")],
            b"{}".to_vec(),
            415,
            "unsupported_media_type",
        ),
        (
            Method::POST,
            "/v1/sign-flows",
            &[("content-type", "multipart/form-data")],
            b"x".to_vec(),
            400,
            "malformed_request",
        ),
        (
            Method::POST,
            "/v1/sign-flows",
            &json,
            too_large,
            413,
            "too_large",
        ),
        (
            Method::POST,
            "/v1/callbacks",
            &json,
            vec![b' '; 64 * 1024 + 1],
            413,
            "too_large",
        ),
        (
            Method::POST,
            "/v1/callbacks",
            &json,
            b"{}".to_vec(),
            422,
            "malformed_callback",
        ),
        (
            Method::POST,
            "/v1/sign-flows",
            &json,
            br#"{"reference": "1", "reference": "2"}"#.to_vec(),
            400,
            "malformed_request",
        ),
        (
            Method::POST,
            "/v1/sign-flows",
            &json,
            // 收据 in GBK.
            b"{\"reference\": \"\xca\xd5\xbe\xdd\"}".to_vec(),
            400,
            "malformed_request",
        ),
        (
            Method::POST,
            "/v1/callbacks",
            &json,
            br#"{"sign_flow_id": "1", "sign_flow_id": "2"}"#.to_vec(),
            400,
            "malformed_request",
        ),
        (
            Method::GET,
            "/v1/sign-flows/%ff",
            &[],
            vec![],
            404,
            "not_found",
        ),
        (
            Method::GET,
            "/v1/sign-flows?reference=%ff",
            &[],
            vec![],
            422,
            "invalid_fields",
        ),
        (
            Method::POST,
            "/v1/sign-flows",
            &[
                ("content-type", "application/json"),
                ("idempotency-key", "a"),
                ("idempotency-key", "b"),
            ],
            b"{}".to_vec(),
            422,
            "invalid_fields",
        ),
        (
            Method::POST,
            "/v1/verify",
            &[("content-type", "application/pdf")],
            b"no PDF".to_vec(),
            422,
            "not_a_pdf",
        ),
        (Method::GET, "/v1/nothing", &[], vec![], 404, "not_found"),
        (Method::GET, "/", &[], vec![], 404, "not_found"),
        (
            Method::GET,
            "/v1/sign-flows/zzz",
            &[],
            vec![],
            404,
            "not_found",
        ),
        (
            Method::GET,
            "/v1/callbacks/zzz",
            &[],
            vec![],
            404,
            "not_found",
        ),
        (
            Method::DELETE,
            "/v1/sign-flows",
            &[],
            vec![],
            405,
            "method_not_allowed",
        ),
        (
            Method::PUT,
            "/healthz",
            &[],
            vec![],
            405,
            "method_not_allowed",
        ),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = channel.send(method.clone(), path, headers, body).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &problem["code"]),
            (status, &Value::from(code)),
            "{method} {path}: {problem}"
        );
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{method} {path}"
        );
        assert_eq!(problem["status"], status, "{method} {path}");
        assert!(!answer.header("x-request-id").is_empty());
    }
    let told = |body: &'static [u8]| {
        let channel = &channel;
        async move {
            let answer = channel
                .send(Method::POST, "/v1/callbacks", &json, body.to_vec())
                .await;
            answer.json()
        }
    };
    let problem = told(
        br#"{"sign_end_time": "2021-02-30 18:24:29", "sign_flow_status": "4", "sign_flow_id": 5}"#,
    )
    .await;
    let errors: Vec<(&str, &str)> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            (
                error["field"].as_str().unwrap(),
                error["code"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("sign_end_time", "bad_format"),
        ("sign_flow_status", "unknown_value"),
        ("sign_flow_id", "wrong_type"),
        ("sign_file_url", "missing"),
    ];
    assert_eq!(errors, expected, "{problem}");
    let problem = told(b"{\"sign_flow_id\": \"\xca\xd5\"}").await;
    assert_eq!(
        problem["detail"],
        "The body is not UTF-8: byte 19 begins no character."
    );
    let wrong_method = channel
        .send(Method::DELETE, "/v1/sign-flows", &[], "")
        .await;
    assert!(
        wrong_method.header("allow").contains("POST"),
        "{:?}",
        wrong_method.headers
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_unknown_revoked_or_none_gets_one_answer() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let revoked = app.app().add_api_key(&channel.id).await.unwrap();
    let keys = app.app().api_keys(&channel.id).await.unwrap();
    app.app()
        .revoke_api_key(&keys.last().unwrap().id)
        .await
        .unwrap();
    let unknown = format!("sp_{}", "A".repeat(43));
    let mut answers = Vec::new();
    for header in [
        format!("Bearer {revoked}"),
        format!("Bearer {unknown}"),
        "Bearer x".to_owned(),
        "Basic eDp5".to_owned(),
        String::new(),
    ] {
        let headers = [(http::header::AUTHORIZATION, header)];
        let answer = app
            .http
            .send(
                Method::GET,
                &format!("{}/v1/sign-flows", app.base()),
                &headers,
                "",
            )
            .await
            .unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.header("www-authenticate")),
            (401, "Bearer")
        );
        answers.push(answer.body);
    }
    assert!(
        answers.iter().all(|body| *body == answers[0]),
        "nobody learns which of them it was"
    );
    assert_eq!(channel.get("/v1/sign-flows").await.status, 200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_state_forbids_is_refused_with_the_state() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt_for(&["张三"])).await;
    let buyer = app.signer("张三");
    buyer.signs().await;
    channel.received(&flow).await;
    let revoke = channel
        .post(
            &format!("/v1/sign-flows/{}/revoke", flow.id),
            &json!({ "reason": "晚了" }),
        )
        .await;
    let remind = channel
        .send(
            Method::POST,
            &format!("/v1/sign-flows/{}/remind", flow.id),
            &[],
            "",
        )
        .await;
    let reject = buyer.tries_to_reject("晚了").await;
    for answer in [revoke, remind, reject] {
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &problem["code"]),
            (409, &json!("flow_ended")),
            "{problem}"
        );
        assert_eq!(
            (&problem["sign_flow_status"], &problem["state"]),
            (&json!("2"), &json!("completed"))
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_is_no_drawing_is_refused() {
    let app = TestApp::start().await;
    let channel: Channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt_for(&["张三"])).await;
    let buyer = app.signer("张三");
    let whole = signature();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("no PNG", b"hello".to_vec(), "not_a_png"),
        ("cut off", whole[..whole.len() / 2].to_vec(), "not_a_png"),
        ("changed inside", flipped, "not_a_png"),
        (
            "too many bytes",
            [whole.clone(), vec![0; 512 * 1024]].concat(),
            "too_large",
        ),
    ];
    for (what, png, code) in cases {
        let answer = buyer.tries_to_sign(&png).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &problem["errors"][0]["code"]),
            (422, &json!(code)),
            "{what}: {problem}"
        );
        assert_eq!(problem["errors"][0]["field"], "signature_png_base64");
    }
    for (body, code) in [
        (json!({}), "missing"),
        (json!({ "signature_png_base64": 1 }), "wrong_type"),
        (json!({ "signature_png_base64": "!" }), "bad_format"),
    ] {
        assert_eq!(
            buyer.post("/sign", &body).await.json()["errors"][0]["code"],
            code
        );
    }
    for (body, code) in [
        (json!({}), "missing"),
        (json!({ "reason": "" }), "empty"),
        (json!({ "reason": "x".repeat(201) }), "too_long"),
    ] {
        assert_eq!(
            buyer.post("/reject", &body).await.json()["errors"][0]["code"],
            code
        );
    }
    assert_eq!(
        channel.show(&flow).await["signers"][0]["step"],
        "open",
        "nothing was signed"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_idempotency_key_is_refused() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    for key in [String::new(), "k".repeat(256)] {
        let answer = channel.post_once("/v1/sign-flows", &key, &receipt()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["errors"][0]["field"]),
            (422, &json!("idempotency-key"))
        );
    }
    app.stop().await;
}
