//! A store in a folder of its own, a channel, and flows to keep in it.

use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use sealpost_contract::{Schedule, SignFlowId, UtcMillis};
use sealpost_flow::{
    Actor, Change, Digest, NewFlow, NewSigner, Operation, Party, Place, Proof, apply, create,
};
use sealpost_store::{
    ApiKey, CallbackId, Channel, Committed, Created, FlowCommit, Labels, NewCallback,
    NewStoredFlow, NewToken, PostgresOptions, SealedSecret, Store, StoredFlow,
};
use tempfile::TempDir;

pub(crate) const NOW: UtcMillis = 1_790_000_000_000;
pub(crate) const DAY: i64 = 24 * 3_600_000;
pub(crate) const DEADLINE: UtcMillis = NOW + 7 * DAY;
pub(crate) const CHANNEL: &str = "ch-lianjia";

/// The URL of a PostgreSQL server for tests, in which each of them makes a schema of its own. `cargo xtask test` starts one.
const POSTGRES: &str = "TEST_POSTGRES_URL";

/// Makes of each `async fn(world: World)` a test on either database.
macro_rules! on_every_database {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(crate::world::World::sqlite().await).await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(crate::world::World::postgres().await).await;
                }
            )*
        }
    };
}

/// A store that has the channel 链家 and vanishes with the test.
pub(crate) struct World {
    store: Store,
    folder: TempDir,
    schema: Option<Schema>,
}

impl World {
    /// Over an SQLite file.
    pub(crate) async fn sqlite() -> World {
        World::with(None).await
    }

    /// Over a schema of the PostgreSQL server for tests.
    pub(crate) async fn postgres() -> World {
        World::with(Some(Schema::new())).await
    }

    async fn with(schema: Option<Schema>) -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), schema.as_ref());
        let created = store
            .create_channel(channel(CHANNEL, "链家"), api_key("k1", CHANNEL))
            .await;
        assert!(created.unwrap());
        World {
            store,
            folder,
            schema,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The same database opened once more, as another process would.
    pub(crate) fn another(&self) -> Store {
        open(self.folder.path(), self.schema.as_ref())
    }

    /// Runs a statement behind the store's back; an error is the database's text.
    pub(crate) fn tamper(&self, sql: &str) -> Result<(), String> {
        match &self.schema {
            Some(schema) => schema.run(sql),
            None => {
                let database =
                    rusqlite::Connection::open(self.folder().join("sealpost.sqlite")).unwrap();
                database
                    .execute_batch(sql)
                    .map_err(|error| error.to_string())
            }
        }
    }

    /// The rows that a query behind the store's back gives; only over PostgreSQL.
    pub(crate) fn ask(&self, sql: &str) -> Vec<Vec<String>> {
        self.schema.as_ref().unwrap().ask(sql).unwrap()
    }

    /// How to reach its database; only over PostgreSQL.
    pub(crate) fn postgres_options(&self) -> PostgresOptions {
        self.schema.as_ref().unwrap().options()
    }

    /// The schema that it is in; only over PostgreSQL.
    pub(crate) fn schema_name(&self) -> &str {
        self.schema.as_ref().unwrap().name()
    }

    /// Ends the store's sessions with the server, as a restart of it would.
    pub(crate) fn lose_sessions(&self) {
        self.schema.as_ref().unwrap().lose_sessions();
    }

    /// Keeps a started flow of a buyer who may sign.
    pub(crate) async fn keep(&self, number: u32, now: UtcMillis) -> StoredFlow {
        keep(&self.store, new_flow(number, now)).await
    }

    pub(crate) async fn find(&self, stored: &StoredFlow) -> StoredFlow {
        self.store
            .find_flow(&stored.flow.id)
            .await
            .unwrap()
            .unwrap()
    }
}

impl Deref for World {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

fn open(folder: &Path, schema: Option<&Schema>) -> Store {
    match schema {
        Some(schema) => Store::open_postgres(schema.options(), folder).unwrap(),
        None => Store::open(folder).unwrap(),
    }
}

/// A schema of the PostgreSQL server for tests, which vanishes with the value.
pub(crate) struct Schema {
    url: String,
    name: String,
}

impl Schema {
    pub(crate) fn new() -> Schema {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let url = std::env::var(POSTGRES).unwrap_or_else(|_| {
            panic!("{POSTGRES} names no PostgreSQL server; run: cargo xtask test")
        });
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let schema = Schema {
            url,
            name: format!("test_{}_{number}", std::process::id()),
        };
        schema
            .run(&format!("CREATE SCHEMA {}", schema.name))
            .unwrap();
        schema
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        let sign = if self.url.contains('?') { '&' } else { '?' };
        let mut options = PostgresOptions::new(format!(
            "{}{sign}options=-csearch_path%3D{name}&application_name={name}",
            self.url,
            name = self.name
        ));
        options.sessions = 4;
        options
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Ends the sessions of the stores over it.
    pub(crate) fn lose_sessions(&self) {
        let others =
            "pid <> pg_backend_pid() AND application_name = current_setting('application_name')";
        self.run(&format!(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}"
        ))
        .unwrap();
    }

    /// Runs statements; an error is the server's text.
    pub(crate) fn run(&self, sql: &str) -> Result<(), String> {
        self.ask(sql).map(drop)
    }

    /// Runs statements and gives the rows of the last one, each column as text.
    pub(crate) fn ask(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        use tokio_postgres::SimpleQueryMessage::Row;

        let (url, sql) = (self.options().url, sql.to_owned());
        let ask = async move {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
                .await
                .unwrap();
            tokio::spawn(connection);
            client.simple_query(&sql).await
        };
        // A thread of its own, for the caller may be inside a runtime already.
        let asking = std::thread::spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(ask)
        });
        let messages = asking
            .join()
            .unwrap()
            .map_err(|error| match error.as_db_error() {
                Some(error) => error.message().to_owned(),
                None => error.to_string(),
            })?;
        let columns = |row: &tokio_postgres::SimpleQueryRow| {
            (0..row.len())
                .map(|column| row.get(column).unwrap_or_default().to_owned())
                .collect()
        };
        Ok(messages
            .iter()
            .filter_map(|message| {
                if let Row(row) = message {
                    Some(columns(row))
                } else {
                    None
                }
            })
            .collect())
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // A test that fails has more to say than what could not be cleaned up after it.
        let _ = self.run(&format!("DROP SCHEMA {} CASCADE", self.name));
    }
}

pub(crate) async fn keep(store: &Store, new: NewStoredFlow) -> StoredFlow {
    match store.create_flow(new).await.unwrap() {
        Created::New(stored) => *stored,
        Created::Remembered(remembered) => panic!("kept before: {remembered:?}"),
    }
}

pub(crate) fn channel(id: &str, name: &str) -> Channel {
    Channel {
        id: id.into(),
        name: name.into(),
        callback_url: Some("https://channel.example/callbacks".into()),
        schedule: Schedule::default(),
        created_at: NOW,
        paused: None,
        secrets: vec![SealedSecret {
            created_at: NOW,
            retires_at: None,
            ciphertext: b"sealed 1".to_vec(),
        }],
    }
}

pub(crate) fn api_key(id: &str, channel_id: &str) -> ApiKey {
    ApiKey {
        id: id.into(),
        channel_id: channel_id.into(),
        hash: Digest::of(id.as_bytes()),
        created_at: NOW,
        revoked_at: None,
    }
}

pub(crate) fn flow_id(number: u32) -> SignFlowId {
    SignFlowId::from_bytes(u128::from(number).to_be_bytes())
}

pub(crate) fn initiator() -> Actor {
    Actor::initiator("k1")
}

/// A started flow with one signer, created at `now`.
pub(crate) fn change(number: u32, now: UtcMillis) -> Change {
    let buyer = NewSigner {
        order: 1,
        party: Party::Person {
            name: "张三".into(),
        },
        place: Place {
            page: 1,
            rect: [100.0, 100.0, 200.0, 150.0],
        },
    };
    let new = NewFlow {
        id: flow_id(number),
        reference: format!("R-{number}"),
        title: "定金收据".into(),
        document: Digest::of(b"original"),
        signers: vec![buyer],
        expires_at: now + 7 * DAY,
    };
    let created = create(new, &initiator(), now).unwrap();
    let started = apply(&created.flow, Operation::Start, &initiator(), now).unwrap();
    Change {
        flow: started.flow,
        events: [created.events, started.events].concat(),
    }
}

pub(crate) fn new_flow(number: u32, now: UtcMillis) -> NewStoredFlow {
    NewStoredFlow {
        change: change(number, now),
        channel_id: CHANNEL.into(),
        callback_url: None,
        labels: Labels {
            project: Some("海景花园".into()),
            room: Some(format!("1栋2单元{number}室")),
            payer_masked: Some("张*".into()),
        },
        details: Some(r#"{"item":"定金"}"#.into()),
        tokens: vec![
            NewToken {
                hash: token(number, "file"),
                signer: None,
            },
            NewToken {
                hash: token(number, "signer 1"),
                signer: Some(1),
            },
        ],
        idempotency: None,
        sealing_claim: None,
    }
}

pub(crate) fn token(number: u32, what: &str) -> Digest {
    Digest::of(format!("{what} of {number}").as_bytes())
}

pub(crate) fn sign() -> Operation {
    Operation::Sign {
        mark: Digest::of(b"mark"),
        document: Digest::of(b"original"),
        proof: Proof::default(),
    }
}

pub(crate) fn buyer() -> Actor {
    Actor::signer(1)
}

/// The change, with a callback if it ends the flow.
pub(crate) fn commit_of(
    stored: &StoredFlow,
    operation: Operation,
    actor: &Actor,
    now: UtcMillis,
) -> FlowCommit {
    let change = apply(&stored.flow, operation, actor, now).unwrap();
    let callback = change
        .flow
        .state
        .end()
        .map(|(status, at)| callback(&change.flow.id, status.code(), at));
    FlowCommit::new(stored, change).with_callback(callback)
}

pub(crate) fn callback(flow: &SignFlowId, code: &str, at: UtcMillis) -> NewCallback {
    NewCallback {
        id: CallbackId::new(at, random_of(flow)),
        channel_id: CHANNEL.into(),
        url: None,
        sign_flow_id: flow.clone(),
        body: Bytes::from(format!(r#"{{"sign_flow_status":"{code}"}}"#)),
        due_at: at,
        lease: None,
    }
}

/// Different bits for different flows, and the same in every run.
fn random_of(flow: &SignFlowId) -> u32 {
    let [a, b, c, d, ..] = *Digest::of(flow.as_str().as_bytes()).as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Applies and commits, which must succeed at once.
pub(crate) async fn advance(
    store: &Store,
    stored: &StoredFlow,
    operation: Operation,
    actor: &Actor,
    now: UtcMillis,
) {
    let committed = store
        .commit_flow(commit_of(stored, operation, actor, now))
        .await
        .unwrap();
    assert!(matches!(committed, Committed::Done { .. }), "{committed:?}");
}
