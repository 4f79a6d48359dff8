//! Reading callbacks: one, a page of them, their attempts, how many wait.

use rusqlite::params;
use sealpost_contract::{SignFlowId, UtcMillis};

use super::{CallbackId, CallbackState, LaneId, claims};
use crate::Store;
use crate::database::{Connection, OptionalExtension as _, Row};
use crate::error::{Error, Result};

/// A callback as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCallback {
    /// Its id.
    pub id: CallbackId,
    /// The channel it goes to.
    pub channel_id: String,
    /// The sign flow that ended.
    pub sign_flow_id: SignFlowId,
    /// Its own address; `None`: the channel's.
    pub url: Option<String>,
    /// The four members, as every attempt sends them.
    pub body: String,
    /// Its state.
    pub state: CallbackState,
    /// 1, and one more for each redelivery.
    pub round: u32,
    /// Attempts made in this round.
    pub attempts: u32,
    /// When the next attempt is due, if one is; while one is being made, when its lease ends.
    pub due_at: Option<UtcMillis>,
    /// Whether an engine holds it right now.
    pub in_progress: bool,
    /// When it was kept.
    pub created_at: UtcMillis,
    /// When it was acknowledged or given up.
    pub ended_at: Option<UtcMillis>,
}

/// One attempt as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its round.
    pub round: u32,
    /// Its number within the round, from 1.
    pub number: u32,
    /// When it began.
    pub at: UtcMillis,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The answer's HTTP status, if one came.
    pub http_status: Option<u16>,
    /// The stable code of what it failed of; `None`: it acknowledged.
    pub reason: Option<String>,
    /// Beyond the reason, for a person.
    pub detail: Option<String>,
    /// The answer's first 4 KiB.
    pub answer: Option<Vec<u8>>,
}

/// Which callbacks a list shows. All of the parts must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallbackFilter {
    /// Of this channel.
    pub channel_id: Option<String>,
    /// In this state.
    pub state: Option<CallbackState>,
    /// Kept at this time or later.
    pub since: Option<UtcMillis>,
    /// Kept before this time.
    pub until: Option<UtcMillis>,
}

/// How much there is to deliver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Callbacks that wait, whether due or not, in progress or not.
    pub waiting: u64,
    /// Callbacks that were given up and not redelivered since.
    pub failed: u64,
    /// When the longest due callback whose deliveries do not rest was due; `None`: nothing is due.
    pub oldest_due_at: Option<UtcMillis>,
}

const COLUMNS: &str = "callbacks.id, lanes.channel_id, sign_flow_id, url, body, state, round, attempts, due_at, holder, ended_at";

impl Store {
    /// One callback.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_callback(&self, id: CallbackId) -> Result<Option<StoredCallback>> {
        self.database
            .read(move |connection| {
                let sql = format!("SELECT {COLUMNS} FROM callbacks JOIN lanes ON lanes.id = channel_lane WHERE callbacks.id = ?1");
                let row = connection.prepare_cached(&sql)?.query_row([id.number()], |row| Ok(read(row))).optional()?;
                row.transpose()
            })
            .await
    }

    /// The callback of a flow.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_callback_of_flow(
        &self,
        channel_id: String,
        flow_id: SignFlowId,
    ) -> Result<Option<StoredCallback>> {
        self.database
            .read(move |connection| {
                let sql = format!(
                    "SELECT {COLUMNS} FROM callbacks JOIN lanes ON lanes.id = channel_lane
                     WHERE sign_flow_id = ?1 AND lanes.channel_id = ?2"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let row = statement
                    .query_row([flow_id.as_str(), &channel_id], |row| Ok(read(row)))
                    .optional()?;
                row.transpose()
            })
            .await
    }

    /// A page of callbacks, the newest first: at most `limit`, older than `before`. The last one's id is the next page's
    /// `before`.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn callbacks(
        &self,
        filter: CallbackFilter,
        before: Option<CallbackId>,
        limit: usize,
    ) -> Result<Vec<StoredCallback>> {
        self.database
            .read(move |connection| page(connection, &filter, before, limit))
            .await
    }

    /// A callback's attempts, in order.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn attempts(&self, id: CallbackId) -> Result<Vec<Attempt>> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT round, number, at, duration_ms, http_status, reason, detail, answer
                     FROM attempts WHERE callback_id = ?1 ORDER BY round, number",
                )?;
                let rows = statement.query_map([id.number()], |row| {
                    Ok(Attempt {
                        round: row.get(0)?,
                        number: row.get(1)?,
                        at: row.get(2)?,
                        duration_ms: row.get(3)?,
                        http_status: row.get(4)?,
                        reason: row.get(5)?,
                        detail: row.get(6)?,
                        answer: row.get(7)?,
                    })
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// The channel that a lane belongs to.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_lane_channel(&self, lane: LaneId) -> Result<Option<String>> {
        self.database
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached("SELECT channel_id FROM lanes WHERE id = ?1")?;
                statement.query_row([lane.0], |row| row.get(0)).optional()
            })
            .await
    }

    /// Counts what waits and what has failed. Takes some 50 ms per million of either.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn backlog(&self, now: UtcMillis) -> Result<Backlog> {
        self.database
            .read(move |connection| backlog(connection, now))
            .await
    }
}

/// The statement of a page.
fn list_sql(filter: &CallbackFilter) -> String {
    // The states are literals, so that the partial indexes apply; every other value is a parameter.
    let state = match filter.state {
        None => "",
        Some(CallbackState::Waiting) => "AND state = 0",
        Some(CallbackState::Acknowledged) => "AND state = 1",
        Some(CallbackState::Failed) => "AND state = 2",
    };
    let channel = match &filter.channel_id {
        None => "AND CAST(?3 AS TEXT) IS NULL",
        Some(_) => {
            "AND channel_lane = (SELECT id FROM lanes WHERE channel_id = ?3 AND origin = '')"
        }
    };
    format!(
        "SELECT {COLUMNS} FROM callbacks JOIN lanes ON lanes.id = channel_lane
         WHERE callbacks.id < ?1 AND callbacks.id >= ?2 {state} {channel} ORDER BY callbacks.id DESC LIMIT ?4"
    )
}

fn page(
    connection: &Connection,
    filter: &CallbackFilter,
    before: Option<CallbackId>,
    limit: usize,
) -> Result<Vec<StoredCallback>> {
    let below = before.map_or(i64::MAX, CallbackId::number);
    let until = filter
        .until
        .map_or(i64::MAX, |until| CallbackId::first_at(until).number());
    let since = filter
        .since
        .map_or(0, |since| CallbackId::first_at(since).number());
    let mut statement = connection.prepare_cached(&list_sql(filter))?;
    let rows = statement.query_map(
        params![below.min(until), since, filter.channel_id, limit as i64],
        |row| Ok(read(row)),
    )?;
    rows.map(|row| row?).collect()
}

fn backlog(connection: &Connection, now: UtcMillis) -> Result<Backlog> {
    let count = |sql: &str| -> Result<u64> {
        let count: i64 = connection
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    };
    let lanes = claims::due_lanes(connection)?;
    Ok(Backlog {
        waiting: count("SELECT count(*) FROM callbacks WHERE state = 0")?,
        failed: count("SELECT count(*) FROM callbacks WHERE state = 2")?,
        oldest_due_at: lanes
            .iter()
            .filter(|lane| !lane.resting && lane.due_at <= now)
            .map(|lane| lane.due_at)
            .min(),
    })
}

fn read(row: &Row<'_>) -> Result<StoredCallback> {
    let state = match row.get(5)? {
        0 => CallbackState::Waiting,
        1 => CallbackState::Acknowledged,
        2 => CallbackState::Failed,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(5, other).into()),
    };
    let id = CallbackId::from_number(row.get(0)?);
    let flow_id: String = row.get(2)?;
    let body: Vec<u8> = row.get(4)?;
    let holder: Option<i64> = row.get(9)?;
    Ok(StoredCallback {
        id,
        channel_id: row.get(1)?,
        sign_flow_id: flow_id
            .parse()
            .map_err(|error| Error::undecodable("sign flow id", error))?,
        url: row.get(3)?,
        body: String::from_utf8(body)
            .map_err(|error| Error::undecodable("callback body", error))?,
        state,
        round: row.get(6)?,
        attempts: row.get(7)?,
        due_at: if state == CallbackState::Waiting {
            Some(row.get(8)?)
        } else {
            None
        },
        in_progress: holder.is_some(),
        created_at: id.created_at(),
        ended_at: row.get(10)?,
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_channels_list_reads_only_what_it_shows() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let connection = Connection::open(folder.path().join("sealpost.sqlite")).unwrap();
        for (state, index) in [
            (None, "callbacks_of_channel"),
            (Some(CallbackState::Waiting), "callbacks_waiting_of_channel"),
            (Some(CallbackState::Failed), "callbacks_failed_of_channel"),
        ] {
            let filter = CallbackFilter {
                channel_id: Some(String::new()),
                state,
                ..CallbackFilter::default()
            };
            let explained = format!("EXPLAIN QUERY PLAN {}", list_sql(&filter));
            let mut explain = connection.prepare(&explained).unwrap();
            let mut rows = explain.raw_query();
            let mut plan = String::new();
            while let Some(step) = rows.next().unwrap() {
                plan += &step.get::<_, String>("detail").unwrap();
            }
            let search = format!("SEARCH callbacks USING INDEX {index} (channel_lane=? AND id");
            assert!(plan.contains(&search), "{state:?}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{state:?}: {plan}");
        }
    }
}
