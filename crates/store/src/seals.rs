//! Seals that are kept under a name, each one channel's own or for all channels. What is on a seal is the server's to say.

use rusqlite::params;
use sealpost_contract::UtcMillis;

use crate::Store;
use crate::database::{Connection, One, OptionalExtension as _, Row};
use crate::error::Result;

/// A seal as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSeal {
    /// Made by the server.
    pub id: String,
    /// The channel that may use it; `None`: every channel.
    pub channel_id: Option<String>,
    /// What it is listed under; no two of one channel, and no two of those for all, share one.
    pub name: String,
    /// What the server wrote down of it, JSON.
    pub spec: String,
    /// When it was made.
    pub created_at: UtcMillis,
}

/// What came of keeping a new seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewSeal {
    /// It is kept.
    Created,
    /// There is another of this name.
    NameTaken,
    /// There are as many as there may be.
    TooMany,
}

impl Store {
    /// Keeps a new seal, unless its name is taken or its channel (or all channels) has `most` of them already.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn create_seal(&self, seal: StoredSeal, most: usize) -> Result<NewSeal> {
        let create = move |connection: &Connection| {
            if connection.is_postgres() {
                // Of those who count at once each sees what the one before has kept. Readers do not wait.
                connection.run("LOCK TABLE seals IN SHARE ROW EXCLUSIVE MODE")?;
            }
            let count = "SELECT COUNT(*) FROM seals WHERE COALESCE(channel_id, '') = ?1";
            let owner = seal.channel_id.as_deref().unwrap_or_default();
            let kept: i64 = connection
                .prepare_cached(count)?
                .query_row([owner], |row| row.get(0))?;
            if usize::try_from(kept).is_ok_and(|kept| kept >= most) {
                return Ok(NewSeal::TooMany);
            }
            let sql = "INSERT INTO seals (id, channel_id, name, spec, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT DO NOTHING";
            let row = params![
                seal.id,
                seal.channel_id,
                seal.name,
                seal.spec,
                seal.created_at
            ];
            let created = connection.prepare_cached(sql)?.execute(row)? > 0;
            Ok(if created {
                NewSeal::Created
            } else {
                NewSeal::NameTaken
            })
        };
        self.database.write(create).await
    }

    /// The seal of this id.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_seal(&self, id: &str) -> Result<Option<StoredSeal>> {
        let id = id.to_owned();
        let find = move |one: One<'_>| {
            let statement = one.prepare_cached("SELECT * FROM seals WHERE id = ?1")?;
            let found = statement.query_row([id], |row| Ok(seal(row))).optional()?;
            found.transpose()
        };
        self.database.read_one(find).await
    }

    /// The seals that a channel may use, its own and those for all; without a channel all that there are. By name.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn seals(&self, channel_id: Option<&str>) -> Result<Vec<StoredSeal>> {
        let channel_id = channel_id.map(str::to_owned);
        let read = move |one: One<'_>| {
            let rows = match channel_id {
                Some(channel) => {
                    let sql = "SELECT * FROM seals WHERE channel_id = ?1 OR channel_id IS NULL ORDER BY name, id";
                    one.prepare_cached(sql)?.query_and_then([channel], seal)?
                }
                None => one
                    .prepare_cached("SELECT * FROM seals ORDER BY name, id")?
                    .query_and_then([], seal)?,
            };
            rows.collect()
        };
        self.database.read_one(read).await
    }

    /// Forgets a seal; `false` if there is none of this id.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn remove_seal(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        let remove = move |one: One<'_>| {
            let sql = "DELETE FROM seals WHERE id = ?1";
            Ok(one.prepare_cached(sql)?.execute([id])? > 0)
        };
        self.database.write_one(remove).await
    }
}

fn seal(row: &Row<'_>) -> Result<StoredSeal> {
    Ok(StoredSeal {
        id: row.get("id")?,
        channel_id: row.get("channel_id")?,
        name: row.get("name")?,
        spec: row.get("spec")?,
        created_at: row.get("created_at")?,
    })
}
