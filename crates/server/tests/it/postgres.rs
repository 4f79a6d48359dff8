//! The server over PostgreSQL: the same story, ended by the same callback.

use std::collections::HashMap;
use std::process::Command;

use sealpost_contract::EndStatus;
use sealpost_server::config::Config;
use sealpost_store::PostgresOptions;
use serde_json::Value;

use crate::support::{TestApp, receipt};

/// A database of its own on the server that `cargo xtask test` starts; it goes with that server.
pub(crate) async fn database(name: &str) -> PostgresOptions {
    let url = std::env::var("TEST_POSTGRES_URL").unwrap_or_else(|_| {
        panic!("TEST_POSTGRES_URL names no PostgreSQL server; run: cargo xtask test")
    });
    let name = format!("server_{name}_{}", std::process::id());
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    client
        .batch_execute(&format!("DROP DATABASE IF EXISTS {name}"))
        .await
        .unwrap();
    client
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    drop(client);
    driver.await.unwrap().unwrap();
    let (server, _) = url.rsplit_once('/').unwrap();
    PostgresOptions::new(format!("{server}/{name}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_sealed_signed_and_told() {
    let options = database("story").await;
    let app = TestApp::start_with(|config: &mut Config| config.database = Some(options)).await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    let signed = app.signer("张三").signs().await;
    assert_eq!(signed["sign_flow_status"], "2");
    let callback = channel.received(&flow).await;
    assert_eq!(callback.sign_flow_status, EndStatus::Completed);
    let told = channel.callback_in(&flow, "acknowledged").await;
    assert_eq!(told["attempts"].as_array().unwrap().len(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_says_what_a_server_would_lose_and_what_it_has_not_got() {
    let url = database("doctor").await.url;
    let folder = tempfile::tempdir().unwrap();
    let doctor = || -> HashMap<String, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_sealpost"))
            .arg("--data")
            .arg(folder.path())
            .args(["--database", &url])
            .args(["--listen", "127.0.0.1:0", "doctor", "--json"])
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |finding: &Value, member: &str| finding[member].as_str().unwrap().to_owned();
        let findings = said["findings"].as_array().unwrap().iter();
        findings
            .map(|finding| {
                let verdict = text(finding, "verdict");
                let says = format!("{verdict}: {}", text(finding, "says"));
                (text(finding, "what"), says)
            })
            .collect()
    };
    let said = doctor();
    for what in ["connections", "clock"] {
        assert!(said[what].starts_with("ok: "), "{said:?}");
    }
    // The server for tests need not survive a crash.
    assert!(said["database"].contains(": fsync off"), "{said:?}");

    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let (_, name) = url.rsplit_once('/').unwrap();
    client
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET synchronous_commit = off; ALTER DATABASE {name} CONNECTION LIMIT 20"
        ))
        .await
        .unwrap();
    let said = doctor();
    assert!(
        said["database"].starts_with("bad: ")
            && said["database"].contains("synchronous_commit, fsync off"),
        "{said:?}"
    );
    assert!(
        said["connections"].starts_with("mind: ") && said["connections"].contains("gives 20"),
        "{said:?}"
    );
}
