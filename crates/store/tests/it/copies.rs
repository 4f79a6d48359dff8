//! Copying a database with everything in it to the other kind, broken off and begun again.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealpost_flow::{Actor, Digest, Operation};
use sealpost_store::{
    AuditEntry, CallbackFilter, CopiedTable, CopyPlan, Error, Finished, FlowFilter, Holder,
    IdempotencyKey, Joined, Lease, Next, Node, OperatorKey, Outcome, PostgresOptions, Role, Store,
};

use crate::processes::child_command;
use crate::world::{
    CHANNEL, NOW, Schema, World, advance, api_key, buyer, callback, channel, flow_id, initiator,
    new_flow, sign, token,
};

/// Fills a store with something of everything that grows, and some of the rest.
async fn fill(world: &World) {
    for number in 1..=700 {
        let stored = world.keep(number, NOW + i64::from(number)).await;
        match number % 3 {
            0 => advance(world, &stored, sign(), &buyer(), NOW + 1000).await,
            1 => {
                let revoke = Operation::Revoke {
                    reason: "改约 'so'".into(),
                };
                advance(world, &stored, revoke, &initiator(), NOW + 1000).await;
            }
            _ => {}
        }
    }
    for number in 1001..=1300 {
        world
            .accept_callback(callback(&flow_id(number), "5", NOW))
            .await
            .unwrap();
    }
    let lane = world.due_lanes().await.unwrap()[0].id;
    let lease = Lease {
        holder: Holder(-5),
        until: NOW + 50_000,
    };
    let claims = world
        .claim_due(vec![(lane, 200)], lease, NOW + 2000)
        .await
        .unwrap();
    let outcomes: Arc<[Outcome]> = claims[0]
        .taken
        .iter()
        .map(|claimed| Outcome {
            id: claimed.id,
            fence: claimed.fence,
            attempt: Some(Finished {
                at: NOW + 2000,
                duration_ms: 12,
                http_status: Some(200),
                reason: None,
                detail: None,
                answer: bytes::Bytes::from_static(b"000\0\xff"),
            }),
            next: Next::Acknowledged(NOW + 2012),
        })
        .collect();
    world.finish(Holder(-5), outcomes).await.unwrap();
    assert!(
        world
            .create_channel(channel("ch-2", "贝壳"), api_key("k2", "ch-2"))
            .await
            .unwrap()
    );
    world
        .keep_credential("authority", b"sealed".to_vec(), NOW)
        .await
        .unwrap();
    world.log_audit(audit()).await.unwrap();
    let key = OperatorKey {
        id: "ok".into(),
        name: "ci".into(),
        role: Role::Viewer,
        hash: Digest::of(b"ok"),
        created_at: NOW,
        created_by: "root".into(),
        revoked_at: None,
    };
    world.add_operator_key(key, audit()).await.unwrap();
}

fn audit() -> AuditEntry {
    AuditEntry {
        at: NOW,
        operator: "root".into(),
        action: "flow.revoke".into(),
        subject: Some("f".into()),
        detail: None,
        address: None,
    }
}

fn plan(last: bool) -> CopyPlan {
    CopyPlan {
        source: "here".into(),
        last,
        now: NOW,
    }
}

/// Without printing all of it when they differ.
async fn read_the_same(one: &Store, other: &Store) {
    let (one, other) = (everything(one).await, everything(other).await);
    let differ = one.bytes().zip(other.bytes()).position(|(a, b)| a != b);
    assert!(one == other, "they differ at {differ:?}");
}

/// What all reads give, as far as they show all of what there is.
async fn everything(store: &Store) -> String {
    let mut text = format!("{:?}", store.channels().await.unwrap());
    for number in (1..=700).step_by(7) {
        let id = flow_id(number);
        text += &format!("{:?}", store.find_flow(&id).await.unwrap());
        text += &format!("{:?}", store.events(&id).await.unwrap());
        text += &format!(
            "{:?}",
            store.find_token(&token(number, "file")).await.unwrap()
        );
    }
    let flows = store
        .list_flows(FlowFilter::default(), None, 100)
        .await
        .unwrap();
    text += &format!("{flows:?}");
    let callbacks = store
        .callbacks(CallbackFilter::default(), None, 1000)
        .await
        .unwrap();
    for callback in &callbacks {
        text += &format!(
            "{callback:?}{:?}",
            store.attempts(callback.id).await.unwrap()
        );
    }
    text += &format!("{:?}", store.due_lanes().await.unwrap());
    text += &format!("{:?}", store.backlog(NOW).await.unwrap());
    text += &format!("{:?}", store.sealing_backlog().await.unwrap());
    let mut counts = store.flow_counts().await.unwrap();
    counts.sort_by_key(|(status, _)| status.as_str());
    text += &format!("{counts:?}{:?}", store.credentials().await.unwrap());
    text += &format!("{:?}", store.operator_keys().await.unwrap());
    text
}

fn written(copied: &[CopiedTable]) -> u64 {
    copied.iter().map(|table| table.written).sum()
}

fn rows(copied: &[CopiedTable], name: &str) -> u64 {
    copied
        .iter()
        .find(|table| table.table == name)
        .unwrap()
        .rows
}

fn postgres(schema: &Schema, folder: &std::path::Path) -> Store {
    Store::open_postgres(schema.options(), folder).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_broken_off_is_begun_again_and_reads_the_same() {
    let world = World::sqlite().await;
    fill(&world).await;
    let (schema, folder) = (Arc::new(Schema::new()), tempfile::tempdir().unwrap());
    let target = postgres(&schema, folder.path());

    // The server throws it out in the middle: between tables, and again while it writes.
    for broken_after in [9, 16] {
        let (tables, throwing) = (AtomicUsize::new(0), Arc::clone(&schema));
        let heard = move |_: &CopiedTable| {
            if tables.fetch_add(1, Ordering::Relaxed) == broken_after {
                throwing.lose_sessions();
            }
        };
        // A session that was lost while it rested is made anew; then the copy just goes on.
        let broken = world.copy_into(&target, plan(true), heard).await;
        if let Err(error) = broken {
            assert!(matches!(error, Error::Unreachable(_)), "{error}");
            let refused = target.refuse_unfinished_copy().await.unwrap_err();
            assert!(matches!(refused, Error::CopyUnfinished));
        } else {
            schema.run("UPDATE copies SET finished_at = NULL").unwrap();
        }
        schema.run("DELETE FROM attempts WHERE callback_id % 3 = 0; DELETE FROM codes; UPDATE callbacks SET attempts = 7 WHERE id % 5 = 0").unwrap();
    }
    let copied = world.copy_into(&target, plan(true), |_| ()).await.unwrap();
    assert_eq!(
        (rows(&copied, "flows"), rows(&copied, "attempts")),
        (700, 200)
    );
    target.refuse_unfinished_copy().await.unwrap();
    read_the_same(&target, &world).await;

    // Its numbers go on, and it is not copied into again.
    target.log_audit(audit()).await.unwrap();
    target
        .accept_callback({
            let mut new = callback(&flow_id(5000), "2", NOW);
            new.url = Some("https://other.example/cb".into());
            new
        })
        .await
        .unwrap();
    let again = world
        .copy_into(&target, plan(true), |_| ())
        .await
        .unwrap_err();
    assert!(matches!(again, Error::CopyRefused(_)), "{again}");

    // And back.
    let folder = tempfile::tempdir().unwrap();
    let back = Store::open(folder.path()).unwrap();
    target.copy_into(&back, plan(true), |_| ()).await.unwrap();
    read_the_same(&back, &target).await;
}

/// Where the child copies to.
const TARGET: &str = "SEALPOST_TEST_TARGET";

/// Runs in a process of its own; tells of each table and is killed behind one of them.
pub(crate) async fn copy_until_killed(folder: &std::path::Path) {
    let own = tempfile::tempdir().unwrap();
    let options = PostgresOptions::new(std::env::var(TARGET).unwrap());
    let target = Store::open_postgres(options, own.path()).unwrap();
    let source = Store::open(folder).unwrap();
    let heard = |table: &CopiedTable| println!("copied {}", table.table);
    source.copy_into(&target, plan(true), heard).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_survives_a_kill() {
    let world = World::sqlite().await;
    fill(&world).await;
    let (schema, folder) = (Schema::new(), tempfile::tempdir().unwrap());
    // While it writes the table behind the one that it told of last.
    for told in ["copied contract_checks", "copied flows", "copied lanes"] {
        let mut child = child_command(&[], "copier", world.folder())
            .env(TARGET, schema.options().url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line.ends_with(told)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let target = postgres(&schema, folder.path());
    target.refuse_unfinished_copy().await.unwrap_err();
    let copied = world.copy_into(&target, plan(true), |_| ()).await.unwrap();
    assert_eq!(
        copied
            .iter()
            .find(|table| table.table == "channels")
            .unwrap()
            .written,
        0
    );
    read_the_same(&target, &world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_since_an_early_copy_is_brought_along_by_the_last() {
    let world = World::sqlite().await;
    fill(&world).await;
    let (schema, folder) = (Schema::new(), tempfile::tempdir().unwrap());
    let target = postgres(&schema, folder.path());
    let key = IdempotencyKey {
        caller_id: CHANNEL.into(),
        key: "k".into(),
        request: Digest::of(b"request"),
        at: NOW,
    };
    let mut with_key = new_flow(9001, NOW);
    with_key.idempotency = Some(key);
    world.create_flow(with_key).await.unwrap();
    let early = world.copy_into(&target, plan(false), |_| ()).await.unwrap();
    assert!(written(&early) > 2000);
    target.refuse_unfinished_copy().await.unwrap_err();

    let stored = world.find_flow(&flow_id(2)).await.unwrap().unwrap();
    advance(&world, &stored, sign(), &Actor::signer(1), NOW + 5000).await;
    world.keep(9002, NOW + 9).await;
    while world
        .forget_idempotency_keys(NOW + 100 * crate::world::DAY)
        .await
        .unwrap()
        > 0
    {}
    let last = world.copy_into(&target, plan(true), |_| ()).await.unwrap();
    assert!(written(&last) < 20, "{last:?}");
    assert_eq!(rows(&last, "idempotency_keys"), 0);
    read_the_same(&target, &world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_something_in_it_is_not_copied_into() {
    let (world, target) = (World::sqlite().await, World::postgres().await);
    let refused = world
        .copy_into(&target, plan(true), |_| ())
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the database to copy into is not empty"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_may_have_added_to_is_not_copied() {
    let (newer, folder) = (World::postgres().await, tempfile::tempdir().unwrap());
    newer.keep(1, NOW).await;
    // It bears this version, and may keep something in tables that this version does not know.
    newer
        .tamper("INSERT INTO sealpost_schema (version, oldest) VALUES (999, 1); CREATE TABLE later (id BIGINT)")
        .unwrap();
    let (reopened, ours) = (newer.another(), Store::open(folder.path()).unwrap());
    for (source, target) in [(&reopened, &ours), (&ours, &reopened)] {
        let error = source.copy_into(target, plan(true), |_| ()).await;
        assert!(
            matches!(error, Err(Error::TooNew { found: 999, .. })),
            "{error:?}"
        );
    }
    // Nothing was begun.
    ours.refuse_unfinished_copy().await.unwrap();
    reopened.refuse_unfinished_copy().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_broken_chain_is_refused() {
    let world = World::sqlite().await;
    world.keep(1, NOW).await;
    world
        .tamper("UPDATE flows SET chain_head = zeroblob(32)")
        .unwrap();
    let (schema, folder) = (Schema::new(), tempfile::tempdir().unwrap());
    let target = postgres(&schema, folder.path());
    let refused = world
        .copy_into(&target, plan(true), |_| ())
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::CopyDiffers("events")), "{refused}");
}

/// A source whose reading session sees what `condition` says, at each of its reads of one table.
fn watched(world: &World, condition: &str) {
    world
        .tamper(&format!(
            "ALTER TABLE redeliveries RENAME TO watched;
             CREATE FUNCTION watch () RETURNS BOOLEAN LANGUAGE plpgsql AS $$
             BEGIN IF NOT ({condition}) THEN RAISE EXCEPTION 'it is not so'; END IF; RETURN TRUE; END$$;
             CREATE VIEW redeliveries AS SELECT * FROM watched WHERE watch()"
        ))
        .unwrap();
}

/// While the target is written to and verified the source is not asked anything, for a large table for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn the_source_waits_however_long_the_target_takes() {
    let (world, folder) = (World::postgres().await, tempfile::tempdir().unwrap());
    // So that the view has something to ask about.
    world
        .tamper("INSERT INTO redeliveries (since_at, until_at, after_at, after_id, total, redelivered, started_at, stepped_at) VALUES (1, 1, 1, 1, 1, 1, 1, 1)")
        .unwrap();
    watched(
        &world,
        "current_setting('idle_in_transaction_session_timeout') = '0'",
    );
    let target = Store::open(folder.path()).unwrap();
    let copied = world.copy_into(&target, plan(true), |_| ()).await.unwrap();
    assert_eq!(rows(&copied, "redeliveries"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_runs_or_begins_over_a_source_that_is_copied_for_the_last_time() {
    let (world, folder) = (World::postgres().await, tempfile::tempdir().unwrap());
    let target = Store::open(folder.path()).unwrap();
    let node = Node {
        id: "n1".into(),
        name: "one 10.0.0.1:8080".into(),
        documents: "s3://receipts".into(),
        started_at: NOW,
        seen_at: NOW,
    };
    assert_eq!(world.join(node.clone()).await.unwrap(), Joined::Done);
    let refused = world.copy_into(&target, plan(true), |_| ()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("one 10.0.0.1:8080"), "{refused}");
    // An early copy is made beside it.
    world.copy_into(&target, plan(false), |_| ()).await.unwrap();
    world.leave(&node.id).await.unwrap();

    let (world, told) = (Arc::new(world), Arc::new(AtomicUsize::new(0)));
    let (there, tables) = (Arc::clone(&world), Arc::clone(&told));
    let heard = move |_: &CopiedTable| {
        // As a server does that begins.
        let joining = there.tamper("BEGIN; LOCK TABLE nodes IN ROW EXCLUSIVE MODE NOWAIT; COMMIT");
        assert!(joining.unwrap_err().contains("could not obtain lock"));
        tables.fetch_add(1, Ordering::Relaxed);
    };
    world.copy_into(&target, plan(true), heard).await.unwrap();
    assert!(told.load(Ordering::Relaxed) > 10);
    assert_eq!(world.join(node).await.unwrap(), Joined::Done);
}
