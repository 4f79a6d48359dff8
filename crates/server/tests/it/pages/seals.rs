//! The console's page of what signs: seals looked at, kept and removed by clicking.

use serde_json::Value;

use super::accessibility;
use super::browser::{Browser, DESK};
use super::console::{add_operator, sign_in};
use crate::support::{SELLER, TestApp, receipt, signature};

/// Whether an image has come and is not broken.
async fn is_shown(desk: &Browser, css: &str) -> bool {
    let script = "const done = arguments[1]; const image = document.querySelector(arguments[0]); \
                  image.loading = 'eager'; image.decode().then(() => done(image.naturalWidth > 100), () => done(false));";
    desk.see(css).await;
    desk.run_async(script, vec![css.into()]).await == Value::Bool(true)
}

async fn choose(desk: &Browser, css: &str, value: &str) {
    let script = "document.querySelector(arguments[0]).value = arguments[1];";
    desk.see(css).await;
    desk.run(script, vec![css.into(), value.into()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seals_are_looked_at_kept_and_removed() {
    let app = TestApp::start().await;
    add_operator(&app, "boss", "administrator");
    let channel = app.channel("链家").await;
    channel.create_flow(receipt()).await;
    let page = format!("{}/console/signing", app.base());
    let desk = Browser::start(DESK).await;
    sign_in(&desk, &app, "boss").await;

    // The seller's certificate was made with the first receipt.
    desk.open(&page).await;
    let text = desk.text("main").await;
    assert!(text.contains(SELLER), "{text}");
    assert!(is_shown(&desk, "img.page").await);

    for kind in ["company", "finance", "contract", "oval", "name"] {
        desk.open(&format!("{page}?lang=zh-CN")).await;
        choose(&desk, "#kind", kind).await;
        let name = if kind == "name" {
            "欧阳娜娜"
        } else {
            SELLER
        };
        desk.type_into("#seal", name).await;
        desk.click("form[method=get] button").await;
        assert!(is_shown(&desk, "img.seal").await, "{kind}");
        desk.picture(&format!("console-seal-{kind}")).await;
    }
    accessibility::check(&desk, "a seal").await;

    desk.type_into("#label", "合同章").await;
    choose(&desk, "#new-kind", "contract").await;
    desk.type_into("#new-seal", SELLER).await;
    desk.click("form[enctype] button").await;
    desk.reads(".seals", "合同章").await;
    assert!(is_shown(&desk, ".seals img").await);

    // A picture, for one channel.
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("seal.png");
    std::fs::write(&picture, signature()).unwrap();
    desk.click("details:has(form[enctype]) summary").await;
    desk.type_into("#label", "手绘").await;
    choose(&desk, "#new-kind", "picture").await;
    let input = desk.see("#picture").await;
    input.send_keys(picture.to_str().unwrap()).await.unwrap();
    choose(&desk, "#channel", &channel.id).await;
    desk.click("form[enctype] button").await;
    let text = desk.reads(".seals", "手绘").await;
    assert!(text.contains("链家"), "{text}");
    desk.picture("console-seals").await;
    accessibility::check(&desk, "the kept seals").await;

    let listed = channel.get("/v1/seals").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let id = listed["data"][0]["id"].as_str().unwrap();
    desk.run("window.confirm = () => true;", vec![]).await;
    desk.click(&format!("form[action$='{id}/remove'] button"))
        .await;
    // The note of the seal kept before is still there while the page loads: what says that it is done is the list.
    let began = std::time::Instant::now();
    loop {
        let left = channel.get("/v1/seals").await.json();
        if left["data"].as_array().unwrap().len() == 1 {
            break;
        }
        assert!(began.elapsed().as_secs() < 60, "{left}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    desk.see(".note.done").await;
    desk.open(&format!("{}/console/audit", app.base())).await;
    let log = desk.text("main").await;
    assert!(log.contains("seal.add") && log.contains("seal.remove"));
    assert_eq!(desk.complaints().await, Vec::<String>::new());
    desk.close().await;
    app.stop().await;
}
