//! An inbox in one SQLite file: WAL, `synchronous=FULL`, so that what is kept outlives a power cut. One thread owns
//! the connection and commits together what waits, because a commit costs a sync of the disk and a row costs little.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use sealpost_contract::{Callback, SignFlowId, UtcMillis};
use tokio::sync::{mpsc, oneshot};

use crate::{Claim, Entry, Error, HandlerError, Inbox, Kept, Outcome, State};

/// What is done in the transaction that keeps a callback.
type Effect = dyn Fn(&Connection, &Callback) -> Result<(), HandlerError> + Send + Sync;

/// Keeps callbacks in one SQLite file. Several processes may share the file on one machine.
#[derive(Clone)]
pub struct SqliteInbox {
    jobs: mpsc::Sender<Job>,
    effect: Option<Arc<Effect>>,
}

/// Marks the file as an inbox (`PRAGMA application_id`): "SPin".
const APPLICATION_ID: i32 = 0x5350_696e;
const SCHEMA_VERSION: i32 = 1;

const SCHEMA: &str = "
CREATE TABLE callbacks (
    sign_flow_id     TEXT PRIMARY KEY NOT NULL,
    sign_end_time    TEXT NOT NULL,
    sign_flow_status TEXT NOT NULL,
    sign_file_url    TEXT NOT NULL,
    kept_at          INTEGER NOT NULL,
    handled_at       INTEGER,
    due_at           INTEGER NOT NULL,
    claim            INTEGER NOT NULL DEFAULT 0,
    claimed_until    INTEGER,
    attempts         INTEGER NOT NULL DEFAULT 0,
    failure          TEXT,
    conflicts        INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX callbacks_due ON callbacks (due_at) WHERE handled_at IS NULL;
";

impl SqliteInbox {
    /// Opens the inbox, or makes it.
    ///
    /// # Errors
    /// [`Error::NotAnInbox`] for another program's file, otherwise what SQLite says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let connection = Connection::open(path)?;
        prepare(&connection)?;
        let (jobs, queue) = mpsc::channel(1024);
        std::thread::Builder::new()
            .name("inbox".to_owned())
            .spawn(move || write_in_groups(&connection, queue))
            .map_err(|_| Error::Closed)?;
        Ok(Self { jobs, effect: None })
    }

    /// Runs `effect` in the very transaction that keeps a new callback, and marks the callback as handled in it: the
    /// effect's writes to this database and the record of them are one commit, so they happen once without exception.
    /// The effect must not wait for anything, since all others wait for it.
    ///
    /// If it fails, nothing is kept, the sender is answered 500 and will send the callback again.
    #[must_use]
    pub fn with_effect(
        mut self,
        effect: impl Fn(&Connection, &Callback) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> Self {
        self.effect = Some(Arc::new(effect));
        self
    }

    /// Ends every claim. Only for a process that is the inbox's one user and has just started: the claims are those
    /// of its former life.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn release_claims(&self) -> Result<(), Error> {
        self.run(|connection| {
            connection.execute(
                "UPDATE callbacks SET claimed_until = NULL WHERE claimed_until IS NOT NULL",
                [],
            )?;
            Ok(())
        })
        .await
    }

    /// Makes a callback due again that waits for its next attempt or has been handled.
    ///
    /// Returns `false` if no such flow is kept.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn handle_again(&self, id: &SignFlowId, now: UtcMillis) -> Result<bool, Error> {
        let id = id.clone();
        self.run(move |connection| {
            let changed = connection.execute(
                "UPDATE callbacks SET handled_at = NULL, due_at = ?2 WHERE sign_flow_id = ?1",
                params![id.as_str(), now],
            )?;
            Ok(changed == 1)
        })
        .await
    }

    /// Reads the entries of an inbox that another process may be using, the latest first. `waiting` leaves out what
    /// has been handled.
    ///
    /// # Errors
    /// [`Error`]
    pub fn entries(
        path: impl AsRef<Path>,
        waiting: bool,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        check_identity(&connection)?;
        let mut statement = connection.prepare(
            "SELECT sign_end_time, sign_flow_status, sign_flow_id, sign_file_url,
                    kept_at, handled_at, due_at, attempts, failure, conflicts
             FROM callbacks WHERE ?1 = 0 OR handled_at IS NULL
             ORDER BY kept_at DESC, sign_flow_id LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![waiting, limit])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let state = match row.get::<_, Option<i64>>(5)? {
                Some(at) => State::Handled { at },
                None => State::Waiting {
                    due_at: row.get(6)?,
                    failure: row.get(8)?,
                },
            };
            entries.push(Entry {
                callback: read_callback(row)?,
                kept_at: row.get(4)?,
                state,
                attempts: row.get(7)?,
                conflicts: row.get(9)?,
            });
        }
        Ok(entries)
    }

    /// Runs one operation in a savepoint of the next commit, and returns after that commit.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = in_savepoint(connection, operation);
            Box::new(move |committed| {
                // Whoever asked may have gone away; what was committed stays.
                let _ = reply.send(committed.and(result));
            })
        });
        self.jobs.send(job).await.map_err(|_| Error::Closed)?;
        // Dropped unanswered is an operation whose group could not begin.
        answer
            .await
            .map_err(|_| Error::NotCommitted("the database is busy or gone".to_owned()))?
    }
}

impl Inbox for SqliteInbox {
    async fn keep(&self, callback: &Callback, now: UtcMillis) -> Result<Kept, Error> {
        let callback = callback.clone();
        let effect = self.effect.clone();
        self.run(move |connection| keep(connection, &callback, effect.as_deref(), now))
            .await
    }

    async fn claim(
        &self,
        id: &SignFlowId,
        now: UtcMillis,
        until: UtcMillis,
    ) -> Result<Claim, Error> {
        let id = id.clone();
        self.run(move |connection| claim(connection, &id, now, until))
            .await
    }

    async fn finish(&self, id: &SignFlowId, claim: i64, outcome: &Outcome) -> Result<bool, Error> {
        let id = id.clone();
        let (handled_at, retry_at, failure) = match outcome {
            Outcome::Handled { at } => (Some(*at), None, None),
            Outcome::Failed { reason, retry_at } => (None, Some(*retry_at), Some(reason.clone())),
        };
        self.run(move |connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE callbacks
                     SET handled_at = ?3, due_at = coalesce(?4, due_at), failure = ?5, claimed_until = NULL
                     WHERE sign_flow_id = ?1 AND claim = ?2 AND handled_at IS NULL",
                )?
                .execute(params![id.as_str(), claim, handled_at, retry_at, failure])?;
            Ok(changed == 1)
        })
        .await
    }

    async fn due(&self, now: UtcMillis, limit: usize) -> Result<Vec<Callback>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT sign_end_time, sign_flow_status, sign_flow_id, sign_file_url
                 FROM callbacks
                 WHERE handled_at IS NULL AND due_at <= ?1 AND (claimed_until IS NULL OR claimed_until <= ?1)
                 ORDER BY due_at LIMIT ?2",
            )?;
            let mut rows = statement.query(params![now, limit])?;
            let mut due = Vec::new();
            while let Some(row) = rows.next()? {
                due.push(read_callback(row)?);
            }
            Ok(due)
        })
        .await
    }
}

fn keep(
    connection: &Connection,
    callback: &Callback,
    effect: Option<&Effect>,
    now: UtcMillis,
) -> Result<Kept, Error> {
    let found = connection
        .prepare_cached(
            "SELECT sign_end_time, sign_flow_status, sign_flow_id, sign_file_url, handled_at
             FROM callbacks WHERE sign_flow_id = ?1",
        )?
        .query_row([callback.sign_flow_id.as_str()], |row| {
            Ok((read_callback(row), row.get::<_, Option<i64>>(4)?))
        })
        .optional()?;
    if let Some((kept, handled_at)) = found {
        let kept = kept?;
        if kept != *callback {
            connection
                .prepare_cached(
                    "UPDATE callbacks SET conflicts = conflicts + 1 WHERE sign_flow_id = ?1",
                )?
                .execute([callback.sign_flow_id.as_str()])?;
            return Ok(Kept::Conflict(Box::new(kept)));
        }
        return Ok(Kept::Again {
            handled: handled_at.is_some(),
        });
    }
    connection
        .prepare_cached(
            "INSERT INTO callbacks
                 (sign_flow_id, sign_end_time, sign_flow_status, sign_file_url, kept_at, due_at, handled_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
        )?
        .execute(params![
            callback.sign_flow_id.as_str(),
            callback.sign_end_time.as_str(),
            callback.sign_flow_status.code(),
            callback.sign_file_url.as_str(),
            now,
            effect.map(|_| now),
        ])?;
    if let Some(effect) = effect {
        // A panic must not take the inbox's thread with it; the savepoint is rolled back as for any failure.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            effect(connection, callback)
        }))
        .unwrap_or_else(|_| Err("the effect panicked".into()))
        .map_err(Error::Effect)?;
    }
    Ok(Kept::New {
        handled: effect.is_some(),
    })
}

fn claim(
    connection: &Connection,
    id: &SignFlowId,
    now: UtcMillis,
    until: UtcMillis,
) -> Result<Claim, Error> {
    let granted = connection
        .prepare_cached(
            "UPDATE callbacks SET claim = claim + 1, claimed_until = ?3, attempts = attempts + 1
             WHERE sign_flow_id = ?1 AND handled_at IS NULL AND (claimed_until IS NULL OR claimed_until <= ?2)
             RETURNING claim, attempts",
        )?
        .query_row(params![id.as_str(), now, until], |row| {
            Ok(Claim::Granted { claim: row.get(0)?, attempt: row.get(1)? })
        })
        .optional()?;
    if let Some(granted) = granted {
        return Ok(granted);
    }
    let handled = connection
        .prepare_cached("SELECT handled_at IS NOT NULL FROM callbacks WHERE sign_flow_id = ?1")?
        .query_row([id.as_str()], |row| row.get::<_, bool>(0))
        .optional()?;
    Ok(match handled {
        None => Claim::Unknown,
        Some(true) => Claim::Handled,
        Some(false) => Claim::Busy,
    })
}

/// The first four columns are the four members, in the page's order.
fn read_callback(row: &Row<'_>) -> Result<Callback, Error> {
    let text = |index| row.get::<_, String>(index);
    Ok(Callback {
        sign_end_time: text(0)?.try_into().map_err(|_| Error::Damaged)?,
        sign_flow_status: text(1)?.try_into().map_err(|_| Error::Damaged)?,
        sign_flow_id: text(2)?.try_into().map_err(|_| Error::Damaged)?,
        sign_file_url: text(3)?.try_into().map_err(|_| Error::Damaged)?,
    })
}

fn prepare(connection: &Connection) -> Result<(), Error> {
    connection.busy_timeout(Duration::from_secs(5))?;
    let is_new = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
        row.get::<_, bool>(0)
    })?;
    if is_new {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Another process may be doing the same; the one that comes second finds the table.
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let still_new =
            connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
                row.get::<_, bool>(0)
            })?;
        if still_new {
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            connection.execute_batch(SCHEMA)?;
        }
        connection.execute_batch("COMMIT")?;
    }
    check_identity(connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(())
}

fn check_identity(connection: &Connection) -> Result<(), Error> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if pragma("application_id")? == APPLICATION_ID && pragma("user_version")? == SCHEMA_VERSION {
        Ok(())
    } else {
        Err(Error::NotAnInbox)
    }
}

/// An operation, and what tells its caller once the commit is known.
type Job = Box<dyn FnOnce(&Connection) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The most operations in one commit.
const GROUP: usize = 256;

/// Runs until every [`SqliteInbox`] is dropped.
fn write_in_groups(connection: &Connection, mut queue: mpsc::Receiver<Job>) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.blocking_recv_many(&mut group, GROUP) > 0 {
        if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
            tracing::error!(%error, operations = group.len(), "the inbox cannot write");
            group.clear();
            continue;
        }
        let replies: Vec<Reply> = group.drain(..).map(|job| job(connection)).collect();
        // A group that lost its transaction on the way (a full disk ends it) fails here as well.
        let committed = connection.execute_batch("COMMIT");
        if committed.is_err() && !connection.is_autocommit() {
            // Nothing more can be done about a rollback that fails: the next BEGIN says so.
            let _ = connection.execute_batch("ROLLBACK");
        }
        let failure = committed.err().map(|error| error.to_string());
        for reply in replies {
            reply(
                failure
                    .clone()
                    .map_or(Ok(()), |failure| Err(Error::NotCommitted(failure))),
            );
        }
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    operation: impl FnOnce(&Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    connection.execute_batch("SAVEPOINT operation")?;
    let result = operation(connection);
    connection.execute_batch(if result.is_ok() {
        "RELEASE operation"
    } else {
        "ROLLBACK TO operation; RELEASE operation"
    })?;
    result
}
