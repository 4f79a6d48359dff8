//! What a callback costs PostgreSQL as its tables grow: run by `cargo xtask bench scale`, over an empty database of its own whose server does not
//! vacuum by itself.
//!
//! The store's own operations (kept, claimed, finished with an attempt) run over small tables and then over ever larger ones,
//! which the server fills itself with rows like those of past months. Each size begins alike: vacuumed, analyzed, a checkpoint, then
//! half as long as is measured to warm up. Beside it, in the same run, a
//! yardstick: bare inserts of such bodies by one session, 128 in each transaction. What it prints is for the report.

#![expect(clippy::unwrap_used, reason = "a measurement that fails is over")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sealpost_contract::{Schedule, SignFlowId};
use sealpost_flow::Digest;
use sealpost_store::{
    Accepted, ApiKey, CallbackFilter, CallbackId, Channel, Finished, Holder, Lease, NewCallback,
    Next, Outcome, PostgresOptions, Store,
};

const CHANNEL: &str = "bench";
const BODY: &str = r#"{"sign_end_time":"2026-11-24 12:00:00","sign_flow_status":"2","sign_flow_id":"0123456789abcdef0123456789abcdef","sign_file_url":"https://sign.example/f/0123456789abcdefghijklmn"}"#;

/// Callers at once.
const CALLERS: u64 = 256;

/// Numbers the flows of this run.
static FLOWS: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap();
    let seconds = Duration::from_secs(arguments.next().unwrap().parse().unwrap());
    let steps: Vec<u64> = arguments.map(|rows| rows.parse().unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_postgres(PostgresOptions::new(&url), folder.path()).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        make_channel(&store).await;
        let mut filled = 0;
        for rows in steps {
            fill(&client, filled, rows).await;
            filled = rows;
            deliver_for(&store, seconds / 2).await;
            println!("measuring {rows}");
            let log = written(&client).await;
            let (callbacks, took) = deliver_for(&store, seconds).await;
            let (bytes, pages) = written(&client).await;
            let (bytes, pages) = (bytes - log.0, pages - log.1);
            println!("measured {callbacks} {took:.3} {bytes} {pages}");
            println!("vacuuming");
            client.batch_execute("VACUUM callbacks").await.unwrap();
            println!("vacuumed");
            let limit = insert_for(&client, seconds / 4).await;
            let (page, counts) = ask(&store).await;
            let size = "SELECT sum(pg_total_relation_size(oid))::bigint / 1000000 FROM pg_class
                WHERE relkind = 'r' AND (relname = 'callbacks' OR relname LIKE 'attempts%')";
            let megabytes: i64 = client.query_one(size, &[]).await.unwrap().get(0);
            println!("asked {limit:.0} {megabytes} {page:.2} {counts:.2}");
        }
    });
}

async fn make_channel(store: &Store) {
    let channel = Channel {
        id: CHANNEL.into(),
        name: CHANNEL.into(),
        callback_url: Some("https://channel.example/".into()),
        schedule: Schedule::default(),
        created_at: now(),
        paused: None,
        secrets: Vec::new(),
    };
    let key = ApiKey {
        id: CHANNEL.into(),
        channel_id: CHANNEL.into(),
        hash: Digest::of(b"bench"),
        created_at: now(),
        revoked_at: None,
    };
    assert!(store.create_channel(channel, key).await.unwrap());
    let lease = lease();
    let first = keep(store, lease).await;
    store
        .finish(lease.holder, Arc::from([first]))
        .await
        .unwrap();
}

/// Fills the tables from so many callbacks to so many: acknowledged, one in a hundred given up, a second apart into the past.
async fn fill(client: &tokio_postgres::Client, from: u64, to: u64) {
    const STEP: u64 = 250_000;
    let now = now();
    for from in (from..to).step_by(STEP as usize) {
        let to = to.min(from + STEP);
        let sql = format!(
            "INSERT INTO callbacks
                 (id, channel_lane, lane_id, sign_flow_id, body, state, round, attempts, due_at, fence, ended_at)
             SELECT ({now} - n * 1000::bigint) * 4194304, lanes.id, lanes.id, md5(n::text), '{BODY}', 1 + (n % 100 = 0)::int, 1, 1,
                 {now} - n * 1000::bigint, 1, {now} - n * 1000::bigint
             FROM generate_series({from} + 1, {to}) AS n, lanes;
             INSERT INTO attempts (callback_id, round, number, at, duration_ms, http_status, answer)
             SELECT ({now} - n * 1000::bigint) * 4194304, 1, 1, {now} - n * 1000::bigint, 12, 200, '000'
             FROM generate_series({from} + 1, {to}) AS n"
        );
        client.batch_execute(&sql).await.unwrap();
    }
    // Each alone, for several together would be one transaction.
    for after in [
        "VACUUM (ANALYZE) callbacks",
        "VACUUM (ANALYZE) attempts",
        "CHECKPOINT",
    ] {
        client.batch_execute(after).await.unwrap();
    }
}

/// Keeps and finishes callbacks as a node does that delivers them at once, and every tenth as one that claims it; how many, and
/// in how many seconds.
async fn deliver_for(store: &Store, limit: Duration) -> (u64, f64) {
    let began = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let (store, done) = (store.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while began.elapsed() < limit {
                    let lease = lease();
                    let mut outcomes = Vec::new();
                    for _ in 0..4 {
                        outcomes.push(keep(&store, lease).await);
                    }
                    if number % 10 == 0 {
                        let lanes = store.due_lanes().await.unwrap();
                        let asks = lanes.iter().map(|lane| (lane.id, 10)).collect();
                        store.claim_due(asks, lease, now()).await.unwrap();
                    }
                    let counted = store.finish(lease.holder, outcomes.into()).await.unwrap();
                    assert!(counted.iter().all(|counted| *counted));
                    done.fetch_add(4, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let done = done.load(Ordering::Relaxed);
    (done, began.elapsed().as_secs_f64())
}

/// Bytes of write-ahead log so far, and whole pages in it.
async fn written(client: &tokio_postgres::Client) -> (i64, i64) {
    // What sessions have counted they report a second later.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let sql = "SELECT wal_bytes::bigint, wal_fpi FROM pg_stat_wal";
    let row = client.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// Keeps one callback under a lease; what came of it.
async fn keep(store: &Store, lease: Lease) -> Outcome {
    let number = FLOWS.fetch_add(1, Ordering::Relaxed);
    let at = now();
    let new = NewCallback {
        id: CallbackId::new(at, (number as u32).wrapping_mul(2_654_435_761)),
        channel_id: CHANNEL.into(),
        url: None,
        sign_flow_id: flow(number),
        body: Bytes::from_static(BODY.as_bytes()),
        due_at: at,
        lease: Some(lease),
    };
    let Accepted::New(placed) = store.accept_callback(new).await.unwrap() else {
        panic!("a flow's number came twice");
    };
    Outcome {
        id: placed.id,
        fence: placed.fence,
        attempt: Some(Finished {
            at,
            duration_ms: 12,
            http_status: Some(200),
            reason: None,
            detail: None,
            answer: Bytes::from_static(b"000"),
        }),
        next: Next::Acknowledged(now()),
    }
}

/// Flows' ids are random, so each callback goes to another place of the index over them.
fn flow(number: u64) -> SignFlowId {
    let digest = Digest::of(&number.to_be_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_bytes()[..16]);
    SignFlowId::from_bytes(id)
}

fn lease() -> Lease {
    Lease {
        holder: Holder(1),
        until: now() + 60_000,
    }
}

/// Rows a second into a table with nothing but a key, hundreds in each transaction.
async fn insert_for(client: &tokio_postgres::Client, limit: Duration) -> f64 {
    client
        .batch_execute("CREATE TABLE IF NOT EXISTS bare (id BIGSERIAL PRIMARY KEY, body BYTEA)")
        .await
        .unwrap();
    let (began, mut rows) = (Instant::now(), 0);
    let sql = "INSERT INTO bare (body) SELECT $1::bytea FROM generate_series(1, 128)";
    while began.elapsed() < limit {
        rows += client.execute(sql, &[&BODY.as_bytes()]).await.unwrap();
    }
    let per_second = rows as f64 / began.elapsed().as_secs_f64();
    client.batch_execute("TRUNCATE bare").await.unwrap();
    per_second
}

/// Milliseconds of a channel's newest page, and of what is counted for the metrics.
async fn ask(store: &Store) -> (f64, f64) {
    let filter = CallbackFilter {
        channel_id: Some(CHANNEL.into()),
        ..CallbackFilter::default()
    };
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..5 {
        let began = Instant::now();
        store.callbacks(filter.clone(), None, 50).await.unwrap();
        best.0 = best.0.min(began.elapsed().as_secs_f64() * 1000.0);
        let began = Instant::now();
        store.backlog(now()).await.unwrap();
        store.flow_counts().await.unwrap();
        best.1 = best.1.min(began.elapsed().as_secs_f64() * 1000.0);
    }
    best
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is this program that hands the time to the store"
)]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
