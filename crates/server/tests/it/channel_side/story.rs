//! The whole story, with a channel that runs `sealpost receive`: signed there, told, fetched and verified here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealpost_contract::Schedule;
use serde_json::{Value, json};

use super::actors::{Program, eventually, sealpost};
use crate::support::{TestApp, receipt, signature};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_receipt_arrives_and_its_signatures_are_found_valid() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("received");
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, app.app().authority_pem()).unwrap();
    let schedule = Schedule::new([50, 50, 50]).unwrap();
    let channel = app
        .app()
        .add_channel("lianjia", None, schedule)
        .await
        .unwrap();

    let mut command = sealpost();
    command
        .args([
            "receive",
            "--listen",
            "127.0.0.1:0",
            "--allow",
            "127.0.0.0/8",
            "--data",
        ])
        .arg(&data);
    command
        .arg("--trust")
        .arg(&authority)
        .env("WEBHOOK_SECRET", &channel.webhook_secret);
    let receive = Program::start(&mut command);

    let flows = format!("{}/v1/sign-flows", app.base());
    let create = async || {
        let mut request = receipt();
        request["callback_url"] = json!(receive.url);
        let answer = app
            .http
            .post(&flows, Some(&channel.api_key), &request)
            .await
            .unwrap();
        assert_eq!(
            answer.status,
            201,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        let shown = answer.json();
        let signers = shown["signers"].as_array().unwrap();
        let link = signers
            .iter()
            .find_map(|signer| signer["sign_url"].as_str())
            .unwrap()
            .to_owned();
        (shown["sign_flow_id"].as_str().unwrap().to_owned(), link)
    };
    let fetched = async |id: &str| -> Value {
        eventually("the file was fetched", || {
            let record = std::fs::read(data.join("files").join(format!("{id}.json"))).ok()?;
            let record: Value = serde_json::from_slice(&record).unwrap();
            (record["file"]["state"] == "fetched").then_some(record)
        })
        .await
    };

    let (signed, link) = create().await;
    let drawn = json!({ "signature_png_base64": STANDARD.encode(signature()) });
    let answer = app
        .http
        .post(&format!("{link}/sign"), None, &drawn)
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    let record = fetched(&signed).await;
    assert_eq!(record["callback"]["sign_flow_status"], "2");
    assert_eq!(
        record["file"]["signatures"]["verdict"], "valid",
        "{record:#}"
    );
    let signatures = &record["file"]["signatures"]["report"]["signatures"];
    assert_eq!(
        signatures.as_array().map(Vec::len),
        Some(2),
        "the seller's seal and the buyer's signature"
    );

    let (rejected, link) = create().await;
    let reason = json!({ "reason": "金额不对" });
    let answer = app
        .http
        .post(&format!("{link}/reject"), None, &reason)
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    let record = fetched(&rejected).await;
    assert_eq!(record["callback"]["sign_flow_status"], "7");
    assert_ne!(
        record["file"]["signatures"]["verdict"], "valid",
        "a marked copy passes for no receipt"
    );
    app.stop().await;
}
