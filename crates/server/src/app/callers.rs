//! Remembers who an API key speaks for, so that a busy channel does not cost a look-up with every request.
//!
//! Only keys that are valid are remembered, and by their hash, until the store's count of changes to keys has grown; where that
//! was not read lately, for a moment only. A key that this process revokes is forgotten at once; one that the command line or
//! another node revokes works for [`FRESH`] at most.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sealpost_flow::Digest;

use super::flows::Caller;

/// How long a look-up is believed without a word from the store, and how old such a word may be.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// How long a look-up is believed at most. A database that lost its last changes (a standby that was behind, a restore) may count
/// other changes up to the same number.
const AT_MOST: Duration = Duration::from_secs(60);

/// Keys remembered at most; beyond, all are forgotten.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Callers {
    known: Mutex<HashMap<Digest, Known>>,
}

#[derive(Debug)]
struct Known {
    caller: Caller,
    read_at: Instant,
    /// The store's count of changes before the look-up, if it was known.
    revision: Option<i64>,
}

impl Callers {
    /// Who this key speaks for, if that is known and the store's count of changes is still the same.
    pub(crate) fn find(&self, hash: &Digest, revision: Option<i64>) -> Option<Caller> {
        let known = self.known();
        let found = known.get(hash)?;
        let holds = match (found.revision, revision) {
            (Some(then), Some(now)) => then == now && found.read_at.elapsed() < AT_MOST,
            _ => found.read_at.elapsed() < FRESH,
        };
        holds.then(|| found.caller.clone())
    }

    /// Remembers a look-up that began at `read_at`, when the store's count of changes was `revision`.
    pub(crate) fn keep(
        &self,
        hash: Digest,
        caller: Caller,
        read_at: Instant,
        revision: Option<i64>,
    ) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.clear();
        }
        let new = Known {
            caller,
            read_at,
            revision,
        };
        known.insert(hash, new);
    }

    pub(crate) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
