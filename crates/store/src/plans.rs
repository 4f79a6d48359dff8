//! How SQLite finds what it is asked for: every statement of a serving store is explained, and none may go through a whole
//! table that grows. (PostgreSQL is watched while it answers the same questions, in `tests/it/nodes.rs`.)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::Store;

#[path = "../tests/it/questions.rs"]
mod questions;
#[path = "../tests/it/world.rs"]
#[expect(
    dead_code,
    unused_macros,
    reason = "the tests of the whole crate need more of it"
)]
mod world;

/// Tables that do not grow with the sign flows, so that reading one whole costs next to nothing.
const SMALL: &[(&str, &str)] = &[
    ("channels", "some hundreds; the console lists them all"),
    ("credentials", "some dozens, read at the start"),
    ("nodes", "one row for each process that is there"),
    ("operators", "people; the console lists them all"),
    ("operator_keys", "programs; the console lists them all"),
    ("seals", "a bounded number for each channel"),
    (
        "revoked_certificates",
        "the revocation list names every one of them",
    ),
    ("flow_tallies", "one row for each status"),
    ("copies", "one row at most"),
    (
        "redeliveries",
        "one row for each time that somebody sends many again",
    ),
];

/// Indexes over the few rows that matter, and not over what there is.
const PARTIAL: &[(&str, &str)] = &[
    ("callbacks_waiting_of_channel", "what waits is counted"),
    ("callbacks_failed_of_channel", "what failed is counted"),
];

/// Statements whose plan names a table that they do not read: for a foreign key that the transaction has left open, and ours
/// leave none (SQLite's `OP_FkIfZero` steps over it).
const FOREIGN_KEYS: &[(&str, &str)] = &[
    ("INSERT INTO flows ", "tokens"),
    ("INSERT INTO lanes ", "callbacks"),
];

/// The statements that each database was asked to prepare, by the database's path.
static HEARD: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

/// Notes a statement.
pub(crate) fn hear(connection: &rusqlite::Connection, sql: &str) {
    let path = connection.path().unwrap_or_default().to_owned();
    let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    heard.entry(path).or_default().insert(sql.to_owned());
}

/// The steps of a statement's plan, such as `SEARCH flows USING INDEX flows_by_time (created_at>?)`.
fn plan(connection: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut explain = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let mut rows = explain.raw_query();
    let mut steps = Vec::new();
    while let Some(step) = rows.next().unwrap() {
        steps.push(step.get("detail").unwrap());
    }
    steps
}

/// The tables that the database has.
fn tables(connection: &rusqlite::Connection) -> Vec<String> {
    let mut statement = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_question_reads_a_whole_table() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let created = store.create_channel(
        world::channel(world::CHANNEL, "链家"),
        world::api_key("k1", world::CHANNEL),
    );
    assert!(created.await.unwrap());
    world::keep(&store, world::new_flow(1, world::NOW)).await;
    questions::ask_everything(&store).await;

    let path = folder.path().join("sealpost.sqlite");
    let heard = {
        let heard = HEARD.lock().unwrap();
        heard.get(path.to_str().unwrap()).cloned().unwrap()
    };
    let connection = rusqlite::Connection::open(&path).unwrap();
    let tables = tables(&connection);
    let mut used = BTreeSet::new();
    let mut whole = Vec::new();
    for sql in &heard {
        for step in plan(&connection, sql) {
            let Some(table) = step.strip_prefix("SCAN ") else {
                continue;
            };
            let (table, how) = table.split_once(' ').unwrap_or((table, ""));
            if !tables.iter().any(|known| known == table) {
                // A part of the statement itself, made of what other steps read.
                continue;
            }
            let small = SMALL.iter().find(|(small, _)| *small == table);
            let partial = PARTIAL.iter().find(|(index, _)| how.ends_with(index));
            let foreign_key = FOREIGN_KEYS
                .iter()
                .find(|(start, other)| sql.trim_start().starts_with(start) && *other == table);
            match small.or(partial).or(foreign_key) {
                Some((what, _)) => drop(used.insert(*what)),
                None => whole.push(format!("{step}: {sql}")),
            }
        }
    }
    assert!(heard.len() > 100, "only {} statements", heard.len());
    assert!(whole.is_empty(), "{}", whole.join("\n"));
    let known = SMALL.iter().chain(PARTIAL).chain(FOREIGN_KEYS);
    let unused: Vec<_> = known.filter(|(what, _)| !used.contains(what)).collect();
    assert!(unused.is_empty(), "no longer needed: {unused:?}");
}
