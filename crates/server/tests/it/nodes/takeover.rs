//! What a node was at when it died is done by another once its claim has run out; what two begin at one moment is done once.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealpost_server::http_client::HttpClient;
use serde_json::json;

use super::{SECRET, Shared};
use crate::delivery_process::{sealpost, start_command};
use crate::pages::code::Gateway;
use crate::support::{PATIENCE, receipt_for, signature};

const MINUTE: i64 = 60 * 1000;
const HOUR: i64 = 60 * MINUTE;

/// How long a node's claim on the sealing of a flow lasts.
const CLAIM: i64 = MINUTE / 2;

/// A connection to the nodes' database.
async fn database(shared: &Shared) -> tokio_postgres::Client {
    let connected = tokio_postgres::connect(&shared.database.url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.unwrap();
    tokio::spawn(connection);
    client
}

/// The flows that are being sealed at this moment, and until when the first is somebody's own.
async fn being_sealed(database: &tokio_postgres::Client) -> (Vec<String>, i64) {
    let asked = "SELECT id, next_sealing_at FROM flows WHERE status = 'sealing' ORDER BY 2";
    let rows = database.query(asked, &[]).await.unwrap();
    let until = rows.first().map_or(0, |row| row.get(1));
    (rows.iter().map(|row| row.get(0)).collect(), until)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_node_was_sealing_another_seals_once() {
    let shared = Shared::start("takeover").await;
    let node = shared.node().await;
    let channel = node.channel("lianjia").await;
    let database = database(&shared).await;
    let folder = tempfile::tempdir().unwrap();
    let bucket = shared.storage.options();
    let mut victim = sealpost(folder.path());
    victim
        .env("SEALPOST_SECRET", SECRET)
        .env("SEALPOST_DATABASE_URL", &shared.database.url)
        .env("SEALPOST_DATABASE_SESSIONS", "4")
        .env("SEALPOST_SEALING_PARALLEL", "1")
        .env("SEALPOST_DOCUMENTS_URL", bucket.to_string())
        .env("SEALPOST_DOCUMENTS_ENDPOINT", bucket.endpoint.unwrap())
        .env("SEALPOST_DOCUMENTS_ALLOW_HTTP", "true")
        .env("SEALPOST_DOCUMENTS_ACCESS_KEY_ID", "test")
        .env("SEALPOST_DOCUMENTS_SECRET_ACCESS_KEY", "test");
    let (mut victim, address) = start_command(victim).await;

    let mut flows = Vec::new();
    let mut signing = Vec::new();
    for _ in 0..8 {
        let flow = channel.create_flow(receipt_for(&["张三"])).await;
        let link = node.signer("张三").url;
        let (_, token) = link.rsplit_once("/s/").unwrap();
        let url = format!("http://{address}/s/{token}/sign");
        flows.push(flow);
        signing.push(url);
    }
    let signing = signing.into_iter().map(|url| {
        tokio::spawn(async move {
            let mark = json!({ "signature_png_base64": STANDARD.encode(signature()) });
            // The node dies over most of them.
            let _ = HttpClient::default().post(&url, None, &mark).await;
        })
    });
    let signing: Vec<_> = signing.collect();
    let begun = Instant::now();
    while being_sealed(&database).await.0.len() < 4 {
        assert!(begun.elapsed() < PATIENCE, "the node seals nothing");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    for signing in signing {
        signing.await.unwrap();
    }
    let (orphans, until) = being_sealed(&database).await;
    assert!(!orphans.is_empty(), "all was sealed before it died");
    // While the claim lasts they are the dead node's.
    assert!(until > node.app().now(), "nobody has claimed {orphans:?}");

    node.app().move_clock(CLAIM);
    let moved = Instant::now();
    for flow in flows.iter().filter(|flow| orphans.contains(&flow.id)) {
        let shown = channel.show_in(flow, "completed").await;
        assert_eq!(shown["sign_flow_status"], "2");
        assert_eq!(channel.received(flow).await.sign_flow_status.code(), "2");
        let path = format!("/v1/callbacks?sign_flow_id={}", flow.id);
        let told = channel.get(&path).await.json();
        assert_eq!(told["data"].as_array().unwrap().len(), 1, "{told}");
        let path = format!("/v1/sign-flows/{}/evidence", flow.id);
        let evidence = channel.get(&path).await.json().to_string();
        for once in ["applied", "completed"] {
            let kind = format!("\"kind\":\"{once}\"");
            assert_eq!(evidence.matches(&kind).count(), 1, "{evidence}");
        }
        let file = channel
            .get(&format!("/v1/sign-flows/{}/file", flow.id))
            .await;
        assert!(file.status == 200 && file.body.starts_with(b"%PDF-"));
    }
    println!(
        "{} flows were sealed by the other node within {:.1} s of the end of the claim",
        orphans.len(),
        moved.elapsed().as_secs_f64()
    );
    let told = channel.all_received();
    for flow in &flows {
        let own = told
            .iter()
            .filter(|told| told.sign_flow_id.as_str() == flow.id);
        assert!(own.count() <= 1, "{} was told twice", flow.id);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_at_one_moment_remind_once() {
    const FLOWS: usize = 12;
    let shared = Shared::start("reminders").await;
    let (gateway, settings) = Gateway::start().await;
    let start = || shared.node_with(|config| config.notify.sms = Some(settings.clone()));
    // Started together, they also look together.
    let (one, other) = tokio::join!(start(), start());
    let channel = one.channel("lianjia").await;
    let there = channel.through(&other);
    let mut flows = Vec::new();
    for number in 0..FLOWS {
        let mut request = receipt_for(&["张三"]);
        request["signers"][0]["mobile"] = json!(format!("138{number:08}"));
        flows.push(channel.create_flow(request).await);
    }
    let move_clocks = |by: i64| [&one, &other].map(|node| node.app().move_clock(by));
    let sent = async |count: usize| {
        let begun = Instant::now();
        while gateway.sent().len() < count {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} of {count} were sent",
                gateway.sent().len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };

    // By hand, at both.
    move_clocks(HOUR);
    for flow in &flows {
        let (path, nothing) = (format!("/v1/sign-flows/{}/remind", flow.id), json!({}));
        let (here, there) =
            tokio::join!(channel.post(&path, &nothing), there.post(&path, &nothing));
        let mut answers = [here.status.as_u16(), there.status.as_u16()];
        answers.sort_unstable();
        assert_eq!(answers, [200, 429], "{}", flow.id);
    }
    sent(FLOWS).await;

    // By themselves, when a day is left: both nodes look for that every few seconds.
    move_clocks(6 * 24 * HOUR);
    sent(2 * FLOWS).await;
    for flow in &flows {
        let path = format!("/v1/sign-flows/{}/evidence", flow.id);
        let evidence = channel.get(&path).await.json().to_string();
        let reminded = evidence.matches("\"kind\":\"reminded\"").count();
        assert_eq!(reminded, 2, "{evidence}");
    }
    for node in [one, other] {
        node.stop().await;
    }
    assert_eq!(gateway.sent().len(), 2 * FLOWS);
    for number in 0..FLOWS {
        let own = format!("138{number:08}");
        let sent = gateway.sent();
        let sent = sent
            .iter()
            .filter(|message| message["phone"] == own.as_str());
        assert_eq!(sent.count(), 2, "{own}");
    }
}
