//! Two nodes over one PostgreSQL: what one leaves is delivered by the other at once, although that polls every ten minutes.

use std::time::Duration;

use sealpost_store::{Accepted, CallbackId, CallbackState, Pause, PostgresOptions, Store};

use crate::cluster::Cluster;
use crate::support::{TestEndpoint, TestStore, callback, now, ok};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_leaves_the_other_delivers_at_once() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let open = |folder: &std::path::Path| {
        let mut options = PostgresOptions::new(cluster.url());
        options.sessions = 2;
        Store::open_postgres(options, folder).unwrap()
    };
    let (here, there) = (TestStore::opened(open), TestStore::opened(open));
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let channel = here
        .channel("lianjia", Some(&endpoint.url()), "8h,8h,8h")
        .await;
    let seldom = |config: &mut sealpost_delivery::Config| config.poll = Duration::from_secs(600);
    // This node still takes callbacks and delivers none any more: it is about to stop.
    let stopping = here.engine(seldom).await;
    stopping.shut_down(Duration::ZERO).await;
    let delivering = there.engine(seldom).await;

    let first = accept(&stopping, &channel, 1).await;
    there.until(first, CallbackState::Acknowledged).await;

    let pause = Pause {
        at: now(),
        reason: "maintenance".into(),
    };
    here.store.pause_channel(&channel, pause).await.unwrap();
    let second = accept(&stopping, &channel, 2).await;
    here.store.resume_channel(&channel).await.unwrap();
    there.until(second, CallbackState::Acknowledged).await;
    delivering.shut_down(Duration::from_secs(30)).await;
}

async fn accept(engine: &sealpost_delivery::Engine, channel: &str, number: u64) -> CallbackId {
    match engine
        .accept(channel, None, &callback(number))
        .await
        .unwrap()
    {
        Accepted::New(placed) => placed.id,
        other => panic!("{other:?}"),
    }
}
