//! A PostgreSQL database: connecting, migrations, a pool of sessions.
//!
//! An operation is a closure over a [`Connection`], so a session is a thread that owns one connection and runs one operation
//! at a time, as with SQLite. That makes the pool a queue with some threads at its end: fair, bounded, and without the
//! questions (who holds what across an await, what becomes of a half-used session) that a pool of async connections brings;
//! deadpool and bb8 would give us just those and nothing that we need. A thread costs some tens of kilobytes, and a server
//! has few dozen connections to give. The concurrent commits of several sessions share PostgreSQL's own group commit.

pub(crate) mod batch;
mod tls;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Type as ValueType, Value};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{Client, Config};

use self::tls::Tls;
use crate::database::{Bound, Connection};
use crate::error::{Error, Result};

/// The schema, step by step, as with SQLite. A step must leave the schema usable for the version of the program before it:
/// add first, remove one release later.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/postgres/0001_flows.sql"),
    include_str!("../migrations/postgres/0002_callbacks.sql"),
    include_str!("../migrations/postgres/0003_console.sql"),
];

/// Taken while migrating, so that of several nodes that start at once one migrates.
const MIGRATION_LOCK: i64 = 0x5EA1_9057;

/// Operations waiting for a session at most; further callers wait before they queue.
const QUEUE_LIMIT: usize = 8192;

/// How to reach a PostgreSQL server.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`, as libpq reads it. `sslmode` is `disable`, `prefer` (the
    /// default) or `require`; wherever TLS is used, the server's certificate is verified.
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
        })
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
        Ok(Connection::Postgres(session))
    }
}

/// Makes sessions.
struct Connector {
    config: Config,
    tls: Tls,
    set_up: String,
}

impl Connector {
    fn new(options: &PostgresOptions) -> Result<Connector> {
        let mut config = Config::from_str(&options.url)?;
        config.connect_timeout(options.connect_timeout);
        if config.get_application_name().is_none() {
            config.application_name("sealpost");
        }
        // A host that vanishes without a word is noticed in seconds, not hours.
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(options.statement_timeout);
        Ok(Connector {
            config,
            tls: Tls::new(options.ca_file.as_deref())?,
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
        let (client, connection) = runtime.block_on(self.config.connect(self.tls.clone()))?;
        runtime.spawn(async move {
            // Its end is noticed by the next statement, which says why.
            let _ = connection.await;
        });
        let session = Session {
            client,
            runtime,
            statements: RefCell::default(),
        };
        session.batch(&self.set_up)?;
        Ok(session)
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
    session.batch("COMMIT")
}

/// One session with the server, used by the thread that made it.
pub(crate) struct Session {
    client: Client,
    /// Drives the connection while a statement runs, and rests with it in between.
    runtime: Runtime,
    statements: RefCell<HashMap<String, Prepared>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// A prepared statement with the names of its parameters, if it names them.
#[derive(Clone)]
pub(crate) struct Prepared {
    statement: tokio_postgres::Statement,
    names: Arc<[String]>,
}

impl Session {
    pub(crate) fn prepare(&self, sql: &str) -> Result<Prepared> {
        if let Some(prepared) = self.statements.borrow().get(sql) {
            return Ok(prepared.clone());
        }
        let (translated, names) = translate(sql);
        let statement = self.wait(self.client.prepare(&translated))?;
        let prepared = Prepared {
            statement,
            names: names.into(),
        };
        self.statements
            .borrow_mut()
            .insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    pub(crate) fn execute(&self, prepared: &Prepared, bound: Bound<'_>) -> Result<usize> {
        let values = prepared.values(bound)?;
        let changed = self.wait(self.client.execute_raw(&prepared.statement, &values))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(crate) fn query(
        &self,
        prepared: &Prepared,
        bound: Bound<'_>,
    ) -> Result<Vec<tokio_postgres::Row>> {
        let values = prepared.values(bound)?;
        let values: Vec<_> = values
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        self.wait(self.client.query(&prepared.statement, &values))
    }

    /// Rows of a statement in PostgreSQL's own words, for what needs arrays.
    pub(crate) fn query_arrays(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>> {
        let prepared = self.prepare(sql)?;
        self.wait(self.client.query(&prepared.statement, values))
    }

    /// Runs statements without parameters whose rows do not matter.
    pub(crate) fn batch(&self, sql: &str) -> Result<()> {
        self.wait(self.client.batch_execute(sql))
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        Ok(self.runtime.block_on(answer)?)
    }
}

impl Prepared {
    /// The values in the order of the statement's parameters.
    fn values(&self, bound: Bound<'_>) -> Result<Vec<Parameter>> {
        let value = |value: &dyn rusqlite::ToSql| Ok(Parameter(owned(value.to_sql()?)?));
        match bound {
            Bound::Positional(values) => values.iter().map(|each| value(*each)).collect(),
            Bound::Named(values) => {
                let named = |name: &String| {
                    let found = values.iter().find(|(each, _)| each == name);
                    let missing = || rusqlite::Error::InvalidParameterName(name.clone());
                    value(found.ok_or_else(missing)?.1)
                };
                self.names.iter().map(named).collect()
            }
        }
    }
}

fn owned(value: ToSqlOutput<'_>) -> rusqlite::Result<Value> {
    match value {
        ToSqlOutput::Owned(value) => Ok(value),
        ToSqlOutput::Borrowed(value) => Ok(value.try_into()?),
        _ => Err(rusqlite::Error::ToSqlConversionFailure(
            "a value of a kind that only SQLite has".into(),
        )),
    }
}

/// Rewrites SQLite's parameters as PostgreSQL's: `?2` becomes `$2`, `:name` the number of its first appearance. A colon
/// before a colon is PostgreSQL's cast. Our statements have neither sign inside a string.
fn translate(sql: &str) -> (String, Vec<String>) {
    let mut translated = String::with_capacity(sql.len() + 16);
    let mut names: Vec<String> = Vec::new();
    let mut rest = sql;
    while let Some(at) = rest.find(['?', ':']) {
        let (before, from) = rest.split_at(at);
        translated.push_str(before);
        let end = from[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (parameter, after) = from.split_at(end.map_or(from.len(), |end| end + 1));
        if parameter.len() == 1 {
            // Not a parameter: `::`, whose second colon must not begin one either.
            let (sign, after) = from.split_at(2.min(from.len()));
            translated.push_str(sign);
            rest = after;
            continue;
        }
        if let Some(number) = parameter.strip_prefix('?') {
            translated.push('$');
            translated.push_str(number);
        } else {
            let known = names.iter().position(|name| name == parameter);
            let index = known.unwrap_or_else(|| {
                names.push(parameter.to_owned());
                names.len() - 1
            });
            translated.push('$');
            translated.push_str(&(index + 1).to_string());
        }
        rest = after;
    }
    translated.push_str(rest);
    (translated, names)
}

/// A value on its way to the server, in whichever type the server wants it.
#[derive(Debug)]
struct Parameter(Value);

impl ToSql for Parameter {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(value) => match *ty {
                Type::INT4 => i32::try_from(*value)?.to_sql(ty, out),
                Type::BOOL => (*value != 0).to_sql(ty, out),
                Type::INT8 => value.to_sql(ty, out),
                _ => Err(format!("an integer where the statement wants {ty}").into()),
            },
            Value::Real(value) => value.to_sql(ty, out),
            Value::Text(value) => value.to_sql(ty, out),
            Value::Blob(value) => value.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A column's value as SQLite would give it.
pub(crate) fn value(row: &tokio_postgres::Row, index: usize) -> rusqlite::Result<Value> {
    fn read<'r, T>(
        row: &'r tokio_postgres::Row,
        index: usize,
        make: fn(T) -> Value,
    ) -> rusqlite::Result<Value>
    where
        T: tokio_postgres::types::FromSql<'r>,
    {
        let value = row.try_get::<_, Option<T>>(index);
        let value = value.map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(index, ValueType::Null, Box::new(error))
        })?;
        Ok(value.map_or(Value::Null, make))
    }
    match *row.columns()[index].type_() {
        Type::INT4 => read(row, index, |value: i32| Value::Integer(value.into())),
        Type::BOOL => read(row, index, |value: bool| Value::Integer(value.into())),
        Type::BYTEA => read(row, index, Value::Blob),
        Type::TEXT => read(row, index, Value::Text),
        Type::FLOAT8 => read(row, index, Value::Real),
        _ => read(row, index, Value::Integer),
    }
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn parameters_are_rewritten() {
        let check = |sql: &str, expected: &str, names: &[&str]| {
            let (translated, found) = translate(sql);
            assert_eq!(
                (
                    translated.as_str(),
                    found.iter().map(String::as_str).collect()
                ),
                (expected, names.to_vec())
            );
        };
        check("SELECT 1", "SELECT 1", &[]);
        check(
            "a = ?1 AND (b, c) < (?2, ?10)",
            "a = $1 AND (b, c) < ($2, $10)",
            &[],
        );
        check(
            "a = :a AND b = :b_c OR :a IS NULL",
            "a = $1 AND b = $2 OR $1 IS NULL",
            &[":a", ":b_c"],
        );
        check("?1::text", "$1::text", &[]);
        check("a = ?1", "a = $1", &[]);
    }
}
