//! The states that nobody likes, and connections that break at the worst moment.

use serde_json::json;

use super::accessibility;
use super::browser::{Browser, PHONE};
use super::buyer::Buyer;
use super::cut::{Line, Passage};
use crate::support::{TestApp, receipt_for};

const WEEK: i64 = 7 * 24 * 60 * 60 * 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_too_early_or_too_late_is_told_so() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let phone = Browser::start(PHONE).await;

    // Not your turn yet; once it is, the page says so by itself.
    let mut request = receipt_for(&["张三", "李四"]);
    request["signers"][1]["order"] = json!(2);
    let ordered = channel.create_flow(request).await;
    let (first, second) = (app.signer("张三"), app.signer("李四"));
    phone.open(&second.url).await;
    phone.see("main[data-stage=waiting]").await;
    assert!(phone.text("main").await.contains("还没轮到您"));
    assert!(!phone.sees("#sign").await);
    phone.picture("phone-zh-waiting").await;
    accessibility::check(&phone, "a page that waits").await;
    first.signs().await;
    phone.see("main[data-stage=open]").await;

    // Signed already, others are still to come.
    let both = channel.create_flow(receipt_for(&["王五", "赵六"])).await;
    app.signer("王五").signs().await;
    phone.open(&app.signer("王五").url).await;
    phone.see("main[data-stage=signed]").await;
    assert!(phone.text("main").await.contains("您已签署"));
    phone.picture("phone-zh-signed").await;

    // Rejected by another.
    app.signer("赵六").rejects("房号不对").await;
    phone.see("main[data-stage=rejected_by_another]").await;
    let text = phone.text("main").await;
    assert!(
        text.contains("赵六") && !text.contains("房号不对"),
        "{text}"
    );
    channel.show_in(&both, "rejected").await;
    phone.picture("phone-zh-rejected-by-another").await;

    // Revoked, with the initiator's reason.
    phone.open(&second.url).await;
    phone.see("#sign").await;
    channel
        .post(
            &format!("/v1/sign-flows/{}/revoke", ordered.id),
            &json!({ "reason": "客户更换了房源" }),
        )
        .await;
    phone.reload().await;
    phone.see("main[data-stage=revoked]").await;
    assert!(phone.text("main").await.contains("客户更换了房源"));
    phone.picture("phone-zh-revoked").await;
    accessibility::check(&phone, "a revoked page").await;

    // Expired.
    let late = channel.create_flow(receipt_for(&["孙七"])).await;
    phone.open(&app.signer("孙七").url).await;
    phone.see("#sign").await;
    app.app().move_clock(WEEK + 1000);
    channel.show_in(&late, "expired").await;
    phone.reload().await;
    phone.see("main[data-stage=expired]").await;
    phone.picture("phone-zh-expired").await;

    // No such link.
    let wrong = format!("{}/s/{}", app.base(), "x".repeat(24));
    phone.open(&wrong).await;
    assert!(phone.text("main").await.contains("找不到这份文件"));
    phone.picture("phone-zh-wrong-link").await;
    accessibility::check(&phone, "a wrong link").await;
    assert_eq!(app.http.get(&wrong, None).await.unwrap().status, 404);
    phone.close().await;
    app.stop().await;
}

/// What was open on the screen has been ended elsewhere meanwhile: confirming signs nothing and says what happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_that_ends_while_the_signer_draws_is_not_signed() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt_for(&["张三"])).await;
    let buyer = Buyer::at(&app.signer("张三"), PHONE).await;
    buyer.draws_and_agrees().await;
    channel
        .post(
            &format!("/v1/sign-flows/{}/revoke", flow.id),
            &json!({ "reason": "金额填写有误" }),
        )
        .await;
    buyer.confirms().await;
    buyer.sees("revoked").await;
    assert_eq!(channel.received(&flow).await.sign_flow_status.code(), "3");
    buyer.browser.close().await;
    app.stop().await;
}

/// The signature arrives and is kept, but the answer is lost, each time. The page tries again, says so, keeps the drawing,
/// and when the line is back one more tap shows the truth: signed, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_signs_nothing_twice_and_loses_nothing() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt_for(&["张三"])).await;
    let line = Line::to(&app.base()).await;
    let buyer = Buyer::with(PHONE).await;
    buyer
        .browser
        .open(&line.link(&app.signer("张三").url))
        .await;
    buyer.draws_and_agrees().await;

    line.set(Passage::AnswersLost);
    buyer.confirms().await;
    buyer.reads("again").await;
    buyer.reads("lost").await;
    buyer.browser.picture("phone-zh-connection-lost").await;

    line.set(Passage::Open);
    buyer.confirms().await;
    buyer.sees("completed").await;
    channel.show_in(&flow, "completed").await;
    let evidence = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await
        .json();
    let events = evidence["events"].to_string();
    assert_eq!(events.matches("\"kind\":\"signed\"").count(), 1, "{events}");
    buyer.browser.close().await;
    app.stop().await;
}

/// Nothing arrives at all, and then even the page is closed: the drawing is still there when the link is opened again in the
/// same tab.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drawing_outlives_a_dead_line_and_a_reload() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt_for(&["张三"])).await;
    let line = Line::to(&app.base()).await;
    let buyer = Buyer::with(PHONE).await;
    buyer
        .browser
        .open(&line.link(&app.signer("张三").url))
        .await;
    buyer.draws_and_agrees().await;
    line.set(Passage::Shut);
    buyer.confirms().await;
    buyer.reads("lost").await;
    assert_eq!(channel.show(&flow).await["state"], "signing");

    line.set(Passage::Open);
    let phone = &buyer.browser;
    phone.reload().await;
    phone.click("#sign").await;
    assert!(!phone.sees("#pad-hint").await, "the drawing is gone");
    phone.click("#pad-done").await;
    phone.click("#consent").await;
    buyer.confirms().await;
    buyer.sees("completed").await;
    channel.show_in(&flow, "completed").await;
    buyer.browser.close().await;
    app.stop().await;
}
