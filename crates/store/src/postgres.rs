//! A PostgreSQL database: connecting, migrations, a pool of sessions.
//!
//! An operation is a closure over a [`Connection`], so a session is a thread that owns one connection and runs one operation
//! at a time, as with SQLite. That makes the pool a queue with some threads at its end: fair, bounded, and without the
//! questions (who holds what across an await, what becomes of a half-used session) that a pool of async connections brings;
//! deadpool and bb8 would give us just those and nothing that we need. A thread costs some tens of kilobytes, and a server
//! has few dozen connections to give. The concurrent commits of several sessions share PostgreSQL's own group commit.

pub(crate) mod batch;
mod bell;
mod session;

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use sealpost_tls::{Address, ServerConnection, Tls};
use tokio::sync::{Semaphore, oneshot};
use tokio_postgres::Config;

use self::bell::Bell;
pub(crate) use self::session::{Prepared, Session, value};
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
];

/// Taken while migrating, so that of several nodes that start at once one migrates.
const MIGRATION_LOCK: i64 = 0x5EA1_9057;

/// Operations waiting for a session at most; further callers wait before they queue.
const QUEUE_LIMIT: usize = 8192;

/// How to reach a PostgreSQL server.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`, as libpq reads it. `sslmode` is `disable`, `prefer` (the
    /// default), `require`, `verify-ca` or `verify-full`; wherever TLS is used, the server's certificate is verified, and but
    /// for `verify-ca` the host name in it. `sslrootcert`, `sslcert` and `sslkey` name files, too.
    pub url: String,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Sessions for writing; as many again are kept for reading.
    pub sessions: usize,
    /// How long a statement may take, waiting for locks included.
    pub statement_timeout: Duration,
    /// How long connecting may take.
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
        let start = |name, begin| {
            let failed = |error| Error::file("start a thread for", "PostgreSQL".as_ref(), error);
            Pool::start(name, begin, options.sessions, &connector).map_err(failed)
        };
        Ok(Postgres {
            writing: start("sealpost-write", "BEGIN")?,
            reading: start(
                "sealpost-read",
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            )?,
            bell: Bell::new(connector),
        })
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
        self.writing.run(work).await
    }

    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.reading.run(work).await
    }
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
        name: &str,
        begin: &'static str,
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
                    begin,
                    connection: None,
                }
                .work_until_closed(&waiting)
            };
            std::thread::Builder::new()
                .name(name.to_owned())
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

    async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let _room = self.room.acquire().await.map_err(|_| Error::Stopped)?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            // The caller may have gone; the operation counts all the same.
            drop(answer.send(worker.run(work)));
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
    begin: &'static str,
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

    /// Runs one operation in a transaction.
    fn run<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = self.begin()?;
        let result = work(&connection);
        let Connection::Postgres(session) = &connection else {
            return Err(Error::Stopped);
        };
        let ended = session.batch(if result.is_ok() { "COMMIT" } else { "ROLLBACK" });
        if ended.is_ok() {
            self.connection = Some(connection);
        }
        // A rollback that fails has lost its session, and the transaction with it.
        if result.is_ok() {
            ended.and(result)
        } else {
            result
        }
    }

    /// A connection with a transaction begun. One that was lost while it was idle is noticed here and replaced.
    fn begin(&mut self) -> Result<Connection> {
        if let Some(connection) = self.connection.take()
            && let Connection::Postgres(session) = &connection
            && session.batch(self.begin).is_ok()
        {
            return Ok(connection);
        }
        let session = self.connector.connect()?;
        session.batch(self.begin)?;
        Ok(Connection::Postgres(Box::new(session)))
    }
}

/// Makes sessions.
struct Connector {
    config: Config,
    tls: Tls,
    /// How long an answer is waited for.
    patience: Duration,
    set_up: String,
}

impl Connector {
    fn new(options: &PostgresOptions) -> Result<Connector> {
        let address = Address::parse(&options.url);
        let mut config = Config::from_str(&address.connection)?;
        config.connect_timeout(options.connect_timeout);
        if config.get_application_name().is_none() {
            config.application_name("sealpost");
        }
        // A host that vanishes without a word is noticed in seconds, not hours.
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(options.statement_timeout);
        Ok(Connector {
            config,
            tls: Tls::new(&address, options.ca_file.as_deref())?,
            patience: options.statement_timeout + Duration::from_secs(5),
            set_up: format!(
                "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = '60s'",
                options.statement_timeout.as_millis()
            ),
        })
    }

    fn connect(&self) -> Result<Session> {
        let failed = |error| Error::file("start a runtime for", "PostgreSQL".as_ref(), error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let (client, connection) = runtime.block_on(self.open())?;
        runtime.spawn(async move {
            // Its end is noticed by the next statement, which says why.
            let _ = connection.await;
        });
        let session = Session::new(client, runtime, self.patience);
        session.batch(&self.set_up)?;
        Ok(session)
    }

    /// A connection as it comes, for the caller's runtime to drive.
    async fn open(&self) -> Result<(tokio_postgres::Client, ServerConnection)> {
        let connecting = self.config.connect(self.tls.clone());
        // Each of several hosts has its own time to connect; a server that has stopped takes connections and says nothing.
        match tokio::time::timeout(self.patience, connecting).await {
            Ok(connected) => Ok(connected?),
            Err(elapsed) => Err(Error::Unreachable(Arc::new(elapsed))),
        }
    }
}

/// Takes the steps that the database lacks, in one transaction and under a lock.
fn migrate(connector: &Connector, steps: &[&str]) -> Result<()> {
    let known = steps.len() as i64;
    let session = connector.connect()?;
    session.batch(&format!(
        "BEGIN; SELECT pg_advisory_xact_lock({MIGRATION_LOCK});
         CREATE TABLE IF NOT EXISTS sealpost_schema (version BIGINT NOT NULL)"
    ))?;
    let version = session.prepare("SELECT coalesce(max(version), 0) FROM sealpost_schema")?;
    let rows = session.query(&version, Bound::Positional(&[]))?;
    let found: i64 = rows.first().map_or(0, |row| row.get(0));
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    for (version, step) in (1..)
        .zip(steps)
        .skip_while(|(version, _)| *version <= found)
    {
        session.batch(step)?;
        session.batch(&format!("INSERT INTO sealpost_schema VALUES ({version})"))?;
    }
    session.batch("COMMIT")?;
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
