//! Group commit: the one thread that writes to SQLite.
//!
//! A commit costs an fsync (some milliseconds) whether it carries one row or a thousand. So everything that waits is put into
//! one transaction, each operation in a savepoint of its own (if it needs one) so that a failing one takes nobody along, and
//! nobody is answered before the commit has returned. An idle database adds no waiting: a lone operation commits at once.
//!
//! What an operation does is the caller's closure; this file knows no table.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use crate::database::Connection;
use crate::error::{Error, Result};

/// Operations in one commit at most, so that no answer waits long for strangers.
const BATCH_LIMIT: usize = 1024;

/// Operations waiting for the writer at most; further callers wait before they queue.
const QUEUE_LIMIT: usize = 8 * BATCH_LIMIT;

/// How long a batch waits for as many operations as the batch before it had. After a commit all its callers are answered
/// at once and come back within microseconds; without this pause the first of them would pay a commit alone.
const GATHER: Duration = Duration::from_micros(400);

/// Hands operations to the writing thread. The thread ends, after finishing what waits, when the `Writer` is dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the writing thread over a connection that is open, configured and migrated.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub(crate) fn start(connection: Connection) -> std::io::Result<Writer> {
        let (jobs, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("sealpost-writer".into())
            .spawn(move || write_until_closed(&connection, &waiting))?;
        Ok(Writer {
            jobs: Some(jobs),
            room: Arc::new(Semaphore::new(QUEUE_LIMIT)),
            thread: Some(thread),
        })
    }

    /// Runs `work` inside the next group commit and answers after the commit.
    ///
    /// An `Err` from `work` undoes only its own changes. A caller that stops waiting does not stop the operation. `work` must
    /// be quick (statements only; no file, no network) and must not begin or end a transaction.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.hand_over(work, true).await
    }

    /// As [`Writer::write`], for work that changes nothing any more where it fails, such as a single statement: it needs no
    /// savepoint, which costs more than a small operation itself (SQLite copies each page that is changed within one).
    pub(crate) async fn write_whole<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.hand_over(work, false).await
    }

    async fn hand_over<T, F>(&self, work: F, in_savepoint: bool) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let _room = self.room.acquire().await.map_err(|_| Error::Stopped)?;
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(Error::Stopped)?;
        let job = Write {
            work,
            in_savepoint,
            answer,
        };
        jobs.send(Box::new(job)).map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was already reported on stderr; every later call answered `Stopped`.
            let _ = thread.join();
        }
    }
}

/// An operation that waits for its turn.
trait Job: Send {
    /// Whether a failure may leave changes behind, which a savepoint then undoes.
    fn in_savepoint(&self) -> bool;
    /// Does the work.
    fn run(self: Box<Self>, connection: &Connection) -> Done;
    /// Answers without having worked.
    fn refuse(self: Box<Self>, error: Error);
}

/// An operation that was run and waits for the commit.
struct Done {
    /// Why its changes are not to be kept, if they are not.
    failed: Option<Error>,
    /// Tells the caller, given how the commit went.
    answer: Box<dyn FnOnce(Result<()>) + Send>,
}

struct Write<T, F> {
    work: F,
    in_savepoint: bool,
    answer: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T> + Send,
{
    fn in_savepoint(&self) -> bool {
        self.in_savepoint
    }

    fn run(self: Box<Self>, connection: &Connection) -> Done {
        let result = (self.work)(connection);
        let answer = self.answer;
        Done {
            failed: result.as_ref().err().cloned(),
            // The caller may have gone; the operation counts all the same.
            answer: Box::new(move |commit| drop(answer.send(commit.and(result)))),
        }
    }

    fn refuse(self: Box<Self>, error: Error) {
        drop(self.answer.send(Err(error)));
    }
}

fn write_until_closed(connection: &Connection, waiting: &mpsc::Receiver<Box<dyn Job>>) {
    let mut expected = 1;
    while let Ok(first) = waiting.recv() {
        expected = write_batch(connection, first, waiting, expected);
    }
}

/// Commits `first` and what waits behind it together; returns how many they were.
fn write_batch(
    connection: &Connection,
    first: Box<dyn Job>,
    waiting: &mpsc::Receiver<Box<dyn Job>>,
    expected: usize,
) -> usize {
    if let Err(error) = connection.run("BEGIN IMMEDIATE") {
        // Whoever waits behind it has waited for the same; one after the other each would wait as long again.
        while let Ok(job) = waiting.try_recv() {
            job.refuse(error.clone());
        }
        first.refuse(error);
        return 1;
    }
    let mut batch = Vec::with_capacity(expected);
    let mut lost = None;
    let mut next = Some(first);
    let until = Instant::now() + GATHER;
    while let Some(job) = next {
        match run(connection, job) {
            Ok(done) => batch.push(done),
            Err((done, error)) => {
                batch.extend(done);
                lost = Some(error);
                break;
            }
        }
        next = (batch.len() < BATCH_LIMIT)
            .then(|| next_job(waiting, batch.len() < expected, until))
            .flatten();
    }
    let committed = match lost {
        Some(error) => Err(error),
        None => connection.run("COMMIT"),
    };
    if committed.is_err() && connection.is_in_transaction() {
        // A rollback that fails leaves the transaction open, and the next BEGIN reports it.
        let _ = connection.run("ROLLBACK");
    }
    let size = batch.len();
    for done in batch {
        (done.answer)(committed.clone());
    }
    size
}

/// The next waiting operation; with `expecting`, one that comes before `until` will do.
fn next_job(
    waiting: &mpsc::Receiver<Box<dyn Job>>,
    expecting: bool,
    until: Instant,
) -> Option<Box<dyn Job>> {
    if !expecting {
        return waiting.try_recv().ok();
    }
    waiting
        .recv_timeout(until.saturating_duration_since(Instant::now()))
        .ok()
}

/// Runs one operation so that its failure undoes nothing but itself.
///
/// Some errors (a full disk, a failing one) make SQLite roll back the whole transaction; then everything in this batch is
/// lost and the error says so.
fn run(
    connection: &Connection,
    job: Box<dyn Job>,
) -> std::result::Result<Done, (Option<Done>, Error)> {
    let in_savepoint = job.in_savepoint();
    if in_savepoint && let Err(error) = connection.run("SAVEPOINT operation") {
        job.refuse(error.clone());
        return Err((None, error));
    }
    let done = job.run(connection);
    if !connection.is_in_transaction() {
        let error = done.failed.clone().unwrap_or_else(rolled_back);
        return Err((Some(done), error));
    }
    if !in_savepoint {
        return Ok(done);
    }
    let closed = match done.failed {
        None => connection.run("RELEASE operation"),
        Some(_) => connection
            .run("ROLLBACK TO operation")
            .and_then(|()| connection.run("RELEASE operation")),
    };
    match closed {
        Ok(()) => Ok(done),
        Err(error) => Err((Some(done), error)),
    }
}

fn rolled_back() -> Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK);
    let text = "an operation of the same commit met an error that undoes all of it".to_owned();
    Error::from(rusqlite::Error::SqliteFailure(code, Some(text)))
}
