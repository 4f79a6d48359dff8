//! What only PostgreSQL has: several nodes that start at once, sessions that are lost, a planner.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sealpost_flow::{Digest, Operation, Status};
use sealpost_store::{
    Accepted, CallbackId, Error, Finished, Holder, IdempotencyKey, LaneId, Lease, NewCallback,
    Next, Outcome, PostgresOptions, Store,
};
use tokio_postgres::error::SqlState;

use crate::questions::ask_everything;
use crate::world::{
    CHANNEL, NOW, Schema, World, advance, buyer, callback, flow_id, keep, new_flow,
};

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

/// A database of the server for tests, with settings and locks that are nobody else's. It vanishes with the value.
struct OwnDatabase {
    server: Schema,
    name: String,
}

impl OwnDatabase {
    fn new() -> OwnDatabase {
        let server = Schema::new();
        let name = format!("{}_own", server.name());
        server.run(&format!("CREATE DATABASE {name}")).unwrap();
        OwnDatabase { server, name }
    }

    fn options(&self) -> PostgresOptions {
        let mut options = self.server.options();
        options.url += &format!("&dbname={}&options=-csearch_path%3Dpublic", self.name);
        options
    }

    async fn connect(&self) -> tokio_postgres::Client {
        let url = self.options().url;
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        // A test that fails has more to say than what could not be cleaned up after it.
        let _ = self
            .server
            .run(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_and_waiting_for_it_take_longer_than_a_statement_may() {
    // Far more than any other statement here takes.
    const LIMIT: Duration = Duration::from_secs(4);
    const LONGER: Duration = Duration::from_millis(4500);
    let (database, folder) = (OwnDatabase::new(), tempfile::tempdir().unwrap());
    let other = database.connect().await;
    // One step takes long; and another node is at it.
    other
        .batch_execute(&format!(
            "CREATE FUNCTION take_long() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.flows') THEN
                     PERFORM pg_sleep({});
                 END IF;
             END $$;
             CREATE EVENT TRIGGER take_long ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION take_long();
             BEGIN;
             SELECT pg_advisory_xact_lock({})",
            LONGER.as_secs_f64(),
            0x5EA1_9057,
        ))
        .await
        .unwrap();
    let mut options = database.options();
    options.statement_timeout = LIMIT;
    let path = folder.path().to_owned();
    let opening = tokio::task::spawn_blocking(move || Store::open_postgres(options, &path));
    tokio::time::sleep(LONGER).await;
    assert!(!opening.is_finished());
    let begun = Instant::now();
    other.batch_execute("COMMIT").await.unwrap();
    let node = opening.await.unwrap().unwrap();
    assert!(begun.elapsed() > LONGER);
    // What it does from then on has its limit.
    node.prove_writable(NOW).await.unwrap();
    other
        .batch_execute("BEGIN; LOCK TABLE write_proof IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let error = node.prove_writable(NOW).await.unwrap_err();
    assert!(matches!(error, Error::Busy(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_row_goes_on_with_it_however_transactions_are_isolated_by_default() {
    for isolation in ["repeatable read", "serializable"] {
        let (database, folder) = (OwnDatabase::new(), tempfile::tempdir().unwrap());
        let other = database.connect().await;
        // Nothing that is set at the server goes before this.
        let set = format!(
            "ALTER ROLE CURRENT_USER IN DATABASE {} SET default_transaction_isolation = '{isolation}'",
            database.name
        );
        other.batch_execute(&set).await.unwrap();
        let nodes = std::thread::scope(|scope| {
            let start = || Store::open_postgres(database.options(), folder.path()).unwrap();
            let nodes: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            nodes
                .into_iter()
                .map(|node| node.join().unwrap())
                .collect::<Vec<_>>()
        });
        let key = Digest::of(b"key");
        let count = async |node: &Store| node.count_within(&key, 1000, 9, NOW).await.unwrap();
        count(&nodes[0]).await;
        other
            .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED; UPDATE rates SET key = key")
            .await
            .unwrap();
        let waiting: Vec<_> = nodes
            .iter()
            .cloned()
            .map(|node| tokio::spawn(async move { node.count_within(&key, 1000, 9, NOW).await }))
            .collect();
        // Whoever is isolated as the server says fails.
        let plain = database.connect().await;
        let plain =
            tokio::spawn(async move { plain.batch_execute("UPDATE rates SET key = key").await });
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        // In the same transaction it would see the same each time.
        let watching = database.connect().await;
        let begun = Instant::now();
        while watching
            .query_one(asked, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            < 5
        {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody waits");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        other.batch_execute("COMMIT").await.unwrap();
        for each in waiting {
            each.await.unwrap().unwrap();
        }
        let refused = plain.await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    }
}

#[tokio::test]
async fn of_callbacks_that_are_kept_one_by_one_the_flows_are_in_one_order() {
    let world = World::postgres().await;
    let kept = callback(&flow_id(1), "2", NOW);
    let placed = world.accept_callback(kept.clone()).await.unwrap();
    assert!(
        matches!(placed, Accepted::New(placed) if placed.id == kept.id),
        "{placed:?}"
    );
    let url = world.postgres_options().url;
    let (other, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let insert = async |number: u32| {
        let insert = format!(
            "INSERT INTO callbacks (id, channel_lane, lane_id, sign_flow_id, body, state, round, attempts, due_at, fence)
             SELECT id + {number}, channel_lane, lane_id, '{}', body, state, round, attempts, due_at, fence
             FROM callbacks WHERE id = {}",
            flow_id(number).as_str(),
            kept.id.number(),
        );
        other.batch_execute(&insert).await
    };
    // One batch, since nothing else runs in this thread; an id that is taken leaves both to be kept one by one.
    let accept = async |number: u32| {
        let id = kept.id;
        let new = callback(&flow_id(number), "2", NOW);
        world.accept_callback(NewCallback { id, ..new }).await
    };
    other.batch_execute("BEGIN").await.unwrap();
    insert(2).await.unwrap();
    let inserting = async {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))";
        let begun = Instant::now();
        while !other.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody waits");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // As long as the node waits for the second, nobody waits for it because of the third.
        insert(3).await.unwrap();
        other.batch_execute("COMMIT").await.unwrap();
    };
    let (third, second, ()) = tokio::join!(accept(3), accept(2), inserting);
    let id = |accepted| match accepted {
        Ok(Accepted::Before(id)) => CallbackId::number(id) - kept.id.number(),
        other => panic!("{other:?}"),
    };
    assert_eq!((id(third), id(second)), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_commit_is_refused_goes_on() {
    let (database, folder) = (OwnDatabase::new(), tempfile::tempdir().unwrap());
    let mut options = database.options();
    options.sessions = 1;
    let node = Store::open_postgres(options, folder.path()).unwrap();
    let other = database.connect().await;
    let sessions = async || -> Vec<i32> {
        let asked = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'";
        let rows = other.query(asked, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let key = Digest::of(b"key");
    node.count_within(&key, 1000, 9, NOW).await.unwrap();
    node.prove_writable(NOW).await.unwrap();
    let before = sessions().await;
    other
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON write_proof DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    node.prove_writable(NOW + 1).await.unwrap_err();
    other
        .batch_execute("DROP TRIGGER refuse ON write_proof")
        .await
        .unwrap();
    node.prove_writable(NOW + 2).await.unwrap();
    // None is new; one that was closed earlier may have ended meanwhile.
    let after = sessions().await;
    assert!(
        after.iter().all(|session| before.contains(session)),
        "{before:?}, then {after:?}"
    );
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
        // Of one statement each, which nothing precedes that could find it out.
        let new = callback(&flow_id(number + 100), "2", NOW);
        world.accept_callback(new).await.unwrap();
        world.due_lanes().await.unwrap();
        world.lose_sessions();
        world.find_channel(CHANNEL).await.unwrap().unwrap();
        let ask = vec![(LaneId(1), 1)];
        world.claim_due(ask, LEASE, NOW).await.unwrap();
        world.lose_sessions();
    }
}

const LEASE: Lease = Lease {
    holder: Holder(7),
    until: NOW + 60_000,
};

/// What an operation costs is how often it waits for the server: once where it is a single statement, and else seldom.
#[tokio::test(flavor = "multi_thread")]
async fn operations_wait_for_the_server_no_more_often_than_they_must() {
    let world = World::postgres().await;
    let mut options = world.postgres_options();
    // All that is prepared is prepared once.
    options.sessions = 1;
    let node = Store::open_postgres(options, world.folder()).unwrap();
    // The first times statements are prepared and the lane is made.
    waits(&node, 10).await;
    waits(&node, 20).await;
    let expected = [
        ("a callback is accepted", 1),
        ("a callback is acknowledged", 1),
        ("a channel is found", 2),
        ("a flow ends with its callback", 5),
        ("a flow is found", 1),
        ("a flow is kept", 2),
        ("a flow is kept with its key", 3),
        ("due callbacks are claimed", 1),
        ("something is counted", 1),
        ("the channels' revision is read", 1),
        ("the lanes are read", 1),
    ];
    assert_eq!(waits(&node, 30).await, BTreeMap::from(expected));
}

/// How often each of some operations on flows from this number on waits for the server.
async fn waits(node: &Store, number: u32) -> BTreeMap<&'static str, u64> {
    let mut waits = BTreeMap::new();
    let mut before = node.round_trips().unwrap();
    let mut note = |what| {
        let now = node.round_trips().unwrap();
        waits.insert(what, now - before);
        before = now;
    };
    keep(node, new_flow(number, NOW)).await;
    note("a flow is kept");
    let mut new = new_flow(number + 1, NOW);
    new.idempotency = Some(IdempotencyKey {
        caller_id: CHANNEL.into(),
        key: format!("key {number}"),
        request: Digest::of(b"request"),
        at: NOW,
    });
    let flow = keep(node, new).await;
    note("a flow is kept with its key");
    let refusal = Operation::Reject {
        reason: "不要了".into(),
    };
    advance(node, &flow, refusal, &buyer(), NOW).await;
    note("a flow ends with its callback");
    node.find_flow(&flow_id(number)).await.unwrap().unwrap();
    note("a flow is found");
    node.find_channel(CHANNEL).await.unwrap().unwrap();
    note("a channel is found");
    let mut new = callback(&flow_id(number + 2), "2", NOW);
    new.lease = Some(LEASE);
    let Accepted::New(placed) = node.accept_callback(new).await.unwrap() else {
        panic!("it is kept already");
    };
    note("a callback is accepted");
    let attempt = Finished {
        at: NOW,
        duration_ms: 5,
        http_status: Some(200),
        reason: None,
        detail: None,
        answer: "000".into(),
    };
    let outcome = Outcome {
        id: placed.id,
        fence: placed.fence,
        attempt: Some(attempt),
        next: Next::Acknowledged(NOW),
    };
    let counted = node.finish(LEASE.holder, [outcome].into()).await.unwrap();
    assert_eq!(counted, [true]);
    note("a callback is acknowledged");
    let claim = node.claim_due(vec![(placed.lane, 1)], LEASE, NOW).await;
    assert_eq!(claim.unwrap()[0].taken.len(), 1);
    note("due callbacks are claimed");
    node.due_lanes().await.unwrap();
    note("the lanes are read");
    node.read_channel_revision().await.unwrap();
    note("the channels' revision is read");
    let key = Digest::of(&number.to_be_bytes());
    node.count_within(&key, 1000, 1, NOW).await.unwrap();
    note("something is counted");
    waits
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_without_waiting_fails_with_its_operation() {
    let world = World::postgres().await;
    let mut options = world.postgres_options();
    options.sessions = 1;
    let node = Store::open_postgres(options, world.folder()).unwrap();
    let kept = keep(&node, new_flow(1, NOW)).await;
    let events = node.events(&kept.flow.id).await.unwrap();
    for number in 2..5 {
        // The flow is there, and only the commit finds out.
        let error = node.create_flow(new_flow(1, NOW)).await.unwrap_err();
        assert!(matches!(error, Error::Database(_)), "{error}");
        // Its token is there: what goes before it is undone.
        let mut new = new_flow(number + 10, NOW);
        new.tokens = new_flow(1, NOW).tokens;
        let error = node.create_flow(new).await.unwrap_err();
        assert!(matches!(error, Error::Database(_)), "{error}");
        let found = node.find_flow(&flow_id(number + 10)).await.unwrap();
        assert_eq!(found, None);
        // The session goes on.
        keep(&node, new_flow(number, NOW)).await;
    }
    assert_eq!(node.events(&kept.flow.id).await.unwrap(), events);
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
    let lease = LEASE;
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
