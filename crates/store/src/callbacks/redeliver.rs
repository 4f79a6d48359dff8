//! New rounds of attempts, started by a person: for one callback, and the step that does it for many.

use rusqlite::params;
use sealpost_contract::UtcMillis;

use super::CallbackId;
use crate::Store;
use crate::database::Connection;
use crate::error::Result;
use crate::idempotency::{self, IdempotencyKey, Remembered};

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

/// What became of the wish to redeliver one callback once, however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedeliveredOnce {
    /// It was done, or not, now. The key is used only with [`Redelivered::Due`].
    Now(Redelivered),
    /// Nothing was done: the idempotency key was used before, for this.
    Remembered(Remembered),
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
pub(super) struct Step {
    /// How many new rounds have begun in this step.
    pub(super) redelivered: u64,
    /// Where the next step goes on; `None`: it was the last.
    pub(super) next: Option<(UtcMillis, CallbackId)>,
}

impl Store {
    /// Starts a new round for a callback that failed, or once more for one that was acknowledged.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn redeliver(&self, id: CallbackId, now: UtcMillis) -> Result<Redelivered> {
        let redelivered = self
            .database
            .write(move |connection| redeliver(connection, id, now))
            .await?;
        if redelivered == Redelivered::Due {
            self.wake_others();
        }
        Ok(redelivered)
    }

    /// As [`Store::redeliver`], and remembers the key together with the new round.
    ///
    /// # Errors
    /// Whatever keeps the store from writing; then the key is as unused as before.
    pub async fn redeliver_once(
        &self,
        id: CallbackId,
        key: IdempotencyKey,
        now: UtcMillis,
    ) -> Result<RedeliveredOnce> {
        let once = move |connection: &Connection| {
            if let Some(remembered) = idempotency::remember(connection, &key, &id.to_string())? {
                return Ok(RedeliveredOnce::Remembered(remembered));
            }
            let redelivered = redeliver(connection, id, now)?;
            if redelivered != Redelivered::Due {
                idempotency::take_back(connection, &key)?;
            }
            Ok(RedeliveredOnce::Now(redelivered))
        };
        let redelivered = self.database.write(once).await?;
        if redelivered == RedeliveredOnce::Now(Redelivered::Due) {
            self.wake_others();
        }
        Ok(redelivered)
    }
}

fn redeliver(connection: &Connection, id: CallbackId, now: UtcMillis) -> Result<Redelivered> {
    if start_round(connection, id.number(), now)? {
        return Ok(Redelivered::Due);
    }
    let known = connection
        .prepare_cached("SELECT 1 FROM callbacks WHERE id = ?1")?
        .exists([id.number()])?;
    Ok(if known {
        Redelivered::StillWaiting
    } else {
        Redelivered::NotFound
    })
}

/// `false` if there is no such callback or it still waits, perhaps because another node has just begun a round.
fn start_round(connection: &Connection, id: i64, now: UtcMillis) -> Result<bool> {
    let started = connection
        .prepare_cached(
            "UPDATE callbacks
             SET state = 0, round = round + 1, attempts = 0, due_at = ?2, holder = NULL, fence = fence + 1, ended_at = NULL
             WHERE id = ?1 AND state <> 0",
        )?
        .execute(params![id, now])?;
    Ok(started > 0)
}

/// Starts a new round for some hundreds of failed callbacks, those that come next after `after` in the order of their end.
pub(super) fn redeliver_failed(
    connection: &Connection,
    which: &FailedSince,
    after: (UtcMillis, CallbackId),
    now: UtcMillis,
) -> Result<Step> {
    let mut statement = connection.prepare_cached(
        "SELECT callbacks.id, ended_at, CAST(?4 AS TEXT) IS NULL OR channel_id = ?4
         FROM callbacks JOIN lanes ON lanes.id = channel_lane
         WHERE state = 2 AND (ended_at, callbacks.id) > (?1, ?2) AND ended_at <= ?3
         ORDER BY ended_at, callbacks.id LIMIT ?5",
    )?;
    let (after_at, after_id) = after;
    let found: Vec<(i64, UtcMillis, bool)> = statement
        .query_map(
            params![
                after_at,
                after_id.number(),
                which.until,
                which.channel_id,
                STEP
            ],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?
        .collect::<rusqlite::Result<_>>()?;
    let mut redelivered = 0;
    for (id, _, wanted) in &found {
        if *wanted && start_round(connection, *id, now)? {
            redelivered += 1;
        }
    }
    let full = found.len() as i64 == STEP;
    let next = found
        .last()
        .filter(|_| full)
        .map(|(id, at, _)| (*at, CallbackId::from_number(*id)));
    Ok(Step { redelivered, next })
}
