//! Remembers who an API key speaks for, so that a busy channel does not cost a look-up with every request.
//!
//! Only keys that are valid are remembered, and by their hash, until the store's count of changes to keys has grown; where that
//! was not read lately, for a moment only. A key that this process revokes is forgotten at once; one that the command line or
//! another node revokes works for [`FRESH`] at most.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealpost_flow::Digest;
use sealpost_store::{Reading, Store};

use super::flows::Caller;

/// How long a look-up is believed without a word from the store, and how old such a word may be.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// Keys remembered at most; beyond, all are forgotten.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Callers {
    known: Mutex<HashMap<Digest, (Caller, Reading)>>,
}

impl Callers {
    /// Who this key speaks for, if that is known and still holds by what `store` says.
    pub(crate) fn find(&self, hash: &Digest, store: &Store) -> Option<Caller> {
        let known = self.known();
        let (caller, reading) = known.get(hash)?;
        store.still_holds(reading, FRESH).then(|| caller.clone())
    }

    /// Remembers what a look-up found.
    pub(crate) fn keep(&self, hash: Digest, caller: Caller, reading: Reading) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(hash, (caller, reading));
    }

    pub(crate) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, (Caller, Reading)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
