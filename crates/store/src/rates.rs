//! Rate limits that hold across nodes and restarts: how often something happened within a window of time.
//!
//! A window begins with the first count and ends by itself; what is refused is not counted. So a limit of `n` lets at most
//! `2n - 1` through in any stretch as long as the window, and never more than `n` in one window. Keys are digests: what is
//! counted (a number, an address, a name) is not in the database.

use rusqlite::params;
use sealpost_contract::UtcMillis;
use sealpost_flow::Digest;

use crate::Store;
use crate::database::{Connection, One, OptionalExtension as _};
use crate::error::Result;

/// Windows that one clean-up removes at most, so that it never holds up other writes.
const FORGET_LIMIT: u32 = 1000;

/// How often something may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// What is counted, as a digest of its kind and its name.
    pub key: Digest,
    /// How long a window lasts, in milliseconds.
    pub window: UtcMillis,
    /// How often within one.
    pub limit: u32,
}

/// Whether something may happen once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It may, and is counted.
    Within,
    /// It happened too often, and is not counted.
    Beyond {
        /// When the window ends.
        until: UtcMillis,
    },
}

impl Store {
    /// Counts that something happens, unless it happened `limit` times within the window that is open. Of several nodes that
    /// count at once, no more than `limit` are let through.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn count_within(
        &self,
        key: &Digest,
        window: UtcMillis,
        limit: u32,
        now: UtcMillis,
    ) -> Result<Counted> {
        let rate = Rate {
            key: *key,
            window,
            limit,
        };
        let (counting, key) = (rate.clone(), rate.key);
        let counted = self
            .database
            .write_one(move |one| try_count(one, &counting, now))
            .await?;
        if counted {
            return Ok(Counted::Within);
        }
        let until = self.database.read_one(move |one| end(one, &key)).await?;
        Ok(beyond(until, &rate, now))
    }

    /// Takes one count back, for what was counted before it was known whether it counts.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn count_back(&self, key: &Digest) -> Result<()> {
        let key = *key;
        self.database
            .write_one(move |one| take_back(one, &key))
            .await
    }

    /// Until when what happens at most `limit` times within a window may not happen once more; `None`: it may. Nothing is counted.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_limit(
        &self,
        key: &Digest,
        limit: u32,
        now: UtcMillis,
    ) -> Result<Option<UtcMillis>> {
        let key = *key;
        let find = move |one: One<'_>| {
            let sql = "SELECT ends_at FROM rates WHERE key = ?1 AND ends_at > ?2 AND count >= ?3";
            one.prepare_cached(sql)?
                .query_row(params![key.as_bytes(), now, limit], |row| row.get(0))
                .optional()
        };
        self.database.read_one(find).await
    }

    /// Closes a window until then, whatever it was before: nothing that is limited to once is let through before.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn close_until(&self, key: &Digest, until: UtcMillis) -> Result<()> {
        let key = *key;
        let close = move |one: One<'_>| {
            let sql = "INSERT INTO rates (key, ends_at, count) VALUES (?1, ?2, 1)
                ON CONFLICT (key) DO UPDATE SET ends_at = excluded.ends_at";
            one.prepare_cached(sql)?
                .execute(params![key.as_bytes(), until])?;
            Ok(())
        };
        self.database.write_one(close).await
    }

    /// Removes windows that have ended, some at a time; returns how many, so that the caller can go on.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn forget_rates(&self, now: UtcMillis) -> Result<usize> {
        let forget = move |one: One<'_>| {
            let sql = format!(
                "WITH old AS MATERIALIZED (SELECT key FROM rates WHERE ends_at <= ?1 ORDER BY ends_at LIMIT ?2 {})
                DELETE FROM rates WHERE key IN (SELECT key FROM old)",
                one.skip_locked()
            );
            one.prepare_cached(&sql)?
                .execute(params![now, FORGET_LIMIT])
        };
        self.database.write_one(forget).await
    }
}

/// Counts once within a transaction. The row is locked until the transaction ends, so that nodes side by side count one after the other.
pub(crate) fn count(connection: &Connection, rate: &Rate, now: UtcMillis) -> Result<Counted> {
    if try_count(connection.one(), rate, now)? {
        return Ok(Counted::Within);
    }
    Ok(beyond(end(connection.one(), &rate.key)?, rate, now))
}

/// Counts once, unless that is too often.
fn try_count(one: One<'_>, rate: &Rate, now: UtcMillis) -> Result<bool> {
    let sql = "INSERT INTO rates AS kept (key, ends_at, count) VALUES (?1, ?3, 1)
        ON CONFLICT (key) DO UPDATE SET
            count = CASE WHEN kept.ends_at <= ?2 THEN 1 ELSE kept.count + 1 END,
            ends_at = CASE WHEN kept.ends_at <= ?2 THEN excluded.ends_at ELSE kept.ends_at END
        WHERE kept.ends_at <= ?2 OR kept.count < ?4";
    let key = rate.key.as_bytes();
    let ends_at = now.saturating_add(rate.window);
    let row = params![key, now, ends_at, rate.limit];
    Ok(one.prepare_cached(sql)?.execute(row)? > 0)
}

/// When the window of a key ends; `None`: there is none any more.
fn end(one: One<'_>, key: &Digest) -> Result<Option<UtcMillis>> {
    one.prepare_cached("SELECT ends_at FROM rates WHERE key = ?1")?
        .query_row([key.as_bytes()], |row| row.get(0))
        .optional()
}

fn beyond(until: Option<UtcMillis>, rate: &Rate, now: UtcMillis) -> Counted {
    Counted::Beyond {
        until: until.unwrap_or(now.saturating_add(rate.window)),
    }
}

/// Takes one count back, for what did not happen after all.
pub(crate) fn take_back(one: One<'_>, key: &Digest) -> Result<()> {
    one.prepare_cached("UPDATE rates SET count = count - 1 WHERE key = ?1 AND count > 0")?
        .execute([key.as_bytes()])?;
    Ok(())
}
