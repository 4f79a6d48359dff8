//! Who may use the console: operators and their sessions. What they did is in `audit`.
//!
//! Passwords come as Argon2id hashes, second factors as ciphertext, session cookies as digests: the store can read none of
//! them. What a console draws of flows and callbacks is in `figures`.

use std::fmt;
use std::str::FromStr;

use rusqlite::{ToSql, params};
use sealpost_contract::UtcMillis;
use sealpost_flow::Digest;

use crate::Store;
use crate::audit::{AuditEntry, log};
use crate::database::{Connection, One, OptionalExtension as _, Row};
use crate::error::Result;
use crate::rows::{digest, parsed};

/// What an operator may do; each may also do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Revokes, reminds, redelivers, pauses.
    Operator,
    /// Makes channels, keys, secrets and operators.
    Administrator,
}

/// Someone who may use the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Made by the server.
    pub id: String,
    /// What they sign in with; no two share one.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Argon2id, in PHC form; empty for one who has no password and signs in at the OpenID provider.
    pub password_hash: String,
    /// Who they are at the OpenID provider, as the server writes it; `None`: nobody yet.
    pub subject: Option<String>,
    /// The second factor's secret, encrypted by the server.
    pub totp_secret: Option<Vec<u8>>,
    /// The last time step whose code was used.
    pub totp_step: i64,
    /// Attempts in a row to sign in that have failed or are under way.
    pub failures: u32,
    /// No sign-in before this.
    pub locked_until: UtcMillis,
    /// When they were added.
    pub created_at: UtcMillis,
    /// Since when they may no longer sign in.
    pub disabled_at: Option<UtcMillis>,
}

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorSession {
    /// The SHA-256 of what its cookie holds.
    pub hash: Digest,
    /// Whose.
    pub operator_id: String,
    /// Since when.
    pub created_at: UtcMillis,
    /// When it was last used, to the minute.
    pub seen_at: UtcMillis,
    /// When it ends by itself.
    pub expires_at: UtcMillis,
    /// From where it was begun.
    pub address: String,
    /// With which program, as it said itself.
    pub user_agent: Option<String>,
}

impl Role {
    /// All of them, from the least to the most.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Administrator];

    /// The name that the database and the command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Administrator => "administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of viewer, operator and administrator")]
pub struct NotARole;

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Role, NotARole> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(NotARole)
    }
}

impl Store {
    /// Adds an operator; `false` if the name is taken.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn create_operator(&self, new: Operator, audit: AuditEntry) -> Result<bool> {
        let sql = "INSERT INTO operators (id, name, role, password_hash, totp_secret, totp_step, failures, locked_until, created_at,
                disabled_at, subject)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (name) DO NOTHING";
        let create = move |connection: &Connection| {
            let row = params![
                new.id,
                new.name,
                new.role.as_str(),
                new.password_hash,
                new.totp_secret,
                new.totp_step,
                new.failures,
                new.locked_until,
                new.created_at,
                new.disabled_at,
                new.subject,
            ];
            let created = connection.prepare_cached(sql)?.execute(row)? > 0;
            if created {
                log(connection, &audit)?;
            }
            Ok(created)
        };
        self.database.write(create).await
    }

    /// Gives an operator who is not disabled the password `to` in place of `from`, both as hashes. `false`, and nothing is
    /// changed or logged, if meanwhile the operator was disabled or has another password.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn change_password(
        &self,
        operator_id: &str,
        from: String,
        to: String,
        audit: AuditEntry,
    ) -> Result<bool> {
        let id = operator_id.to_owned();
        let sql = "UPDATE operators SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2 AND disabled_at IS NULL";
        self.database
            .write(move |connection| change_logged(connection, sql, params![id, from, to], &audit))
            .await
    }

    /// Gives an operator who is not disabled a second factor, whose time step `step` is used. `false`, and nothing is changed or
    /// logged, if meanwhile the operator was disabled.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn set_totp(
        &self,
        operator_id: &str,
        secret: Vec<u8>,
        step: i64,
        audit: AuditEntry,
    ) -> Result<bool> {
        let id = operator_id.to_owned();
        let sql = "UPDATE operators SET totp_secret = ?2, totp_step = ?3 WHERE id = ?1 AND disabled_at IS NULL";
        self.database
            .write(move |connection| {
                change_logged(connection, sql, params![id, secret, step], &audit)
            })
            .await
    }

    /// Disables an operator; one who is disabled stays so since then. `false` if there is no such operator.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn disable_operator(
        &self,
        operator_id: &str,
        at: UtcMillis,
        audit: AuditEntry,
    ) -> Result<bool> {
        let id = operator_id.to_owned();
        let sql = "UPDATE operators SET disabled_at = coalesce(disabled_at, ?2) WHERE id = ?1";
        self.database
            .write(move |connection| change_logged(connection, sql, params![id, at], &audit))
            .await
    }

    /// Gives an operator who is not disabled another role. `false`, and nothing is logged, if there is no such operator or they
    /// have that role.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn set_operator_role(
        &self,
        operator_id: &str,
        role: Role,
        audit: AuditEntry,
    ) -> Result<bool> {
        let id = operator_id.to_owned();
        let sql =
            "UPDATE operators SET role = ?2 WHERE id = ?1 AND role <> ?2 AND disabled_at IS NULL";
        self.database
            .write(move |connection| {
                change_logged(connection, sql, params![id, role.as_str()], &audit)
            })
            .await
    }

    /// Notes who an operator is at the OpenID provider: one who has neither a password nor been anyone there so far, and is not
    /// disabled. `false`, and nothing is changed or logged, if there is no such operator.
    ///
    /// # Errors
    /// Whatever keeps the store from writing; also that somebody else is this subject.
    pub async fn bind_operator(
        &self,
        operator_id: &str,
        subject: String,
        audit: AuditEntry,
    ) -> Result<bool> {
        let id = operator_id.to_owned();
        let sql = "UPDATE operators SET subject = ?2
            WHERE id = ?1 AND subject IS NULL AND password_hash = '' AND disabled_at IS NULL";
        self.database
            .write(move |connection| change_logged(connection, sql, params![id, subject], &audit))
            .await
    }

    /// Lets an operator in again, whatever kept them out: with a new password, without a second factor, neither locked nor
    /// disabled. `false` if there is no such operator.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn reset_operator(
        &self,
        operator_id: &str,
        password_hash: String,
        audit: AuditEntry,
    ) -> Result<bool> {
        let id = operator_id.to_owned();
        let sql = "UPDATE operators SET password_hash = ?2, totp_secret = NULL, failures = 0, locked_until = 0, disabled_at = NULL
            WHERE id = ?1";
        self.database
            .write(move |connection| {
                change_logged(connection, sql, params![id, password_hash], &audit)
            })
            .await
    }

    /// Uses up a time step of an operator's second factor; `false` if it, or a later one, has been used.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn use_totp_step(&self, operator_id: &str, step: i64) -> Result<bool> {
        let id = operator_id.to_owned();
        let sql = "UPDATE operators SET totp_step = ?2 WHERE id = ?1 AND totp_step < ?2";
        self.database
            .write_one(move |one| Ok(one.prepare_cached(sql)?.execute(params![id, step])? > 0))
            .await
    }

    /// Counts an attempt to sign in before its password is looked at, so that attempts side by side are counted like those one
    /// after another; [`Store::begin_session`] takes the count back. The `limit`th in a row locks the operator until
    /// `lock_until`. `None`, and nothing is counted, if nobody of this name may sign in now.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn count_sign_in(
        &self,
        name: &str,
        limit: u32,
        now: UtcMillis,
        lock_until: UtcMillis,
    ) -> Result<Option<Operator>> {
        let name = name.to_owned();
        let sql = "UPDATE operators SET locked_until = CASE WHEN failures + 1 >= ?2 THEN ?4 ELSE locked_until END,
                failures = CASE WHEN failures + 1 >= ?2 THEN 0 ELSE failures + 1 END
            WHERE name = ?1 AND disabled_at IS NULL AND locked_until <= ?3 RETURNING *";
        let count = move |one: One<'_>| {
            let row = params![name, limit, now, lock_until];
            let counted = one
                .prepare_cached(sql)?
                .query_row(row, |row| Ok(operator(row)))
                .optional()?;
            counted.transpose()
        };
        self.database.write_one(count).await
    }

    /// The operator of this name.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_operator_by_name(&self, name: &str) -> Result<Option<Operator>> {
        self.find_operator_where("name = ?1", name).await
    }

    /// The operator who is this subject at the OpenID provider; also one who is disabled.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_operator_by_subject(&self, subject: &str) -> Result<Option<Operator>> {
        self.find_operator_where("subject = ?1", subject).await
    }

    async fn find_operator_where(
        &self,
        condition: &'static str,
        value: &str,
    ) -> Result<Option<Operator>> {
        let value = value.to_owned();
        let find = move |one: One<'_>| {
            let statement =
                one.prepare_cached(&format!("SELECT * FROM operators WHERE {condition}"))?;
            let found = statement
                .query_row([value], |row| Ok(operator(row)))
                .optional()?;
            found.transpose()
        };
        self.database.read_one(find).await
    }

    /// All operators by name; disabled ones too.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn operators(&self) -> Result<Vec<Operator>> {
        let read = |one: One<'_>| {
            let statement = one.prepare_cached("SELECT * FROM operators ORDER BY name")?;
            let rows = statement.query_and_then([], operator)?;
            rows.collect()
        };
        self.database.read_one(read).await
    }

    /// Begins a session, resets the operator's failures and lock, and forgets sessions that have ended by themselves.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn begin_session(&self, session: OperatorSession, audit: AuditEntry) -> Result<()> {
        let sql = "INSERT INTO operator_sessions (hash, operator_id, created_at, seen_at, expires_at, address, user_agent)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let begin = move |connection: &Connection| {
            connection
                .prepare_cached("DELETE FROM operator_sessions WHERE expires_at <= ?1")?
                .execute([session.created_at])?;
            connection
                .prepare_cached(
                    "UPDATE operators SET failures = 0, locked_until = 0 WHERE id = ?1",
                )?
                .execute([&session.operator_id])?;
            let row = params![
                session.hash.as_bytes(),
                session.operator_id,
                session.created_at,
                session.seen_at,
                session.expires_at,
                session.address,
                session.user_agent,
            ];
            connection.prepare_cached(sql)?.execute(row)?;
            log(connection, &audit)
        };
        self.database.write(begin).await
    }

    /// A session that has not ended, with its operator, who is not disabled.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_session(
        &self,
        hash: &Digest,
        now: UtcMillis,
    ) -> Result<Option<(OperatorSession, Operator)>> {
        let hash = *hash;
        let find = move |connection: &Connection| {
            let sql = "SELECT * FROM operator_sessions WHERE hash = ?1 AND expires_at > ?2";
            let found = connection
                .prepare_cached(sql)?
                .query_row(params![hash.as_bytes(), now], |row| Ok(session(row)))
                .optional()?
                .transpose()?;
            let Some(session) = found else {
                return Ok(None);
            };
            let sql = "SELECT * FROM operators WHERE id = ?1 AND disabled_at IS NULL";
            let owner = connection
                .prepare_cached(sql)?
                .query_row([&session.operator_id], |row| Ok(operator(row)))
                .optional()?
                .transpose()?;
            Ok(owner.map(|owner| (session, owner)))
        };
        self.database.read(find).await
    }

    /// Notes that a session was used.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn touch_session(&self, hash: &Digest, now: UtcMillis) -> Result<()> {
        let hash = *hash;
        let sql = "UPDATE operator_sessions SET seen_at = ?2 WHERE hash = ?1";
        let touch = move |one: One<'_>| {
            one.prepare_cached(sql)?
                .execute(params![hash.as_bytes(), now])?;
            Ok(())
        };
        self.database.write_one(touch).await
    }

    /// The sessions of an operator that have not ended, the newest first.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn sessions_of(
        &self,
        operator_id: &str,
        now: UtcMillis,
    ) -> Result<Vec<OperatorSession>> {
        let id = operator_id.to_owned();
        let read = move |one: One<'_>| {
            let sql = "SELECT * FROM operator_sessions WHERE operator_id = ?1 AND expires_at > ?2 ORDER BY created_at DESC";
            let statement = one.prepare_cached(sql)?;
            let rows = statement.query_and_then(params![id, now], session)?;
            rows.collect()
        };
        self.database.read_one(read).await
    }

    /// Ends an operator's sessions: all, or all but one.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn end_sessions(&self, operator_id: &str, but: Option<&Digest>) -> Result<u64> {
        let id = operator_id.to_owned();
        let but = but.map(|hash| hash.as_bytes().to_vec());
        let sql =
            "DELETE FROM operator_sessions WHERE operator_id = ?1 AND (hash <> ?2) IS NOT FALSE";
        self.database
            .write_one(move |one| Ok(one.prepare_cached(sql)?.execute(params![id, but])? as u64))
            .await
    }

    /// Ends one session.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn end_session(&self, hash: &Digest) -> Result<()> {
        let hash = *hash;
        let end = move |one: One<'_>| {
            one.prepare_cached("DELETE FROM operator_sessions WHERE hash = ?1")?
                .execute([hash.as_bytes()])?;
            Ok(())
        };
        self.database.write_one(end).await
    }
}

/// Runs a change of one operator, and logs it if it found them.
fn change_logged(
    connection: &Connection,
    sql: &str,
    row: &[&dyn ToSql],
    audit: &AuditEntry,
) -> Result<bool> {
    let changed = connection.prepare_cached(sql)?.execute(row)? > 0;
    if changed {
        log(connection, audit)?;
    }
    Ok(changed)
}

fn operator(row: &Row<'_>) -> Result<Operator> {
    Ok(Operator {
        id: row.get("id")?,
        name: row.get("name")?,
        role: parsed(row, "role")?,
        password_hash: row.get("password_hash")?,
        totp_secret: row.get("totp_secret")?,
        totp_step: row.get("totp_step")?,
        failures: row.get("failures")?,
        locked_until: row.get("locked_until")?,
        created_at: row.get("created_at")?,
        disabled_at: row.get("disabled_at")?,
        subject: row.get("subject")?,
    })
}

fn session(row: &Row<'_>) -> Result<OperatorSession> {
    Ok(OperatorSession {
        hash: digest(row, "hash")?,
        operator_id: row.get("operator_id")?,
        created_at: row.get("created_at")?,
        seen_at: row.get("seen_at")?,
        expires_at: row.get("expires_at")?,
        address: row.get("address")?,
        user_agent: row.get("user_agent")?,
    })
}
