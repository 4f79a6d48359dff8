//! Group commit over PostgreSQL for operations that come alone but can be done many at once.
//!
//! Sessions commit side by side, which is enough for the changes of flows. What comes in by the ten thousand a second (callbacks
//! to keep) must share statements as well as commits: while one batch is being committed the next one gathers, and is then
//! done by one statement over arrays. Those whom a batch has answered come again a moment later with their next, so a batch
//! waits a moment until it is as large as the one before; after a batch of one nobody is waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::database::{Connection, Database};
use crate::error::{Error, Result};

/// Items in one batch at most.
const BATCH_LIMIT: usize = 1024;

/// How long a batch waits to become as large as the one before.
const GATHER: Duration = Duration::from_millis(1);

/// Does all items of a batch in the transaction of a connection; the answers are in the items' order.
type Work<I, O> = fn(&Connection, &[I]) -> Result<Vec<O>>;

/// Gathers items while a batch is under way.
#[derive(Debug)]
pub(crate) struct Batches<I, O> {
    waiting: Mutex<Waiting<I, O>>,
}

#[derive(Debug)]
struct Waiting<I, O> {
    items: Vec<(I, oneshot::Sender<Result<O>>)>,
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
    fn next(&self) -> Option<Vec<(I, oneshot::Sender<Result<O>>)>> {
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
        let items: Arc<[I]> = items.into();
        let all = Arc::clone(&items);
        match database
            .write(move |connection| work(connection, &all))
            .await
        {
            Ok(done) => {
                for (answer, done) in answers.into_iter().zip(done) {
                    // The caller may have gone; the item counts all the same.
                    drop(answer.send(Ok(done)));
                }
            }
            Err(error) if items.len() == 1 || !matches!(error, Error::Database(_)) => {
                for answer in answers {
                    drop(answer.send(Err(error.clone())));
                }
            }
            // One of them cannot be done; it must not take the others along.
            Err(_) => {
                for (item, answer) in items.iter().cloned().zip(answers) {
                    let alone = move |connection: &Connection| work(connection, &[item]);
                    let done = database.write(alone).await;
                    drop(answer.send(done.and_then(|mut done| done.pop().ok_or(Error::Stopped))));
                }
            }
        }
    }
}
