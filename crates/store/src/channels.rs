//! Channels (渠道参与方), their webhook secrets and API keys.

use rusqlite::params;
use sealpost_contract::{Schedule, UtcMillis};
use sealpost_flow::Digest;

use crate::Store;
use crate::database::{Connection, One, OptionalExtension as _, Row};
use crate::error::Result;
use crate::rows::parsed;

/// A channel participant: who is told when its flows end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// The channel's id, made by the server.
    pub id: String,
    /// The name an operator gave; no two channels share one.
    pub name: String,
    /// Where callbacks go unless a flow names another address. `None`: nowhere, they wait.
    pub callback_url: Option<String>,
    /// The waits before the retries.
    pub schedule: Schedule,
    /// When the channel was made.
    pub created_at: UtcMillis,
    /// Whether deliveries rest.
    pub paused: Option<Pause>,
    /// The webhook secrets in use, the newest first.
    pub secrets: Vec<SealedSecret>,
}

/// Since when and why a channel's deliveries rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub at: UtcMillis,
    /// Why, in words for an operator.
    pub reason: String,
}

/// A webhook secret, encrypted by the server; the store cannot read it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// When it was made.
    pub created_at: UtcMillis,
    /// From when on it no longer signs; `None` while no newer one replaces it.
    pub retires_at: Option<UtcMillis>,
    /// The ciphertext.
    pub ciphertext: Vec<u8>,
}

impl std::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedSecret")
            .field("created_at", &self.created_at)
            .field("retires_at", &self.retires_at)
            .finish_non_exhaustive()
    }
}

/// An API key as it is kept: never the key, only its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Names the key to an operator who wants to revoke it.
    pub id: String,
    /// The channel it acts for.
    pub channel_id: String,
    /// The SHA-256 of the key.
    pub hash: Digest,
    /// When it was made.
    pub created_at: UtcMillis,
    /// From when on it is refused.
    pub revoked_at: Option<UtcMillis>,
}

impl Store {
    /// Keeps a new channel with its secrets and an API key; `false` if the name is taken.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn create_channel(&self, channel: Channel, key: ApiKey) -> Result<bool> {
        self.database
            .write(move |connection| create(connection, &channel, &key))
            .await
    }

    /// The channel of this id.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_channel(&self, id: &str) -> Result<Option<Channel>> {
        self.find_channel_where("id = ?1", id).await
    }

    /// The channel of this name.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_channel_by_name(&self, name: &str) -> Result<Option<Channel>> {
        self.find_channel_where("name = ?1", name).await
    }

    /// All channels by name. An installation has some, not many.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn channels(&self) -> Result<Vec<Channel>> {
        let read = |connection: &Connection| {
            let mut statement =
                connection.prepare_cached("SELECT * FROM channels ORDER BY name")?;
            let rows = statement.query_and_then([], |row| channel(connection, row))?;
            rows.collect()
        };
        self.database.read(read).await
    }

    /// Changes where and when a channel is told; `false` if there is no such channel.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn set_channel_delivery(
        &self,
        id: &str,
        callback_url: Option<String>,
        schedule: Schedule,
    ) -> Result<bool> {
        let id = id.to_owned();
        let sql = "UPDATE channels SET callback_url = ?2, schedule = ?3 WHERE id = ?1";
        let set = self
            .database
            .write_one(move |one| {
                let row = params![id, callback_url, schedule.to_string()];
                Ok(one.prepare_cached(sql)?.execute(row)? > 0)
            })
            .await?;
        self.wake_others();
        Ok(set)
    }

    /// Gives a channel a new webhook secret; those it had sign along until `retire_at`. `false` if there is no such channel.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn rotate_secret(
        &self,
        channel_id: &str,
        secret: SealedSecret,
        retire_at: UtcMillis,
    ) -> Result<bool> {
        let id = channel_id.to_owned();
        let rotate = move |connection: &Connection| {
            let exists = connection
                .prepare_cached("SELECT 1 FROM channels WHERE id = ?1")?
                .exists([&id])?;
            if exists {
                rotate(connection, &id, &secret, retire_at)?;
            }
            Ok(exists)
        };
        self.database.write(rotate).await
    }

    /// Lets a channel's deliveries rest; one that rests already keeps its time and reason. `false` if there is no such channel.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn pause_channel(&self, id: &str, pause: Pause) -> Result<bool> {
        let id = id.to_owned();
        let sql = "UPDATE channels SET pause_reason = coalesce(pause_reason, ?3), paused_at = coalesce(paused_at, ?2)
            WHERE id = ?1";
        let paused = self
            .database
            .write_one(move |one| {
                Ok(one
                    .prepare_cached(sql)?
                    .execute(params![id, pause.at, pause.reason])?
                    > 0)
            })
            .await?;
        self.wake_others();
        Ok(paused)
    }

    /// Lets a channel's deliveries run again; `false` if there is no such channel.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn resume_channel(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        let sql = "UPDATE channels SET paused_at = NULL, pause_reason = NULL WHERE id = ?1";
        let resumed = self
            .database
            .write_one(move |one| Ok(one.prepare_cached(sql)?.execute([id])? > 0))
            .await?;
        self.wake_others();
        Ok(resumed)
    }

    /// Gives a channel another API key.
    ///
    /// # Errors
    /// Whatever keeps the store from writing, and a channel that does not exist.
    pub async fn add_api_key(&self, key: ApiKey) -> Result<()> {
        self.database
            .write(move |connection| insert_key(connection, &key))
            .await
    }

    /// The key of this digest, also a revoked one.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_api_key(&self, hash: &Digest) -> Result<Option<ApiKey>> {
        let hash = *hash;
        let find = move |one: One<'_>| {
            let statement = one.prepare_cached("SELECT * FROM api_keys WHERE hash = ?1")?;
            statement.query_row([hash.as_bytes()], api_key).optional()
        };
        self.database.read_one(find).await
    }

    /// The keys of a channel, the oldest first.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn api_keys(&self, channel_id: &str) -> Result<Vec<ApiKey>> {
        let id = channel_id.to_owned();
        let read = move |one: One<'_>| {
            let sql = "SELECT * FROM api_keys WHERE channel_id = ?1 ORDER BY created_at";
            let statement = one.prepare_cached(sql)?;
            let rows = statement.query_map([id], api_key)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        };
        self.database.read_one(read).await
    }

    /// Revokes a key; one that is revoked keeps its time. `false` if there is no such key.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn revoke_api_key(&self, id: &str, now: UtcMillis) -> Result<bool> {
        let id = id.to_owned();
        let sql = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
        self.database
            .write_one(move |one| Ok(one.prepare_cached(sql)?.execute(params![id, now])? > 0))
            .await
    }

    async fn find_channel_where(
        &self,
        condition: &'static str,
        value: &str,
    ) -> Result<Option<Channel>> {
        let value = value.to_owned();
        let find = move |connection: &Connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT * FROM channels WHERE {condition}"))?;
            let found = statement
                .query_row([value], |row| Ok(channel(connection, row)))
                .optional()?;
            found.transpose()
        };
        self.database.read(find).await
    }
}

fn create(connection: &Connection, channel: &Channel, key: &ApiKey) -> Result<bool> {
    let sql = "INSERT INTO channels (id, name, callback_url, schedule, created_at, paused_at, pause_reason)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO NOTHING";
    let row = params![
        channel.id,
        channel.name,
        channel.callback_url,
        channel.schedule.to_string(),
        channel.created_at,
        channel.paused.as_ref().map(|pause| pause.at),
        channel.paused.as_ref().map(|pause| &pause.reason),
    ];
    if connection.prepare_cached(sql)?.execute(row)? == 0 {
        return Ok(false);
    }
    for secret in &channel.secrets {
        insert_secret(connection, &channel.id, secret)?;
    }
    insert_key(connection, key)?;
    Ok(true)
}

pub(crate) fn insert_key(connection: &Connection, key: &ApiKey) -> Result<()> {
    let sql = "INSERT INTO api_keys (hash, id, channel_id, created_at, revoked_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = params![
        key.hash.as_bytes(),
        key.id,
        key.channel_id,
        key.created_at,
        key.revoked_at
    ];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

fn insert_secret(connection: &Connection, channel_id: &str, secret: &SealedSecret) -> Result<()> {
    let sql = "INSERT INTO channel_secrets (channel_id, created_at, retires_at, ciphertext) VALUES (?1, ?2, ?3, ?4)";
    let row = params![
        channel_id,
        secret.created_at,
        secret.retires_at,
        secret.ciphertext
    ];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Gives a channel that there is a new secret.
pub(crate) fn rotate(
    connection: &Connection,
    channel_id: &str,
    secret: &SealedSecret,
    retire_at: UtcMillis,
) -> Result<()> {
    if connection.is_postgres() {
        // Of two that are made at once, the second sees the first and retires it.
        connection
            .prepare_cached("SELECT 1 FROM channels WHERE id = ?1 FOR NO KEY UPDATE")?
            .exists([channel_id])?;
    }
    // Those that no longer sign are not needed by anyone.
    let expired = "DELETE FROM channel_secrets WHERE channel_id = ?1 AND retires_at <= ?2";
    connection
        .prepare_cached(expired)?
        .execute(params![channel_id, secret.created_at])?;
    let retire = "UPDATE channel_secrets SET retires_at = CASE WHEN retires_at < ?2 THEN retires_at ELSE ?2 END
        WHERE channel_id = ?1";
    connection
        .prepare_cached(retire)?
        .execute(params![channel_id, retire_at])?;
    insert_secret(connection, channel_id, secret)
}

fn channel(connection: &Connection, row: &Row<'_>) -> Result<Channel> {
    let id: String = row.get("id")?;
    let paused_at: Option<UtcMillis> = row.get("paused_at")?;
    let reason: Option<String> = row.get("pause_reason")?;
    Ok(Channel {
        secrets: secrets(connection, &id)?,
        name: row.get("name")?,
        callback_url: row.get("callback_url")?,
        schedule: parsed(row, "schedule")?,
        created_at: row.get("created_at")?,
        paused: paused_at.map(|at| Pause {
            at,
            reason: reason.unwrap_or_default(),
        }),
        id,
    })
}

fn secrets(connection: &Connection, channel_id: &str) -> Result<Vec<SealedSecret>> {
    let sql = "SELECT created_at, retires_at, ciphertext FROM channel_secrets WHERE channel_id = ?1 ORDER BY created_at DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let secret = |row: &Row<'_>| {
        Ok(SealedSecret {
            created_at: row.get(0)?,
            retires_at: row.get(1)?,
            ciphertext: row.get(2)?,
        })
    };
    let rows = statement.query_map([channel_id], secret)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn api_key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: row.get("id")?,
        channel_id: row.get("channel_id")?,
        hash: Digest::from_bytes(row.get("hash")?),
        created_at: row.get("created_at")?,
        revoked_at: row.get("revoked_at")?,
    })
}
