//! Two versions side by side: a newer one adds to the schema of the database while this one serves, and this one goes on, also
//! after a restart. Where a newer one has taken something away, this one does not start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sealpost_server::config::Config;
use sealpost_server::server::Server;
use serde_json::json;
use tokio_postgres::{Client, NoTls};

use super::{SECRET, Shared, hand_over};
use crate::support::{Channel, TestApp, receipt};

/// Everything that a node is asked in a flow's life, twice over, so that most sessions have most statements prepared. The channel
/// is one of the first node's, which knows the signers' links.
async fn story(first: &TestApp, node: &TestApp, channel: &Channel) {
    for _ in 0..2 {
        let channel = channel.through(node);
        let flow = channel.create_flow(receipt()).await;
        first.signer("张三").through(node).signs_last().await;
        let told = channel.received(&flow).await;
        assert_eq!(told.sign_flow_status.code(), "2");
        channel.callback_in(&flow, "acknowledged").await;
        let path = format!("/v1/sign-flows/{}", flow.id);
        for path in [
            path.clone(),
            format!("{path}/evidence"),
            format!("{path}/file"),
            "/v1/sign-flows?limit=5".to_owned(),
            "/v1/sign-flows?status=completed&limit=5".to_owned(),
            "/v1/callbacks?limit=5".to_owned(),
            "/v1/seals".to_owned(),
        ] {
            let answer = channel.get(&path).await;
            assert_eq!(
                answer.status,
                200,
                "{path}: {}",
                String::from_utf8_lossy(&answer.body)
            );
        }
        for path in ["/readyz", "/metrics"] {
            assert_eq!(node.get(path).await.status, 200, "{path}");
        }
        let revoked = channel.create_flow(receipt()).await;
        let path = format!("/v1/sign-flows/{}/revoke", revoked.id);
        let answer = channel.post(&path, &json!({ "reason": "重开" })).await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            channel.received(&revoked).await.sign_flow_status.code(),
            "3"
        );
    }
}

/// The schema of a version after this one: every table has one more column, there are a table and an index more, and
/// `oldest` says which versions bear it.
async fn add_to_schema(database: &Client, version: i64, oldest: i64) {
    let asked =
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1";
    let tables = database.query(asked, &[]).await.unwrap();
    assert!(tables.len() > 10);
    // One by one, so that it waits for no more than one table's users at a time.
    for table in tables {
        let table: String = table.get(0);
        let add =
            format!("ALTER TABLE {table} ADD COLUMN added_later TEXT NOT NULL DEFAULT 'later'");
        database.batch_execute(&add).await.unwrap();
    }
    let rest = format!(
        "CREATE TABLE later (id BIGINT NOT NULL PRIMARY KEY);
         CREATE INDEX flows_by_later ON flows (added_later);
         INSERT INTO sealpost_schema (version, oldest) VALUES ({version}, {oldest})"
    );
    database.batch_execute(&rest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_version_that_only_adds_may_work_beside_this_one() {
    let shared = Shared::start("versions").await;
    let node = shared.node().await;
    let channel = node.channel("lianjia").await;
    let connected = tokio_postgres::connect(&shared.database.url, NoTls).await;
    let (database, connection) = connected.unwrap();
    tokio::spawn(connection);
    let asked = "SELECT max(version) FROM sealpost_schema";
    let known: i64 = database.query_one(asked, &[]).await.unwrap().get(0);
    story(&node, &node, &channel).await;

    let (done, made) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let clients: Vec<_> = (0..2)
        .map(|client| {
            let (url, key) = (
                format!("{}/v1/callbacks", node.base()),
                channel.api_key.clone(),
            );
            tokio::spawn(hand_over(
                url,
                key,
                client,
                Arc::clone(&done),
                Arc::clone(&made),
            ))
        })
        .collect();
    add_to_schema(&database, known + 1, known).await;
    story(&node, &node, &channel).await;
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    println!(
        "{} callbacks were taken meanwhile",
        made.load(Ordering::Relaxed)
    );

    // One of this version that is started again, or back after the newer one was found wanting.
    let again = shared.node().await;
    story(&node, &again, &channel).await;

    // The version after that one takes something away that this one may need.
    let take = format!(
        "INSERT INTO sealpost_schema (version, oldest) VALUES ({}, {})",
        known + 2,
        known + 1
    );
    database.batch_execute(&take).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let late = Config {
        data: folder.path().to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        database: Some(shared.database.clone()),
        documents: Some(shared.storage.options()),
        ..Config::default()
    };
    let refusal = Server::start(late, Some(SECRET)).await.unwrap_err();
    let mut refusal: &dyn std::error::Error = &refusal;
    while let Some(source) = refusal.source() {
        refusal = source;
    }
    let refusal = refusal.to_string();
    let expected = format!(
        "the database has schema version {}, this program knows only up to {known}",
        known + 2
    );
    assert!(refusal.contains(&expected), "{refusal}");
    for node in [node, again] {
        node.stop().await;
    }
}
