//! Documents in a bucket: the whole story, files by range and tag, and a storage that does not answer.

use std::time::{Duration, Instant};

use http::Method;
use sealpost_contract::EndStatus;
use sealpost_flow::Digest;
use serde_json::json;

use super::SECRET;
use crate::storage::{Storage, Way};
use crate::support::{PATIENCE, TestApp, receipt, signature};

async fn app(storage: &Storage) -> TestApp {
    TestApp::start_as(Some(SECRET), |config| {
        let mut options = storage.options();
        options.patience = Duration::from_secs(2);
        config.documents = Some(options);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_served_by_range_and_tag() {
    let storage = Storage::start("served").await;
    let app = app(&storage).await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    app.signer("张三").signs_last().await;
    let told = channel.received(&flow).await;
    assert_eq!(told.sign_flow_status, EndStatus::Completed);
    let url = told.sign_file_url.to_string();
    let ask = async |headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), (*value).to_owned()))
            .collect();
        app.http
            .send(Method::GET, &url, &headers, "")
            .await
            .unwrap()
    };
    let whole = ask(&[]).await;
    assert_eq!(whole.status, 200);
    assert!(whole.body.starts_with(b"%PDF-"));
    let tag = whole.header("etag").to_owned();
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let length = whole.body.len();

    let part = ask(&[("range", "bytes=100-199"), ("if-range", &tag)]).await;
    assert_eq!(part.status, 206);
    assert_eq!(
        part.header("content-range"),
        format!("bytes 100-199/{length}")
    );
    assert_eq!(part.body[..], whole.body[100..200]);
    let rest = ask(&[("range", "bytes=200-")]).await;
    assert_eq!(rest.status, 206);
    assert_eq!(rest.body[..], whole.body[200..]);
    let beyond = ask(&[("range", &format!("bytes={length}-"))]).await;
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{length}"));
    let known = ask(&[("if-none-match", &tag)]).await;
    assert_eq!(known.status, 304);
    assert!(known.body.is_empty());
    assert_eq!(known.header("etag"), tag);
    assert!(!app.data().join("documents").exists());

    // What is damaged is not served.
    let digest = Digest::of(&whole.body);
    assert_eq!(storage.object(&digest).await.unwrap(), whole.body);
    storage
        .overwrite(&digest, b"%PDF-1.7 of somebody else")
        .await;
    assert_eq!(ask(&[]).await.status, 500);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_storage_is_away_sealing_waits_and_nothing_is_lost() {
    let storage = Storage::start("away").await;
    let app = app(&storage).await;
    let channel = app.channel("lianjia").await;
    let mut draft = receipt();
    draft["draft"] = json!(true);
    let draft = channel.post("/v1/sign-flows", &draft).await.json();
    let flow = channel.create_flow(receipt()).await;
    let signer = app.signer("张三");
    storage.set_way(Way::Refusing);

    // What would need a document now is refused, with word when to ask again.
    for refused in [
        channel.post("/v1/sign-flows", &receipt()).await,
        channel
            .get(&format!("/v1/sign-flows/{}/file", flow.id))
            .await,
        signer.tries_to_sign(&signature()).await,
    ] {
        assert_eq!(
            refused.status,
            503,
            "{}",
            String::from_utf8_lossy(&refused.body)
        );
        assert_eq!(refused.json()["code"], "documents_unavailable");
        assert_eq!(refused.header("retry-after"), "5");
    }

    // What is to be sealed waits, and says why.
    let draft = draft["sign_flow_id"].as_str().unwrap();
    let path = format!("/v1/sign-flows/{draft}");
    let started = channel.post(&format!("{path}/start"), &json!({})).await;
    assert_eq!(started.status, 200);
    let begun = Instant::now();
    loop {
        let shown = channel.get(&path).await.json();
        if shown.to_string().contains("the bucket of documents") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // Once it is back, all goes on.
    storage.set_way(Way::Clear);
    app.app().move_clock(60_000);
    let begun = Instant::now();
    while channel.get(&path).await.json()["signers"][0]["step"] != "applied" {
        assert!(begun.elapsed() < PATIENCE, "the seal is not applied");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    signer.signs().await;
    channel.show_in(&flow, "completed").await;
    let told = channel.received(&flow).await;
    assert_eq!(told.sign_flow_status, EndStatus::Completed);
    app.stop().await;
}
