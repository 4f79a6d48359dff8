//! Operator keys: what programs that operate this installation show of themselves. Each is of a role; only its digest is kept.

use rusqlite::params;
use sealpost_contract::UtcMillis;
use sealpost_flow::Digest;

use crate::Store;
use crate::audit::{AuditEntry, log};
use crate::console::Role;
use crate::database::{Connection, One, OptionalExtension as _, Row};
use crate::error::Result;
use crate::rows::{digest, parsed};

/// An operator key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorKey {
    /// Names the key to whoever wants to revoke it.
    pub id: String,
    /// What it is for, in words.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The SHA-256 of the key.
    pub hash: Digest,
    /// When it was made.
    pub created_at: UtcMillis,
    /// By whom, by name.
    pub created_by: String,
    /// From when on it is refused.
    pub revoked_at: Option<UtcMillis>,
}

impl Store {
    /// Keeps a new operator key.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn add_operator_key(&self, key: OperatorKey, audit: AuditEntry) -> Result<()> {
        let add = move |connection: &Connection| {
            insert(connection, &key)?;
            log(connection, &audit)
        };
        self.database.write(add).await
    }

    /// The operator key of this digest, also a revoked one.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_operator_key(&self, hash: &Digest) -> Result<Option<OperatorKey>> {
        let hash = *hash;
        let find = move |one: One<'_>| {
            let statement = one.prepare_cached("SELECT * FROM operator_keys WHERE hash = ?1")?;
            let found = statement
                .query_row([hash.as_bytes()], |row| Ok(operator_key(row)))
                .optional()?;
            found.transpose()
        };
        self.database.read_one(find).await
    }

    /// All operator keys, the oldest first; revoked ones too. An installation has some, not many.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn operator_keys(&self) -> Result<Vec<OperatorKey>> {
        let read = |one: One<'_>| {
            let statement =
                one.prepare_cached("SELECT * FROM operator_keys ORDER BY created_at, id")?;
            let rows = statement.query_and_then([], operator_key)?;
            rows.collect()
        };
        self.database.read_one(read).await
    }

    /// Revokes an operator key; one that is revoked keeps its time. `false`, and nothing is logged, if there is no such key.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn revoke_operator_key(
        &self,
        id: &str,
        now: UtcMillis,
        audit: AuditEntry,
    ) -> Result<bool> {
        let id = id.to_owned();
        let revoke = move |connection: &Connection| {
            let sql =
                "UPDATE operator_keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
            let revoked = connection.prepare_cached(sql)?.execute(params![id, now])? > 0;
            if revoked {
                log(connection, &audit)?;
            }
            Ok(revoked)
        };
        self.database.write(revoke).await
    }
}

pub(crate) fn insert(connection: &Connection, key: &OperatorKey) -> Result<()> {
    let sql = "INSERT INTO operator_keys (id, name, role, hash, created_at, created_by, revoked_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![
        key.id,
        key.name,
        key.role.as_str(),
        key.hash.as_bytes(),
        key.created_at,
        key.created_by,
        key.revoked_at,
    ];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

fn operator_key(row: &Row<'_>) -> Result<OperatorKey> {
    Ok(OperatorKey {
        id: row.get("id")?,
        name: row.get("name")?,
        role: parsed(row, "role")?,
        hash: digest(row, "hash")?,
        created_at: row.get("created_at")?,
        created_by: row.get("created_by")?,
        revoked_at: row.get("revoked_at")?,
    })
}
