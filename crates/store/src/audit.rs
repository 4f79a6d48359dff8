//! The audit log: what operators did, and programs with their keys. Append-only.

use rusqlite::params;
use sealpost_contract::UtcMillis;

use crate::Store;
use crate::database::{Connection, One, Row};
use crate::error::Result;

/// Entries on one page at most.
const PAGE: u32 = 200;

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: UtcMillis,
    /// Who, by name.
    pub operator: String,
    /// A stable word, for example `flow.revoke`.
    pub action: String,
    /// The id of what it was done to.
    pub subject: Option<String>,
    /// Beyond that, for a person. Never a secret.
    pub detail: Option<String>,
    /// From where.
    pub address: Option<String>,
}

impl Store {
    /// Adds an entry to the audit log.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn log_audit(&self, entry: AuditEntry) -> Result<()> {
        self.database
            .write(move |connection| log(connection, &entry))
            .await
    }

    /// The audit log with the number of each entry, the newest first: `limit` entries, 200 at most, older than number
    /// `before`.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn audit_log(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, AuditEntry)>> {
        let read = move |one: One<'_>| {
            let sql = "SELECT * FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
            let statement = one.prepare_cached(sql)?;
            let limit = limit.clamp(1, PAGE);
            let rows = statement.query_map(params![before.unwrap_or(i64::MAX), limit], |row| {
                Ok((row.get("id")?, audit_entry(row)?))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        };
        self.database.read_one(read).await
    }
}

/// Adds an entry in the transaction of what it is about.
pub(crate) fn log(connection: &Connection, entry: &AuditEntry) -> Result<()> {
    let sql = "INSERT INTO audit (at, operator, action, subject, detail, address) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = params![
        entry.at,
        entry.operator,
        entry.action,
        entry.subject,
        entry.detail,
        entry.address
    ];
    connection.prepare_cached(sql)?.execute_soon(row)
}

fn audit_entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        at: row.get("at")?,
        operator: row.get("operator")?,
        action: row.get("action")?,
        subject: row.get("subject")?,
        detail: row.get("detail")?,
        address: row.get("address")?,
    })
}
