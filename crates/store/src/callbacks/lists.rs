//! Reading callbacks: one, a page of them, their attempts, how many wait.

use rusqlite::params;
use sealpost_contract::{SignFlowId, UtcMillis};

use super::{CallbackId, CallbackState, LaneId, claims};
use crate::Store;
use crate::database::{Connection, One, OptionalExtension as _, Row};
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
            .read_one(move |one| {
                let sql = format!("SELECT {COLUMNS} FROM callbacks JOIN lanes ON lanes.id = channel_lane WHERE callbacks.id = ?1");
                let row = one.prepare_cached(&sql)?.query_row([id.number()], |row| Ok(read(row))).optional()?;
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
            .read_one(move |one| {
                let sql = format!(
                    "SELECT {COLUMNS} FROM callbacks JOIN lanes ON lanes.id = channel_lane
                     WHERE sign_flow_id = ?1 AND lanes.channel_id = ?2"
                );
                let statement = one.prepare_cached(&sql)?;
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
            .read_one(move |one| page(one, &filter, before, limit))
            .await
    }

    /// A callback's attempts, in order.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn attempts(&self, id: CallbackId) -> Result<Vec<Attempt>> {
        self.database
            .read_one(move |one| {
                let statement = one.prepare_cached(
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
            .read_one(move |one| {
                let statement = one.prepare_cached("SELECT channel_id FROM lanes WHERE id = ?1")?;
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

/// The statement of a page. However many callbacks there are beside those it shows, it reads little more than it shows: it
/// seeks in the index of a channel's callbacks in a state, and for all channels in each channel's (see [`merged_sql`]).
///
/// What all channels have acknowledged, or one, has no index of its own, for which every delivery would pay: it is nearly all
/// that there is, and so is read from the newest on, past what is newer and waits or failed.
fn list_sql(filter: &CallbackFilter, postgres: bool) -> String {
    let channel = "(SELECT id FROM lanes WHERE channel_id = ?3 AND origin = '')";
    let all_but = |condition: &str| {
        format!(
            "SELECT {COLUMNS} FROM callbacks JOIN lanes ON lanes.id = channel_lane
             WHERE CAST(?3 AS TEXT) IS NULL AND callbacks.id < ?1 AND callbacks.id >= ?2 {condition}
             ORDER BY callbacks.id DESC LIMIT ?4"
        )
    };
    // The states are literals, so that the partial indexes apply; every other value is a parameter.
    match (&filter.channel_id, filter.state) {
        (None, None) => all_but(""),
        (None, Some(CallbackState::Acknowledged)) => all_but("AND state = 1"),
        (None, Some(state @ (CallbackState::Waiting | CallbackState::Failed))) => {
            merged_sql(state, postgres)
        }
        (Some(_), state) => {
            let state = state.map_or_else(String::new, |state| {
                format!("AND state = {}", state.number())
            });
            let (within, newest_first) = of_lane(channel, "?2", "?1", postgres);
            format!(
                "SELECT {COLUMNS} FROM callbacks JOIN lanes ON lanes.id = channel_lane
                 WHERE {within} {state} ORDER BY {newest_first} LIMIT ?4"
            )
        }
    }
}

/// A page of all channels' callbacks in a state: goes from channel to channel by seeking in the index that begins with the
/// channel, keeps those whose newest is among the newest, and merges the page of each. So it costs a few seeks for each
/// channel that has such callbacks, and delivering pays for no further index. What is merged are ids, out of the index alone; the
/// callbacks themselves are read for what is shown.
fn merged_sql(state: CallbackState, postgres: bool) -> String {
    let state = format!("state = {}", state.number());
    let (within_busy, newest_first) = of_lane("busy.lane", "?2", "?1", postgres);
    let shown = if postgres {
        merged_by_floor(&state)
    } else {
        merged_by_turns(&state)
    };
    format!(
        "WITH RECURSIVE busy (lane) AS (
             SELECT min(channel_lane) FROM callbacks WHERE {state}
             UNION ALL
             SELECT (SELECT min(channel_lane) FROM callbacks WHERE {state} AND channel_lane > busy.lane)
             FROM busy WHERE busy.lane IS NOT NULL
         ),
         newest (lane, id) AS (
             SELECT lane, (SELECT callbacks.id FROM callbacks WHERE {state} AND {within_busy} ORDER BY {newest_first} LIMIT 1)
             FROM busy WHERE lane IS NOT NULL
         ),
         first (lane, id) AS (SELECT lane, id FROM newest WHERE id IS NOT NULL ORDER BY id DESC LIMIT ?4),
         {shown}
         JOIN lanes ON lanes.id = callbacks.channel_lane
         WHERE CAST(?3 AS TEXT) IS NULL ORDER BY callbacks.id DESC LIMIT ?4"
    )
}

/// SQLite takes the rows of a recursion in an order: always the newest of what the channels have next, and then the one after it in
/// its channel.
fn merged_by_turns(state: &str) -> String {
    let (within, newest_first) = of_lane("shown.lane", "?2", "shown.id", false);
    format!(
        "shown (lane, id) AS (
             SELECT lane, id FROM first
             UNION ALL
             SELECT lane, (SELECT callbacks.id FROM callbacks WHERE {state} AND {within} ORDER BY {newest_first} LIMIT 1)
             FROM shown WHERE id IS NOT NULL
             ORDER BY 2 DESC LIMIT ?4
         )
         SELECT {COLUMNS} FROM shown CROSS JOIN callbacks ON callbacks.id = shown.id"
    )
}

/// PostgreSQL does not, and reads the page of each channel. Where as many channels as the page has rows have a callback, none that is
/// older than the newest of each is on the page; so where they come by turns, little more is read than is shown. At worst, of each
/// channel's page the ids are.
fn merged_by_floor(state: &str) -> String {
    let (within, newest_first) = of_lane("first.lane", "bound.id", "?1", true);
    format!(
        "bound (id) AS (SELECT CASE WHEN count(*) < ?4 THEN ?2 ELSE min(id) END FROM first),
         shown (id) AS (
             SELECT page.id FROM first CROSS JOIN bound
             CROSS JOIN LATERAL (SELECT callbacks.id FROM callbacks WHERE {state} AND {within} ORDER BY {newest_first} LIMIT ?4) AS page
             ORDER BY page.id DESC LIMIT ?4
         )
         SELECT {COLUMNS} FROM shown
         CROSS JOIN LATERAL (SELECT * FROM callbacks WHERE callbacks.id = shown.id LIMIT 1) AS callbacks"
    )
}

/// Which callbacks of a channel's lane a page may show, from the id `least` and below another, and their order, the newest first.
///
/// PostgreSQL is told so that no other index gives the order: where it believes that a channel has a large part of all
/// callbacks, it would read all channels' from the newest on, and go through millions to find an old one.
fn of_lane(lane: &str, least: &str, below: &str, postgres: bool) -> (String, &'static str) {
    if postgres {
        let within = format!(
            "(channel_lane, callbacks.id) < ({lane}, {below}) AND (channel_lane, callbacks.id) >= ({lane}, {least})"
        );
        (within, "channel_lane DESC, callbacks.id DESC")
    } else {
        let within =
            format!("channel_lane = {lane} AND callbacks.id < {below} AND callbacks.id >= {least}");
        (within, "callbacks.id DESC")
    }
}

fn page(
    one: One<'_>,
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
    let sql = list_sql(filter, one.is_postgres());
    let statement = one.prepare_cached(&sql)?;
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
    let lanes = claims::due_lanes(connection.one())?;
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
    use rusqlite::{Connection, StatementStatus};

    use super::*;

    /// 20,000 callbacks, of ten channels by turns: all acknowledged but some old ones.
    const MANY: &str = "
        PRAGMA foreign_keys = OFF;
        INSERT INTO lanes (id, channel_id, origin)
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10)
        SELECT n, 'channel ' || n, '' FROM n;
        INSERT INTO callbacks (id, channel_lane, lane_id, sign_flow_id, body, state, round, attempts, due_at, fence, ended_at)
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)
        SELECT n, 1 + n % 10, 1 + n % 10, 'f' || n, x'7b7d', CASE WHEN n > 1000 THEN 1 ELSE n % 3 END, 1, 1, n, 1, n FROM n";

    fn filled(with: &str) -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let connection = Connection::open(folder.path().join("sealpost.sqlite")).unwrap();
        connection.execute_batch(with).unwrap();
        (folder, connection)
    }

    fn filters() -> impl Iterator<Item = CallbackFilter> {
        let states = [
            None,
            Some(CallbackState::Waiting),
            Some(CallbackState::Acknowledged),
            Some(CallbackState::Failed),
        ];
        let of = move |channel_id: Option<&str>| {
            let channel_id = channel_id.map(str::to_owned);
            states.map(|state| CallbackFilter {
                channel_id: channel_id.clone(),
                state,
                ..CallbackFilter::default()
            })
        };
        [of(None), of(Some("channel 6"))].into_iter().flatten()
    }

    #[test]
    fn a_list_reads_little_more_than_it_shows() {
        let (_folder, connection) = filled(MANY);
        for filter in filters() {
            let sql = list_sql(&filter, false);
            let mut statement = connection.prepare(&sql).unwrap();
            let asked = params![i64::MAX, 0, filter.channel_id, 10];
            let found: Vec<i64> = statement
                .query_map(asked, |row| row.get(0))
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap();
            let steps = statement.get_status(StatementStatus::VmStep);
            assert!(steps < 4000, "{filter:?}: {steps} steps");
            // As the plainest statement finds them, which reads all.
            let lane = filter.channel_id.as_ref().map(|_| 6);
            let mut plain = connection
                .prepare(
                    "SELECT id FROM callbacks WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR channel_lane = ?2)
                     ORDER BY id DESC LIMIT 10",
                )
                .unwrap();
            let expected: Vec<i64> = plain
                .query_map(
                    params![filter.state.map(CallbackState::number), lane],
                    |row| row.get(0),
                )
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap();
            assert_eq!(found, expected, "{filter:?}");
        }
    }

    /// Of 300 channels each has 300 failed callbacks. Every other channel has them by turns with the others, and each of the rest
    /// has a time of its own, one after the other.
    const WIDE: &str = "
        PRAGMA foreign_keys = OFF;
        INSERT INTO lanes (id, channel_id, origin)
        WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 299)
        SELECT n, 'channel ' || n, '' FROM n;
        INSERT INTO callbacks (id, channel_lane, lane_id, sign_flow_id, body, state, round, attempts, due_at, fence, ended_at)
        WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 89999),
        lane (n, lane) AS (SELECT n, CASE WHEN n % 2 = 0 THEN n % 300 ELSE n / 600 * 2 + 1 END FROM n)
        SELECT n, lane, lane, 'f' || n, x'7b7d', 2, 1, 1, n, 1, n FROM lane";

    #[test]
    fn a_page_of_many_channels_is_merged_by_little_more_than_it_shows() {
        let (_folder, connection) = filled(WIDE);
        let filter = CallbackFilter {
            state: Some(CallbackState::Failed),
            ..CallbackFilter::default()
        };
        let sql = list_sql(&filter, false);
        let mut statement = connection.prepare(&sql).unwrap();
        for (below, shown) in [(i64::MAX, 90_000), (70_000, 70_000), (100, 100)] {
            let found: Vec<i64> = statement
                .query_map(params![below, 0, filter.channel_id, 200], |row| row.get(0))
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap();
            let expected: Vec<i64> = (0..shown).rev().take(200).collect();
            assert_eq!(found, expected);
            // Some for each of 300 channels and 200 rows; the page of each of 200 channels would take hundreds of thousands.
            let steps = statement.reset_status(StatementStatus::VmStep);
            assert!(steps < 60_000, "{steps} steps");
        }
    }

    #[test]
    fn a_list_uses_the_index_that_is_for_it() {
        let (_folder, connection) = filled(MANY);
        for filter in filters() {
            let explained = format!("EXPLAIN QUERY PLAN {}", list_sql(&filter, false));
            let mut explain = connection.prepare(&explained).unwrap();
            let mut rows = explain.raw_query();
            let mut plan = String::new();
            while let Some(step) = rows.next().unwrap() {
                plan += &step.get::<_, String>("detail").unwrap();
                plan += "\n";
            }
            let of_channel = filter.channel_id.is_some();
            let search = match (filter.state, of_channel) {
                (None | Some(CallbackState::Acknowledged), false) => {
                    "SEARCH callbacks USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
                }
                (None | Some(CallbackState::Acknowledged), true) => {
                    "SEARCH callbacks USING INDEX callbacks_of_channel (channel_lane=? AND id>? AND id<?)"
                }
                (Some(CallbackState::Waiting), _) => {
                    "INDEX callbacks_waiting_of_channel (channel_lane=? AND id>? AND id<?)"
                }
                (Some(CallbackState::Failed), _) => {
                    "INDEX callbacks_failed_of_channel (channel_lane=? AND id>? AND id<?)"
                }
            };
            assert!(plan.contains(search), "{filter:?}: {plan}");
            assert!(!plan.contains("SCAN callbacks"), "{filter:?}: {plan}");
            assert!(
                !(of_channel && plan.contains("TEMP B-TREE")),
                "{filter:?}: {plan}"
            );
        }
    }
}
