//! Redelivering many: a piece of work that is kept itself, so that it can be watched from anywhere and outlives whoever
//! began it.
//!
//! Each step starts new rounds for some hundreds of callbacks and notes how far it got in the same transaction. Whoever takes
//! the next step (the process that began, or any other node) goes on from there, so a step is neither lost nor done twice.

use std::fmt;
use std::str::FromStr;

use rusqlite::params;
use sealpost_contract::UtcMillis;

use super::redeliver::redeliver_failed;
use super::{CallbackId, FailedSince};
use crate::Store;
use crate::database::{Connection, One, OptionalExtension as _, Row};
use crate::error::Result;

/// Names a redelivery of many. Written `rd_` and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RedeliveryId(i64);

impl fmt::Display for RedeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rd_{}", self.0)
    }
}

/// The text is not a redelivery's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a redelivery's id is rd_ and a number")]
pub struct NotARedeliveryId;

impl FromStr for RedeliveryId {
    type Err = NotARedeliveryId;

    fn from_str(text: &str) -> Result<Self, NotARedeliveryId> {
        let number = text.strip_prefix("rd_").ok_or(NotARedeliveryId)?;
        let id = Self(number.parse().map_err(|_| NotARedeliveryId)?);
        // Only the one spelling that we write.
        (id.to_string() == text)
            .then_some(id)
            .ok_or(NotARedeliveryId)
    }
}

/// A redelivery of many, and how far it has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redelivery {
    /// Its id.
    pub id: RedeliveryId,
    /// What is redelivered.
    pub which: FailedSince,
    /// How many there were when it began. Those that a person redelivers one by one meanwhile are left out.
    pub total: u64,
    /// New rounds begun so far.
    pub redelivered: u64,
    /// When it began.
    pub started_at: UtcMillis,
    /// When its last step was taken.
    pub stepped_at: UtcMillis,
    /// When it was over; `None`: it is not.
    pub finished_at: Option<UtcMillis>,
}

const COLUMNS: &str =
    "id, channel_id, since_at, until_at, total, redelivered, started_at, stepped_at, finished_at";

impl Store {
    /// Begins to redeliver failed callbacks. Nothing is redelivered yet: call [`Store::step_redelivery`] until it is finished.
    ///
    /// # Errors
    /// Whatever keeps the store from reading and writing.
    pub async fn start_redelivery(&self, which: FailedSince, now: UtcMillis) -> Result<Redelivery> {
        let counted = which.clone();
        // Before and not in the transaction: a count of many would keep others waiting.
        let total = self
            .database
            .read_one(move |one| count(one, &counted))
            .await?;
        self.database
            .write_one(move |one| start(one, &which, total, now))
            .await
    }

    /// Takes one step of a redelivery, some hundreds of callbacks; answers how far it has got. `None`: there is no such.
    ///
    /// # Errors
    /// Whatever keeps the store from writing; then the step was not taken.
    pub async fn step_redelivery(
        &self,
        id: RedeliveryId,
        now: UtcMillis,
    ) -> Result<Option<Redelivery>> {
        let stepped = self
            .database
            .write(move |connection| step(connection, id, now))
            .await?;
        self.wake_others();
        Ok(stepped)
    }

    /// How far a redelivery has got.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_redelivery(&self, id: RedeliveryId) -> Result<Option<Redelivery>> {
        self.database.read_one(move |one| find(one, id)).await
    }

    /// The newest redeliveries, at most `limit`; with a channel, those of it alone.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn redeliveries(
        &self,
        channel_id: Option<String>,
        limit: usize,
    ) -> Result<Vec<Redelivery>> {
        let list = move |one: One<'_>| {
            let sql = format!(
                "SELECT {COLUMNS} FROM redeliveries WHERE CAST(?1 AS TEXT) IS NULL OR channel_id = ?1 ORDER BY id DESC LIMIT ?2"
            );
            let statement = one.prepare_cached(&sql)?;
            let rows = statement.query_map(params![channel_id, limit as i64], read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        };
        self.database.read_one(list).await
    }

    /// The redeliveries that are not finished, the oldest first.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn unfinished_redeliveries(&self) -> Result<Vec<Redelivery>> {
        let list = |one: One<'_>| {
            let sql =
                format!("SELECT {COLUMNS} FROM redeliveries WHERE finished_at IS NULL ORDER BY id");
            let statement = one.prepare_cached(&sql)?;
            let rows = statement.query_map([], read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        };
        self.database.read_one(list).await
    }
}

fn count(one: One<'_>, which: &FailedSince) -> Result<u64> {
    let total: i64 = one
        .prepare_cached(
            "SELECT count(*) FROM callbacks
             WHERE state = 2 AND ended_at >= ?1 AND ended_at <= ?2 AND (CAST(?3 AS TEXT) IS NULL
                 OR channel_lane = (SELECT id FROM lanes WHERE channel_id = ?3 AND origin = ''))",
        )?
        .query_row(params![which.since, which.until, which.channel_id], |row| {
            row.get(0)
        })?;
    Ok(total.unsigned_abs())
}

fn start(one: One<'_>, which: &FailedSince, total: u64, now: UtcMillis) -> Result<Redelivery> {
    let sql = format!(
        "INSERT INTO redeliveries
             (channel_id, since_at, until_at, after_at, after_id, total, redelivered, started_at, stepped_at)
         VALUES (?1, ?2, ?3, ?2, 0, ?4, 0, ?5, ?5) RETURNING {COLUMNS}"
    );
    one.prepare_cached(&sql)?.query_row(
        params![
            which.channel_id,
            which.since,
            which.until,
            i64::try_from(total).unwrap_or(i64::MAX),
            now
        ],
        read,
    )
}

fn step(connection: &Connection, id: RedeliveryId, now: UtcMillis) -> Result<Option<Redelivery>> {
    // Of two nodes that take a step at once, one waits here and then goes on after the other's.
    let sql = format!(
        "SELECT after_at, after_id FROM redeliveries WHERE id = ?1 AND finished_at IS NULL {lock}",
        lock = if connection.is_postgres() {
            "FOR UPDATE"
        } else {
            ""
        }
    );
    let after: Option<(UtcMillis, i64)> = connection
        .prepare_cached(&sql)?
        .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (Some((at, callback)), Some(kept)) = (after, find(connection.one(), id)?) else {
        return find(connection.one(), id);
    };
    let after = (at, CallbackId::from_number(callback));
    let step = redeliver_failed(connection, &kept.which, after, now)?;
    let (next_at, next_id) = step.next.unwrap_or(after);
    let sql = format!(
        "UPDATE redeliveries SET after_at = ?2, after_id = ?3, redelivered = redelivered + ?4, stepped_at = ?5, finished_at = ?6
         WHERE id = ?1 RETURNING {COLUMNS}"
    );
    let stepped = connection.prepare_cached(&sql)?.query_row(
        params![
            id.0,
            next_at,
            next_id.number(),
            i64::try_from(step.redelivered).unwrap_or(i64::MAX),
            now,
            step.next.is_none().then_some(now)
        ],
        read,
    )?;
    Ok(Some(stepped))
}

fn find(one: One<'_>, id: RedeliveryId) -> Result<Option<Redelivery>> {
    let sql = format!("SELECT {COLUMNS} FROM redeliveries WHERE id = ?1");
    one.prepare_cached(&sql)?.query_row([id.0], read).optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Redelivery> {
    Ok(Redelivery {
        id: RedeliveryId(row.get(0)?),
        which: FailedSince {
            channel_id: row.get(1)?,
            since: row.get(2)?,
            until: row.get(3)?,
        },
        total: row.get(4)?,
        redelivered: row.get(5)?,
        started_at: row.get(6)?,
        stepped_at: row.get(7)?,
        finished_at: row.get(8)?,
    })
}
