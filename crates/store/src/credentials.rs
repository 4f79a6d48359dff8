//! Private keys and the like by name, encrypted by the server. They are in the database so that several nodes share them.

use rusqlite::params;
use sealpost_contract::UtcMillis;

use crate::database::{Connection, One, OptionalExtension as _};
use crate::{Result, Store};

impl Store {
    /// The ciphertext kept under this name.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_credential(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let name = name.to_owned();
        self.database.read_one(move |one| find(one, &name)).await
    }

    /// Every name with its ciphertext, by name. An installation has as many as organizations sign with it.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn credentials(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let read = |one: One<'_>| {
            let statement =
                one.prepare_cached("SELECT name, ciphertext FROM credentials ORDER BY name")?;
            let rows = statement.query_and_then([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        self.database.read_one(read).await
    }

    /// Keeps a ciphertext under a name that has none, and returns what is kept there now: the given one, or the one that
    /// another node or process was faster with.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn keep_credential(
        &self,
        name: &str,
        ciphertext: Vec<u8>,
        now: UtcMillis,
    ) -> Result<Vec<u8>> {
        let name = name.to_owned();
        let keep = move |connection: &Connection| {
            let sql = "INSERT INTO credentials (name, ciphertext, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            connection
                .prepare_cached(sql)?
                .execute(params![name, ciphertext, now])?;
            Ok(find(connection.one(), &name)?.unwrap_or(ciphertext))
        };
        self.database.write(keep).await
    }

    /// Replaces the ciphertext kept under a name.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn replace_credential(
        &self,
        name: &str,
        ciphertext: Vec<u8>,
        now: UtcMillis,
    ) -> Result<()> {
        let name = name.to_owned();
        let replace = move |one: One<'_>| {
            let sql = "INSERT INTO credentials (name, ciphertext, created_at) VALUES (?1, ?2, ?3)
                ON CONFLICT (name) DO UPDATE SET ciphertext = excluded.ciphertext, created_at = excluded.created_at";
            one.prepare_cached(sql)?
                .execute(params![name, ciphertext, now])?;
            Ok(())
        };
        self.database.write_one(replace).await
    }
}

fn find(one: One<'_>, name: &str) -> Result<Option<Vec<u8>>> {
    let statement = one.prepare_cached("SELECT ciphertext FROM credentials WHERE name = ?1")?;
    statement.query_row([name], |row| row.get(0)).optional()
}
