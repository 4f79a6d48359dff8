//! What Sealpost keeps: channels and their keys, sign flows with their events, documents, callbacks.
//!
//! One concrete [`Store`] over one data folder: an SQLite database (`sealpost.sqlite`) and a folder of documents. The program
//! and the command line may have it open at once. Methods answer when what they wrote is safe on disk, and not before.
//!
//! The store has no rules: what a flow permits is decided by `sealpost_flow`, when a callback is sent again by
//! `sealpost_delivery`. What it does promise is that a change, its events and its callback are kept together or not at all,
//! and that of several changes that race exactly one is kept. Secrets come to it as ciphertext or as digests only.

mod audit;
mod callbacks;
mod channels;
mod codes;
mod console;
mod contract_checks;
mod copy;
mod credentials;
mod database;
mod documents;
mod error;
mod figures;
mod flows;
mod idempotency;
mod nodes;
mod operator_keys;
mod pages;
mod partitions;
#[cfg(test)]
mod plans;
mod postgres;
mod rates;
mod revisions;
mod revocations;
mod rows;
mod seals;
mod server;
mod sqlite;
mod tokens;
mod wakes;
mod writer;

// The name that the shared parts of the tests know it by.
#[cfg(test)]
extern crate self as sealpost_store;

use std::path::Path;
use std::sync::Arc;

pub use audit::AuditEntry;
pub use callbacks::{
    Accepted, Attempt, Backlog, CallbackFilter, CallbackId, CallbackState, Claim, Claimed, DueLane,
    FailedSince, Finished, Holder, LaneId, Lease, MAX_KEPT_ANSWER, NewCallback, Next,
    NotACallbackId, NotARedeliveryId, Outcome, Placed, Redelivered, RedeliveredOnce, Redelivery,
    RedeliveryId, StoredCallback,
};
pub use channels::{ApiKey, Channel, Pause, SealedSecret};
pub use codes::{CodeOwner, NewCode, Tried};
pub use console::{NotARole, Operator, OperatorSession, Role};
pub use contract_checks::ContractCheck;
pub use copy::{CopiedTable, CopyPlan};
use database::Database;
use documents::Documents;
pub use documents::{
    BucketCredentials, BucketOptions, DocumentTotals, DocumentsAt, MovedDocuments, NotABucket,
    OperationTotals,
};
pub use error::{Error, Result, Source};
pub use figures::{ChannelFigures, DayCount};
pub use flows::{
    Committed, Created, FlowCommit, Labels, NewStoredFlow, NewToken, SealingBacklog, StoredEvent,
    StoredFlow,
};
pub use idempotency::{IDEMPOTENCY_MILLIS, IdempotencyKey, Remembered};
pub use nodes::{Joined, Node};
pub use operator_keys::OperatorKey;
pub use pages::{Cursor, FlowFilter, NotACursor, PAGE_LIMIT, Page};
pub use postgres::PostgresOptions;
use postgres::batch::Batches;
pub use rates::{Counted, Rate};
pub use revisions::Reading;
pub use revocations::RevokedCertificate;
pub use seals::{NewSeal, StoredSeal};
pub use server::DatabaseServer;
pub use tokens::Token;
pub use wakes::Wakes;

/// Everything that Sealpost keeps, in one data folder. Cheap to clone; the clones share one writer.
#[derive(Debug, Clone)]
pub struct Store {
    database: Arc<Database>,
    accepting: Arc<Batches<NewCallback, Accepted>>,
    documents: Arc<Documents>,
    revision_seen: Arc<revisions::Seen>,
}

impl Store {
    /// Opens the store in a data folder (`sealpost.sqlite` and `documents/`), making what is missing. A folder that
    /// it makes is nobody else's to read. Blocks on the disk.
    ///
    /// # Errors
    /// The folder cannot be written, or holds a database that this program must not touch.
    pub fn open(folder: &Path) -> Result<Store> {
        Store::open_with(folder, None, None)
    }

    /// Opens the store in a PostgreSQL database, with its documents in a folder that all nodes share. Blocks on both.
    ///
    /// # Errors
    /// The server does not answer or refuses, the folder cannot be written, or the database is newer than this program.
    pub fn open_postgres(options: PostgresOptions, folder: &Path) -> Result<Store> {
        Store::open_with(folder, Some(options), None)
    }

    /// Opens the store with its database in PostgreSQL or else in the data folder, and its documents in a bucket or else in
    /// the data folder. Blocks on the disk and the database; of the bucket nothing is asked yet.
    ///
    /// # Errors
    /// Those of [`Store::open`] and [`Store::open_postgres`], or what is said of the bucket cannot be used.
    pub fn open_with(
        folder: &Path,
        postgres: Option<PostgresOptions>,
        bucket: Option<&BucketOptions>,
    ) -> Result<Store> {
        create_private_folder(folder).map_err(|error| Error::file("create", folder, error))?;
        let documents = match bucket {
            Some(options) => Documents::bucket(options)?,
            None => Documents::folder(&folder.join("documents"))?,
        };
        let database = match postgres {
            Some(options) => Database::postgres(options)?,
            None => Database::sqlite(&folder.join("sealpost.sqlite"))?,
        };
        Ok(Store {
            database: Arc::new(database),
            accepting: Arc::default(),
            documents: Arc::new(documents),
            revision_seen: Arc::default(),
        })
    }
}

impl Store {
    /// Whether every write waits a moment for others to be committed with it: so over SQLite, which has one writer. Over PostgreSQL
    /// each write is a transaction of its own, and whoever has many gathers them.
    pub fn gathers_writes(&self) -> bool {
        !self.database.is_postgres()
    }

    /// How often operations have waited for an answer of PostgreSQL, those that only prepare a statement included, since the store
    /// was opened; `None` over SQLite.
    pub fn round_trips(&self) -> Option<u64> {
        match &*self.database {
            Database::Sqlite(_) => None,
            Database::Postgres(postgres) => Some(postgres.round_trips()),
        }
    }

    /// Writes a row and commits it, to show that the database takes writes.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn prove_writable(&self, now: sealpost_contract::UtcMillis) -> Result<()> {
        let prove = move |one: database::One<'_>| {
            one
                .prepare_cached(
                    "INSERT INTO write_proof (id, at) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
                )?
                .execute([now])?;
            Ok(())
        };
        self.database.write_one(prove).await
    }
}

fn create_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
