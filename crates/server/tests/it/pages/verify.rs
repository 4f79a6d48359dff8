//! Checking a file, as whoever is handed a receipt does.

use std::io::Write as _;

use super::accessibility;
use super::browser::{Browser, PHONE};
use crate::support::{SELLER, TestApp, receipt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_checked_and_a_changed_one_is_found_out() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt()).await;
    channel.show_in(&flow, "signing").await;
    app.signer("张三").signs().await;
    channel.show_in(&flow, "completed").await;
    let pdf = channel
        .get(&format!("/v1/sign-flows/{}/file", flow.id))
        .await
        .body
        .to_vec();
    let mut changed = pdf.clone();
    changed[2000] ^= 1;

    let phone = Browser::start(PHONE).await;
    let check = async |bytes: &[u8]| {
        let mut file = tempfile::Builder::new().suffix(".pdf").tempfile().unwrap();
        file.write_all(bytes).unwrap();
        phone.open(&format!("{}/verify", app.base())).await;
        phone
            .see("#file")
            .await
            .send_keys(file.path().to_str().unwrap())
            .await
            .unwrap();
        phone.click("form button").await;
        phone.see(".verdict, .message").await;
        phone.text("main").await
    };
    let text = check(&pdf).await;
    for part in ["签名全部有效", SELLER, "张三"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    phone.picture("phone-zh-verify").await;
    accessibility::check(&phone, "a checked file").await;
    assert!(check(&changed).await.contains("无效"));
    assert!(check(b"hello").await.contains("不是一个可以读取的 PDF"));
    phone.close().await;
    app.stop().await;
}
