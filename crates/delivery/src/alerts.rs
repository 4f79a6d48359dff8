//! The alert hook: tells an operator's URL what needs a person.
//!
//! One POST carries what has gathered in a second, so that a broken channel is one message and not thousands:
//!
//! ```json
//! {
//!   "alerts": [
//!     { "kind": "callback_failed", "at": 1790000000000, "channel_id": "…", "callback_id": "cb_…", "reason": "timeout" },
//!     { "kind": "channel_paused", "at": 1790000000000, "channel_id": "…", "reason": "the endpoint answered 410 Gone" },
//!     { "kind": "endpoint_failing", "at": 1790000000000, "channel_id": "…", "endpoint": "https://…", "reason": "timeout" },
//!     { "kind": "endpoint_recovered", "at": 1790000000000, "channel_id": "…", "endpoint": "https://…" },
//!     { "kind": "outcome_refused", "at": 1790000000000, "channel_id": "…", "callback_id": "cb_…" },
//!     { "kind": "backlog_growing", "at": 1790000000000, "waiting": 1200, "oldest_due_at": 1789999000000 },
//!     { "kind": "backlog_recovered", "at": 1790000000000, "waiting": 3 }
//!   ],
//!   "omitted": 0
//! }
//! ```
//!
//! Times are milliseconds since 1970. `omitted` counts alerts since the last message that were not told: they did not fit, or no
//! 2xx answered them, the first time and at three more tries. Alerts are kept in memory only: what they tell of is in the database, the metrics and the log as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri, header};
use sealpost_contract::UtcMillis;
use sealpost_store::{Backlog, CallbackId};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::guard::Target;

/// Alerts in one message.
const BATCH: usize = 100;
/// Alerts waiting to be told.
const WAITING: usize = 1000;
/// How long alerts gather.
const GATHER: Duration = Duration::from_secs(1);
/// The deadline of one POST.
const DEADLINE: Duration = Duration::from_secs(10);
/// The waits before a POST is tried again.
const RETRIES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];
/// The age of the oldest due callback from which on the backlog counts as growing, in milliseconds; told again whenever it
/// has doubled.
const GROWING: i64 = 300_000;

/// Something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Alert {
    /// A callback was given up after its last attempt.
    CallbackFailed {
        at: UtcMillis,
        channel_id: Arc<str>,
        callback: CallbackId,
        reason: &'static str,
    },
    /// A channel was paused by what its endpoint answered.
    ChannelPaused {
        at: UtcMillis,
        channel_id: Arc<str>,
        reason: String,
    },
    /// An endpoint only fails: it is rested, and probed from time to time.
    EndpointFailing {
        at: UtcMillis,
        channel_id: Arc<str>,
        endpoint: String,
        reason: &'static str,
    },
    /// It works again.
    EndpointRecovered {
        at: UtcMillis,
        channel_id: Arc<str>,
        endpoint: String,
    },
    /// The database refuses what came of an attempt, which is therefore made again and again.
    OutcomeRefused {
        at: UtcMillis,
        channel_id: Arc<str>,
        callback: CallbackId,
    },
    /// Callbacks have been due for too long.
    BacklogGrowing {
        at: UtcMillis,
        waiting: u64,
        oldest_due_at: UtcMillis,
    },
    /// They no longer are.
    BacklogRecovered { at: UtcMillis, waiting: u64 },
}

impl Alert {
    fn json(&self) -> Value {
        match self {
            Self::CallbackFailed {
                at,
                channel_id,
                callback,
                reason,
            } => json!({
                "kind": "callback_failed", "at": at, "channel_id": **channel_id, "callback_id": callback.to_string(), "reason": reason,
            }),
            Self::ChannelPaused {
                at,
                channel_id,
                reason,
            } => {
                json!({ "kind": "channel_paused", "at": at, "channel_id": **channel_id, "reason": reason })
            }
            Self::EndpointFailing {
                at,
                channel_id,
                endpoint,
                reason,
            } => json!({
                "kind": "endpoint_failing", "at": at, "channel_id": **channel_id, "endpoint": endpoint, "reason": reason,
            }),
            Self::EndpointRecovered {
                at,
                channel_id,
                endpoint,
            } => json!({
                "kind": "endpoint_recovered", "at": at, "channel_id": **channel_id, "endpoint": endpoint,
            }),
            Self::OutcomeRefused {
                at,
                channel_id,
                callback,
            } => json!({
                "kind": "outcome_refused", "at": at, "channel_id": **channel_id, "callback_id": callback.to_string(),
            }),
            Self::BacklogGrowing {
                at,
                waiting,
                oldest_due_at,
            } => {
                json!({ "kind": "backlog_growing", "at": at, "waiting": waiting, "oldest_due_at": oldest_due_at })
            }
            Self::BacklogRecovered { at, waiting } => {
                json!({ "kind": "backlog_recovered", "at": at, "waiting": waiting })
            }
        }
    }
}

/// Where alerts go; `None` inside: nowhere.
#[derive(Debug)]
pub(crate) struct Alerts {
    queue: Option<mpsc::Sender<Alert>>,
    omitted: Arc<AtomicU64>,
}

impl Alerts {
    /// The hook and the task that tells it, if there is a URL.
    pub(crate) fn new(
        url: Option<&Target>,
        client: Client,
        stop: CancellationToken,
    ) -> (Self, Option<impl Future<Output = ()> + Send + 'static>) {
        let omitted = Arc::new(AtomicU64::new(0));
        let Some(url) = url.map(|url| url.uri().clone()) else {
            return (
                Self {
                    queue: None,
                    omitted,
                },
                None,
            );
        };
        let (sender, queue) = mpsc::channel(WAITING);
        let task = tell(queue, url, client, Arc::clone(&omitted), stop);
        (
            Self {
                queue: Some(sender),
                omitted,
            },
            Some(task),
        )
    }

    /// Has an alert told, soon; never waits.
    pub(crate) fn raise(&self, alert: Alert) {
        if let Some(queue) = &self.queue
            && queue.try_send(alert).is_err()
        {
            self.omitted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn tell(
    mut queue: mpsc::Receiver<Alert>,
    url: Uri,
    client: Client,
    omitted: Arc<AtomicU64>,
    stop: CancellationToken,
) {
    let mut gathered = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            received = queue.recv_many(&mut gathered, BATCH) => if received == 0 { return },
            () = stop.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            () = stop.cancelled() => {}
        }
        while gathered.len() < BATCH
            && let Ok(more) = queue.try_recv()
        {
            gathered.push(more);
        }
        let alerts: Vec<Value> = gathered.drain(..).map(|alert| alert.json()).collect();
        let count = alerts.len();
        let left_out = omitted.swap(0, Ordering::Relaxed);
        let message = json!({ "alerts": alerts, "omitted": left_out });
        if !post(&client, &url, message.to_string().into(), &stop).await {
            tracing::error!(
                alerts = count,
                "the alert URL does not accept; these alerts were not told"
            );
            omitted.fetch_add(left_out + count as u64, Ordering::Relaxed);
        }
    }
}

async fn post(client: &Client, url: &Uri, body: Bytes, stop: &CancellationToken) -> bool {
    let headers = HeaderMap::from_iter([(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )]);
    let mut waits = RETRIES.into_iter();
    loop {
        match client
            .post(url.clone(), headers.clone(), body.clone(), DEADLINE)
            .await
        {
            Ok(reply) if reply.status.is_success() => return true,
            Ok(reply) => tracing::warn!(status = reply.status.as_u16(), "the alert URL refuses"),
            Err(failure) => tracing::warn!(?failure, "the alert URL cannot be reached"),
        }
        let Some(wait) = waits.next() else {
            return false;
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return false,
        }
    }
}

/// Decides when a backlog is worth an alert: once when it grows old, again each time its age has doubled, and when it is over.
#[derive(Debug, Default)]
pub(crate) struct BacklogWatch {
    told_at_age: Option<i64>,
}

impl BacklogWatch {
    /// What to tell of a backlog as it is at `now`, if anything.
    pub(crate) fn look(&mut self, backlog: &Backlog, now: UtcMillis) -> Option<Alert> {
        let waiting = backlog.waiting;
        let age = backlog
            .oldest_due_at
            .map_or(0, |due_at| now.saturating_sub(due_at));
        match (self.told_at_age, backlog.oldest_due_at) {
            (told, Some(oldest_due_at)) if age >= told.map_or(GROWING, |told| 2 * told) => {
                self.told_at_age = Some(age);
                Some(Alert::BacklogGrowing {
                    at: now,
                    waiting,
                    oldest_due_at,
                })
            }
            (Some(_), _) if age < GROWING => {
                self.told_at_age = None;
                Some(Alert::BacklogRecovered { at: now, waiting })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_told_once_then_when_doubled_then_when_over() {
        let mut watch = BacklogWatch::default();
        let mut told = Vec::new();
        for minute in 0..=40 {
            let backlog = Backlog {
                waiting: 7,
                failed: 0,
                oldest_due_at: (minute < 39).then_some(0),
            };
            if let Some(alert) = watch.look(&backlog, minute * 60_000) {
                told.push((minute, matches!(alert, Alert::BacklogGrowing { .. })));
            }
        }
        assert_eq!(told, [(5, true), (10, true), (20, true), (39, false)]);
    }
}
