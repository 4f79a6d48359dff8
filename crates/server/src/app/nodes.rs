//! This process as one of several nodes over one PostgreSQL database: who it is, whether it may join the others, and that it is
//! about to stop.
//!
//! Nodes are equal and know of each other only by the database. What they must have in common is checked here: the master secret,
//! because links and kept keys come from it, and the place of the documents.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

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
    /// How far our clock was ahead of the database server's when that was looked at last, in milliseconds.
    clock_ahead: AtomicI64,
}

/// How far a clock may be off, in milliseconds, before somebody is told. The lease of a callback ends two seconds after its attempt.
pub(crate) const CLOCK_OFF: i64 = 1000;

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

    /// How far our clock is ahead of the database server's, at least, in milliseconds; negative: behind. Over SQLite there is one
    /// clock.
    pub(crate) async fn clock_ahead(&self) -> sealpost_store::Result<i64> {
        let before = self.now();
        let Some(server) = self.store().database_server().await? else {
            return Ok(0);
        };
        Ok(ahead(before, server.now, self.now()))
    }

    /// Compares the clocks, and tells whoever reads the log when ours has come to be off, and when it is right again.
    pub(crate) async fn watch_clock(&self) -> sealpost_store::Result<()> {
        let now = self.clock_ahead().await?;
        let before = self.0.membership.clock_ahead.swap(now, Ordering::Relaxed);
        match (before.abs() > CLOCK_OFF, now.abs() > CLOCK_OFF) {
            (false, true) => tracing::error!(
                ahead_ms = now,
                "this machine's clock and the database server's differ: flows expire, leases end and signatures are dated by it; is NTP running on both?"
            ),
            (true, false) => {
                tracing::info!("this machine's clock agrees with the database server's again")
            }
            _ => {}
        }
        Ok(())
    }

    /// What [`App::watch_clock`] found last.
    pub(crate) fn clock_was_ahead(&self) -> i64 {
        self.0.membership.clock_ahead.load(Ordering::Relaxed)
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

/// How far a clock that said `before` and `after` is ahead of one that said `theirs` in between, at least.
fn ahead(before: UtcMillis, theirs: UtcMillis, after: UtcMillis) -> i64 {
    if theirs < before {
        before - theirs
    } else {
        (after - theirs).min(0)
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

#[cfg(test)]
mod tests {
    use super::ahead;

    #[test]
    fn however_long_the_answer_took_a_clock_that_is_right_is_not_off() {
        for (before, theirs, after, off) in [
            (1000, 1000, 1000, 0),
            (1000, 5000, 9000, 0),
            (1000, 400, 1002, 600),
            (1000, 1602, 1002, -600),
        ] {
            assert_eq!(ahead(before, theirs, after), off);
        }
    }
}
