//! The receiver: checked → kept → handled → answered. HTTP itself is in `service`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderMap;
use sealpost_contract::webhook::Secret;
use sealpost_contract::{Answer, Callback, UtcMillis};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{Checks, Claim, Error, Handler, HandlerError, Inbox, Kept, Outcome, Refused};

/// How long a handler may take before its future is dropped and it counts as failed.
const HANDLER_LIMIT: Duration = Duration::from_secs(60);
/// How much longer than the handler's limit a claim lasts, so that it never ends under a handler that still runs.
const CLAIM_MARGIN: Duration = Duration::from_secs(15);
/// How long a second copy waits for the first one's handler before it is answered 500.
const BUSY_LIMIT: Duration = Duration::from_secs(8);
/// How often a second copy looks, and how often `work` looks for what is due.
const BUSY_POLL: Duration = Duration::from_millis(20);
const DUE_POLL: Duration = Duration::from_millis(500);
/// Handlers that `work` runs at once.
const WORKERS: u32 = 32;
/// The longest reason kept of a failed handler, in characters.
const REASON_CHARS: usize = 1000;

/// Receives callbacks. Clones share everything. See the crate's documentation for what it promises.
pub struct Receiver<I, H> {
    inner: Arc<Inner<I, H>>,
}

struct Inner<I, H> {
    inbox: I,
    handler: Arc<H>,
    settings: Settings,
    kept: Notify,
}

#[derive(Clone)]
struct Settings {
    checks: Checks,
    answer_once_kept: bool,
    handler_limit: Duration,
    body_limit: Duration,
    clock: Arc<Clock>,
    observer: Option<Arc<Observer>>,
}

type Clock = dyn Fn() -> UtcMillis + Send + Sync;
type Observer = dyn Fn(&Exchange<'_>) + Send + Sync;

/// One request and what came of it, for an observer.
#[derive(Debug)]
#[non_exhaustive]
pub struct Exchange<'a> {
    /// When it was checked.
    pub at: UtcMillis,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, as far as it was read.
    pub body: &'a Bytes,
    /// What came of it.
    pub verdict: &'a Verdict,
}

/// What came of one request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Kept now; and handled, unless it is answered before that.
    Received(Callback),
    /// The same as before.
    Repeated(Callback),
    /// No callback.
    Refused(Refused),
    /// Another end for a flow whose end is known.
    Conflict {
        /// What came.
        received: Box<Callback>,
        /// What is kept.
        kept: Box<Callback>,
    },
    /// It could not be kept.
    NotKept(Callback, Error),
    /// It is kept, but the handler failed or was still busy with another copy.
    NotHandled(Callback, String),
}

impl Verdict {
    /// The answer the contract asks for.
    pub fn answer(&self) -> Answer {
        match self {
            Self::Received(_) | Self::Repeated(_) => Answer::Acknowledged,
            Self::Refused(refused) => refused.answer(),
            Self::Conflict { .. } => Answer::Conflict,
            Self::NotKept(..) | Self::NotHandled(..) => Answer::Internal,
        }
    }
}

impl<I: Inbox, H: Handler> Receiver<I, H> {
    /// A receiver with the default checks: 64 KiB, JSON by its content type, no signature.
    pub fn new(inbox: I, handler: H) -> Self {
        let settings = Settings {
            checks: Checks::default(),
            answer_once_kept: false,
            handler_limit: HANDLER_LIMIT,
            body_limit: Duration::from_secs(10),
            clock: Arc::new(system_clock),
            observer: None,
        };
        Self {
            inner: Arc::new(Inner {
                inbox,
                handler: Arc::new(handler),
                settings,
                kept: Notify::new(),
            }),
        }
    }

    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.inner.settings.clone();
        change(&mut settings);
        let (inbox, handler) = (self.inner.inbox.clone(), Arc::clone(&self.inner.handler));
        Self {
            inner: Arc::new(Inner {
                inbox,
                handler,
                settings,
                kept: Notify::new(),
            }),
        }
    }

    /// Only accepts callbacks signed with one of these secrets: two of them while one is being rotated; with none at
    /// all, nothing is accepted. Without this the signature is not checked, since the page's contract has none.
    #[must_use]
    pub fn require_signature(self, secrets: Vec<Secret>) -> Self {
        self.with(|settings| settings.checks.secrets = Some(secrets))
    }

    /// Replaces all checks.
    #[must_use]
    pub fn checks(self, checks: Checks) -> Self {
        self.with(|settings| settings.checks = checks)
    }

    /// Answers as soon as a callback is kept, and leaves handling to [`Receiver::work`], which must then run.
    #[must_use]
    pub fn answer_once_kept(self) -> Self {
        self.with(|settings| settings.answer_once_kept = true)
    }

    /// How long the handler may take; 60 s by default. A platform waits 10 s for its answer, so a handler that needs
    /// longer goes with [`Receiver::answer_once_kept`].
    #[must_use]
    pub fn handler_limit(self, limit: Duration) -> Self {
        self.with(|settings| settings.handler_limit = limit)
    }

    /// How long a body may take to arrive; 10 s by default.
    #[must_use]
    pub fn body_limit(self, limit: Duration) -> Self {
        self.with(|settings| settings.body_limit = limit)
    }

    /// Reads the time from here instead of the system: for tests.
    #[must_use]
    pub fn clock(self, clock: impl Fn() -> UtcMillis + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.clock = Arc::new(clock))
    }

    /// Shows every request and its verdict to `observer`, just before it is answered.
    #[must_use]
    pub fn observe(self, observer: impl Fn(&Exchange<'_>) + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.observer = Some(Arc::new(observer)))
    }

    /// Handles what is kept and due, until `shutdown`: what was answered before being handled, what failed, and what
    /// a crash left behind. Failed handlers are run again after 1 s, 2 s, 4 s, … up to 10 minutes, for ever.
    ///
    /// On shutdown, handlers that run are given the time to end.
    pub async fn work(self, shutdown: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(WORKERS as usize));
        tokio::pin!(shutdown);
        loop {
            self.start_due(&slots).await;
            tokio::select! {
                () = &mut shutdown => break,
                () = self.inner.kept.notified() => {}
                () = tokio::time::sleep(DUE_POLL) => {}
            }
        }
        // All slots free means that all handlers have ended.
        let _ = slots.acquire_many(WORKERS).await;
    }

    async fn start_due(&self, slots: &Arc<Semaphore>) {
        let free = slots.available_permits();
        if free == 0 {
            return;
        }
        let due = match self.inner.inbox.due(self.now(), free).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "cannot read what is due from the inbox");
                return;
            }
        };
        // All are claimed before the next look, so that nothing is started twice; together, since they share a commit.
        let mut claims = JoinSet::new();
        for callback in due {
            let receiver = self.clone();
            claims.spawn(async move { (receiver.claim(&callback).await, callback) });
        }
        while let Some(claimed) = claims.join_next().await {
            let Ok((Some((claim, attempt)), callback)) = claimed else {
                continue;
            };
            let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
                return;
            };
            let receiver = self.clone();
            tokio::spawn(async move {
                // The outcome is recorded and logged; there is nobody to answer.
                let _ = receiver.run_handler(callback, claim, attempt).await;
                drop(slot);
                receiver.inner.kept.notify_one();
            });
        }
    }

    async fn claim(&self, callback: &Callback) -> Option<(i64, u32)> {
        match self
            .inner
            .inbox
            .claim(&callback.sign_flow_id, self.now(), self.claim_end())
            .await
        {
            Ok(Claim::Granted { claim, attempt }) => Some((claim, attempt)),
            Ok(Claim::Busy | Claim::Handled | Claim::Unknown) => None,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "cannot claim a callback in the inbox");
                None
            }
        }
    }

    /// Checks, keeps and (unless told to answer first) handles one request.
    pub(crate) async fn receive(
        &self,
        headers: HeaderMap,
        body: Result<Bytes, (Refused, Bytes)>,
    ) -> Answer {
        let now = self.now();
        let (body, checked) = match body {
            Ok(body) => {
                let checked = self.inner.settings.checks.examine(&headers, &body, now);
                (body, checked)
            }
            Err((refused, part)) => (part, Err(refused)),
        };
        let verdict = match checked {
            Ok(callback) => self.keep_and_handle(callback, now).await,
            Err(refused) => Verdict::Refused(refused),
        };
        log(&verdict);
        if let Some(observer) = &self.inner.settings.observer {
            observer(&Exchange {
                at: now,
                headers: &headers,
                body: &body,
                verdict: &verdict,
            });
        }
        verdict.answer()
    }

    async fn keep_and_handle(&self, callback: Callback, now: UtcMillis) -> Verdict {
        let (again, handled) = match self.inner.inbox.keep(&callback, now).await {
            Ok(Kept::New { handled }) => (false, handled),
            Ok(Kept::Again { handled }) => (true, handled),
            Ok(Kept::Conflict(kept)) => {
                return Verdict::Conflict {
                    received: Box::new(callback),
                    kept,
                };
            }
            Err(error) => return Verdict::NotKept(callback, error),
        };
        if !handled && self.inner.settings.answer_once_kept {
            self.inner.kept.notify_one();
        } else if !handled && let Err(reason) = self.handle_or_wait(&callback).await {
            return Verdict::NotHandled(callback, reason);
        }
        if again {
            Verdict::Repeated(callback)
        } else {
            Verdict::Received(callback)
        }
    }

    /// Runs the handler, or waits for the copy that is running it.
    async fn handle_or_wait(&self, callback: &Callback) -> Result<(), String> {
        let mut waited = Duration::ZERO;
        while waited < BUSY_LIMIT {
            match self
                .inner
                .inbox
                .claim(&callback.sign_flow_id, self.now(), self.claim_end())
                .await
            {
                Ok(Claim::Granted { claim, attempt }) => {
                    return self.run_handler(callback.clone(), claim, attempt).await;
                }
                Ok(Claim::Handled) => return Ok(()),
                Ok(Claim::Busy) => tokio::time::sleep(BUSY_POLL).await,
                Ok(Claim::Unknown) => return Err("the inbox lost what it had kept".to_owned()),
                Err(error) => return Err(Chain(&error).to_string()),
            }
            waited += BUSY_POLL;
        }
        Err("another copy is still being handled".to_owned())
    }

    async fn run_handler(
        &self,
        callback: Callback,
        claim: i64,
        attempt: u32,
    ) -> Result<(), String> {
        let id = callback.sign_flow_id.clone();
        let handler = Arc::clone(&self.inner.handler);
        // A task of its own, so that a panic is a failure like any other.
        let mut task = tokio::spawn(async move { handler.handle(callback).await });
        let result = match timeout(self.inner.settings.handler_limit, &mut task).await {
            Ok(Ok(result)) => result.map_err(|error: HandlerError| Chain(&*error).to_string()),
            Ok(Err(_)) => Err("the handler panicked".to_owned()),
            Err(_) => {
                task.abort();
                // Until the future is really gone the claim must hold.
                let _ = task.await;
                Err("the handler took too long".to_owned())
            }
        };
        let outcome = match &result {
            Ok(()) => Outcome::Handled { at: self.now() },
            Err(reason) => {
                let reason: String = reason.chars().take(REASON_CHARS).collect();
                tracing::warn!(sign_flow_id = %id, attempt, %reason, "the handler failed");
                Outcome::Failed {
                    reason,
                    retry_at: self.now().saturating_add(backoff(attempt)),
                }
            }
        };
        match self.inner.inbox.finish(&id, claim, &outcome).await {
            Ok(true) => result,
            Ok(false) => Err("the claim ran out before the handler ended".to_owned()),
            Err(error) => Err(Chain(&error).to_string()),
        }
    }

    fn now(&self) -> UtcMillis {
        (self.inner.settings.clock)()
    }

    fn claim_end(&self) -> UtcMillis {
        let length = (self.inner.settings.handler_limit + CLAIM_MARGIN).as_millis();
        self.now()
            .saturating_add(i64::try_from(length).unwrap_or(i64::MAX))
    }

    pub(crate) fn body_rules(&self) -> (usize, Duration) {
        (
            self.inner.settings.checks.max_body_bytes,
            self.inner.settings.body_limit,
        )
    }
}

impl<I, H> Clone for Receiver<I, H> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<I, H> fmt::Debug for Receiver<I, H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Receiver")
            .field("checks", &self.inner.settings.checks)
            .finish_non_exhaustive()
    }
}

/// How long after its `attempt`-th failure a handler is run again, in milliseconds.
fn backoff(attempt: u32) -> i64 {
    1000 * (1_i64 << attempt.saturating_sub(1).min(10)).min(600)
}

/// The one place where a failure of receiving is logged. Values that were refused are not repeated.
fn log(verdict: &Verdict) {
    match verdict {
        Verdict::Received(callback) => {
            tracing::info!(sign_flow_id = %callback.sign_flow_id, status = %callback.sign_flow_status, "callback received");
        }
        Verdict::Repeated(callback) => {
            tracing::debug!(sign_flow_id = %callback.sign_flow_id, "callback received again");
        }
        Verdict::Refused(refused) => tracing::warn!(reason = %refused, "request refused"),
        Verdict::Conflict { received, kept } => tracing::error!(
            sign_flow_id = %received.sign_flow_id,
            received_status = %received.sign_flow_status,
            received_end_time = %received.sign_end_time,
            kept_status = %kept.sign_flow_status,
            kept_end_time = %kept.sign_end_time,
            "another end for a flow that has ended"
        ),
        Verdict::NotKept(callback, error) => {
            tracing::error!(sign_flow_id = %callback.sign_flow_id, error = %Chain(error), "callback not kept");
        }
        Verdict::NotHandled(callback, reason) => {
            tracing::warn!(sign_flow_id = %callback.sign_flow_id, %reason, "callback kept but not handled");
        }
    }
}

/// An error with its sources, since Display does not include them.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(formatter, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a channel's program links this crate without the server's clock"
)]
fn system_clock() -> UtcMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn backoff_doubles_up_to_ten_minutes() {
        let waits: Vec<i64> = [0, 1, 2, 3, 10, 11, 12, u32::MAX]
            .map(super::backoff)
            .to_vec();
        assert_eq!(
            waits,
            [1000, 1000, 2000, 4000, 512_000, 600_000, 600_000, 600_000]
        );
    }
}
