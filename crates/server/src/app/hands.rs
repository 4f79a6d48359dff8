//! Hands a signature by hand, as it looks in a PDF, from the request that checked it to the sealing a moment later, so that the
//! drawing is not read twice. Whoever finds nothing here reads it from the documents.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sealpost_flow::Digest;
use sealpost_pdf::Appearance;

/// Signatures held at most, each of 1.3 MB at most; the oldest makes room.
const MOST: usize = 16;

#[derive(Default)]
pub(crate) struct Hands {
    held: Mutex<VecDeque<(Digest, Appearance)>>,
}

impl Hands {
    /// Holds how the drawing of this digest looks.
    pub(crate) fn hold(&self, drawing: Digest, appearance: Appearance) {
        let mut held = self.held();
        if held.len() >= MOST {
            held.pop_front();
        }
        held.push_back((drawing, appearance));
    }

    /// How the drawing of this digest looks, if that is held; then it no longer is.
    pub(crate) fn take(&self, drawing: &Digest) -> Option<Appearance> {
        let mut held = self.held();
        let at = held.iter().position(|(known, _)| known == drawing)?;
        held.remove(at).map(|(_, appearance)| appearance)
    }

    /// What is in it can be made again, so a panic elsewhere does no harm to it.
    fn held(&self) -> MutexGuard<'_, VecDeque<(Digest, Appearance)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hands({})", self.held().len())
    }
}
