//! A store in a folder of its own, a channel, and flows to keep in it.

use std::ops::Deref;
use std::path::Path;

use bytes::Bytes;
use sealpost_contract::{Schedule, SignFlowId, UtcMillis};
use sealpost_flow::{
    Actor, Change, Digest, NewFlow, NewSigner, Operation, Party, Place, apply, create,
};
use sealpost_store::{
    ApiKey, CallbackId, Channel, Committed, Created, FlowCommit, Labels, NewCallback,
    NewStoredFlow, NewToken, SealedSecret, Store, StoredFlow,
};
use tempfile::TempDir;

pub(crate) const NOW: UtcMillis = 1_790_000_000_000;
pub(crate) const DAY: i64 = 24 * 3_600_000;
pub(crate) const DEADLINE: UtcMillis = NOW + 7 * DAY;
pub(crate) const CHANNEL: &str = "ch-lianjia";

/// A store that has the channel 链家 and vanishes with the test.
pub(crate) struct World {
    store: Store,
    folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(
            store
                .create_channel(channel(CHANNEL, "链家"), api_key("k1", CHANNEL))
                .await
                .unwrap()
        );
        World { store, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The same database opened once more, as another process would.
    pub(crate) fn another(&self) -> Store {
        Store::open(self.folder.path()).unwrap()
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
    }
}

pub(crate) fn token(number: u32, what: &str) -> Digest {
    Digest::of(format!("{what} of {number}").as_bytes())
}

pub(crate) fn sign() -> Operation {
    Operation::Sign {
        mark: Digest::of(b"mark"),
        document: Digest::of(b"original"),
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
