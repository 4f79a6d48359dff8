//! What of a PostgreSQL server matters to whoever runs nodes over it: it may be set so that it keeps less than it promises, or gives
//! fewer connections than are needed, and its clock is the one that all nodes can be compared with.

use sealpost_contract::UtcMillis;

use crate::Store;
use crate::database::{Connection, Database, Row};
use crate::error::Result;

/// A PostgreSQL server, as it answered at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseServer {
    /// Its version, such as `15.8`.
    pub version: String,
    /// The time by its clock.
    pub now: UtcMillis,
    /// How the database encodes text, such as `UTF8`.
    pub encoding: String,
    /// What can be lost of what was committed when the server crashes, by the names of the settings that say so: of
    /// `synchronous_commit`, `fsync` and `full_page_writes`, those that are off.
    pub careless: Vec<&'static str>,
    /// How many connections it gives to our role in all, those of others to the same server not counted off.
    pub connections: u64,
}

impl Store {
    /// The PostgreSQL server of the database; `None` over SQLite.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn database_server(&self) -> Result<Option<DatabaseServer>> {
        match &*self.database {
            Database::Sqlite(_) => Ok(None),
            Database::Postgres(_) => self.database.read(ask).await.map(Some),
        }
    }
}

fn ask(connection: &Connection) -> Result<DatabaseServer> {
    const CARELESS: [&str; 3] = ["synchronous_commit", "fsync", "full_page_writes"];
    // A limit of a role or a database is -1 where there is none.
    let sql = "SELECT current_setting('server_version') AS version,
            CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now,
            current_setting('server_encoding') AS encoding,
            current_setting('synchronous_commit') AS synchronous_commit,
            current_setting('fsync') AS fsync,
            current_setting('full_page_writes') AS full_page_writes,
            least(
                CAST(current_setting('max_connections') AS BIGINT)
                    - CAST(current_setting('superuser_reserved_connections') AS BIGINT)
                    - CAST(coalesce(current_setting('reserved_connections', true), '0') AS BIGINT),
                (SELECT CAST(nullif(rolconnlimit, -1) AS BIGINT) FROM pg_roles WHERE rolname = current_user),
                (SELECT CAST(nullif(datconnlimit, -1) AS BIGINT) FROM pg_database WHERE datname = current_database())
            ) AS connections";
    let read = |row: &Row<'_>| {
        let mut careless = Vec::new();
        for name in CARELESS {
            let value: String = row.get(name)?;
            if value == "off" {
                careless.push(name);
            }
        }
        Ok(DatabaseServer {
            version: row.get("version")?,
            now: row.get("now")?,
            encoding: row.get("encoding")?,
            careless,
            connections: row.get("connections")?,
        })
    };
    connection.prepare_cached(sql)?.query_row([], read)
}
