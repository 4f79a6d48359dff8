//! The last contract check of each channel's endpoint: as far as it has come, and its result once it is over.

use rusqlite::params;
use sealpost_contract::UtcMillis;

use crate::Store;
use crate::database::{One, OptionalExtension as _, Row};
use crate::error::Result;

/// The last check of a channel's endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractCheck {
    /// The channel.
    pub channel_id: String,
    /// Tells it from the check before.
    pub run: String,
    /// When it began.
    pub started_at: UtcMillis,
    /// When something of it was last heard. One that has not ended and is long silent was cut short.
    pub stepped_at: UtcMillis,
    /// When it was over.
    pub ended_at: Option<UtcMillis>,
    /// What was found so far; the server's JSON.
    pub report: String,
}

impl Store {
    /// Keeps a check that begins in the place of the one before, unless that one is under way and was heard of after
    /// `silent_since`: then `false`.
    ///
    /// # Errors
    /// Whatever keeps the store from writing, and a channel that does not exist.
    pub async fn begin_contract_check(
        &self,
        check: ContractCheck,
        silent_since: UtcMillis,
    ) -> Result<bool> {
        let begin = move |one: One<'_>| {
            let sql = "INSERT INTO contract_checks AS kept (channel_id, run, started_at, stepped_at, ended_at, report)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                ON CONFLICT (channel_id) DO UPDATE SET run = excluded.run, started_at = excluded.started_at,
                    stepped_at = excluded.stepped_at, ended_at = excluded.ended_at, report = excluded.report
                WHERE kept.ended_at IS NOT NULL OR kept.stepped_at <= ?7";
            let row = params![
                check.channel_id,
                check.run,
                check.started_at,
                check.stepped_at,
                check.ended_at,
                check.report,
                silent_since,
            ];
            Ok(one.prepare_cached(sql)?.execute(row)? > 0)
        };
        self.database.write_one(begin).await
    }

    /// Keeps how far a check has come; `false` if another has taken its place.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn keep_contract_check(&self, check: ContractCheck) -> Result<bool> {
        let keep = move |one: One<'_>| {
            let sql = "UPDATE contract_checks SET stepped_at = ?3, ended_at = ?4, report = ?5
                WHERE channel_id = ?1 AND run = ?2";
            let row = params![
                check.channel_id,
                check.run,
                check.stepped_at,
                check.ended_at,
                check.report
            ];
            Ok(one.prepare_cached(sql)?.execute(row)? > 0)
        };
        self.database.write_one(keep).await
    }

    /// The last check of a channel's endpoint.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_contract_check(&self, channel_id: &str) -> Result<Option<ContractCheck>> {
        let id = channel_id.to_owned();
        let find = move |one: One<'_>| {
            let statement =
                one.prepare_cached("SELECT * FROM contract_checks WHERE channel_id = ?1")?;
            statement.query_row([id], contract_check).optional()
        };
        self.database.read_one(find).await
    }
}

fn contract_check(row: &Row<'_>) -> rusqlite::Result<ContractCheck> {
    Ok(ContractCheck {
        channel_id: row.get("channel_id")?,
        run: row.get("run")?,
        started_at: row.get("started_at")?,
        stepped_at: row.get("stepped_at")?,
        ended_at: row.get("ended_at")?,
        report: row.get("report")?,
    })
}
