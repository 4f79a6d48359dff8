//! A small memory of bytes that can be made again: page images and void copies.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Keeps at most so many bytes; what was used longest ago goes first.
pub(crate) struct Cache {
    limit: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    /// The one used last at the end. A few hundred at most, so that a walk costs less than a map would.
    order: VecDeque<(String, Bytes)>,
    bytes: usize,
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: Mutex::default(),
        }
    }

    pub(crate) fn find(&self, key: &str) -> Option<Bytes> {
        let mut entries = self.entries();
        let at = entries.order.iter().position(|(known, _)| known == key)?;
        let entry = entries.order.remove(at)?;
        let bytes = entry.1.clone();
        entries.order.push_back(entry);
        Some(bytes)
    }

    pub(crate) fn keep(&self, key: String, bytes: Bytes) {
        if bytes.len() > self.limit / 4 {
            return;
        }
        let mut entries = self.entries();
        if entries.order.iter().any(|(known, _)| *known == key) {
            return;
        }
        entries.bytes += bytes.len();
        entries.order.push_back((key, bytes));
        while entries.bytes > self.limit {
            let Some((_, oldest)) = entries.order.pop_front() else {
                break;
            };
            entries.bytes -= oldest.len();
        }
    }

    /// What is in it can be made again, so a panic elsewhere does no harm to it.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({} bytes)", self.entries().bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let cache = Cache::new(40);
        for key in ["a", "b", "c", "d"] {
            cache.keep(key.to_owned(), Bytes::from_static(b"0123456789"));
        }
        assert!(cache.find("a").is_some());
        cache.keep("e".to_owned(), Bytes::from_static(b"0123456789"));
        assert!(cache.find("b").is_none());
        assert!(cache.find("a").is_some());
        cache.keep("large".to_owned(), Bytes::from_static(b"01234567890"));
        assert!(cache.find("large").is_none());
    }
}
