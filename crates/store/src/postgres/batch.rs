//! Group commit over PostgreSQL for operations that come alone but can be done many at once.
//!
//! Sessions commit side by side, which is enough for the changes of flows. What comes in by the ten thousand a second (callbacks
//! to keep) must share statements as well as commits: while one batch is being committed the next one gathers, and is then
//! done by one statement over arrays. What that statement leaves is done one by one. Those whom a batch has answered come again a moment later with their next, so a batch
//! waits a moment until it is as large as the one before; after a batch of one nobody is waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::database::{Connection, Database};
use crate::error::{Error, Result};
use crate::postgres::{Postgres, Single};

/// Items in one batch at most.
const BATCH_LIMIT: usize = 1024;

/// How long a batch waits to become as large as the one before.
const GATHER: Duration = Duration::from_millis(1);

/// What came of a batch, in its items' order; `None` for what it left.
type Done<O> = Result<Vec<Option<O>>>;

/// How the items of a batch are done.
pub(crate) struct Work<I, O> {
    /// Does what can be done for all at once, which is a transaction of its own.
    pub(crate) all: fn(Single<'_>, &[I]) -> Done<O>,
    /// Does what that has left, in a transaction.
    pub(crate) rest: fn(&Connection, &[I]) -> Result<Vec<O>>,
}

/// An item with the way to answer it.
type Waiter<I, O> = (I, oneshot::Sender<Result<O>>);

/// Gathers items while a batch is under way.
#[derive(Debug)]
pub(crate) struct Batches<I, O> {
    waiting: Mutex<Waiting<I, O>>,
}

#[derive(Debug)]
struct Waiting<I, O> {
    items: Vec<Waiter<I, O>>,
    /// Whether a task is doing batches; it goes on until nothing waits.
    under_way: bool,
}

impl<I, O> Default for Batches<I, O> {
    fn default() -> Self {
        Batches {
            waiting: Mutex::new(Waiting {
                items: Vec::new(),
                under_way: false,
            }),
        }
    }
}

impl<I, O> Batches<I, O>
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    /// Does the item with those that wait beside it, and answers after the commit.
    pub(crate) async fn add(
        self: &Arc<Self>,
        database: &Arc<Database>,
        item: I,
        work: Work<I, O>,
    ) -> Result<O> {
        let (answer, answered) = oneshot::channel();
        let begin = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.items.push((item, answer));
            !std::mem::replace(&mut waiting.under_way, true)
        };
        if begin {
            // A task of its own, so that a caller who goes away takes no batch of others along.
            tokio::spawn(do_batches(Arc::clone(self), Arc::clone(database), work));
        }
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// How many wait.
    fn waiting(&self) -> usize {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.items.len()
    }

    /// What waits, as far as one batch takes it; with nothing waiting the task is over.
    fn next(&self) -> Option<Vec<Waiter<I, O>>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.items.is_empty() {
            waiting.under_way = false;
            return None;
        }
        let size = waiting.items.len().min(BATCH_LIMIT);
        Some(waiting.items.drain(..size).collect())
    }
}

async fn do_batches<I, O>(batches: Arc<Batches<I, O>>, database: Arc<Database>, work: Work<I, O>)
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    let Database::Postgres(postgres) = &*database else {
        return;
    };
    let mut expected = 1;
    loop {
        if expected > 1 && batches.waiting() < expected {
            tokio::time::sleep(GATHER).await;
        }
        let Some(batch) = batches.next() else {
            return;
        };
        expected = batch.len();
        let (items, answers): (Vec<I>, Vec<_>) = batch.into_iter().unzip();
        let all: Arc<[I]> = items.clone().into();
        let done = postgres
            .write_single(move |single| (work.all)(single, &all))
            .await;
        let done = match done {
            Ok(done) => done,
            // One of them cannot be done; it must not take the others along.
            Err(Error::Database(_)) if items.len() > 1 => items.iter().map(|_| None).collect(),
            Err(error) => {
                for answer in answers {
                    drop(answer.send(Err(error.clone())));
                }
                continue;
            }
        };
        let mut left = Vec::new();
        for (waiter, done) in items.into_iter().zip(answers).zip(done) {
            match done {
                // The caller may have gone; the item counts all the same.
                Some(done) => drop(waiter.1.send(Ok(done))),
                None => left.push(waiter),
            }
        }
        do_rest(postgres, left, work.rest).await;
    }
}

/// Does items in one transaction if that can be, or else each in its own.
async fn do_rest<I, O>(
    postgres: &Postgres,
    left: Vec<Waiter<I, O>>,
    work: fn(&Connection, &[I]) -> Result<Vec<O>>,
) where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    if left.is_empty() {
        return;
    }
    let items: Vec<I> = left.iter().map(|(item, _)| item.clone()).collect();
    let all = move |connection: &Connection| work(connection, &items);
    match postgres.write(all).await {
        Ok(done) => {
            for ((_, answer), done) in left.into_iter().zip(done) {
                drop(answer.send(Ok(done)));
            }
        }
        // One of them cannot be done; it must not take the others along.
        Err(Error::Database(_)) if left.len() > 1 => {
            for (item, answer) in left {
                let alone = move |connection: &Connection| work(connection, &[item]);
                let done = postgres.write(alone).await;
                drop(answer.send(done.and_then(|mut done| done.pop().ok_or(Error::Stopped))));
            }
        }
        Err(error) => {
            for (_, answer) in left {
                drop(answer.send(Err(error.clone())));
            }
        }
    }
}
