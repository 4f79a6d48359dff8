//! The server over PostgreSQL: the same story, ended by the same callback.

use sealpost_contract::EndStatus;
use sealpost_server::config::Config;
use sealpost_store::PostgresOptions;

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
