//! Faults for real, under load and with a ledger: three nodes, each a process, over a PostgreSQL primary with a synchronous
//! standby. Nodes are killed, paused and cut off, the storage refuses and is slow, the network loses packets, the primary is
//! killed, stands still or is cut off while the standby is promoted. Afterwards everything that was acknowledged must be there,
//! once.
//!
//! `cargo xtask faults` runs them one after the other, the first for longer, and prints the outages that clients saw.

mod cluster;
mod load;
pub(crate) mod network;
mod partition;
mod primary;

use std::time::Duration;

use self::cluster::Cluster;
use self::load::pause;
use crate::storage::{Storage, Way};

/// How long a statement may take, in seconds.
const STATEMENT: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_faults() {
    let rounds = std::env::var("TEST_FAULTS_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let bucket = Storage::start("faults").await;
    let mut cluster = Cluster::behind_proxies(bucket, STATEMENT).await;
    let mut load = cluster.under_load().await;
    for round in 0..rounds {
        let victim = round % 3;
        pause(1).await;
        load.begins("a node is killed");
        cluster.kill_and_restart(victim).await;
        pause(2).await;
        load.begins("a node is paused past its leases, and comes back");
        cluster.signal(victim, "-STOP");
        pause(7).await;
        cluster.signal(victim, "-CONT");
        pause(2).await;
        load.begins("a node is cut off from the database");
        cluster.cut_off(victim);
        pause(4).await;
        cluster.heal();
        pause(2).await;
        load.begins("the storage refuses");
        cluster.set_storage(Way::Refusing);
        pause(3).await;
        load.begins("the storage is slow");
        cluster.set_storage(Way::Slow(Duration::from_millis(400)));
        pause(2).await;
        cluster.set_storage(Way::Clear);
        pause(1).await;
    }
    load.begins("the primary is killed, and the standby promoted");
    cluster.pair.kill_primary();
    cluster.pair.promote();
    load.goes_on().await;
    load.settle().await;
}
