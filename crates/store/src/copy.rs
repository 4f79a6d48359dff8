//! Moving an installation to another database: every table is copied, compared and verified.
//!
//! The source is read in one snapshot, so a copy is of one moment, whatever goes on beside it. Each table is walked in the order
//! of its key, some hundreds of rows at a time: what the target lacks is inserted, what differs is updated, what the source no
//! longer has is deleted, each step in a transaction of its own. So a copy that was broken off is simply begun again: it reads
//! what is there and writes what is not. At the end every table of the target is read once more and its digest compared, and
//! the hash chain of every flow is computed anew.
//!
//! Documents are not in the database and stay where they are.

use std::collections::HashMap;

use rusqlite::ToSql;
use rusqlite::types::Value;
use sealpost_contract::UtcMillis;
use sealpost_flow::{Digest, event};
use tokio::runtime::Handle;

use crate::Store;
use crate::database::{Connection, OptionalExtension as _};
use crate::error::{Error, Result};
use crate::nodes::GONE;

/// Rows read and compared at once.
const STEP: usize = 500;

/// Rows in one `INSERT`.
const ROWS: usize = 50;

/// A table that is copied.
struct Table {
    name: &'static str,
    key: &'static [&'static str],
}

/// Every table, each after those that it refers to.
const TABLES: &[Table] = &[
    table("channels", &["id"]),
    table("channel_secrets", &["channel_id", "created_at"]),
    table("api_keys", &["hash"]),
    table("operators", &["id"]),
    table("operator_sessions", &["hash"]),
    table("operator_keys", &["id"]),
    table("audit", &["id"]),
    table("credentials", &["name"]),
    table("revoked_certificates", &["serial"]),
    table("seals", &["id"]),
    table("contract_checks", &["channel_id"]),
    table("flows", &["id"]),
    table("events", &["flow_id", "seq"]),
    table("tokens", &["hash"]),
    table("codes", &["flow_id", "signer"]),
    table("rates", &["key"]),
    table("idempotency_keys", &["caller_id", "key"]),
    table("lanes", &["id"]),
    table("callbacks", &["id"]),
    table("attempts", &["callback_id", "round", "number"]),
    table("redeliveries", &["id"]),
];

/// Tables whose rows say something of one database alone.
#[cfg(test)]
const LEFT: &[&str] = &[
    "copies",
    "nodes",
    "write_proof",
    "flow_tallies",
    "revisions",
];

/// Tables whose ids the database counts up.
const COUNTED: &[&str] = &["audit", "lanes", "redeliveries"];

const fn table(name: &'static str, key: &'static [&'static str]) -> Table {
    Table { name, key }
}

/// How the copy of a table went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub table: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// How many of them were inserted, updated or deleted this time.
    pub written: u64,
    /// Over all values of all rows, in the order of the key: the same in both databases.
    pub digest: Digest,
}

/// What to do with the copy.
#[derive(Debug, Clone)]
pub struct CopyPlan {
    /// Says where it comes from, for people.
    pub source: String,
    /// Whether the source rests, so that the copy is the last. Otherwise the target is not to be used until another copy is.
    pub last: bool,
    /// The time.
    pub now: UtcMillis,
}

impl Store {
    /// Copies all that this store's database holds into the database of `target`, and verifies it. `heard` is told of each table.
    ///
    /// # Errors
    /// [`Error::CopyRefused`] if the target holds anything but an earlier copy that is not finished, [`Error::CopiedInUse`] if a
    /// node is there over the source although the copy is to be the last, [`Error::CopyDiffers`] if
    /// what was written is not what is read, [`Error::TooNew`] if a newer program has been at work over either database, for it
    /// may keep something in tables that are not copied here, or whatever keeps the stores from reading and writing. Then it can be
    /// done again.
    pub async fn copy_into(
        &self,
        target: &Store,
        plan: CopyPlan,
        heard: impl FnMut(&CopiedTable) + Send + 'static,
    ) -> Result<Vec<CopiedTable>> {
        self.database.read(refuse_newer).await?;
        let (began, held) = (plan.clone(), plan.clone());
        target
            .database
            .write(move |connection| begin(connection, &began))
            .await?;
        let copy = Copy {
            target: target.clone(),
            runtime: Handle::current(),
        };
        let copied = self
            .database
            .read(move |source| {
                hold(source, &held)?;
                // A newer program may have come meanwhile.
                refuse_newer(source)?;
                copy.all(source, heard)
            })
            .await?;
        if plan.last {
            target
                .database
                .write(move |connection| finish(connection, plan.now))
                .await?;
        }
        Ok(copied)
    }

    /// Refuses a database into which a copy was begun and not finished.
    ///
    /// # Errors
    /// [`Error::CopyUnfinished`], or whatever keeps the store from reading.
    pub async fn refuse_unfinished_copy(&self) -> Result<()> {
        let unfinished = self
            .database
            .read(|connection| {
                connection
                    .prepare_cached("SELECT 1 FROM copies WHERE finished_at IS NULL")?
                    .exists([])
            })
            .await?;
        if unfinished {
            return Err(Error::CopyUnfinished);
        }
        Ok(())
    }
}

fn refuse_newer(connection: &Connection) -> Result<()> {
    let (found, known) = connection.schema_version()?;
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    Ok(())
}

/// Readies the source for being read to the end. Over PostgreSQL its session rests in a transaction while the target is written to
/// and verified, and must not be ended for that; and the last copy keeps servers from joining until it is done, for what they wrote
/// would be left behind.
fn hold(source: &Connection, plan: &CopyPlan) -> Result<()> {
    if !source.is_postgres() {
        return Ok(());
    }
    source.run("SET LOCAL idle_in_transaction_session_timeout = 0")?;
    if !plan.last {
        return Ok(());
    }
    // Before anything is read, so that the snapshot is of the time after it.
    source.run("LOCK TABLE nodes IN EXCLUSIVE MODE")?;
    let node = source
        .prepare_cached("SELECT name FROM nodes WHERE seen_at > ?1 ORDER BY started_at LIMIT 1")?
        .query_row([plan.now - GONE], |row| row.get(0))
        .optional()?;
    match node {
        Some(node) => Err(Error::CopiedInUse(node)),
        None => Ok(()),
    }
}

fn begin(connection: &Connection, plan: &CopyPlan) -> Result<()> {
    refuse_newer(connection)?;
    let before: Option<Option<i64>> = connection
        .prepare_cached("SELECT finished_at FROM copies")?
        .query_row([], |row| row.get(0))
        .optional()?;
    match before {
        Some(None) => return Ok(()),
        Some(Some(_)) => {
            return Err(Error::CopyRefused(
                "has taken a copy before, and may be in use",
            ));
        }
        None => {}
    }
    for table in TABLES {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", table.name);
        if connection.prepare_cached(&sql)?.exists([])? {
            return Err(Error::CopyRefused("is not empty"));
        }
    }
    connection
        .prepare_cached("INSERT INTO copies (id, source, started_at) VALUES (1, ?1, ?2)")?
        .execute(rusqlite::params![plan.source, plan.now])?;
    Ok(())
}

fn finish(connection: &Connection, now: UtcMillis) -> Result<()> {
    if connection.is_postgres() {
        for table in COUNTED {
            connection
                .prepare_cached(&format!(
                    "SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM {table}), false)"
                ))?
                .exists([])?;
        }
    }
    connection
        .prepare_cached("UPDATE copies SET finished_at = ?1")?
        .execute([now])?;
    Ok(())
}

/// A row's values, in the order of the table's columns.
type Values = Vec<Value>;

/// A copy under way, in a thread that may block.
struct Copy {
    target: Store,
    runtime: Handle,
}

impl Copy {
    fn all(
        &self,
        source: &Connection,
        mut heard: impl FnMut(&CopiedTable),
    ) -> Result<Vec<CopiedTable>> {
        let mut copied = Vec::new();
        for table in TABLES {
            let columns = columns(source, table)?;
            let done = self.table(source, table, &columns)?;
            heard(&done);
            copied.push(done);
        }
        Ok(copied)
    }

    fn table(
        &self,
        source: &Connection,
        table: &'static Table,
        columns: &[String],
    ) -> Result<CopiedTable> {
        let shape = Shape::new(table, columns);
        let mut read = Tally::default();
        let mut written = 0;
        let mut after: Option<Values> = None;
        loop {
            let rows = shape.page(source, after.as_deref(), None, Some(STEP))?;
            rows.iter().for_each(|row| read.add(row));
            let last = rows.len() < STEP;
            let until = rows.last().filter(|_| !last).map(|row| shape.key_of(row));
            let (from, step) = (after.take(), shape.clone());
            after.clone_from(&until);
            written += self
                .runtime
                .block_on(self.target.database.write(move |target| {
                    step.bring(target, from.as_deref(), until.as_deref(), &rows)
                }))?;
            if last {
                break;
            }
        }
        let verifying = shape.clone();
        let found = self.runtime.block_on(
            self.target
                .database
                .read(move |target| verifying.verify(target)),
        )?;
        if found != read {
            return Err(Error::CopyDiffers(table.name));
        }
        Ok(CopiedTable {
            table: table.name,
            rows: read.rows,
            written,
            digest: read.digest,
        })
    }
}

/// The columns that both databases have: SQLite's, for PostgreSQL has some of its own.
fn columns(connection: &Connection, table: &Table) -> Result<Vec<String>> {
    let sql = if connection.is_postgres() {
        // flow_at only says in which partition an event is.
        "SELECT CAST(column_name AS TEXT) FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = ?1 AND column_name <> 'flow_at' ORDER BY column_name"
    } else {
        "SELECT name FROM pragma_table_info(?1) ORDER BY name"
    };
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([table.name], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Counts rows and digests them.
#[derive(Debug, PartialEq, Eq)]
struct Tally {
    rows: u64,
    digest: Digest,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            rows: 0,
            digest: event::GENESIS,
        }
    }
}

impl Tally {
    fn add(&mut self, row: &[Value]) {
        self.rows += 1;
        self.digest = Digest::of_parts(&[self.digest.as_bytes(), &encoded(row)]);
    }
}

/// The values as bytes: each by its kind, its length and its content.
fn encoded(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |kind: u8, content: &[u8]| {
        bytes.push(kind);
        bytes.extend((content.len() as u64).to_be_bytes());
        bytes.extend(content);
    };
    for value in values {
        match value {
            Value::Null => put(0, &[]),
            Value::Integer(value) => put(1, &value.to_be_bytes()),
            Value::Real(value) => put(2, &value.to_be_bytes()),
            Value::Text(value) => put(3, value.as_bytes()),
            Value::Blob(value) => put(4, value),
        }
    }
    bytes
}

/// A table with its columns, and the statements over them.
#[derive(Clone)]
struct Shape {
    table: &'static Table,
    columns: Vec<String>,
    /// Where the key's columns are among them.
    key: Vec<usize>,
}

impl Shape {
    fn new(table: &'static Table, columns: &[String]) -> Shape {
        let place = |name: &&str| columns.iter().position(|column| column == name);
        Shape {
            table,
            columns: columns.to_vec(),
            key: table.key.iter().filter_map(place).collect(),
        }
    }

    fn key_of(&self, row: &[Value]) -> Values {
        self.key.iter().map(|place| row[*place].clone()).collect()
    }

    /// Rows in the order of the key: after one, up to another, so many.
    fn page(
        &self,
        connection: &Connection,
        after: Option<&[Value]>,
        until: Option<&[Value]>,
        limit: Option<usize>,
    ) -> Result<Vec<Values>> {
        let mut conditions = Vec::new();
        let mut values: Vec<&dyn ToSql> = Vec::new();
        for (sign, bound) in [(">", after), ("<=", until)] {
            if let Some(bound) = bound {
                conditions.push(format!(
                    "({}) {sign} ({})",
                    quoted(self.table.key),
                    numbered(values.len(), bound.len())
                ));
                values.extend(bound.iter().map(|value| value as &dyn ToSql));
            }
        }
        let within = if conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", conditions.join(" AND "))
        };
        let limit = limit.map_or(String::new(), |limit| format!("LIMIT {limit}"));
        let sql = format!(
            "SELECT {} FROM {} {within} ORDER BY {} {limit}",
            quoted(&self.columns),
            self.table.name,
            quoted(self.table.key)
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(&values[..], |row| {
            (0..self.columns.len())
                .map(|place| row.get(place))
                .collect()
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Makes the target's rows between two keys those given; answers how many it wrote.
    fn bring(
        &self,
        target: &Connection,
        after: Option<&[Value]>,
        until: Option<&[Value]>,
        rows: &[Values],
    ) -> Result<u64> {
        let there = self.page(target, after, until, None)?;
        let mut there: HashMap<Vec<u8>, Values> = there
            .into_iter()
            .map(|row| (encoded(&self.key_of(&row)), row))
            .collect();
        let (mut missing, mut different): (Vec<&Values>, Vec<&Values>) = (Vec::new(), Vec::new());
        for row in rows {
            match there.remove(&encoded(&self.key_of(row))) {
                None => missing.push(row),
                Some(kept) if kept != *row => different.push(row),
                Some(_) => {}
            }
        }
        let written = there.len() + missing.len() + different.len();
        for gone in there.values() {
            self.delete(target, gone)?;
        }
        for row in different {
            self.update(target, row)?;
        }
        for rows in missing.chunks(ROWS) {
            self.insert(target, rows)?;
        }
        Ok(written as u64)
    }

    fn insert(&self, target: &Connection, rows: &[&Values]) -> Result<()> {
        let width = self.columns.len();
        // An event goes where its flow's events are.
        let partitioned = target.is_postgres() && self.table.name == "events";
        let one = |place: usize| {
            let values = numbered(place * width, width);
            if partitioned {
                let flow = place * width + self.key.first().map_or(0, |first| first + 1);
                format!("({values}, (SELECT created_at FROM flows WHERE id = ?{flow}))")
            } else {
                format!("({values})")
            }
        };
        let sql = format!(
            "INSERT INTO {} ({}{}) VALUES {}",
            self.table.name,
            quoted(&self.columns),
            if partitioned { ", flow_at" } else { "" },
            (0..rows.len()).map(one).collect::<Vec<_>>().join(", ")
        );
        let values: Vec<&dyn ToSql> = rows
            .iter()
            .flat_map(|row| row.iter())
            .map(|value| value as &dyn ToSql)
            .collect();
        target.prepare_cached(&sql)?.execute(&values[..])?;
        Ok(())
    }

    fn update(&self, target: &Connection, row: &Values) -> Result<()> {
        let set: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| format!("\"{column}\" = ?{}", place + 1))
            .collect();
        let sql = format!(
            "UPDATE {} SET {} WHERE {}",
            self.table.name,
            set.join(", "),
            self.is_key(|place| place)
        );
        let values: Vec<&dyn ToSql> = row.iter().map(|value| value as &dyn ToSql).collect();
        target.prepare_cached(&sql)?.execute(&values[..])?;
        Ok(())
    }

    fn delete(&self, target: &Connection, row: &Values) -> Result<()> {
        let sql = format!(
            "DELETE FROM {} WHERE {}",
            self.table.name,
            self.is_key(|place| self.key.iter().position(|key| *key == place).unwrap_or(0))
        );
        let key = self.key_of(row);
        let values: Vec<&dyn ToSql> = key.iter().map(|value| value as &dyn ToSql).collect();
        target.prepare_cached(&sql)?.execute(&values[..])?;
        Ok(())
    }

    /// The condition on a row's key, whose columns' values are the parameters at these places.
    fn is_key(&self, parameter: impl Fn(usize) -> usize) -> String {
        let each = self.key.iter().map(|place| {
            let column = &self.columns[*place];
            format!("\"{column}\" = ?{}", parameter(*place) + 1)
        });
        each.collect::<Vec<_>>().join(" AND ")
    }

    /// Reads the whole table; of events also their hash chains.
    fn verify(&self, target: &Connection) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut chains = Chains::default();
        let mut after: Option<Values> = None;
        loop {
            let rows = self.page(target, after.as_deref(), None, Some(STEP))?;
            for row in &rows {
                tally.add(row);
                if self.table.name == "events" {
                    chains.add(target, &self.columns, row)?;
                }
            }
            if rows.len() < STEP {
                chains.end(target)?;
                return Ok(tally);
            }
            after = rows.last().map(|row| self.key_of(row));
        }
    }
}

/// Follows the hash chain of one flow after the other.
#[derive(Default)]
struct Chains {
    flow: Option<(String, Digest)>,
}

impl Chains {
    fn add(&mut self, target: &Connection, columns: &[String], row: &[Value]) -> Result<()> {
        let value = |name: &str| {
            let place = columns.iter().position(|column| column == name);
            place.map(|place| &row[place])
        };
        let (Some(Value::Text(flow)), Some(Value::Text(body)), Some(Value::Blob(chain))) =
            (value("flow_id"), value("body"), value("chain"))
        else {
            return Err(Error::CopyDiffers("events"));
        };
        if self.flow.as_ref().is_none_or(|(id, _)| id != flow) {
            self.end(target)?;
        }
        let (_, head) = self
            .flow
            .get_or_insert_with(|| (flow.clone(), event::GENESIS));
        *head = event::chain_json(head, body);
        if head.as_bytes()[..] != chain[..] {
            return Err(Error::CopyDiffers("events"));
        }
        Ok(())
    }

    /// The flow itself must name the last value of its chain.
    fn end(&mut self, target: &Connection) -> Result<()> {
        let Some((flow, head)) = self.flow.take() else {
            return Ok(());
        };
        let named = target
            .prepare_cached("SELECT 1 FROM flows WHERE id = ?1 AND chain_head = ?2")?
            .exists(&[&flow as &dyn ToSql, &head.as_bytes()][..])?;
        if named {
            Ok(())
        } else {
            Err(Error::CopyDiffers("events"))
        }
    }
}

fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    let each = names.iter().map(|name| format!("\"{}\"", name.as_ref()));
    each.collect::<Vec<_>>().join(", ")
}

/// `?2, ?3`: so many parameters after so many.
fn numbered(before: usize, count: usize) -> String {
    let each = (before + 1..=before + count).map(|number| format!("?{number}"));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{LEFT, TABLES};

    #[tokio::test]
    async fn every_table_is_copied_or_left_on_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::Store::open(folder.path()).unwrap();
        let found = store
            .database
            .read(|connection| {
                let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
                Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
            })
            .await
            .unwrap();
        let mut known: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        known.extend(LEFT);
        known.sort_unstable();
        assert_eq!(found, known);
    }
}
