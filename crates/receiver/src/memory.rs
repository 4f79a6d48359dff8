//! An inbox without a disk, for tests and for trying things out. What it keeps dies with the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealpost_contract::{Callback, SignFlowId, UtcMillis};

use crate::{Claim, Error, Inbox, Kept, Outcome};

/// Keeps callbacks in memory. Durable only as long as the process: never answer a real platform from it.
#[derive(Debug, Clone, Default)]
pub struct MemoryInbox {
    rows: Arc<Mutex<HashMap<SignFlowId, Row>>>,
}

#[derive(Debug)]
struct Row {
    callback: Callback,
    handled: bool,
    due_at: UtcMillis,
    claim: i64,
    claimed_until: Option<UtcMillis>,
    attempts: u32,
}

impl Row {
    fn is_claimed(&self, now: UtcMillis) -> bool {
        self.claimed_until.is_some_and(|until| until > now)
    }
}

impl MemoryInbox {
    /// An empty inbox.
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<SignFlowId, Row>> {
        // Each change below is complete before anything can panic, so a poisoned lock guards sound data.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox for MemoryInbox {
    async fn keep(&self, callback: &Callback, now: UtcMillis) -> Result<Kept, Error> {
        let mut rows = self.rows();
        Ok(match rows.get(&callback.sign_flow_id) {
            Some(row) if row.callback != *callback => {
                Kept::Conflict(Box::new(row.callback.clone()))
            }
            Some(row) => Kept::Again {
                handled: row.handled,
            },
            None => {
                let row = Row {
                    callback: callback.clone(),
                    handled: false,
                    due_at: now,
                    claim: 0,
                    claimed_until: None,
                    attempts: 0,
                };
                rows.insert(callback.sign_flow_id.clone(), row);
                Kept::New { handled: false }
            }
        })
    }

    async fn claim(
        &self,
        id: &SignFlowId,
        now: UtcMillis,
        until: UtcMillis,
    ) -> Result<Claim, Error> {
        let mut rows = self.rows();
        Ok(match rows.get_mut(id) {
            None => Claim::Unknown,
            Some(row) if row.handled => Claim::Handled,
            Some(row) if row.is_claimed(now) => Claim::Busy,
            Some(row) => {
                row.claim += 1;
                row.attempts = row.attempts.saturating_add(1);
                row.claimed_until = Some(until);
                Claim::Granted {
                    claim: row.claim,
                    attempt: row.attempts,
                }
            }
        })
    }

    async fn finish(&self, id: &SignFlowId, claim: i64, outcome: &Outcome) -> Result<bool, Error> {
        let mut rows = self.rows();
        let Some(row) = rows
            .get_mut(id)
            .filter(|row| row.claim == claim && !row.handled)
        else {
            return Ok(false);
        };
        row.claimed_until = None;
        match outcome {
            Outcome::Handled { .. } => row.handled = true,
            Outcome::Failed { retry_at, .. } => row.due_at = *retry_at,
        }
        Ok(true)
    }

    async fn due(&self, now: UtcMillis, limit: usize) -> Result<Vec<Callback>, Error> {
        let rows = self.rows();
        let mut due: Vec<&Row> = rows
            .values()
            .filter(|row| !row.handled && row.due_at <= now && !row.is_claimed(now))
            .collect();
        due.sort_by_key(|row| row.due_at);
        Ok(due
            .into_iter()
            .take(limit)
            .map(|row| row.callback.clone())
            .collect())
    }
}
