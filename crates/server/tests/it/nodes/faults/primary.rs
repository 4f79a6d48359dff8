//! A primary that stands still and keeps its connections, and wakes up when another has taken its place.

use sealpost_store::{Error, PostgresOptions, Store};

use super::cluster::Cluster;
use super::load::pause;
use crate::nodes::pair::Pair;
use crate::storage::Storage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_named_first_is_passed_over_unless_it_is_asked_for() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    let url = format!(
        "postgres://sealpost@{},{}/postgres?sslmode=disable",
        pair.standby, pair.primary
    );
    let open = |url: &str| Store::open_postgres(PostgresOptions::new(url), folder.path());
    let store = open(&url).unwrap();
    store.prove_writable(1).await.unwrap();
    // Opening fails as well, where the standby has not come so far as to show the schema.
    let store = open(&format!("{url}&target_session_attrs=any"));
    let wrote = match store {
        Ok(store) => store.prove_writable(2).await,
        Err(error) => Err(error),
    };
    assert!(matches!(wrote, Err(Error::ReadOnly(_))), "{wrote:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_wakes_up_after_the_promotion_is_not_used() {
    let bucket = Storage::start("stopped").await;
    let mut cluster = Cluster::behind_proxies(bucket, 2).await;
    let mut load = cluster.under_load().await;
    load.goes_on().await;
    pause(1).await;
    load.begins("the primary stands still, and the standby is promoted");
    cluster.pair.stop_primary();
    cluster.pair.promote();
    load.goes_on().await;
    load.begins("the old primary wakes up, and believes that it is one");
    cluster.pair.wake_primary();
    // Nor by a node that knows of no promotion: it asks all hosts first.
    cluster.kill_and_restart(0).await;
    cluster.pair.nobody_uses_the_old_primary().await;
    load.goes_on().await;
    load.settle().await;
}
