//! What can go wrong with an inbox.

/// Why an inbox could not do what it was asked. A receiver answers each with 500.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database refused: no room, no permission, a damaged file, …
    #[cfg(feature = "sqlite")]
    #[error("the inbox's database refused")]
    Sqlite(#[from] rusqlite::Error),
    /// The PostgreSQL server refused, or cannot be reached.
    #[cfg(feature = "postgres")]
    #[error("the inbox's database refused")]
    Postgres(#[source] tokio_postgres::Error),
    /// The PostgreSQL server shows a certificate that is not to be trusted: of another authority, for another host, or not valid
    /// now.
    #[cfg(feature = "postgres")]
    #[error("the certificate of the inbox's database is not trusted")]
    NotTrusted(#[source] tokio_postgres::Error),
    /// What the connection string says of TLS cannot be used.
    #[cfg(feature = "postgres")]
    #[error("the inbox's connection cannot be encrypted")]
    Tls(#[from] sealpost_tls::Error),
    /// The file is a database, but another program's or a later version's.
    #[error("the file is no inbox of this version")]
    NotAnInbox,
    /// The changes could not be committed; nothing of them is kept. The text is the database's.
    #[error("the inbox could not commit: {0}")]
    NotCommitted(String),
    /// The inbox has been closed, or its thread could not be started.
    #[error("the inbox is closed")]
    Closed,
    /// What the row holds does not parse: someone else wrote into the database.
    #[error("the inbox holds a row that is no callback")]
    Damaged,
    /// The effect given to `SqliteInbox::with_effect` failed; the callback is not kept.
    #[error("the effect failed")]
    Effect(#[source] crate::HandlerError),
    /// For inboxes of other crates.
    #[error("the inbox failed")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[cfg(feature = "postgres")]
impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Error {
        if sealpost_tls::certificate_refused(&error) {
            Error::NotTrusted(error)
        } else {
            Error::Postgres(error)
        }
    }
}
