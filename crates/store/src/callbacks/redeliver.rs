//! New rounds of attempts, started by a person.

use rusqlite::params;
use sealpost_contract::UtcMillis;

use super::CallbackId;
use crate::Store;
use crate::database::{Connection, OptionalExtension as _};
use crate::error::Result;

/// Looked at in one step of redelivering many, so that no step keeps others waiting.
const STEP: i64 = 500;

/// What became of the wish to redeliver one callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redelivered {
    /// A new round has begun; its first attempt is due at once.
    Due,
    /// It is still being delivered; nothing was changed.
    StillWaiting,
    /// There is no such callback.
    NotFound,
}

/// Which failed callbacks are to be redelivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSince {
    /// Of this channel; `None`: of all.
    pub channel_id: Option<String>,
    /// Given up at this time or later.
    pub since: UtcMillis,
    /// Given up at this time or earlier, so that one that fails again meanwhile is not taken twice.
    pub until: UtcMillis,
}

/// One step of redelivering many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedeliveryStep {
    /// How many new rounds have begun in this step.
    pub redelivered: u64,
    /// Where the next step goes on; `None`: it was the last.
    pub next: Option<(UtcMillis, CallbackId)>,
}

impl Store {
    /// Starts a new round for a callback that failed, or once more for one that was acknowledged.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn redeliver(&self, id: CallbackId, now: UtcMillis) -> Result<Redelivered> {
        self.database
            .write(move |connection| {
                let state: Option<i64> = connection
                    .prepare_cached("SELECT state FROM callbacks WHERE id = ?1")?
                    .query_row([id.number()], |row| row.get(0))
                    .optional()?;
                match state {
                    None => Ok(Redelivered::NotFound),
                    Some(0) => Ok(Redelivered::StillWaiting),
                    Some(_) => start_round(connection, id.number(), now).map(|()| Redelivered::Due),
                }
            })
            .await
    }

    /// Starts a new round for failed callbacks, some hundreds a step; call it again with what it answers as `next` until
    /// that is `None`.
    ///
    /// # Errors
    /// Whatever keeps the store from writing; the steps before stay done.
    pub async fn redeliver_failed(
        &self,
        which: FailedSince,
        after: Option<(UtcMillis, CallbackId)>,
        now: UtcMillis,
    ) -> Result<RedeliveryStep> {
        self.database
            .write(move |connection| redeliver_failed(connection, &which, after, now))
            .await
    }
}

fn start_round(connection: &Connection, id: i64, now: UtcMillis) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE callbacks
             SET state = 0, round = round + 1, attempts = 0, due_at = ?2, holder = NULL, fence = fence + 1, ended_at = NULL
             WHERE id = ?1",
        )?
        .execute(params![id, now])?;
    Ok(())
}

fn redeliver_failed(
    connection: &Connection,
    which: &FailedSince,
    after: Option<(UtcMillis, CallbackId)>,
    now: UtcMillis,
) -> Result<RedeliveryStep> {
    let mut statement = connection.prepare_cached(
        "SELECT callbacks.id, ended_at, CAST(?4 AS TEXT) IS NULL OR channel_id = ?4
         FROM callbacks JOIN lanes ON lanes.id = channel_lane
         WHERE state = 2 AND (ended_at, callbacks.id) > (?1, ?2) AND ended_at <= ?3
         ORDER BY ended_at, callbacks.id LIMIT ?5",
    )?;
    let (after_at, after_id) = after.map_or((which.since, 0), |(at, id)| (at, id.number()));
    let found: Vec<(i64, UtcMillis, bool)> = statement
        .query_map(
            params![after_at, after_id, which.until, which.channel_id, STEP],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?
        .collect::<rusqlite::Result<_>>()?;
    let mut redelivered = 0;
    for (id, _, wanted) in &found {
        if *wanted {
            start_round(connection, *id, now)?;
            redelivered += 1;
        }
    }
    let full = found.len() as i64 == STEP;
    let next = found
        .last()
        .filter(|_| full)
        .map(|(id, at, _)| (*at, CallbackId::from_number(*id)));
    Ok(RedeliveryStep { redelivered, next })
}
