//! A typed signature: the server writes it, in a brush hand; and what there is instead where the flow wants it drawn.

use serde_json::json;

use super::accessibility;
use super::browser::{DESK, PHONE, SMALL_PHONE};
use super::buyer::Buyer;
use crate::support::{TestApp, receipt_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_typed_name_is_written_by_the_server() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt_for(&["欧阳娜娜"])).await;
    let signer = app.signer("欧阳娜娜");
    let buyer = Buyer::at(&signer, PHONE).await;
    let phone = &buyer.browser;
    phone.click("#sign").await;
    phone.click("#pad-type").await;
    phone.see("#typed-done:enabled").await;
    phone.picture("phone-zh-typed").await;
    accessibility::check(phone, "the typed signature").await;

    // What cannot be written is said at once, and another name takes its place.
    phone.type_into("#typed-name", "欧阳☃").await;
    phone.see("[data-message=typed_refused]").await;
    phone.type_into("#typed-name", "欧阳娜").await;
    phone.see("#typed-done:enabled").await;
    phone.click("#typed-done").await;
    phone.see("#confirm .close-up").await;
    phone.picture("phone-zh-typed-in-place").await;
    phone.click("#consent").await;
    buyer.confirms().await;
    buyer.sees("completed").await;

    // What was typed is on record, and the picture is the server's: the same that anybody gets for this name.
    channel.show_in(&flow, "completed").await;
    let evidence = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await
        .json();
    let events = evidence["events"].as_array().unwrap();
    let signed = events
        .iter()
        .find(|event| event["event"]["what"]["kind"] == "signed")
        .unwrap();
    assert_eq!(signed["event"]["what"]["typed"], "欧阳娜");
    let mark = sealpost_pdf::typed::picture("欧阳娜").unwrap();
    let digest = sealpost_flow::Digest::of(&mark).to_string();
    assert_eq!(signed["event"]["what"]["mark"], digest);
    phone.complaints().await;
    buyer.browser.close().await;
    app.stop().await;
}

/// Where signatures must be drawn, whoever cannot draw moves the pen with the keyboard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_is_drawn_with_the_keyboard_where_it_must_be_drawn() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let mut request = receipt_for(&["张三"]);
    request["signatures"] = json!("drawn");
    let flow = channel.create_flow(request).await;
    assert_eq!(flow.shown["signatures"], "drawn");
    let signer = app.signer("张三");
    let typed = signer.post("/sign", &json!({ "typed_name": "张三" })).await;
    assert_eq!(
        (typed.status.as_u16(), typed.json()["code"].as_str()),
        (409, Some("typed_not_allowed"))
    );
    assert_eq!(signer.get("/typed.png?name=x").await.status, 409);

    const RIGHT: &str = "\u{e014}";
    const DOWN: &str = "\u{e015}";
    let buyer = Buyer::at(&signer, DESK).await;
    let desk = &buyer.browser;
    desk.click("#sign").await;
    desk.see("#pad-canvas").await;
    assert!(!desk.sees("#pad-type").await);
    for _ in 0..10 {
        if desk.run("return document.activeElement.id;", vec![]).await == "pad-canvas" {
            break;
        }
        desk.press("\u{e004}").await;
    }
    desk.press(" ").await;
    for key in [RIGHT, DOWN, RIGHT, DOWN] {
        desk.press(&key.repeat(12)).await;
    }
    desk.says("#pad-said", "已落笔").await;
    desk.press(" ").await;
    desk.says("#pad-said", "已抬笔").await;
    desk.see("#pad-done:enabled").await;
    desk.picture("desk-zh-7-keyboard").await;
    accessibility::check(desk, "the pad with the keyboard").await;
    desk.click("#pad-done").await;
    desk.click("#consent").await;
    buyer.confirms().await;
    buyer.sees("completed").await;
    channel.show_in(&flow, "completed").await;
    buyer.leaves().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_typed_signature_in_english() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    channel.create_flow(receipt_for(&["Zhang San"])).await;
    let buyer = Buyer::at(&app.signer("Zhang San"), SMALL_PHONE).await;
    let phone = &buyer.browser;
    phone.click("#sign").await;
    phone.click("#pad-type").await;
    phone.see("#typed-done:enabled").await;
    phone.picture("phone-en-4-typed").await;
    phone.click("#typed [data-close]").await;
    buyer.leaves().await;
    app.stop().await;
}

/// Programs that sign as the page does give one or the other.
#[tokio::test]
async fn a_signature_is_drawn_or_typed() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    channel.create_flow(receipt_for(&["张三"])).await;
    let signer = app.signer("张三");
    for (body, code) in [
        (json!({}), "missing"),
        (
            json!({ "typed_name": "张三", "signature_png_base64": "AA==" }),
            "one_of",
        ),
        (json!({ "typed_name": "张☃" }), "missing_glyph"),
        (json!({ "typed_name": "   " }), "empty"),
    ] {
        let answer = signer.post("/sign", &body).await;
        assert_eq!(answer.status, 422, "{body}");
        assert_eq!(answer.json()["errors"][0]["code"], code, "{body}");
    }
    let signed = signer.post("/sign", &json!({ "typed_name": "张三" })).await;
    assert_eq!(signed.status, 200);
    app.stop().await;
}
