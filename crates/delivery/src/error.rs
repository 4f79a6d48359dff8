//! What can go wrong on our own side. A channel's failure to acknowledge is no error here but an outcome.

use std::path::PathBuf;

use crate::guard::Refused;

/// Our own faults.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operator's file of certificates cannot be used.
    #[error("cannot use the certificates in {path}: {reason}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A certificate or key cannot be used.
    #[error("cannot use this certificate or key: {0}")]
    Certificate(String),
    /// The alert URL is none.
    #[error("cannot use the alert URL")]
    AlertUrl(#[source] Refused),
    /// The store refused.
    #[error("the store failed")]
    Store(#[from] sealpost_store::Error),
}
