//! Timestamps in signatures: `sealpost tsa` is asked, and without an authority nothing is signed that should have a timestamp.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;
use sealpost_flow::Level;
use sealpost_pdf::{Authority as Root, KeyAlgorithm, Responder, Subject, Validity};
use sealpost_server::app::App;
use sealpost_server::app::renewal::{RenewalStep, RenewalWalk};
use sealpost_server::config::Config;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::levels::{outside_authority, respond};
use crate::support::{Channel, PATIENCE, TestApp, receipt};

const DAY: i64 = 24 * 60 * 60 * 1000;

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

/// A timestamp authority whose clock is the server's, which its own clock follows by hand, and whose certificate can be replaced.
struct Stamps {
    root: Root,
    /// Absent while it is away.
    responder: Mutex<Option<Responder>>,
    clock: OnceLock<App>,
    serial: AtomicU8,
    address: SocketAddr,
    began: i64,
}

impl Stamps {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "the server begins with the machine's clock"
        )]
        let began = jiff::Timestamp::now().as_millisecond();
        let validity = Validity {
            not_before: began - DAY,
            not_after: began + 7300 * DAY,
        };
        let root = Root::generate("of timestamps", KeyAlgorithm::P256, validity).unwrap();
        let stamps = Arc::new(Self {
            root: root.with_crl_url(format!("http://{address}/root.crl")),
            responder: Mutex::default(),
            clock: OnceLock::new(),
            serial: AtomicU8::new(1),
            address,
            began,
        });
        let (list, answer) = (Arc::clone(&stamps), Arc::clone(&stamps));
        let router = Router::new()
            .route("/root.crl", get(move || std::future::ready(list.list())))
            .route(
                "/",
                post(move |question: Bytes| std::future::ready(answer.stamp(&question))),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        stamps
    }

    /// From now on it stamps, with a certificate that ends so many days after the test began.
    fn stamps_until(&self, days: i64) {
        let subject = Subject::TimestampAuthority { name: "stamps" };
        let validity = Validity {
            not_before: self.began - DAY,
            not_after: self.began + days * DAY,
        };
        let credential = self.root.issue(subject, KeyAlgorithm::P256, validity);
        let responder = Responder::new(credential.unwrap(), "1.2.3.4").unwrap();
        *self.responder.lock().unwrap() = Some(responder);
    }

    fn goes_away(&self) {
        *self.responder.lock().unwrap() = None;
    }

    fn now(&self) -> i64 {
        self.clock.get().unwrap().now()
    }

    fn stamp(&self, question: &[u8]) -> Result<Vec<u8>, StatusCode> {
        let responder = self.responder.lock().unwrap();
        let responder = responder.as_ref().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let serial = [self.serial.fetch_add(1, Ordering::Relaxed); 16];
        Ok(responder.respond(question, self.now(), serial).unwrap())
    }

    fn list(&self) -> Vec<u8> {
        let now = self.now();
        let validity = Validity {
            not_before: now - 1000,
            not_after: now + 7 * DAY,
        };
        let number = u64::try_from(now).unwrap();
        self.root.revocation_list(&[], number, validity).unwrap()
    }
}

async fn metrics(app: &TestApp) -> String {
    String::from_utf8_lossy(&app.get("/metrics").await.body).into_owned()
}

/// Waits until the metrics have this line.
async fn counted(app: &TestApp, line: &str) {
    let begun = Instant::now();
    loop {
        let metrics = metrics(app).await;
        if metrics.contains(line) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{line} is not in\n{metrics}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The audit log, read by a program with a key.
async fn audit_log(app: &TestApp) -> Value {
    let made = Command::new(env!("CARGO_BIN_EXE_sealpost"))
        .args([
            "operator",
            "add-key",
            "监控",
            "--json",
            "--role",
            "administrator",
        ])
        .arg("--data")
        .arg(app.data())
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let url = format!("{}/v1/operator/audit", app.base());
    let key = made["operator_key"].as_str();
    app.http.get(&url, key).await.unwrap().json()
}

fn doctor(app: &TestApp, stamps: &Stamps, renew_days: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sealpost"))
        .args(["doctor", "--data"])
        .arg(app.data())
        .env(
            "SEALPOST_TIMESTAMPS_AUTHORITIES",
            format!("http://{}/", stamps.address),
        )
        .env("SEALPOST_SIGNATURES_LEVEL", "b-lta")
        .env("SEALPOST_SIGNATURES_RENEW_DAYS", renew_days)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server whose documents last, with timestamps of these.
async fn lasting(stamps: &Stamps, set: impl FnOnce(&mut Config)) -> (TestApp, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, stamps.root.certificate_pem()).unwrap();
    let app = TestApp::start_with(|config| {
        config.timestamps.authorities = vec![format!("http://{}/", stamps.address)];
        config.timestamps.roots = Some(roots);
        config.signatures.level = Some(Level::BLTA);
        set(config);
    })
    .await;
    stamps.clock.get_or_init(|| app.app().clone());
    stamps.stamps_until(300);
    (app, folder)
}

/// A walk from its beginning, one step of it.
async fn step(app: &TestApp) -> RenewalStep {
    let mut walk = RenewalWalk::default();
    let stop = CancellationToken::new();
    app.app().renew_due(&mut walk, &stop).await.unwrap()
}

/// What the audit log has of renewals, the newest first.
async fn renewals(app: &TestApp) -> Vec<(Value, Value)> {
    let log = audit_log(app).await;
    let entries = log["data"].as_array().unwrap().iter();
    entries
        .map(|entry| (entry["action"].clone(), entry["subject"].clone()))
        .filter(|(action, _)| action.as_str().unwrap().starts_with("archive."))
        .collect()
}

/// How often renewing had this outcome.
fn outcome(outcome: &str, times: u32) -> String {
    format!("sealpost_archive_renewals_total{{outcome=\"{outcome}\"}} {times}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timestamp_over_a_document_is_renewed_by_itself_before_it_ages() {
    let stamps = Stamps::start().await;
    let (app, _folder) = lasting(&stamps, |_| {}).await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    app.signer("张三").signs().await;
    let shown = channel.show_in(&flow, "completed").await;
    assert_eq!(shown["signature_level"]["reached"], "B-LTA", "{shown:#}");
    let path = format!("/v1/sign-flows/{}/file", flow.id);
    let first = channel.get(&path).await.body;
    let said = doctor(&app, &stamps, "301");
    assert!(said.contains("those over 1 documents end soon"), "{said}");

    // It is renewed 180 days before its end, but not while more than half of its life is left.
    let nothing = RenewalStep {
        is_last: true,
        ..RenewalStep::default()
    };
    app.app().move_clock(149 * DAY);
    assert_eq!(step(&app).await, nothing);
    assert!(metrics(&app).await.contains("sealpost_archive_to_renew 1"));

    // While the authority is away it is tried once, and then left alone for six hours.
    stamps.goes_away();
    app.app().move_clock(2 * DAY);
    counted(&app, &outcome("failed", 1)).await;
    assert_eq!(step(&app).await, nothing);
    stamps.stamps_until(3650);
    app.app().move_clock(DAY / 4 - 60_000);
    assert_eq!(step(&app).await, nothing);
    app.app().move_clock(120_000);
    // However many look at once, one does it.
    let (one, other) = tokio::join!(step(&app), step(&app));
    assert!(one.renewed + other.renewed <= 1 && one.failed + other.failed == 0);
    counted(&app, &outcome("renewed", 1)).await;
    assert!(metrics(&app).await.contains("sealpost_archive_to_renew 0"));
    let renewed = channel.get(&path).await.body;
    assert!(renewed.starts_with(&first) && renewed.len() > first.len());
    let report = verified(&channel, &renewed).await;
    assert_eq!(report["verdict"], "valid", "{report:#}");
    let after = channel.show(&flow).await;
    assert_eq!(after["document"]["sha256"], shown["document"]["sha256"]);
    assert_eq!(after["document"]["archived_sha256"], report["file_sha256"]);
    assert_eq!(channel.all_received().len(), 1);

    // It is not touched again, and the audit log has both.
    app.app().move_clock(DAY);
    assert_eq!(step(&app).await, nothing);
    assert_eq!(
        renewals(&app).await,
        [
            (json!("archive.renewed"), Value::Null),
            (json!("archive.failed"), json!(flow.id)),
        ]
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_renewed_when_its_signers_authority_is_gone() {
    let stamps = Stamps::start().await;
    let outside = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    outside_authority(outside.path(), listener.local_addr().unwrap());
    let path = outside.path().to_owned();
    let responder = tokio::spawn(async move { respond(&path, listener).await });
    let (app, _folder) = lasting(&stamps, |config| {
        config.keys.seals = Some(outside.path().join("seals.toml"));
        config.keys.roots = Some(outside.path().join("root.pem"));
    })
    .await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    app.signer("张三").signs().await;
    let shown = channel.show_in(&flow, "completed").await;
    assert_eq!(shown["signature_level"]["reached"], "B-LTA", "{shown:#}");

    responder.abort();
    stamps.stamps_until(3650);
    app.app().move_clock(151 * DAY);
    counted(&app, &outcome("renewed", 1)).await;
    let path = format!("/v1/sign-flows/{}/file", flow.id);
    let renewed = channel.get(&path).await.body;
    let report = verified(&channel, &renewed).await;
    assert_eq!(report["verdict"], "valid", "{report:#}");
    let signatures = report["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 4);
    assert_eq!(signatures[0]["level"], "B-LTA", "{report:#}");
    assert_eq!(signatures[0]["revocation"]["source"], "ocsp", "{report:#}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_cannot_be_renewed_holds_up_no_other() {
    let stamps = Stamps::start().await;
    let (app, _folder) = lasting(&stamps, |_| {}).await;
    let channel = app.channel("lianjia").await;
    let mut flows = Vec::new();
    for _ in 0..3 {
        let flow = channel.create_flow(receipt()).await;
        app.signer("张三").signs().await;
        channel.show_in(&flow, "completed").await;
        flows.push(flow);
    }
    // The document that comes first in the walk is lost.
    flows.sort_by(|one, other| one.id.cmp(&other.id));
    let lost = channel.show(&flows[0]).await["document"]["sha256"].clone();
    lose(&app.data().join("documents"), lost.as_str().unwrap());
    stamps.stamps_until(3650);
    app.app().move_clock(151 * DAY);
    counted(&app, &outcome("renewed", 2)).await;
    counted(&app, &outcome("failed", 1)).await;

    // It is tried again after six hours, a day, and then each week, and the audit log tells it once.
    let nothing = RenewalStep {
        is_last: true,
        ..RenewalStep::default()
    };
    for (n, rest) in [(2, DAY / 4), (3, DAY), (4, 7 * DAY), (5, 7 * DAY)] {
        assert_eq!(step(&app).await, nothing);
        app.app().move_clock(rest - 60_000);
        assert_eq!(step(&app).await, nothing, "{n}");
        app.app().move_clock(61_000);
        counted(&app, &outcome("failed", n)).await;
    }
    let told = renewals(&app).await;
    let failed = told.iter().filter(|(action, _)| action == "archive.failed");
    let failed: Vec<_> = failed.collect();
    assert_eq!(failed, [&(json!("archive.failed"), json!(flows[0].id))]);
    app.stop().await;
}

/// Removes the file of a document from the folder where documents lie.
fn lose(folder: &Path, digest: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lose(&path, digest);
        } else if path
            .to_string_lossy()
            .replace(['/', '\\'], "")
            .contains(digest)
        {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// A timestamp that ends soon is no failure while it is not yet due, and who renews by hand is not told to set what is set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_knows_when_a_timestamp_is_due() {
    let stamps = Stamps::start().await;
    let (app, _folder) = lasting(&stamps, |_| {}).await;
    stamps.stamps_until(40);
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    app.signer("张三").signs().await;
    channel.show_in(&flow, "completed").await;
    let said = doctor(&app, &stamps, "180");
    assert!(said.contains("the server renews them"), "{said}");
    assert!(!said.contains("seems to fail"), "{said}");
    let said = doctor(&app, &stamps, "0");
    assert!(said.contains("signatures.renew_days is 0"), "{said}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_would_gain_nothing_is_not_kept() {
    let stamps = Stamps::start().await;
    let (app, _folder) = lasting(&stamps, |_| {}).await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    app.signer("张三").signs().await;
    channel.show_in(&flow, "completed").await;
    let path = format!("/v1/sign-flows/{}/file", flow.id);
    let first = channel.get(&path).await.body;
    // The authority still stamps with the same certificate.
    let asked = stamps.serial.load(Ordering::Relaxed);
    app.app().move_clock(151 * DAY);
    let begun = Instant::now();
    while stamps.serial.load(Ordering::Relaxed) == asked {
        assert!(begun.elapsed() < PATIENCE, "nobody tried");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    app.app().move_clock(DAY / 4 + 1000);
    let (one, other) = tokio::join!(step(&app), step(&app));
    assert!(one.renewed + other.renewed + one.failed + other.failed == 0);
    assert_eq!(channel.get(&path).await.body, first);
    stamps.stamps_until(301);
    app.app().move_clock(DAY / 4 + 1000);
    counted(&app, &outcome("renewed", 1)).await;
    assert!(channel.get(&path).await.body.len() > first.len());
    app.stop().await;
}
