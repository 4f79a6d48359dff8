//! TLS to servers that we call: whom to trust ([`client_config`]), and PostgreSQL's `sslmode` ([`Address`], [`Tls`]).
//!
//! A crate of its own because both the store and the receiver speak to PostgreSQL, and neither may depend on the other.

mod address;
mod postgres;
mod trust;

use std::io;
use std::path::PathBuf;

pub use address::Address;
pub use postgres::{ServerConnection, Stream, Tls, ToServer, certificate_refused};
pub use trust::client_config;

/// Why TLS cannot be set up. The source is in [`source`](std::error::Error::source), never in the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of certificates or of a key cannot be read.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted: "read the certificates in", "read the key in".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system or the decoder says.
        source: io::Error,
    },
    /// `sslcert` without `sslkey`, or the other way round.
    #[error("sslcert and sslkey go together, and one of them is missing")]
    HalfAnIdentity,
    /// The certificates or the key are of no use: there is no root to trust, or the key is another certificate's.
    #[error("the TLS settings cannot be used")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
