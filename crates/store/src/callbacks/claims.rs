//! Taking what is due under a lease, and finishing it.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::params;
use sealpost_contract::UtcMillis;

use super::{CallbackId, CallbackState, Holder, LaneId, Lease, MAX_KEPT_ANSWER, batches};
use crate::Store;
use crate::database::{Connection, Database, One};
use crate::error::Result;
use crate::postgres::Single;

/// A lane that has callbacks waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueLane {
    /// The lane.
    pub id: LaneId,
    /// The channel it belongs to.
    pub channel_id: String,
    /// When the first of its callbacks is (or was) due; under a lease, when that ends.
    pub due_at: UtcMillis,
    /// Whether its deliveries rest: the channel is paused, or has no address yet.
    pub resting: bool,
}

/// A callback under our lease, with all that an attempt needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Its id.
    pub id: CallbackId,
    /// Its lane.
    pub lane: LaneId,
    /// Where it goes; `None`: the channel's address.
    pub url: Option<String>,
    /// The bytes to send.
    pub body: Bytes,
    /// Attempts already made in this round.
    pub attempts: u32,
    /// The lease's fence.
    pub fence: i64,
    /// When the lease ends.
    pub lease_until: UtcMillis,
}

/// What [`Store::claim_due`] took, and what it left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// The callbacks taken: those longest due, in the order they were made.
    pub taken: Vec<Claimed>,
    /// When the next callback of the lane is due, if more wait; under a lease, when that ends.
    pub next_due_at: Option<UtcMillis>,
}

/// What came of a claimed callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which callback.
    pub id: CallbackId,
    /// The fence it was claimed under.
    pub fence: i64,
    /// The attempt, if one was made; it is counted.
    pub attempt: Option<Finished>,
    /// What happens next.
    pub next: Next,
}

/// An attempt that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// When it began.
    pub at: UtcMillis,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The answer's HTTP status, if one came.
    pub http_status: Option<u16>,
    /// What it failed of; `None`: it acknowledged.
    pub reason: Option<&'static str>,
    /// Beyond the reason, for a person.
    pub detail: Option<String>,
    /// What the channel answered; at most [`MAX_KEPT_ANSWER`] bytes of it are kept.
    pub answer: Bytes,
}

/// What happens to a callback next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the channel has acknowledged it.
    Acknowledged(UtcMillis),
    /// Nothing: it was the last attempt of the round.
    Failed(UtcMillis),
    /// It is due (again) at this time.
    Due(UtcMillis),
}

impl Store {
    /// Every lane that has callbacks waiting, due or not, with the time of its first.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn due_lanes(&self) -> Result<Vec<DueLane>> {
        self.database.read_one(due_lanes).await
    }

    /// Takes callbacks that are due at `now`, the longest due first, under a lease until `lease_until`: of each lane asked for
    /// at most so many. Answers in the order of the asks.
    ///
    /// # Errors
    /// Whatever keeps the store from writing, or its answer from coming; what was taken all the same comes back when its lease
    /// ends.
    pub async fn claim_due(
        &self,
        asks: Vec<(LaneId, usize)>,
        lease: Lease,
        now: UtcMillis,
    ) -> Result<Vec<Claim>> {
        match &*self.database {
            Database::Sqlite(sqlite) => {
                let claim_all = move |connection: &Connection| {
                    let one = |(lane, limit): &(LaneId, usize)| {
                        claim(connection, *lane, *limit, lease, now)
                    };
                    asks.iter().map(one).collect()
                };
                sqlite.write(claim_all).await
            }
            Database::Postgres(postgres) => {
                let claim_all =
                    move |single: Single<'_>| batches::claim_all(single, &asks, lease, now);
                postgres.write_single(claim_all).await
            }
        }
    }

    /// Records what came of claimed callbacks, all in one transaction. Answers, in the same order, whether each outcome
    /// counted: it does not when the lease has gone to somebody else, or when it was recorded before.
    ///
    /// # Errors
    /// Whatever keeps the store from writing; then none was recorded.
    pub async fn finish(&self, holder: Holder, outcomes: Arc<[Outcome]>) -> Result<Vec<bool>> {
        let given_back = |outcome: &Outcome| outcome.attempt.is_none();
        let left = outcomes.iter().any(given_back);
        let counted = match &*self.database {
            Database::Sqlite(sqlite) => {
                let finish_all = move |connection: &Connection| {
                    let one = |outcome| finish(connection, holder, outcome);
                    outcomes.iter().map(one).collect()
                };
                sqlite.write(finish_all).await?
            }
            Database::Postgres(postgres) => {
                let finish_all =
                    move |single: Single<'_>| batches::finish_all(single, holder, &outcomes);
                postgres.write_single(finish_all).await?
            }
        };
        if left {
            self.wake_others();
        }
        Ok(counted)
    }

    /// Makes everything that others hold due at `now`: for the start of the only process that delivers from this database,
    /// when whoever held a lease must be dead. Over PostgreSQL others may be alive, and leases just run out. Answers how many
    /// there were.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn release_others(&self, holder: Holder, now: UtcMillis) -> Result<usize> {
        if self.database.is_postgres() {
            return Ok(0);
        }
        self.database
            .write(move |connection| release_others(connection, holder, now))
            .await
    }
}

pub(super) fn due_lanes(one: One<'_>) -> Result<Vec<DueLane>> {
    // Goes from lane to lane by seeking in the index of what waits, so that neither a lane's backlog nor the number of idle
    // lanes costs anything.
    let statement = one.prepare_cached(
        "WITH RECURSIVE busy (id) AS (
             SELECT min(lane_id) FROM callbacks WHERE state = 0
             UNION ALL
             SELECT (SELECT min(lane_id) FROM callbacks WHERE state = 0 AND lane_id > busy.id)
             FROM busy WHERE busy.id IS NOT NULL
         )
         SELECT busy.id, lanes.channel_id, channels.paused_at IS NOT NULL OR (lanes.origin = '' AND channels.callback_url IS NULL),
                (SELECT min(due_at) FROM callbacks WHERE state = 0 AND lane_id = busy.id)
         FROM busy JOIN lanes ON lanes.id = busy.id JOIN channels ON channels.id = lanes.channel_id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(DueLane {
            id: LaneId(row.get(0)?),
            channel_id: row.get(1)?,
            resting: row.get(2)?,
            due_at: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn claim(
    connection: &Connection,
    lane: LaneId,
    limit: usize,
    lease: Lease,
    now: UtcMillis,
) -> Result<Claim> {
    let sql = format!(
        "WITH due AS MATERIALIZED (
             SELECT id FROM callbacks WHERE state = 0 AND lane_id = ?3 AND due_at <= ?4 ORDER BY due_at LIMIT ?5 {lock})
         UPDATE callbacks SET due_at = ?1, holder = ?2, fence = fence + 1 WHERE id IN (SELECT id FROM due)
         RETURNING id, url, body, attempts, fence",
        lock = connection.skip_locked()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(
        params![lease.until, lease.holder.0, lane.0, now, limit as i64],
        |row| {
            Ok(Claimed {
                id: CallbackId::from_number(row.get(0)?),
                lane,
                url: row.get(1)?,
                body: Bytes::from(row.get::<_, Vec<u8>>(2)?),
                attempts: row.get(3)?,
                fence: row.get(4)?,
                lease_until: lease.until,
            })
        },
    )?;
    let mut taken: Vec<Claimed> = rows.collect::<rusqlite::Result<_>>()?;
    // RETURNING promises no order.
    taken.sort_by_key(|claimed| claimed.id);
    let next_due_at = connection
        .prepare_cached("SELECT min(due_at) FROM callbacks WHERE state = 0 AND lane_id = ?1")?
        .query_row([lane.0], |row| row.get(0))?;
    Ok(Claim { taken, next_due_at })
}

fn finish(connection: &Connection, holder: Holder, outcome: &Outcome) -> Result<bool> {
    let (state, due_at, ended_at) = written(outcome.next);
    let counted = i64::from(outcome.attempt.is_some());
    let changed = connection
        .prepare_cached(
            "UPDATE callbacks
             SET state = ?1, due_at = coalesce(?2, due_at), ended_at = ?3, attempts = attempts + ?4, holder = NULL
             WHERE id = ?5 AND fence = ?6 AND holder = ?7 AND state = 0",
        )?
        .execute(params![state.number(), due_at, ended_at, counted, outcome.id.number(), outcome.fence, holder.0])?;
    if changed == 0 {
        return Ok(false);
    }
    if let Some(attempt) = &outcome.attempt {
        connection
            .prepare_cached(
                "INSERT INTO attempts (callback_id, round, number, at, duration_ms, http_status, reason, detail, answer)
                 VALUES (?1, (SELECT round FROM callbacks WHERE id = ?1), (SELECT attempts FROM callbacks WHERE id = ?1),
                         ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                outcome.id.number(),
                attempt.at,
                attempt.duration_ms,
                attempt.http_status,
                attempt.reason,
                attempt.detail,
                kept_answer(attempt),
            ])?;
    }
    Ok(true)
}

/// State, due time (`None`: as it was) and end time of what happens next.
pub(super) fn written(next: Next) -> (CallbackState, Option<UtcMillis>, Option<UtcMillis>) {
    match next {
        Next::Acknowledged(at) => (CallbackState::Acknowledged, None, Some(at)),
        Next::Failed(at) => (CallbackState::Failed, None, Some(at)),
        Next::Due(at) => (CallbackState::Waiting, Some(at), None),
    }
}

/// What is kept of an attempt's answer.
pub(super) fn kept_answer(attempt: &Finished) -> Option<&[u8]> {
    let kept = &attempt.answer[..attempt.answer.len().min(MAX_KEPT_ANSWER)];
    (!kept.is_empty()).then_some(kept)
}

fn release_others(connection: &Connection, holder: Holder, now: UtcMillis) -> Result<usize> {
    let mut released = 0;
    for lane in due_lanes(connection.one())? {
        // Only leases that have not run out yet; the others are due anyway. The index alone tells who holds what.
        released += connection
            .prepare_cached(
                "UPDATE callbacks SET due_at = ?3, holder = NULL
                 WHERE id IN (SELECT id FROM callbacks
                              WHERE state = 0 AND lane_id = ?1 AND due_at > ?3 AND holder IS NOT NULL AND holder <> ?2)",
            )?
            .execute(params![lane.id.0, holder.0, now])?;
    }
    Ok(released)
}
