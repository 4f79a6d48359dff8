//! Remembers for a moment who an API key speaks for, so that a busy channel does not cost a look-up with every request.
//!
//! Only keys that are valid are remembered, and by their hash. A key that this process revokes is forgotten at once; one that
//! the command line or another node revokes works for [`FRESH`] at most.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sealpost_flow::Digest;

use super::flows::Caller;

/// How long a look-up is believed.
const FRESH: Duration = Duration::from_secs(1);

/// Keys remembered at most; beyond, all are forgotten.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Callers {
    known: Mutex<HashMap<Digest, (Caller, Instant)>>,
}

impl Callers {
    pub(crate) fn find(&self, hash: &Digest) -> Option<Caller> {
        let known = self.known();
        known
            .get(hash)
            .filter(|(_, at)| at.elapsed() < FRESH)
            .map(|(caller, _)| caller.clone())
    }

    pub(crate) fn keep(&self, hash: Digest, caller: Caller) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(hash, (caller, Instant::now()));
    }

    pub(crate) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, (Caller, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
