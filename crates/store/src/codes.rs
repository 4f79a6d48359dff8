//! One-time codes of signers: at most one each, of which the store knows a keyed digest only.
//!
//! A code is good until it expires or was tried too often, on every node and across restarts. Each try is counted in the
//! statement that compares, so that tries side by side are counted like those one after another.

use rusqlite::params;
use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_flow::Digest;

use crate::Store;
use crate::database::{Connection, One, OptionalExtension as _, Row};
use crate::error::Result;
use crate::rates::{self, Counted, Rate};

/// Codes that one clean-up removes at most, so that it never holds up other writes.
const FORGET_LIMIT: u32 = 1000;

/// Whose code it is: the flow and the signer's number in it.
pub type CodeOwner = (SignFlowId, u8);

/// A code that is about to be sent.
#[derive(Debug, Clone)]
pub struct NewCode {
    /// Who is to enter it.
    pub owner: CodeOwner,
    /// A keyed digest of its digits and its owner: without the key, a million guesses tell nothing.
    pub digest: Digest,
    /// Now.
    pub issued_at: UtcMillis,
    /// When it is no longer good.
    pub expires_at: UtcMillis,
    /// When the next may be issued at the earliest.
    pub next_at: UtcMillis,
    /// How often it may be tried.
    pub tries: u32,
    /// How many codes there may be to one contact, from one address and the like. Give them in the same order of kinds each
    /// time, so that two nodes never wait for each other.
    pub rates: Vec<Rate>,
}

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// It is the code, which stays good until it is spent or expires.
    Right,
    /// It is another.
    Wrong {
        /// How often it may still be tried.
        tries_left: u32,
    },
    /// There is none: never issued, spent, expired, or tried too often.
    Gone,
}

impl Store {
    /// Keeps a new code in place of the owner's last, unless it comes too soon or one of its rates is used up: then nothing is
    /// kept or counted.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn issue_code(&self, code: NewCode) -> Result<Counted> {
        let issue = move |connection: &Connection| {
            for (place, rate) in code.rates.iter().enumerate() {
                let counted = rates::count(connection, rate, code.issued_at)?;
                if counted != Counted::Within {
                    take_back(connection, &code.rates[..place])?;
                    return Ok(counted);
                }
            }
            let replaced = replace(connection, &code)?;
            if replaced != Counted::Within {
                take_back(connection, &code.rates)?;
            }
            Ok(replaced)
        };
        self.database.write(issue).await
    }

    /// Takes back a code that could not be sent, and one count of each of `keys`, which come in the order of its rates.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn withdraw_code(&self, owner: CodeOwner, keys: Vec<Digest>) -> Result<()> {
        let withdraw = move |connection: &Connection| {
            // In the order in which issuing locks them.
            keys.iter()
                .try_for_each(|key| rates::take_back(connection.one(), key))?;
            remove(connection.one(), &owner)
        };
        self.database.write(withdraw).await
    }

    /// Tries a code, given as its keyed digest.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn try_code(
        &self,
        owner: CodeOwner,
        digest: Digest,
        now: UtcMillis,
    ) -> Result<Tried> {
        let sql =
            "UPDATE codes SET tries_left = tries_left - CASE WHEN digest = ?3 THEN 0 ELSE 1 END
            WHERE flow_id = ?1 AND signer = ?2 AND expires_at > ?4 AND tries_left > 0
            RETURNING tries_left, CASE WHEN digest = ?3 THEN 1 ELSE 0 END AS is_right";
        let tried = |row: &Row<'_>| {
            let is_right: i64 = row.get("is_right")?;
            Ok(if is_right == 1 {
                Tried::Right
            } else {
                Tried::Wrong {
                    tries_left: row.get("tries_left")?,
                }
            })
        };
        let try_it = move |one: One<'_>| {
            let (flow, signer) = &owner;
            let row = params![flow.as_str(), signer, digest.as_bytes(), now];
            let found = one.prepare_cached(sql)?.query_row(row, tried).optional()?;
            Ok(found.unwrap_or(Tried::Gone))
        };
        self.database.write_one(try_it).await
    }

    /// Removes a code that has been used.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn spend_code(&self, owner: CodeOwner) -> Result<()> {
        self.database
            .write_one(move |one| remove(one, &owner))
            .await
    }

    /// Removes codes that have expired, some at a time; returns how many, so that the caller can go on.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn forget_codes(&self, now: UtcMillis) -> Result<usize> {
        let forget = move |one: One<'_>| {
            let sql = format!(
                "WITH old AS MATERIALIZED (
                    SELECT flow_id, signer FROM codes WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2 {})
                DELETE FROM codes WHERE (flow_id, signer) IN (SELECT flow_id, signer FROM old)",
                one.skip_locked()
            );
            one.prepare_cached(&sql)?
                .execute(params![now, FORGET_LIMIT])
        };
        self.database.write_one(forget).await
    }
}

/// Puts the code in the place of the owner's last, unless that is too recent.
fn replace(connection: &Connection, code: &NewCode) -> Result<Counted> {
    let sql = "INSERT INTO codes AS kept (flow_id, signer, digest, expires_at, next_at, tries_left) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (flow_id, signer) DO UPDATE SET digest = excluded.digest, expires_at = excluded.expires_at,
            next_at = excluded.next_at, tries_left = excluded.tries_left
        WHERE kept.next_at <= ?7";
    let (flow, signer) = &code.owner;
    let row = params![
        flow.as_str(),
        signer,
        code.digest.as_bytes(),
        code.expires_at,
        code.next_at,
        code.tries,
        code.issued_at,
    ];
    if connection.prepare_cached(sql)?.execute(row)? > 0 {
        return Ok(Counted::Within);
    }
    let until = connection
        .prepare_cached("SELECT next_at FROM codes WHERE flow_id = ?1 AND signer = ?2")?
        .query_row(params![flow.as_str(), signer], |row| row.get(0))
        .optional()?;
    Ok(Counted::Beyond {
        until: until.unwrap_or(code.next_at),
    })
}

fn take_back(connection: &Connection, rates: &[Rate]) -> Result<()> {
    rates
        .iter()
        .try_for_each(|rate| rates::take_back(connection.one(), &rate.key))
}

fn remove(one: One<'_>, (flow, signer): &CodeOwner) -> Result<()> {
    one.prepare_cached("DELETE FROM codes WHERE flow_id = ?1 AND signer = ?2")?
        .execute(params![flow.as_str(), signer])?;
    Ok(())
}
