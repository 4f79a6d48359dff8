//! The database of the version before: brought up to date with what is in it, while that version goes on over it.

use sealpost_flow::{Operation, Status, apply, event};
use sealpost_store::{CallbackId, Store};

use crate::world::{DAY, NOW, Schema, World, advance, buyer, flow_id, initiator, sign};

/// The schema before events and attempts were divided by month.
const BEFORE: [&str; 9] = [
    include_str!("../../migrations/postgres/0001_flows.sql"),
    include_str!("../../migrations/postgres/0002_callbacks.sql"),
    include_str!("../../migrations/postgres/0003_console.sql"),
    include_str!("../../migrations/postgres/0004_operating.sql"),
    include_str!("../../migrations/postgres/0005_redeliveries.sql"),
    include_str!("../../migrations/postgres/0006_codes.sql"),
    include_str!("../../migrations/postgres/0007_seals.sql"),
    include_str!("../../migrations/postgres/0008_preservation.sql"),
    include_str!("../../migrations/postgres/0009_nodes.sql"),
];

/// What both versions know of a database; the version before reads and writes the rows in these columns.
const COLUMNS: [(&str, &str); 3] = [
    ("events", "flow_id, seq, at, body, chain"),
    (
        "attempts",
        "callback_id, round, number, at, duration_ms, http_status, reason, detail, answer",
    ),
    ("flows", "id, status, chain_head, body"),
];

fn contents(schema: &Schema) -> Vec<Vec<Vec<String>>> {
    let read = |(table, columns): &(&str, &str)| {
        schema
            .ask(&format!("SELECT {columns} FROM {table} ORDER BY 1, 2, 3"))
            .unwrap()
    };
    COLUMNS.iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_version_before_kept_is_there_and_it_may_go_on() {
    // A flow of today's making, as rows of the version before.
    let today = World::postgres().await;
    let now = today.keep(1, NOW).await;
    let schema = Schema::new();
    for step in BEFORE {
        schema.run(step).unwrap();
    }
    schema
        .run("CREATE TABLE sealpost_schema (version BIGINT NOT NULL); INSERT INTO sealpost_schema VALUES (9)")
        .unwrap();
    let from = today.schema_name();
    schema
        .run(&format!(
            "INSERT INTO channels SELECT * FROM {from}.channels; INSERT INTO flows SELECT * FROM {from}.flows;
             INSERT INTO events (flow_id, seq, at, body, chain) SELECT flow_id, seq, at, body, chain FROM {from}.events;
             INSERT INTO attempts (callback_id, round, number, at, duration_ms)
             SELECT ({NOW} + n) * 4194304, 1, 1, {NOW}, n FROM generate_series(1, 1000) AS n"
        ))
        .unwrap();
    let before = contents(&schema);

    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_postgres(schema.options(), folder.path()).unwrap();
    assert_eq!(contents(&schema), before);
    assert_eq!(
        store.find_flow(&flow_id(1)).await.unwrap(),
        Some(now.clone())
    );
    let events = store.events(&flow_id(1)).await.unwrap();
    assert_eq!(events, today.events(&flow_id(1)).await.unwrap());
    assert_eq!(store.flow_counts().await.unwrap().len(), 1);
    let first = CallbackId::first_at(NOW + 7);
    assert_eq!(store.attempts(first).await.unwrap().len(), 1);

    // The version before changes the flow, with its statements.
    let change = apply(&now.flow, sign(), &buyer(), NOW + 9).unwrap();
    let mut head = now.chain_head;
    for event in &change.events {
        let json = event.to_canonical_json();
        head = event::chain_json(&head, &json);
        schema
            .run(&format!(
                "INSERT INTO events (flow_id, seq, at, body, chain) VALUES ('{}', {}, {}, {}, '\\x{head}')",
                flow_id(1),
                event.seq,
                event.at,
                literal(&json),
            ))
            .unwrap();
    }
    schema
        .run(&format!(
            "UPDATE flows SET chain_head = '\\x{head}', version = version + 1, status = 'sealing', body = {} WHERE id = '{}';
             INSERT INTO attempts (callback_id, round, number, at, duration_ms) VALUES (5, 1, 1, 1, 1)",
            literal(&serde_json::to_string(&change.flow).unwrap()),
            flow_id(1),
        ))
        .unwrap();
    let counts = store.flow_counts().await.unwrap();
    assert_eq!(counts, [(Status::Sealing, 1)]);

    // And this version goes on with it; the chain is one.
    let found = store.find_flow(&flow_id(1)).await.unwrap().unwrap();
    let revoke = Operation::Revoke {
        reason: "wrong".into(),
    };
    advance(&store, &found, revoke, &initiator(), NOW + 10).await;
    let events = store.events(&flow_id(1)).await.unwrap();
    let mut head = event::GENESIS;
    for (seq, event) in (1..).zip(&events) {
        head = event::chain_json(&head, &event.json);
        assert_eq!((event.chain, event.event.seq), (head, seq));
    }
    let found = store.find_flow(&flow_id(1)).await.unwrap().unwrap();
    assert_eq!(found.chain_head, head);
    // Events stay evidence in every partition.
    let refused = schema.run("UPDATE events SET body = ''").unwrap_err();
    assert!(refused.contains("append-only"), "{refused}");
    let refused = schema.run("DELETE FROM events_before").unwrap_err();
    assert!(refused.contains("append-only"), "{refused}");
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[tokio::test(flavor = "multi_thread")]
async fn months_have_their_partitions_ahead_whoever_makes_them() {
    let world = World::postgres().await;
    let children = "SELECT inhparent::regclass::text, count(*) FROM pg_inherits
        WHERE inhparent IN ('events'::regclass, 'attempts'::regclass) GROUP BY 1 ORDER BY 1";
    let before = world.ask(children);
    assert_eq!(before, [["attempts", "5"], ["events", "6"]]);
    let nodes: Vec<Store> = (0..4).map(|_| world.another()).collect();
    let making: Vec<_> = nodes
        .iter()
        .cloned()
        .map(|node| tokio::spawn(async move { node.make_partitions().await }))
        .collect();
    for made in making {
        made.await.unwrap().unwrap();
    }
    assert_eq!(world.ask(children), before);
    world
        .tamper("SELECT make_partitions(CAST(now() AT TIME ZONE 'UTC' + INTERVAL '3 months' AS TIMESTAMP))")
        .unwrap();
    assert_eq!(world.ask(children), [["attempts", "8"], ["events", "9"]]);
    // A month whose rows are in the default partition already stays there, and nothing fails.
    world.keep(1, NOW + 400 * DAY).await;
    world
        .tamper("SELECT make_partitions(CAST(now() AT TIME ZONE 'UTC' + INTERVAL '10 months' AS TIMESTAMP))")
        .unwrap();
    assert!(!world.events(&flow_id(1)).await.unwrap().is_empty());
}
