//! Channels (渠道参与方), their webhook secrets and API keys.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sealpost_contract::{Schedule, UtcMillis};
use sealpost_flow::Digest;

use crate::Store;
use crate::error::{Error, Result};

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
