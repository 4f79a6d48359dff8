//! The server over PostgreSQL: the same story, ended by the same callback.

use std::collections::HashMap;
use std::process::Command;

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_cannot_keep_is_not_found() {
    let options = database("zero").await;
    let url = options.url.clone();
    let app = TestApp::start_with(|config: &mut Config| config.database = Some(options)).await;
    let channel = app.channel("lianjia").await;
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
        .args(["--database", &url])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let operator = made["operator_key"].as_str().unwrap();

    let document = app.get("/openapi.json").await.json();
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some((before, _)) = path.split_once('{') else {
            continue;
        };
        let key = match before.starts_with("/v1/operator") {
            true => operator,
            false => &channel.api_key,
        };
        let mut filled = String::new();
        for part in path.split_inclusive(['{', '}']) {
            match part.strip_suffix('}') {
                Some(_) => filled.push_str("a%00b"),
                None => filled.push_str(part.trim_end_matches('{')),
            }
        }
        for method in methods.as_object().unwrap().keys() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else {
                continue;
            };
            let headers = [
                (AUTHORIZATION, format!("Bearer {key}")),
                (CONTENT_TYPE, "application/json".to_owned()),
            ];
            let answer = app
                .http
                .send(
                    method.clone(),
                    &format!("{}{filled}", app.base()),
                    &headers,
                    "{}".to_owned(),
                )
                .await
                .unwrap();
            assert_eq!(answer.status, 404, "{method} {filled}");
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked} paths with an id");
    for query in [
        "sign-flows?text=a%00b",
        "sign-flows?cursor=a%00b",
        "callbacks?channel_id=a%00b",
    ] {
        let answer = app
            .http
            .get(
                &format!("{}/v1/operator/{query}", app.base()),
                Some(operator),
            )
            .await
            .unwrap();
        assert_eq!(answer.status, 422, "{query}");
    }
    let headers = [
        (CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned()),
        (ORIGIN, app.base()),
    ];
    let sign_in = format!("{}/console/sign-in", app.base());
    let form = "name=a%00b&password=a%00b".to_owned();
    let answer = app.http.send(Method::POST, &sign_in, &headers, form).await;
    assert_eq!(answer.unwrap().status, 401);
    app.stop().await;
}
