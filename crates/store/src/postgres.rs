//! A PostgreSQL database: connecting, migrations, a pool of sessions.
//!
//! An operation is a closure over a [`Connection`], so a session is a thread that owns one connection and runs one operation
//! at a time, as with SQLite. That makes the pool a queue with some threads at its end: fair, bounded, and without the
//! questions (who holds what across an await, what becomes of a half-used session) that a pool of async connections brings;
//! deadpool and bb8 would give us just those and nothing that we need. A thread costs some tens of kilobytes, and a server
//! has few dozen connections to give. The concurrent commits of several sessions share PostgreSQL's own group commit.

pub(crate) mod batch;
mod bell;
mod connector;
mod session;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use self::bell::Bell;
use self::connector::Connector;
pub(crate) use self::session::{Prepared, Session, Single, WithArrays, value};
use crate::database::{Bound, Connection};
use crate::error::{Error, Result};
use crate::partitions;

/// The schema, step by step, as with SQLite. A step must leave the schema usable for the version of the program before it:
/// add first, remove one release later.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/postgres/0001_flows.sql"),
    include_str!("../migrations/postgres/0002_callbacks.sql"),
    include_str!("../migrations/postgres/0003_console.sql"),
    include_str!("../migrations/postgres/0004_operating.sql"),
    include_str!("../migrations/postgres/0005_redeliveries.sql"),
    include_str!("../migrations/postgres/0006_codes.sql"),
    include_str!("../migrations/postgres/0007_seals.sql"),
    include_str!("../migrations/postgres/0008_preservation.sql"),
    include_str!("../migrations/postgres/0009_nodes.sql"),
    include_str!("../migrations/postgres/0010_partitions.sql"),
    include_str!("../migrations/postgres/0011_tallies.sql"),
    include_str!("../migrations/postgres/0012_revisions.sql"),
];

/// The newest version of the schema that this program knows.
pub(crate) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// A program that knows the schema up to here can go on over the newest one: it does not miss what was added since then. Raised
/// by a step that takes away something that such a program needs.
const OLDEST: i64 = 11;

/// Taken while migrating, so that of several nodes that start at once one migrates.
const MIGRATION_LOCK: i64 = 0x5EA1_9057;

/// How long a step waits for a table that others are using, a backup say. Whoever uses the table after it has to wait behind it.
const STEP_LOCK_SECONDS: u32 = 5;

/// How often it is asked whether the node that migrates is done.
const LOCK_AGAIN: Duration = Duration::from_millis(250);

/// A step that takes longer than this is told of in the log.
const SLOW: Duration = Duration::from_secs(5);

/// Operations waiting for a session at most; further callers wait before they queue.
const QUEUE_LIMIT: usize = 8192;

/// How to reach a PostgreSQL server.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`, as libpq reads it. `sslmode` is `disable`, `prefer` (the
    /// default), `require`, `verify-ca` or `verify-full`; wherever TLS is used, the server's certificate is verified, and but
    /// for `verify-ca` the host name in it. `sslrootcert`, `sslcert` and `sslkey` name files, too. Of several hosts one is used
    /// that can be written to, unless `target_session_attrs` says otherwise.
    pub url: String,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Sessions for writing; as many again are kept for reading.
    pub sessions: usize,
    /// How long a statement may take, waiting for locks included. Bringing the schema up to date has no limit.
    pub statement_timeout: Duration,
    /// How long connecting may take, to each of the hosts where the URL names several.
    pub connect_timeout: Duration,
}

impl PostgresOptions {
    /// The defaults: 8 sessions each way, 30 s for a statement, 5 s for connecting.
    pub fn new(url: impl Into<String>) -> PostgresOptions {
        PostgresOptions {
            url: url.into(),
            ca_file: None,
            sessions: 8,
            statement_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("PostgresOptions")
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}

/// One PostgreSQL database.
#[derive(Debug)]
pub(crate) struct Postgres {
    writing: Pool,
    reading: Pool,
    round_trips: Arc<AtomicU64>,
    bell: Bell,
}

impl Postgres {
    /// Connects and brings the schema up to date. Blocks; for use before the program serves, or off its async threads.
    ///
    /// # Errors
    /// [`Error::TooNew`], [`Error::Unreachable`], or what the server answers.
    pub(crate) fn open(options: PostgresOptions) -> Result<Postgres> {
        let connector = Arc::new(Connector::new(&options)?);
        // In a thread of its own, for the caller may be inside a runtime, where blocking on another is not allowed.
        let migrating =
            std::thread::scope(|scope| scope.spawn(|| migrate(&connector, MIGRATIONS)).join());
        migrating.map_err(|_| Error::Stopped)??;
        let start = |purpose| {
            let failed = |error| Error::file("start a thread for", "PostgreSQL".as_ref(), error);
            Pool::start(purpose, options.sessions, &connector).map_err(failed)
        };
        Ok(Postgres {
            writing: start(&WRITING)?,
            reading: start(&READING)?,
            round_trips: connector.round_trips(),
            bell: Bell::new(connector),
        })
    }

    /// How often operations have waited for an answer of the server.
    pub(crate) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// How nodes wake each other.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.writing.run(Frame::Transaction, work).await
    }

    /// As [`Postgres::write`], but each statement of `work` is a transaction of its own.
    pub(crate) async fn write_singly<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.writing.run(Frame::None, work).await
    }

    /// Runs `work`, the one thing that [`Single`] lets it do, which is a transaction of its own.
    pub(crate) async fn write_single<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Single<'_>) -> Result<T> + Send + 'static,
    {
        let work = move |connection: &Connection| match connection {
            Connection::Postgres(session) => work(Single::new(session)),
            Connection::Sqlite(_) => Err(Error::Stopped),
        };
        self.write_singly(work).await
    }

    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.reading.run(Frame::Transaction, work).await
    }

    /// As [`Postgres::read`], but each statement of `work` sees a snapshot of its own.
    pub(crate) async fn read_singly<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.reading.run(Frame::None, work).await
    }
}

/// What a pool's sessions are for.
struct Purpose {
    /// The threads' name.
    name: &'static str,
    /// How a transaction begins.
    begin: &'static str,
    /// Whether it only reads, so that nobody waits for its end.
    is_reading: bool,
    /// Settings of a session.
    ///
    /// Tables of a queue grow from nothing to millions and shrink again faster than statistics are gathered, and a plan that is
    /// kept for a prepared statement while a table is small is a disaster when it is large: one that reads all of it. All our
    /// statements have an index to go by, so they always go by it. Nothing of ours is worth compiling.
    set_up: &'static str,
}

const WRITING: Purpose = Purpose {
    name: "sealpost-write",
    begin: "BEGIN",
    is_reading: false,
    set_up: "SET jit = off; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
             SET plan_cache_mode = force_generic_plan",
};

const READING: Purpose = Purpose {
    name: "sealpost-read",
    begin: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    is_reading: true,
    set_up: "SET default_transaction_read_only = on; SET jit = off; SET enable_seqscan = off",
};

/// What keeps an operation's statements together.
#[derive(Clone, Copy)]
enum Frame {
    /// A transaction.
    Transaction,
    /// Nothing: there is one, and PostgreSQL makes a transaction of it.
    None,
}

/// Threads that each own a session and take operations from one queue. They end, after finishing what waits, when the pool
/// is dropped.
#[derive(Debug)]
struct Pool {
    jobs: Option<mpsc::Sender<Job>>,
    room: Semaphore,
    threads: Vec<JoinHandle<()>>,
}

/// An operation with the way to answer it.
type Job = Box<dyn FnOnce(&mut Worker) + Send>;

impl Pool {
    fn start(
        purpose: &'static Purpose,
        sessions: usize,
        connector: &Arc<Connector>,
    ) -> std::io::Result<Pool> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let thread = |_| {
            let (waiting, connector) = (Arc::clone(&waiting), Arc::clone(connector));
            let work = move || {
                Worker {
                    connector,
                    purpose,
                    connection: None,
                }
                .work_until_closed(&waiting)
            };
            std::thread::Builder::new()
                .name(purpose.name.to_owned())
                .spawn(work)
        };
        let threads = (0..sessions.max(1))
            .map(thread)
            .collect::<std::io::Result<_>>()?;
        Ok(Pool {
            jobs: Some(jobs),
            room: Semaphore::new(QUEUE_LIMIT),
            threads,
        })
    }

    async fn run<T, F>(&self, frame: Frame, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let _room = self.room.acquire().await.map_err(|_| Error::Stopped)?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            // The caller may have gone; the operation counts all the same.
            drop(answer.send(worker.run(frame, work)));
        });
        self.jobs
            .as_ref()
            .ok_or(Error::Stopped)?
            .send(job)
            .map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)?
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // Its panic was already reported on stderr.
            let _ = thread.join();
        }
    }
}

/// A thread's side of a session, which it makes when it is first needed and anew when it is lost.
struct Worker {
    connector: Arc<Connector>,
    purpose: &'static Purpose,
    connection: Option<Connection>,
}

impl Worker {
    fn work_until_closed(mut self, waiting: &Mutex<mpsc::Receiver<Job>>) {
        loop {
            let next = waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(job) = next else { return };
            job(&mut self);
        }
    }

    /// Runs one operation.
    fn run<T>(&mut self, frame: Frame, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = self.connection()?;
        let Connection::Postgres(session) = &connection else {
            return Err(Error::Stopped);
        };
        match frame {
            Frame::Transaction => session.begin(self.purpose.begin),
            Frame::None => (),
        }
        let result = work(&connection);
        let ended = match &result {
            _ if self.purpose.is_reading => session.end_reading(),
            Ok(_) => session.commit(),
            Err(_) => session.roll_back(),
        };
        self.avoid_if_lost(session);
        // A refused end, and a failure among statements that make their own transaction, may leave that open or not; a session
        // in which it is certainly over is as good as new.
        let is_over = match frame {
            Frame::Transaction => ended.is_ok(),
            Frame::None => result.is_ok(),
        };
        if is_over || (!session.is_lost() && session.batch("ROLLBACK").is_ok()) {
            self.connection = Some(connection);
        }
        // Where something has failed, its transaction is undone or lost with its session, whatever its end says. Of what was read
        // nothing is kept, and its end has nothing to tell.
        match result {
            Ok(_) if !self.purpose.is_reading => ended.and(result),
            _ => result,
        }
    }

    fn avoid_if_lost(&self, session: &Session) {
        if session.is_lost() {
            self.connector.avoid(session.origin());
        }
    }

    /// A connection to work with. One that was lost while it was idle, or whose server was replaced as the primary, is noticed here,
    /// where nothing was done yet, and made anew.
    fn connection(&mut self) -> Result<Connection> {
        if let Some(connection) = self.connection.take()
            && let Connection::Postgres(session) = &connection
            && !self
                .connector
                .is_replaced(session.origin().timeline.as_ref())
        {
            if session.is_there() {
                return Ok(connection);
            }
            self.avoid_if_lost(session);
        }
        let session = self.connector.connect()?;
        session.batch(self.purpose.set_up)?;
        Ok(Connection::Postgres(Box::new(session)))
    }
}

/// How far the schema is: its version and the oldest version of the program that bears it; `None` where that is not kept yet.
type Progress = Option<(i64, i64)>;

/// Takes the steps that the database lacks, in one transaction and under a lock.
///
/// Where nothing is lacking, this only reads: a backup holds `ACCESS SHARE` on every table for as long as it runs, and nodes and
/// the command line must be able to start meanwhile.
fn migrate(connector: &Connector, steps: &[&str]) -> Result<()> {
    let known = steps.len() as i64;
    connector.ask_all()?;
    let session = connector.connect()?;
    if !is_done(progress(&session)?, known)? {
        bring_up_to_date(&connector.connect_without_limit()?, steps)?;
    }
    // What cannot be made now (a busy table, a role that may make none) is tried again every day.
    let make = || -> Result<()> {
        session.batch("BEGIN")?;
        partitions::MAKE
            .iter()
            .try_for_each(|statement| session.batch(statement))?;
        session.batch("COMMIT")
    };
    let _ = make();
    Ok(())
}

/// Whether the schema is as a program wants it that knows so many steps.
fn is_done(progress: Progress, known: i64) -> Result<bool> {
    match progress {
        // A newer program is at work beside this one, or was: as long as it has only added, this one goes on.
        Some((found, oldest)) if oldest > known => Err(Error::TooNew { found, known }),
        Some((found, _)) => Ok(found >= known),
        None => Ok(false),
    }
}

/// Takes what steps are lacking once no other node does, however long either takes: a step may go through millions of rows.
fn bring_up_to_date(session: &Session, steps: &[&str]) -> Result<()> {
    let known = steps.len() as i64;
    let mut has_waited = false;
    session.batch("BEGIN")?;
    while !has_lock(session)? {
        if !has_waited {
            tracing::info!(
                "another node brings the database's schema up to date; this one waits for it"
            );
            has_waited = true;
        }
        // Not in the transaction, whose snapshot would keep the server from clearing away what the steps leave.
        session.batch("ROLLBACK")?;
        std::thread::sleep(LOCK_AGAIN);
        session.batch("BEGIN")?;
    }
    session.batch(&format!(
        "SET LOCAL lock_timeout = '{STEP_LOCK_SECONDS}s';
         CREATE TABLE IF NOT EXISTS sealpost_schema (version BIGINT NOT NULL, oldest BIGINT)"
    ))?;
    // Another node may have taken the steps meanwhile.
    if progress(session)?.is_none() {
        session.batch("ALTER TABLE sealpost_schema ADD COLUMN oldest BIGINT")?;
    }
    let before = progress(session)?;
    if !is_done(before, known)? {
        take(session, steps, before.map_or(0, |(found, _)| found))?;
    }
    session.batch("COMMIT")
}

/// Takes the lock for this transaction, if nobody has it.
fn has_lock(session: &Session) -> Result<bool> {
    let asked = session.prepare(&format!(
        "SELECT pg_try_advisory_xact_lock({MIGRATION_LOCK})"
    ))?;
    let rows = session.query(&asked, Bound::Positional(&[]))?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

fn progress(session: &Session) -> Result<Progress> {
    let is_kept = session.prepare(
        "SELECT 1 FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid JOIN pg_namespace AS n ON n.oid = relnamespace
         WHERE nspname = current_schema() AND relname = 'sealpost_schema' AND attname = 'oldest' AND NOT attisdropped",
    )?;
    if session.query(&is_kept, Bound::Positional(&[]))?.is_empty() {
        return Ok(None);
    }
    // Where a step does not say which programs bear it, only those do that know it.
    let asked = session.prepare(
        "SELECT coalesce(max(version), 0), coalesce(max(coalesce(oldest, version)), 0) FROM sealpost_schema",
    )?;
    let rows = session.query(&asked, Bound::Positional(&[]))?;
    Ok(rows.first().map(|row| (row.get(0), row.get(1))))
}

/// Takes the steps after the one that was taken last.
fn take(session: &Session, steps: &[&str], found: i64) -> Result<()> {
    for (version, step) in (1..)
        .zip(steps)
        .skip_while(|(version, _)| *version <= found)
    {
        let begun = Instant::now();
        session.batch_watched(step, SLOW, move || {
            tracing::info!(
                version,
                "bringing the database's schema up to date takes a while; do not stop it, for it would begin anew"
            );
        })?;
        if begun.elapsed() > SLOW {
            let seconds = begun.elapsed().as_secs();
            tracing::info!(
                version,
                seconds,
                "brought the database's schema up to this version"
            );
        }
        let oldest = OLDEST.min(version);
        session.batch(&format!(
            "INSERT INTO sealpost_schema (version, oldest) VALUES ({version}, {oldest})"
        ))?;
    }
    Ok(())
}
