//! What can go wrong when keeping or finding something.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealpost_flow::Digest;
use tokio_postgres::error::SqlState;

/// An error of a database or a decoder, shared by all who waited for the same commit.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why the store could not do what it was asked.
///
/// Not found is no error but `None`; what a rule forbids is an answer of its own (such as
/// [`Committed::Conflict`](crate::Committed)). The source is in [`source`](std::error::Error::source), never in the text.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk (or the database's page limit) is full. Nothing of the operation was kept.
    #[error("the disk is full")]
    Full(#[source] Source),
    /// The database or its folder cannot be written. Nothing of the operation was kept.
    #[error("the database is read-only")]
    ReadOnly(#[source] Source),
    /// The database was held by others, or too loaded, for longer than the time limit. Worth trying again.
    #[error("the database is busy")]
    Busy(#[source] Source),
    /// The database server does not answer. Worth trying again; an operation under way when it went may have been kept.
    #[error("the database cannot be reached")]
    Unreachable(#[source] Source),
    /// The system refuses the database's files something: to be opened, read, written. Worth trying again; nothing of the
    /// operation was kept.
    #[error("the database's files cannot be used")]
    Io(#[source] Source),
    /// Any other error of the database.
    #[error("the database failed")]
    Database(#[source] Source),
    /// The database was written by a newer Sealpost; this one would misread it.
    #[error("the database has schema version {found}, this program knows only up to {known}")]
    TooNew {
        /// The version recorded in the database.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// A database server or a bucket shows a certificate that is not to be trusted: of another authority, for another host, or
    /// not valid now.
    #[error("the database's certificate is not trusted")]
    NotTrusted(#[source] Source),
    /// What the settings say of TLS to the database or the bucket cannot be used.
    #[error("connections cannot be encrypted as the settings say")]
    Tls(#[source] Source),
    /// The database is not to be copied into; the reason goes on the sentence.
    #[error("the database to copy into {0}")]
    CopyRefused(&'static str),
    /// This node serves the database that is to be copied for the last time.
    #[error("{0} is running over the source")]
    CopiedInUse(String),
    /// What was copied into this table is not what is read from it.
    #[error("the copy of the table {0} differs")]
    CopyDiffers(&'static str),
    /// A copy into this database was begun and not finished.
    #[error(
        "a copy into this database was begun and is not finished: run the same `sealpost migrate` again"
    )]
    CopyUnfinished,
    /// The file is an SQLite database, but not one of Sealpost's.
    #[error("{} is not a Sealpost database", .0.display())]
    Foreign(PathBuf),
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted, as a verb: "create", "write", "read" …
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The bucket of documents does not answer, or refuses. Worth trying again; a document may have been kept, which does no harm.
    #[error("cannot {action} the bucket of documents")]
    Bucket {
        /// What was attempted: "read from", "write to", "reach".
        action: &'static str,
        /// What came back.
        #[source]
        source: Source,
    },
    /// The bucket of documents does not take the key, or is not there. Trying again does not help before somebody has done
    /// something; nothing was kept.
    #[error("the bucket of documents refuses {path} ({status} {reason})")]
    BucketRefused {
        /// S3's code for it, such as `SignatureDoesNotMatch`, `AccessDenied` or `NoSuchBucket`.
        reason: Box<str>,
        /// The HTTP status.
        status: u16,
        /// The object, as the bucket names it.
        path: Box<str>,
    },
    /// Documents are to be moved to where they are.
    #[error("the documents are there already: both places are the same")]
    SamePlace,
    /// A document that a row names is not where documents are kept.
    #[error("document {0} is missing")]
    DocumentMissing(Digest),
    /// A document's bytes no longer have the digest they are named by.
    #[error("document {0} is damaged")]
    DocumentDamaged(Digest),
    /// A row does not decode: written by hand, or by a fault of ours.
    #[error("a stored {what} cannot be read")]
    Undecodable {
        /// Which kind of row or column.
        what: &'static str,
        /// The decoder's answer.
        #[source]
        source: Source,
    },
    /// The store's own thread has ended; the program should stop and be started again.
    #[error("the store has stopped")]
    Stopped,
}

/// The store's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Says that a stored value does not decode.
    pub(crate) fn undecodable(
        what: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        Error::Undecodable {
            what,
            source: Arc::new(source),
        }
    }

    /// Whether the bucket denies access. S3 says so of what is not there as well, to whoever may not list the bucket.
    pub(crate) fn is_access_denied(&self) -> bool {
        self.refused_for() == "AccessDenied"
    }

    /// The storage's code for why the bucket refuses; empty for every other error.
    pub fn refused_for(&self) -> &str {
        match self {
            Error::BucketRefused { reason, .. } => reason,
            _ => "",
        }
    }

    /// Says what of the bucket failed.
    pub(crate) fn bucket(
        action: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        Error::Bucket {
            action,
            source: Arc::new(source),
        }
    }

    /// Says which file operation failed.
    pub(crate) fn file(action: &'static str, path: &Path, source: std::io::Error) -> Error {
        Error::File {
            action,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        use rusqlite::ErrorCode;

        let code = error.sqlite_error_code();
        let source = Arc::new(error);
        match code {
            Some(ErrorCode::DiskFull) => Error::Full(source),
            Some(ErrorCode::ReadOnly) => Error::ReadOnly(source),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy(source),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Error::Io(source),
            _ => Error::Database(source),
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Error {
        const WORTH_RETRYING: [SqlState; 4] = [
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::QUERY_CANCELED,
        ];
        /// Shutting down, crashed, not yet up; the connection; a transaction that rested for too long; a password that is good no
        /// longer, or a server that lets nobody in while another becomes the primary; a database that is being put back.
        const UNREACHABLE: [&str; 5] = ["57P", "08", "25P03", "28", "3D"];
        if sealpost_tls::certificate_refused(&error) {
            return Error::NotTrusted(Arc::new(error));
        }
        let code = error.code().cloned();
        let source = Arc::new(error);
        match code {
            Some(SqlState::DISK_FULL) => Error::Full(source),
            Some(SqlState::READ_ONLY_SQL_TRANSACTION) => Error::ReadOnly(source),
            Some(code) if WORTH_RETRYING.contains(&code) => Error::Busy(source),
            // Of memory, connections and the like there is not enough at the moment.
            Some(code) if code.code().starts_with("53") => Error::Busy(source),
            Some(code)
                if UNREACHABLE
                    .iter()
                    .any(|class| code.code().starts_with(class)) =>
            {
                Error::Unreachable(source)
            }
            Some(_) => Error::Database(source),
            // What the server did not say, the connection did.
            None => Error::Unreachable(source),
        }
    }
}

impl From<sealpost_tls::Error> for Error {
    fn from(error: sealpost_tls::Error) -> Error {
        match error {
            sealpost_tls::Error::File {
                action,
                path,
                source,
            } => Error::file(action, &path, source),
            error => Error::Tls(Arc::new(error)),
        }
    }
}
