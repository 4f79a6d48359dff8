//! What Sealpost keeps.
mod callbacks;
mod channels;
mod documents;
mod error;
mod sqlite;
mod writer;

use std::path::Path;
use std::sync::Arc;

pub use callbacks::{
    Accepted, Attempt, Backlog, CallbackFilter, CallbackId, CallbackState, Claimed, DueLane, FailedSince, Finished,
    Holder, LaneId, Lease, MAX_KEPT_ANSWER, NewCallback, Next, NotACallbackId, Outcome, Placed, Redelivered,
    RedeliveryStep, StoredCallback,
};
pub use channels::{ApiKey, Channel, Pause, SealedSecret};
use documents::Documents;
pub use error::{Error, Result};
use sqlite::Sqlite;

/// Everything that Sealpost keeps, in one data folder. Cheap to clone; the clones share one writer.
#[derive(Debug, Clone)]
pub struct Store {
    sqlite: Arc<Sqlite>,
    documents: Arc<Documents>,
}

impl Store {
    /// Opens the store in a data folder (`sealpost.sqlite` and `documents/`), making what is missing. Blocks on the disk.
    ///
    /// # Errors
    /// The folder cannot be written, or holds a database that this program must not touch.
    pub fn open(folder: &Path) -> Result<Store> {
        std::fs::create_dir_all(folder).map_err(|error| Error::file("create", folder, error))?;
        let documents = Documents::open(&folder.join("documents"))?;
        let sqlite = Sqlite::open(&folder.join("sealpost.sqlite"))?;
        Ok(Store {
            sqlite: Arc::new(sqlite),
            documents: Arc::new(documents),
        })
    }
}
