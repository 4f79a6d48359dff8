//! What a console draws: flows by day and state, deliveries by channel.
//!
//! Every question reads a bounded stretch of an index, so that a console cannot slow down what it watches.

use rusqlite::params;
use sealpost_contract::UtcMillis;
use sealpost_flow::Status;

use crate::Store;
use crate::callbacks::CallbackId;
use crate::database::{Connection, One};
use crate::error::Result;
use crate::rows::parsed;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Attempts that a channel's latency is measured over: the newest.
const LATENCY_SAMPLE: i64 = 5000;

/// Flows of one status that were created on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayCount {
    /// Midnight that begins the day, in the zone asked for.
    pub day: UtcMillis,
    /// Their status now.
    pub status: Status,
    /// How many.
    pub flows: u64,
}

/// How a channel's callbacks went since a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelFigures {
    /// The channel.
    pub channel_id: String,
    /// Callbacks that wait.
    pub waiting: u64,
    /// Callbacks that were acknowledged.
    pub acknowledged: u64,
    /// Callbacks that were given up.
    pub failed: u64,
    /// Attempts measured, the newest at most 5,000 of all channels.
    pub attempts: u64,
    /// Half of them took at most so many milliseconds.
    pub median_ms: Option<u32>,
    /// Nineteen of twenty took at most so many milliseconds.
    pub p95_ms: Option<u32>,
}

impl Store {
    /// Flows created since `since`, by day and status; days begin `offset` milliseconds before UTC's.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn flows_by_day(&self, since: UtcMillis, offset: i64) -> Result<Vec<DayCount>> {
        let read = move |one: One<'_>| {
            let sql = "SELECT (created_at + ?2) / ?3 AS day, status, count(*) AS n FROM flows
                WHERE created_at >= ?1 GROUP BY day, status";
            let statement = one.prepare_cached(sql)?;
            let rows = statement.query_and_then(params![since, offset, DAY], |row| {
                let day: i64 = row.get("day")?;
                Ok(DayCount {
                    day: day * DAY - offset,
                    status: parsed(row, "status")?,
                    flows: row.get("n")?,
                })
            })?;
            rows.collect()
        };
        self.database.read_one(read).await
    }

    /// How the callbacks kept since `since` went, by channel.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn channel_figures(&self, since: UtcMillis) -> Result<Vec<ChannelFigures>> {
        self.database
            .read(move |connection| channel_figures(connection, since))
            .await
    }
}

fn channel_figures(connection: &Connection, since: UtcMillis) -> Result<Vec<ChannelFigures>> {
    let first = CallbackId::first_at(since).number();
    let mut all: Vec<ChannelFigures> = Vec::new();
    let sql = "SELECT lanes.channel_id, count(*) FILTER (WHERE state = 0),
            count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 2)
        FROM callbacks JOIN lanes ON lanes.id = channel_lane WHERE callbacks.id >= ?1 GROUP BY lanes.channel_id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([first], |row| {
        Ok(ChannelFigures {
            channel_id: row.get(0)?,
            waiting: row.get(1)?,
            acknowledged: row.get(2)?,
            failed: row.get(3)?,
            ..ChannelFigures::default()
        })
    })?;
    for row in rows {
        all.push(row?);
    }

    let sql = "SELECT lanes.channel_id, attempts.duration_ms FROM attempts
        JOIN callbacks ON callbacks.id = callback_id JOIN lanes ON lanes.id = channel_lane
        WHERE callback_id >= ?1 ORDER BY callback_id DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![first, LATENCY_SAMPLE], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?))
    })?;
    let samples = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    for figures in &mut all {
        let own = samples
            .iter()
            .filter(|(channel, _)| *channel == figures.channel_id);
        let mut durations: Vec<u32> = own.map(|(_, duration)| *duration).collect();
        durations.sort_unstable();
        figures.attempts = durations.len() as u64;
        figures.median_ms = quantile(&durations, 50);
        figures.p95_ms = quantile(&durations, 95);
    }
    Ok(all)
}

/// The least of the sorted values that `percent` of them do not exceed.
fn quantile(sorted: &[u32], percent: usize) -> Option<u32> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        assert_eq!(quantile(&[], 50), None);
        assert_eq!(quantile(&[7], 95), Some(7));
        assert_eq!(quantile(&[1, 2, 3, 4], 50), Some(2));
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(quantile(&hundred, 95), Some(95));
    }
}
