//! Idempotency keys: a request that is sent again within 24 hours is answered as before and does nothing twice.

use rusqlite::params;
use sealpost_contract::UtcMillis;
use sealpost_flow::Digest;

use crate::audit::{AuditEntry, log};
use crate::channels::{ApiKey, SealedSecret, insert_key, rotate};
use crate::database::{Connection, One, OptionalExtension as _, Row};
use crate::operator_keys::{self, OperatorKey};
use crate::rows::digest;
use crate::{Result, Store};

/// How long a key is remembered, in milliseconds: 24 hours.
pub const IDEMPOTENCY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// Keys that one clean-up removes at most, so that it never holds up other writes.
const FORGET_LIMIT: u32 = 1000;

/// The `Idempotency-Key` of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The channel, or the operator key, whose request it is; each has its own keys.
    pub caller_id: String,
    /// The key as the client gave it; the caller bounds its length.
    pub key: String,
    /// The digest of what was asked for, to tell a repetition from a key used for something else.
    pub request: Digest,
    /// Now.
    pub at: UtcMillis,
}

/// What a key was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The digest of what was asked for then. If it differs, the client uses the key for two things.
    pub request: Digest,
    /// The id of what came of it.
    pub resource: String,
}

impl Store {
    /// What this key was used for within the last 24 hours.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_idempotency_key(&self, key: IdempotencyKey) -> Result<Option<Remembered>> {
        self.database.read_one(move |one| find(one, &key)).await
    }

    /// Notes that this key was used for `resource`, unless it is in use: then what for. For requests whose work is
    /// repeatable by itself; a flow's creation or change, and what tells a secret, takes its key along.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn remember_idempotency_key(
        &self,
        key: IdempotencyKey,
        resource: String,
    ) -> Result<Option<Remembered>> {
        self.database
            .write(move |connection| remember(connection, &key, &resource))
            .await
    }

    /// As [`Store::rotate_secret`] for a channel that there is, unless the key is in use: then what for. The change, the key and
    /// the entry of the audit log are one commit.
    ///
    /// # Errors
    /// Whatever keeps the store from writing, and a channel that does not exist.
    pub async fn rotate_secret_once(
        &self,
        channel_id: &str,
        secret: SealedSecret,
        retire_at: UtcMillis,
        key: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Option<Remembered>> {
        let (id, resource) = (channel_id.to_owned(), channel_id.to_owned());
        let work = move |connection: &Connection| {
            // Without a channel the secret refers to nothing, which the database refuses.
            rotate(connection, &id, &secret, retire_at)
        };
        self.once(key, resource, audit, work).await
    }

    /// As [`Store::add_api_key`], unless the key is in use: then for which API key. All of it is one commit.
    ///
    /// # Errors
    /// Whatever keeps the store from writing, and a channel that does not exist.
    pub async fn add_api_key_once(
        &self,
        new: ApiKey,
        key: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Option<Remembered>> {
        let resource = new.id.clone();
        let work = move |connection: &Connection| insert_key(connection, &new);
        self.once(key, resource, audit, work).await
    }

    /// As [`Store::add_operator_key`], unless the key is in use: then for which operator key. All of it is one commit.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn add_operator_key_once(
        &self,
        new: OperatorKey,
        key: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Option<Remembered>> {
        let resource = new.id.clone();
        let work = move |connection: &Connection| operator_keys::insert(connection, &new);
        self.once(key, resource, audit, work).await
    }

    /// Does `work`, which makes `resource`, and logs it, unless the key is in use: then what for. Work that fails uses no key.
    async fn once(
        &self,
        key: Option<IdempotencyKey>,
        resource: String,
        audit: AuditEntry,
        work: impl FnOnce(&Connection) -> Result<()> + Send + 'static,
    ) -> Result<Option<Remembered>> {
        let once = move |connection: &Connection| {
            if let Some(key) = &key
                && let Some(remembered) = remember(connection, key, &resource)?
            {
                return Ok(Some(remembered));
            }
            work(connection)?;
            log(connection, &audit)?;
            Ok(None)
        };
        self.database.write(once).await
    }

    /// Removes keys older than 24 hours, some at a time; returns how many, so that the caller can go on.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn forget_idempotency_keys(&self, now: UtcMillis) -> Result<usize> {
        let forget = move |one: One<'_>| {
            // One that is being used again at this moment is locked, and no longer old.
            let sql = format!(
                "WITH old AS MATERIALIZED (
                    SELECT caller_id, key FROM idempotency_keys WHERE created_at <= ?1 ORDER BY created_at LIMIT ?2 {})
                DELETE FROM idempotency_keys WHERE (caller_id, key) IN (SELECT caller_id, key FROM old)",
                one.skip_locked()
            );
            one.prepare_cached(&sql)?
                .execute(params![now - IDEMPOTENCY_MILLIS, FORGET_LIMIT])
        };
        self.database.write_one(forget).await
    }
}

pub(crate) fn find(one: One<'_>, key: &IdempotencyKey) -> Result<Option<Remembered>> {
    let sql = "SELECT request_digest, resource FROM idempotency_keys
        WHERE caller_id = ?1 AND key = ?2 AND created_at > ?3";
    let remembered = |row: &Row<'_>| {
        Ok(digest(row, "request_digest").and_then(|request| {
            Ok(Remembered {
                request,
                resource: row.get("resource")?,
            })
        }))
    };
    let since = key.at - IDEMPOTENCY_MILLIS;
    one.prepare_cached(sql)?
        .query_row(params![key.caller_id, key.key, since], remembered)
        .optional()?
        .transpose()
}

/// Notes what the key is used for, unless it is in use: then what for.
pub(crate) fn remember(
    connection: &Connection,
    key: &IdempotencyKey,
    resource: &str,
) -> Result<Option<Remembered>> {
    if let Some(remembered) = find(connection.one(), key)? {
        return Ok(Some(remembered));
    }
    // One that is older than 24 hours and was not yet removed is replaced. If another node uses the key at this moment, this
    // waits for its commit and then changes nothing.
    let sql = "INSERT INTO idempotency_keys AS kept (caller_id, key, request_digest, resource, created_at)
        VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (caller_id, key) DO UPDATE SET
            request_digest = excluded.request_digest, resource = excluded.resource, created_at = excluded.created_at
        WHERE kept.created_at <= ?6";
    let row = params![
        key.caller_id,
        key.key,
        key.request.as_bytes(),
        resource,
        key.at,
        key.at - IDEMPOTENCY_MILLIS,
    ];
    let noted = connection.prepare_cached(sql)?.execute(row)? > 0;
    if noted {
        Ok(None)
    } else {
        find(connection.one(), key)
    }
}

/// Forgets a key that [`remember`] has just noted in this transaction, for nothing came of its request. No savepoint is needed:
/// what may have been there before was forgotten already.
pub(crate) fn take_back(connection: &Connection, key: &IdempotencyKey) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM idempotency_keys WHERE caller_id = ?1 AND key = ?2")?
        .execute(params![key.caller_id, key.key])?;
    Ok(())
}
