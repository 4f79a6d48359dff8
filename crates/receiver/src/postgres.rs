//! An inbox in a PostgreSQL table, for a channel with several processes. Each operation is one statement, so that one
//! connection serves them all at once; `synchronous_commit` is switched on, whatever the server's default is.

use std::fmt;
use std::sync::Arc;

use sealpost_contract::{Callback, SignFlowId, UtcMillis};
use sealpost_tls::{Address, Tls};
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::{Claim, Error, Inbox, Kept, Outcome};

/// Keeps callbacks in the table `sealpost_inbox`, which is made in the connection's schema if it is not there. Any
/// number of processes may share it.
///
/// Ids and URLs may hold any character, U+0000 included, which PostgreSQL's text cannot: they are `bytea` in UTF-8. To
/// read them: `SELECT convert_from(sign_flow_id, 'UTF8') FROM sealpost_inbox`.
#[derive(Clone)]
pub struct PostgresInbox {
    config: Arc<tokio_postgres::Config>,
    tls: Tls,
    client: Arc<Mutex<Option<Arc<Client>>>>,
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS sealpost_inbox (
    sign_flow_id     bytea PRIMARY KEY,
    sign_end_time    text NOT NULL,
    sign_flow_status text NOT NULL,
    sign_file_url    bytea NOT NULL,
    kept_at          bigint NOT NULL,
    handled_at       bigint,
    due_at           bigint NOT NULL,
    claim            bigint NOT NULL DEFAULT 0,
    claimed_until    bigint,
    attempts         integer NOT NULL DEFAULT 0,
    failure          text,
    conflicts        integer NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS sealpost_inbox_due ON sealpost_inbox (due_at) WHERE handled_at IS NULL;
";

/// Two processes that start at once would both make the table; the lock (its number is "SPin") lets one wait.
const MAKE_ONCE: &str = "SELECT pg_advisory_lock(1397778798)";
const MADE: &str = "SELECT pg_advisory_unlock(1397778798)";

const KEEP: &str = "
INSERT INTO sealpost_inbox (sign_flow_id, sign_end_time, sign_flow_status, sign_file_url, kept_at, due_at)
VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (sign_flow_id) DO NOTHING";

const FIND: &str = "
SELECT sign_end_time, sign_flow_status, sign_flow_id, sign_file_url, handled_at IS NOT NULL
FROM sealpost_inbox WHERE sign_flow_id = $1";

const CONFLICT: &str =
    "UPDATE sealpost_inbox SET conflicts = conflicts + 1 WHERE sign_flow_id = $1";

const CLAIM: &str = "
UPDATE sealpost_inbox SET claim = claim + 1, claimed_until = $3, attempts = attempts + 1
WHERE sign_flow_id = $1 AND handled_at IS NULL AND (claimed_until IS NULL OR claimed_until <= $2)
RETURNING claim, attempts";

const FINISH: &str = "
UPDATE sealpost_inbox
SET handled_at = $3, due_at = coalesce($4, due_at), failure = $5, claimed_until = NULL
WHERE sign_flow_id = $1 AND claim = $2 AND handled_at IS NULL";

const DUE: &str = "
SELECT sign_end_time, sign_flow_status, sign_flow_id, sign_file_url FROM sealpost_inbox
WHERE handled_at IS NULL AND due_at <= $1 AND (claimed_until IS NULL OR claimed_until <= $1)
ORDER BY due_at LIMIT $2";

impl PostgresInbox {
    /// Connects and makes the table if needed. `config` is a connection string of libpq's kind, such as
    /// `host=/run/postgresql user=channel dbname=channel` or `postgres://channel@db.example/channel?sslmode=verify-full`. A
    /// connection that breaks is opened anew with the next operation.
    ///
    /// `sslmode` is `disable`, `prefer` (the default: TLS if the server has it), `require`, `verify-ca` or `verify-full`;
    /// `require` is as strict as the last. Wherever there is TLS, the server's certificate must come from an authority that
    /// the system or the file `sslrootcert` (PEM) trusts, and but for `verify-ca` bear the host's name. `sslcert` and `sslkey`
    /// (PEM) are shown to a server that asks. Over a Unix socket there is no TLS.
    ///
    /// # Errors
    /// [`Error::NotTrusted`], [`Error::Tls`], [`Error::Postgres`]
    pub async fn connect(config: &str) -> Result<Self, Error> {
        let address = Address::parse(config);
        let inbox = Self {
            config: Arc::new(address.connection.parse()?),
            tls: Tls::new(&address, None)?,
            client: Arc::default(),
        };
        let client = inbox.client().await?;
        client.batch_execute(MAKE_ONCE).await?;
        let made = client.batch_execute(SCHEMA).await;
        client.batch_execute(MADE).await?;
        made?;
        Ok(inbox)
    }

    async fn client(&self) -> Result<Arc<Client>, Error> {
        let mut current = self.client.lock().await;
        if let Some(client) = current.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        tokio::spawn(async move {
            // Whoever waits for an answer over it gets the error as well, and logs it.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the inbox's connection ended");
            }
        });
        client.batch_execute("SET synchronous_commit = on").await?;
        let client = Arc::new(client);
        *current = Some(Arc::clone(&client));
        Ok(client)
    }

    async fn execute(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        Ok(self.client().await?.execute(statement, values).await?)
    }

    async fn find(
        &self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        Ok(self.client().await?.query_opt(statement, values).await?)
    }
}

impl Inbox for PostgresInbox {
    async fn keep(&self, callback: &Callback, now: UtcMillis) -> Result<Kept, Error> {
        let id = callback.sign_flow_id.as_str().as_bytes();
        let (time, status) = (
            callback.sign_end_time.as_str(),
            callback.sign_flow_status.code(),
        );
        let url = callback.sign_file_url.as_str().as_bytes();
        if self
            .execute(KEEP, &[&id, &time, &status, &url, &now])
            .await?
            == 1
        {
            return Ok(Kept::New { handled: false });
        }
        // Rows are never deleted by us; if somebody did in this moment, the sender tries again.
        let row = self.find(FIND, &[&id]).await?.ok_or(Error::Damaged)?;
        let kept = read_callback(&row)?;
        if kept != *callback {
            self.execute(CONFLICT, &[&id]).await?;
            return Ok(Kept::Conflict(Box::new(kept)));
        }
        Ok(Kept::Again {
            handled: row.try_get(4)?,
        })
    }

    async fn claim(
        &self,
        id: &SignFlowId,
        now: UtcMillis,
        until: UtcMillis,
    ) -> Result<Claim, Error> {
        let id = id.as_str().as_bytes();
        if let Some(row) = self.find(CLAIM, &[&id, &now, &until]).await? {
            let attempt = row.try_get::<_, i32>(1)?;
            return Ok(Claim::Granted {
                claim: row.try_get(0)?,
                attempt: attempt.unsigned_abs(),
            });
        }
        match self.find(FIND, &[&id]).await? {
            None => Ok(Claim::Unknown),
            Some(row) if row.try_get(4)? => Ok(Claim::Handled),
            Some(_) => Ok(Claim::Busy),
        }
    }

    async fn finish(&self, id: &SignFlowId, claim: i64, outcome: &Outcome) -> Result<bool, Error> {
        let (handled_at, retry_at, failure) = match outcome {
            Outcome::Handled { at } => (Some(*at), None, None),
            // As with ids: what a handler says may hold U+0000, but here nobody needs to have it back.
            Outcome::Failed { reason, retry_at } => (
                None,
                Some(*retry_at),
                Some(reason.replace('\0', "\u{fffd}")),
            ),
        };
        let id = id.as_str().as_bytes();
        Ok(self
            .execute(FINISH, &[&id, &claim, &handled_at, &retry_at, &failure])
            .await?
            == 1)
    }

    async fn due(&self, now: UtcMillis, limit: usize) -> Result<Vec<Callback>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.client().await?.query(DUE, &[&now, &limit]).await?;
        rows.iter().map(read_callback).collect()
    }
}

impl fmt::Debug for PostgresInbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The connection string may hold a password.
        formatter.write_str("PostgresInbox(…)")
    }
}

/// The first four columns are the four members, in the page's order.
fn read_callback(row: &Row) -> Result<Callback, Error> {
    let bytes = |index| -> Result<String, Error> {
        String::from_utf8(row.try_get(index)?).map_err(|_| Error::Damaged)
    };
    Ok(Callback {
        sign_end_time: row
            .try_get::<_, String>(0)?
            .try_into()
            .map_err(|_| Error::Damaged)?,
        sign_flow_status: row
            .try_get::<_, String>(1)?
            .try_into()
            .map_err(|_| Error::Damaged)?,
        sign_flow_id: bytes(2)?.try_into().map_err(|_| Error::Damaged)?,
        sign_file_url: bytes(3)?.try_into().map_err(|_| Error::Damaged)?,
    })
}
