//! An SQLite database: opening, settings, migrations, one writer, a few readers.
//!
//! Several processes may have the same database open (`serve` and the command line): WAL lets them read beside one writer,
//! and a writer that finds another at work waits up to [`BUSY_TIMEOUT`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{OpenFlags, TransactionBehavior};
use tokio::sync::Semaphore;

use crate::database::Connection;
use crate::error::{Error, Result};
use crate::writer::Writer;

/// How long to wait for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the one who is refused waits before it asks again for the log of a new file.
const SWITCH_AGAIN: Duration = Duration::from_millis(5);

/// Reading connections at most; more readers wait for one of them.
const READERS: usize = 4;

/// Statements kept prepared per connection; more than we have.
const STATEMENTS: usize = 128;

/// Written into the file's header, so that another program's database is not mistaken for ours.
const APPLICATION_ID: i64 = 0x5EA1_9057;

/// The schema, step by step; a step's version is its place, counted from 1. A step that has been released is never changed:
/// what is wrong with it is put right by the next.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/sqlite/0001_flows.sql"),
    include_str!("../migrations/sqlite/0002_callbacks.sql"),
    include_str!("../migrations/sqlite/0003_console.sql"),
    include_str!("../migrations/sqlite/0004_operating.sql"),
    include_str!("../migrations/sqlite/0005_redeliveries.sql"),
    include_str!("../migrations/sqlite/0006_codes.sql"),
    include_str!("../migrations/sqlite/0007_seals.sql"),
    include_str!("../migrations/sqlite/0008_preservation.sql"),
    include_str!("../migrations/sqlite/0009_nodes.sql"),
    include_str!("../migrations/sqlite/0010_partitions.sql"),
    include_str!("../migrations/sqlite/0011_tallies.sql"),
    include_str!("../migrations/sqlite/0012_revisions.sql"),
];

/// The newest version of the schema that this program knows.
pub(crate) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// One open SQLite database.
#[derive(Debug)]
pub(crate) struct Sqlite {
    writer: Writer,
    readers: Arc<Readers>,
}

impl Sqlite {
    /// Opens the database at `path`, makes it if it does not exist, and brings its schema up to date.
    ///
    /// Blocks on the disk; for use before the program serves, or off its async threads.
    ///
    /// # Errors
    /// [`Error::TooNew`], [`Error::Foreign`], or what the database or the folder answers.
    pub(crate) fn open(path: &Path) -> Result<Sqlite> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(path, flags)?;
        check_owner(&connection, path)?;
        keep_a_log(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", -32_768)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        migrate(&mut connection, MIGRATIONS)?;
        let writer = Writer::start(Connection::Sqlite(connection))
            .map_err(|error| Error::file("start the writer of", path, error))?;
        Ok(Sqlite {
            writer,
            readers: Arc::new(Readers::new(path)),
        })
    }

    /// Runs `work` in the next group commit; see [`Writer::write`].
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.writer.write(work).await
    }

    /// Runs `work`, which changes nothing any more where it fails; see [`Writer::write_whole`].
    pub(crate) async fn write_whole<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.writer.write_whole(work).await
    }

    /// Runs `work` on a read-only connection, off the async threads. It sees every commit that was answered before.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        let room = Arc::clone(&readers.room)
            .acquire_owned()
            .await
            .map_err(|_| Error::Stopped)?;
        let reading = tokio::task::spawn_blocking(move || {
            let _room = room;
            readers.with(work)
        });
        reading.await.map_err(|_| Error::Stopped)?
    }
}

#[derive(Debug)]
struct Readers {
    path: PathBuf,
    room: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn new(path: &Path) -> Readers {
        Readers {
            path: path.to_owned(),
            room: Arc::new(Semaphore::new(READERS)),
            idle: Mutex::default(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let connection = match idle {
            Some(connection) => connection,
            None => Connection::Sqlite(connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?),
        };
        // A snapshot over all of the work's statements, so that it never sees half of a commit.
        connection.run("BEGIN")?;
        let result = work(&connection);
        connection.run("COMMIT")?;
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
        result
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<rusqlite::Connection> {
    let connection =
        rusqlite::Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Has the file's changes written to a log beside it (WAL).
///
/// A new file is switched by a reader that becomes its only user, and SQLite does not wait for the others who have just opened
/// it: they may be waiting to do the same. So the one who is refused lets go and asks again.
fn keep_a_log(connection: &rusqlite::Connection) -> Result<()> {
    let begun = Instant::now();
    loop {
        let switched = connection.pragma_update(None, "journal_mode", "WAL");
        match switched.map_err(Error::from) {
            Err(Error::Busy(_)) if begun.elapsed() < BUSY_TIMEOUT => thread::sleep(SWITCH_AGAIN),
            other => return other,
        }
    }
}

/// Refuses a database that has content but not our mark. Both are of one moment: another process may be making it.
fn check_owner(connection: &rusqlite::Connection, path: &Path) -> Result<()> {
    let moment = connection.unchecked_transaction()?;
    let owner: i64 = moment.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 =
        moment.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    moment.commit()?;
    if owner == APPLICATION_ID || (owner == 0 && tables == 0) {
        Ok(())
    } else {
        Err(Error::Foreign(path.to_owned()))
    }
}

/// Takes the steps that the database lacks, in one transaction. Of several processes that start at once one does it, and
/// the others find it done.
fn migrate(connection: &mut rusqlite::Connection, steps: &[&str]) -> Result<()> {
    let known = steps.len() as i64;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    for (version, step) in (1..)
        .zip(steps)
        .skip_while(|(version, _)| *version <= found)
    {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()?;
    Ok(())
}
