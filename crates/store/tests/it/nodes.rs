//! What only PostgreSQL has: several nodes that start at once, sessions that are lost, a planner.

use sealpost_flow::Status;
use sealpost_store::{Accepted, Error, Holder, Lease, Next, Outcome, PostgresOptions, Store};

use crate::questions::ask_everything;
use crate::world::{NOW, Schema, World, callback, flow_id};

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

/// Makes 30,000 of each of what grows, like the one that is there, and tells the planner.
const GROW: &str = "
    INSERT INTO flows (id, channel_id, version, status, code, reference, created_at, expires_at, sealing_failures, chain_head, body)
    SELECT 'f' || n, channel_id, 1, 'completed', '2', 'R-' || n, created_at - n, expires_at - n, 0, chain_head, body
    FROM flows, generate_series(1, 30000) AS n;
    INSERT INTO events (flow_id, seq, at, body, chain, flow_at) SELECT id, 1, created_at, '{}', chain_head, created_at FROM flows
    WHERE id LIKE 'f%';
    INSERT INTO tokens (hash, flow_id) SELECT convert_to(id, 'UTF8'), id FROM flows;
    INSERT INTO callbacks (id, channel_lane, lane_id, sign_flow_id, body, state, round, attempts, due_at, fence, ended_at)
    SELECT id - n * 4194304::bigint, channel_lane, lane_id, 'f' || n, body, 1 + (n % 100 = 0)::int, 1, 1, due_at - n, 1, due_at - n
    FROM callbacks, generate_series(1, 30000) AS n;
    INSERT INTO attempts (callback_id, round, number, at, duration_ms) SELECT id, 1, 1, due_at, 5 FROM callbacks
    WHERE state <> 0;
    ANALYZE";

#[tokio::test(flavor = "multi_thread")]
async fn no_question_reads_a_whole_table() {
    let world = World::postgres().await;
    world.keep(1, NOW).await;
    world
        .accept_callback(callback(&flow_id(77), "2", NOW))
        .await
        .unwrap();
    world.tamper(GROW).unwrap();
    // Whichever partition holds them; those with next to nothing in them are read fastest as a whole. An index may be gone
    // through from end to end as well.
    let scans = "SELECT relname, seq_scan FROM pg_stat_user_tables
        WHERE schemaname = current_schema() AND n_live_tup > 1000 ORDER BY 1";
    let entries = "SELECT indexrelname, idx_tup_read FROM pg_stat_user_indexes WHERE schemaname = current_schema() ORDER BY 1";
    // Sessions report what they read when they end.
    world.lose_sessions();
    let (before, read_before) = (world.ask(scans), world.ask(entries));
    assert!(before.len() >= 5, "{before:?}");
    let node = world.another();
    ask_everything(&node).await;
    let counts = node.flow_counts().await.unwrap();
    assert!(counts.contains(&(Status::Completed, 30_000)), "{counts:?}");
    world.lose_sessions();
    assert_eq!(world.ask(scans), before);
    for (before, after) in read_before.iter().zip(world.ask(entries)) {
        let read = after[1].parse::<u64>().unwrap() - before[1].parse::<u64>().unwrap();
        assert!(read < 20_000, "{read} entries of {} read", after[0]);
    }
}

/// Statistics come late, plans are kept: what was planned over an empty table must be right over a full one.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_no_statistics_know_of_costs_nothing() {
    const BACKLOG: u64 = 2000;
    let world = World::postgres().await;
    world.keep(1, NOW).await;
    world
        .tamper("ALTER TABLE callbacks SET (autovacuum_enabled = off)")
        .unwrap();
    let lease = Lease {
        holder: Holder(7),
        until: NOW + 60_000,
    };
    let accept = async |node: &Store, number: u64, lease: Option<Lease>| {
        let mut new = callback(&flow_id(number as u32), "2", NOW);
        new.lease = lease;
        let Accepted::New(placed) = node.accept_callback(new).await.unwrap() else {
            panic!("it is kept already");
        };
        placed
    };
    let deliver = async |node: &Store, number: u64| {
        let placed = accept(node, number, Some(lease)).await;
        let outcome = Outcome {
            id: placed.id,
            fence: placed.fence,
            attempt: None,
            next: Next::Due(NOW + 3_600_000),
        };
        let counted = node.finish(lease.holder, [outcome].into()).await.unwrap();
        assert_eq!(counted, [true]);
        let ask = vec![(placed.lane, 1)];
        node.claim_due(ask, lease, NOW).await.unwrap();
    };
    let rows = "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes
        WHERE schemaname = current_schema() AND relname = 'callbacks'";
    let read = || -> u64 { world.ask(rows)[0][0].parse().unwrap() };
    // One session, so that all plans are made before there is a backlog.
    let mut options = world.postgres_options();
    options.sessions = 1;
    let node = Store::open_postgres(options, world.folder()).unwrap();
    for number in 100..110 {
        deliver(&node, number).await;
    }
    for number in 0..BACKLOG {
        accept(&node, 1000 + number, Some(lease)).await;
    }
    for number in 200..220 {
        deliver(&node, number).await;
    }
    // Its session reports what it read when it ends.
    world.lose_sessions();
    let total = read();
    assert!(total > 0);
    assert!(
        total < BACKLOG,
        "{total} entries of indexes read for 30 callbacks"
    );
}
