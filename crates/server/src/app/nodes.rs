//! This process as one of several nodes over one PostgreSQL database: who it is, whether it may join the others, and that it is
//! about to stop.
//!
//! Nodes are equal and know of each other only by the database. What they must have in common is checked here: the master secret,
//! because links and kept keys come from it, and the place of the documents.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use sealpost_contract::UtcMillis;
use sealpost_store::{Joined, Node, Store};

use super::{App, OpenError};
use crate::problem::Problem;
use crate::secrets::{SecretError, Secrets, random};

/// The name in the store of what shows that the master secret is the right one.
const CHECK: &str = "master-secret-check";

/// This process as a node.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// As it has joined.
    node: OnceLock<Node>,
    stopping: AtomicBool,
}

/// Fails when the database was begun with another master secret.
pub(super) async fn check_secret(
    store: &Store,
    secrets: &Secrets,
    now: UtcMillis,
) -> Result<(), OpenError> {
    let kept = match store.find_credential(CHECK).await? {
        Some(kept) => kept,
        // Of two nodes that begin at once, one's counts for both.
        None => {
            let sealed = secrets.encrypt(CHECK, b"sealpost")?;
            store.keep_credential(CHECK, sealed, now).await?
        }
    };
    match secrets.decrypt(CHECK, &kept) {
        Ok(_) => Ok(()),
        Err(SecretError::NotOurs { .. }) => Err(OpenError::OtherSecret),
        Err(error) => Err(error.into()),
    }
}

impl App {
    /// Joins the other nodes. Over SQLite there are none.
    pub(crate) async fn join(&self) -> Result<(), OpenError> {
        if self.config().database.is_none() {
            return Ok(());
        }
        let store = self.store().clone();
        let place = tokio::task::spawn_blocking(move || store.documents_place());
        let documents = place.await.map_err(|_| sealpost_store::Error::Stopped)??;
        let node = Node {
            id: hex::encode(random::<8>()?),
            name: format!("{} {}", host_name(), self.config().listen),
            documents,
            started_at: self.now(),
            seen_at: self.now(),
        };
        match self.store().join(node.clone()).await? {
            Joined::Done => {
                tracing::info!(node = node.id, "joined as a node");
                self.0.membership.node.get_or_init(|| node);
                Ok(())
            }
            Joined::Elsewhere(other) => Err(OpenError::Elsewhere {
                other: other.name,
                theirs: other.documents,
                ours: node.documents,
            }),
        }
    }

    /// Says to the others that this node is still there.
    pub(crate) async fn keep_joined(&self) -> sealpost_store::Result<()> {
        match self.0.membership.node.get() {
            None => Ok(()),
            Some(node) => {
                let seen_at = self.now();
                let node = node.clone();
                self.store().keep_joined(Node { seen_at, ..node }).await
            }
        }
    }

    /// Leaves the others.
    pub(crate) async fn leave(&self) -> sealpost_store::Result<()> {
        match self.0.membership.node.get() {
            None => Ok(()),
            Some(node) => self.store().leave(&node.id).await,
        }
    }

    /// The id of this node, if it is one.
    pub(crate) fn node_id(&self) -> Option<&str> {
        self.0.membership.node.get().map(|node| node.id.as_str())
    }

    /// The nodes that are there.
    pub(crate) async fn nodes(&self) -> Result<Vec<Node>, Problem> {
        Ok(self.store().nodes(self.now()).await?)
    }

    /// From now on `/readyz` says that this server is about to stop, and every answer closes its connection.
    pub(crate) fn set_stopping(&self) {
        self.0.membership.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether this server is about to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.membership.stopping.load(Ordering::Relaxed)
    }
}

/// What this machine is called, for people.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "a node".to_owned(),
        name => name.to_owned(),
    }
}
