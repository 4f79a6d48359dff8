//! The months of events and attempts, which PostgreSQL keeps apart: made ahead, so that nobody waits for them.

use crate::Store;
use crate::database::{Connection, Database};
use crate::error::Result;

/// Of several nodes one makes them; a table that is in long use is tried again another time. Where those of the months ahead are
/// there, so is this month's, and nothing is locked: attaching one locks the default one, on which others may have to wait then.
pub(crate) const MAKE: [&str; 3] = [
    "SET LOCAL lock_timeout = '3s'",
    "SELECT pg_advisory_xact_lock(1587974231)",
    "SELECT make_partitions(now) FROM (SELECT CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP) AS now) AS clock
     WHERE EXISTS (
         SELECT 1 FROM unnest(ARRAY['attempts', 'events']) AS parent, generate_series(1, 3) AS ahead
         WHERE to_regclass(parent || to_char(date_trunc('month', now) + make_interval(months => ahead), '_YYYY_MM')) IS NULL
     )",
];

impl Store {
    /// Makes the partitions of this month and of the three after it, where they are missing. To be called every day; what comes
    /// without its partition is kept in a default one, where it is found as well, though not as fast. Nothing to do over SQLite.
    ///
    /// # Errors
    /// Whatever keeps the store from it; then the default partitions serve until it is called again.
    pub async fn make_partitions(&self) -> Result<()> {
        match &*self.database {
            Database::Sqlite(_) => Ok(()),
            Database::Postgres(postgres) => postgres.write(make).await,
        }
    }
}

fn make(connection: &Connection) -> Result<()> {
    if let Connection::Postgres(session) = connection {
        for statement in MAKE {
            session.batch(statement)?;
        }
    }
    Ok(())
}
