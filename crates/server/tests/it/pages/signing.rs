//! The signing page when all goes well.

use super::accessibility;
use super::browser::{Browser, DESK, PHONE, SMALL_PHONE};
use super::buyer::Buyer;
use crate::support::{SELLER, TestApp, receipt, receipt_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_signs_on_a_phone_by_touch_alone() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt()).await;
    channel.show_in(&flow, "signing").await;
    let phone = Browser::start(PHONE).await;

    // What it is, who asks, and the facts as text.
    phone.open(&app.signer("张三").url).await;
    let text = phone.text("main").await;
    for part in [
        SELLER,
        "新房收据",
        "1,409.50",
        "壹仟肆佰零玖元伍角",
        "云锦东方花园 3幢 1单元 1802室",
        "张三",
        "首付款",
        "您在此签名",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    phone.picture("phone-zh-1-open").await;
    accessibility::check(&phone, "the open page").await;

    // The page itself, closely.
    phone.click(".sheet").await;
    phone.see("#viewer-image").await;
    phone.click("#viewer-in").await;
    phone.picture("phone-zh-2-enlarged").await;
    phone.click("#viewer [data-close]").await;

    // Drawn, partly undone, drawn again.
    phone.click("#sign").await;
    assert!(
        phone
            .see("#pad-done")
            .await
            .attr("disabled")
            .await
            .unwrap()
            .is_some(),
        "nothing is drawn yet"
    );
    phone.draw().await;
    phone.click("#pad-undo").await;
    phone.click("#pad-clear").await;
    assert!(phone.see("#pad-hint").await.is_displayed().await.unwrap());
    phone.draw().await;
    phone.picture("phone-zh-3-drawn").await;
    accessibility::check(&phone, "the pad").await;
    phone.click("#pad-done").await;

    // Seen in place; not without consent.
    phone.see("#confirm .close-up").await;
    phone.picture("phone-zh-4-confirm").await;
    accessibility::check(&phone, "the confirmation").await;
    phone.click("#confirm-send").await;
    phone.see("[data-message=consent]").await;
    phone.click("#consent").await;
    phone.click("#confirm-send").await;

    phone.see("main[data-stage=completed]").await;
    phone.picture("phone-zh-5-completed").await;
    accessibility::check(&phone, "the completed page").await;
    let shown = channel.show_in(&flow, "completed").await;
    assert_eq!(shown["sign_flow_status"], "2");
    assert_eq!(channel.received(&flow).await.sign_flow_status.code(), "2");

    // The file is there, and the link tells the same when it is opened again.
    let file = phone.attribute("#download", "href").await.unwrap();
    let pdf = app.http.get(&file, None).await.unwrap();
    assert!(pdf.body.starts_with(b"%PDF-"));
    phone.reload().await;
    phone.see("main[data-stage=completed]").await;
    assert_eq!(phone.complaints().await, Vec::<String>::new());
    phone.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_speaks_english_and_switches_to_chinese() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt()).await;
    channel.show_in(&flow, "signing").await;
    let phone = Browser::start(SMALL_PHONE).await;

    phone.open(&app.signer("张三").url).await;
    assert!(phone.text("main").await.contains("asks you to sign"));
    phone.picture("phone-en-1-open").await;
    accessibility::check(&phone, "the open page in English").await;
    // Type half as large again still fits, and everything can be reached.
    phone
        .run("document.documentElement.style.fontSize = '24px';", vec![])
        .await;
    let fits = "return document.documentElement.scrollWidth <= window.innerWidth;";
    assert_eq!(phone.run(fits, vec![]).await, true);
    phone.picture("phone-en-large-type").await;
    phone.click("#reject-open").await;
    phone.click("#reject [data-close]").await;
    phone
        .run("document.documentElement.style.fontSize = '';", vec![])
        .await;

    phone.click("#sign").await;
    phone.draw().await;
    phone.picture("phone-en-2-drawn").await;
    phone.click("#pad-done").await;
    phone.see("#confirm").await;
    phone.picture("phone-en-3-confirm").await;
    phone.click("#confirm .back").await;

    // The switch is remembered for the next page, whatever the browser asks for.
    phone.click(".switch").await;
    phone.reads("main", "请您签署").await;
    phone.open(&app.signer("张三").url).await;
    assert!(phone.text("main").await.contains("请您签署"));
    assert_eq!(phone.complaints().await, Vec::<String>::new());
    phone.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_signs_with_the_keyboard_alone() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt()).await;
    channel.show_in(&flow, "signing").await;
    let desk = Browser::start(DESK).await;
    desk.open(&app.signer("张三").url).await;
    desk.picture("desk-zh-1-open").await;

    const TAB: &str = "\u{e004}";
    const ENTER: &str = "\u{e007}";
    const SPACE: &str = " ";
    go_to(&desk, TAB, "sign").await;
    desk.press(ENTER).await;
    desk.see("#pad").await;
    desk.picture("desk-zh-2-pad").await;
    go_to(&desk, TAB, "pad-type").await;
    desk.press(ENTER).await;
    desk.see("#typed").await;
    // The server writes the name; until it has, there is nothing to use.
    desk.see("#typed-done:enabled").await;
    desk.picture("desk-zh-3-typed").await;
    go_to(&desk, TAB, "typed-done").await;
    desk.press(ENTER).await;
    desk.see("#confirm").await;
    go_to(&desk, TAB, "consent").await;
    desk.press(SPACE).await;
    desk.picture("desk-zh-4-confirm").await;
    go_to(&desk, TAB, "confirm-send").await;
    desk.press(ENTER).await;
    desk.see("main[data-stage=completed]").await;
    desk.picture("desk-zh-5-completed").await;
    channel.show_in(&flow, "completed").await;
    assert_eq!(desk.complaints().await, Vec::<String>::new());
    desk.close().await;
    app.stop().await;
}

/// Presses the tab key until the element has the focus.
async fn go_to(browser: &Browser, tab: &str, id: &str) {
    for _ in 0..40 {
        if browser
            .run("return document.activeElement.id;", vec![])
            .await
            == id
        {
            return;
        }
        browser.press(tab).await;
    }
    panic!("the tab key does not lead to #{id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_rejects_with_a_reason() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt()).await;
    channel.show_in(&flow, "signing").await;
    let phone = Browser::start(PHONE).await;
    phone.open(&app.signer("张三").url).await;
    phone.click("#reject-open").await;
    phone.click("#reject-send").await;
    phone.see("#reject [data-message=reason]").await;
    phone.click("#reject [data-reason]").await;
    phone.picture("phone-zh-6-reject").await;
    accessibility::check(&phone, "the rejection").await;
    phone.click("#reject-send").await;
    phone.see("main[data-stage=rejected]").await;
    phone.picture("phone-zh-7-rejected").await;
    assert!(phone.text("main").await.contains("金额不对"));
    assert!(
        !phone.sees(".sheet").await,
        "a document that was rejected is not shown"
    );
    assert_eq!(channel.received(&flow).await.sign_flow_status.code(), "7");
    assert_eq!(phone.complaints().await, Vec::<String>::new());
    phone.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_sign_at_once() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt_for(&["张三", "李四"])).await;
    let sign = async |name: &str| {
        let buyer = Buyer::at(&app.signer(name), PHONE).await;
        buyer.draws_and_agrees().await;
        buyer.confirms().await;
        // Whoever was faster is told when the other is done, without touching anything.
        buyer.sees("completed").await;
        buyer.leaves().await;
    };
    tokio::join!(sign("张三"), sign("李四"));
    channel.show_in(&flow, "completed").await;
    channel.callback_in(&flow, "acknowledged").await;
    assert_eq!(channel.all_received().len(), 1);
    app.stop().await;
}

/// Everything that the page loads but the images of the document, as it goes over the wire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_small_and_asks_nobody_else() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt()).await;
    channel.show_in(&flow, "signing").await;
    let page = app.signer("张三").get("").await;
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    let mut bytes = html.len();
    for address in html.split('"').filter(|part| part.starts_with("/assets/")) {
        let asset = app.get(address).await;
        assert_eq!(asset.status, 200, "{address}");
        assert_eq!(
            asset.headers["cache-control"],
            "public, max-age=31536000, immutable"
        );
        bytes += asset.body.len();
    }
    assert!(bytes > 20_000 && bytes < 100_000, "{bytes} bytes");
    assert!(
        !html.contains("https://")
            && !html.contains(" style=")
            && !html.contains("<style")
            && !html.contains(" onclick")
    );
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'")
            && !policy.contains("unsafe")
            && !policy.contains('*'),
        "{policy}"
    );
    assert_eq!(page.headers["cache-control"], "no-store");
    assert_eq!(app.get("/assets/sign.css").await.status, 404);
    app.stop().await;
}
