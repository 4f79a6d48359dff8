//! Whether what somebody remembers of channels, their secrets and keys, or of credentials still holds: one number that grows with
//! every change to them, whichever process made it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Store;
use crate::database::One;
use crate::error::Result;

/// How long something is believed at most. A database that lost its last changes (a standby that was behind, a restore) may count
/// other changes up to the same number.
const AT_MOST: Duration = Duration::from_secs(60);

/// When something of what is counted was read; kept beside it by whoever remembers it.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    began: Instant,
    /// The revision before it, if that was known.
    revision: Option<i64>,
}

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
        let read = |one: One<'_>| {
            one.prepare_cached("SELECT revision FROM revisions WHERE subject = 'channels'")?
                .query_row([], |row| row.get(0))
        };
        let revision = self.database.read_one(read).await?;
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

    /// A reading that begins now, with the revision that was read last, unless that is longer ago than `within`.
    pub fn begin_reading(&self, within: Duration) -> Reading {
        Reading {
            began: Instant::now(),
            revision: self.channel_revision(within),
        }
    }

    /// Whether what was read then still holds: nothing has changed since, as far as a revision tells that was read no longer ago
    /// than `within`, for a minute at most; where no revision tells, it is believed for `within`.
    pub fn still_holds(&self, reading: &Reading, within: Duration) -> bool {
        let age = reading.began.elapsed();
        match (reading.revision, self.channel_revision(within)) {
            (Some(then), Some(now)) => then == now && age < AT_MOST,
            _ => age < within,
        }
    }
}
