//! What only PostgreSQL has: several nodes that start at once, sessions that are lost.

use sealpost_store::{Error, PostgresOptions, Store};

use crate::world::{NOW, Schema, World, flow_id};

#[test]
fn many_nodes_may_start_at_once() {
    let (schema, folder) = (Schema::new(), tempfile::tempdir().unwrap());
    std::thread::scope(|scope| {
        let start = || Store::open_postgres(schema.options(), folder.path()).map(drop);
        let nodes: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
        for node in nodes {
            node.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let (schema, folder) = (Schema::new(), tempfile::tempdir().unwrap());
    drop(Store::open_postgres(schema.options(), folder.path()).unwrap());
    schema
        .run("INSERT INTO sealpost_schema VALUES (999)")
        .unwrap();
    let error = Store::open_postgres(schema.options(), folder.path()).unwrap_err();
    assert!(matches!(error, Error::TooNew { found: 999, .. }), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_an_error_that_names_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let options = PostgresOptions::new("postgres://sealpost:hush@127.0.0.1:1/sealpost");
    assert!(!format!("{options:?}").contains("hush"));
    let error = Store::open_postgres(options, folder.path()).unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
    assert!(!format!("{error:?}").contains("hush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_lost_are_made_anew() {
    let world = World::postgres().await;
    for number in 1..=10 {
        world.keep(number, NOW).await;
        world.find_flow(&flow_id(number)).await.unwrap().unwrap();
        world.lose_sessions();
    }
}
