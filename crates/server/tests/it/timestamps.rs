//! Timestamps in signatures: `sealpost tsa` is asked, and without an authority nothing is signed that should have a timestamp.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Channel, PATIENCE, TestApp, receipt};

/// `sealpost tsa` over a data folder, answering at an address.
pub(crate) struct Authority(Child);

impl Authority {
    pub(crate) fn start(data: &Path, on: SocketAddr) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sealpost"))
            .arg("tsa")
            .arg("--data")
            .arg(data)
            .args(["--on", &on.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its first line says that it answers.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains(&on.to_string()), "{line:?}");
        Self(child)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address where nobody listens now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_wait_for_a_timestamp_and_get_one() {
    let (nobody, address) = (free_address(), free_address());
    let app = TestApp::start_with(|config| {
        let urls = [nobody, address].map(|address| format!("http://{address}/"));
        config.timestamps.authorities = urls.to_vec();
    })
    .await;
    let channel = app.channel("lianjia").await;
    let created = channel.post("/v1/sign-flows", &receipt()).await;
    let flow = channel.flow(created.json());

    // The seller's seal waits, and says for what; the buyer's turn does not come.
    let begun = Instant::now();
    let waiting = loop {
        let shown = channel.show(&flow).await;
        if shown
            .to_string()
            .contains("no timestamp authority answered")
        {
            break shown;
        }
        assert!(begun.elapsed() < PATIENCE, "no failure is shown: {shown}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(waiting["sign_flow_status"], "1");

    // The second authority comes back; the first is still passed over. Its clock is the machine's, so ours must not run far
    // ahead: a person's certificate is not yet valid more than five minutes before it is made.
    let _authority = Authority::start(&app.data(), address);
    let begun = Instant::now();
    for _ in 0..8 {
        app.app().move_clock(30_000);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        if channel.show(&flow).await["signers"][0]["step"] == "applied" {
            break;
        }
    }
    let shown = channel.show(&flow).await;
    assert_eq!(
        shown["signers"][0]["step"],
        "applied",
        "{:?}: {shown}",
        begun.elapsed()
    );
    app.signer("张三").signs().await;
    channel.show_in(&flow, "completed").await;
    let file = channel
        .get(&format!("/v1/sign-flows/{}/file", flow.id))
        .await;
    let report = verified(&channel, &file.body).await;
    assert_eq!(report["verdict"], "valid", "{report:#}");
    for signature in report["signatures"].as_array().unwrap() {
        assert_eq!(signature["level"], "B-T", "{report:#}");
        assert_eq!(signature["clock"], "timestamp_authority");
        assert_eq!(
            signature["timestamp_authority"]["common_name"],
            "Sealpost built-in timestamps"
        );
    }
    app.stop().await;
}

pub(crate) async fn verified(channel: &Channel, pdf: &[u8]) -> Value {
    let answer = channel
        .send(
            http::Method::POST,
            "/v1/verify",
            &[("content-type", "application/pdf")],
            pdf.to_vec(),
        )
        .await;
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_answers_timestamp_queries_alone() {
    let app = TestApp::start().await;
    let address = free_address();
    let _authority = Authority::start(&app.data(), address);
    let url = format!("http://{address}/");
    let post = |kind: &str, body: Vec<u8>| {
        let headers = [(http::header::CONTENT_TYPE, kind.to_owned())];
        let (http, url) = (app.http.clone(), url.clone());
        async move {
            http.send(http::Method::POST, &url, &headers, body)
                .await
                .unwrap()
        }
    };
    assert_eq!(post("text/plain", b"?".to_vec()).await.status, 415);
    let large = post("application/timestamp-query", vec![0; 5000]).await;
    assert_eq!(large.status, 413);
    // What it does not understand it rejects in the protocol's own words.
    let rejected = post("application/timestamp-query", b"?".to_vec()).await;
    assert_eq!(rejected.status, 200);
    assert_eq!(
        rejected.header("content-type"),
        "application/timestamp-reply"
    );
    assert_eq!(app.http.get(&url, None).await.unwrap().status, 405);
    let shown = json!(String::from_utf8_lossy(&rejected.body));
    assert!(shown.to_string().contains("the request cannot be read"));
    app.stop().await;
}
