//! The processes that serve one database, as far as they have been heard of lately.
//!
//! Nothing is decided by this list: who does a piece of work is settled by leases and versions, row by row. It shows people who is
//! there, and keeps out a node that would keep its documents where the others do not find them.

use rusqlite::params;
use sealpost_contract::UtcMillis;

use crate::Store;
use crate::database::{Connection, One, OptionalExtension as _, Row};
use crate::error::Result;

/// A node that has not been heard of for this long is gone, in milliseconds.
pub(crate) const GONE: UtcMillis = 20_000;

/// A process that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id, made anew at each start.
    pub id: String,
    /// Host and address, for people.
    pub name: String,
    /// Which bucket or folder it keeps documents in.
    pub documents: String,
    /// When it started.
    pub started_at: UtcMillis,
    /// When it was last heard of.
    pub seen_at: UtcMillis,
}

/// What became of a node that wants to join the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// It has joined.
    Done,
    /// It has not: this one, which is there, keeps its documents elsewhere.
    Elsewhere(Box<Node>),
}

impl Store {
    /// Lets a node join those that are there, and forgets those that have long gone.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn join(&self, node: Node) -> Result<Joined> {
        let join = move |connection: &Connection| {
            if connection.is_postgres() {
                // Of two that join at once, the second sees the first.
                connection.run("LOCK TABLE nodes IN EXCLUSIVE MODE")?;
            }
            let other = connection
                .prepare_cached(
                    "SELECT * FROM nodes WHERE documents <> ?1 AND seen_at > ?2 ORDER BY started_at LIMIT 1",
                )?
                .query_row(params![node.documents, node.seen_at - GONE], read)
                .optional()?;
            if let Some(other) = other {
                return Ok(Joined::Elsewhere(Box::new(other)));
            }
            connection
                .prepare_cached("DELETE FROM nodes WHERE seen_at <= ?1")?
                .execute([node.seen_at - GONE])?;
            connection
                .prepare_cached(
                    "INSERT INTO nodes (id, name, documents, started_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![node.id, node.name, node.documents, node.started_at, node.seen_at])?;
            Ok(Joined::Done)
        };
        self.database.write(join).await
    }

    /// Says that a node is still there. One that was taken for gone is there again.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn keep_joined(&self, node: Node) -> Result<()> {
        let keep = move |one: One<'_>| {
            one
                .prepare_cached(
                    "INSERT INTO nodes (id, name, documents, started_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
                )?
                .execute(params![node.id, node.name, node.documents, node.started_at, node.seen_at])?;
            Ok(())
        };
        self.database.write_one(keep).await
    }

    /// Takes a node that stops off the list.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn leave(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        let leave = move |one: One<'_>| {
            one.prepare_cached("DELETE FROM nodes WHERE id = ?1")?
                .execute([id])?;
            Ok(())
        };
        self.database.write_one(leave).await
    }

    /// The nodes that are there, those that started first first.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn nodes(&self, now: UtcMillis) -> Result<Vec<Node>> {
        let list = move |one: One<'_>| {
            let statement = one
                .prepare_cached("SELECT * FROM nodes WHERE seen_at > ?1 ORDER BY started_at, id")?;
            Ok(statement
                .query_map([now - GONE], read)?
                .collect::<rusqlite::Result<_>>()?)
        };
        self.database.read_one(list).await
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Node> {
    Ok(Node {
        id: row.get("id")?,
        name: row.get("name")?,
        documents: row.get("documents")?,
        started_at: row.get("started_at")?,
        seen_at: row.get("seen_at")?,
    })
}
