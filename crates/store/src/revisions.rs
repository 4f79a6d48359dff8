//! Whether what somebody remembers of channels, their secrets and keys, or of credentials still holds: one number that grows with
//! every change to them, whichever process made it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Store;
use crate::database::Connection;
use crate::error::Result;

/// The revision that was read last, and when that read began.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<Option<(i64, Instant)>>);

impl Store {
    /// Reads the revision of channels, secrets, keys and credentials, and remembers it for [`Store::channel_revision`].
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn read_channel_revision(&self) -> Result<i64> {
        let began = Instant::now();
        let read = |connection: &Connection| {
            connection
                .prepare_cached("SELECT revision FROM revisions WHERE subject = 'channels'")?
                .query_row([], |row| row.get(0))
        };
        let revision = self.database.read(read).await?;
        let mut seen = self
            .revision_seen
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Reads may overtake each other.
        if seen.is_none_or(|(_, at)| at < began) {
            *seen = Some((revision, began));
        }
        Ok(revision)
    }

    /// The revision that was read last, unless that is longer ago than `within`. What was read from the store after this
    /// answered is not older than this revision; it is out of date once another is answered.
    pub fn channel_revision(&self, within: Duration) -> Option<i64> {
        let seen = self
            .revision_seen
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seen.filter(|(_, at)| at.elapsed() < within)
            .map(|(revision, _)| revision)
    }
}
