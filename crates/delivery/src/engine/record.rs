//! Making attempts, and recording what came of them.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use sealpost_contract::UtcMillis;
use sealpost_store::{CallbackId, Claimed, Error, LaneId, Next, Outcome, Pause};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Inner;
use crate::alerts::Alert;
use crate::attempt::{self, Endpoint, PAUSE, Verdict};
use crate::channels::LaneEndpoint;
use crate::lanes::Effect;
use crate::reason::Reason;

/// Outcomes in one transaction at most.
const BATCH: usize = 512;

/// How long a transaction waits to have as many outcomes as the one before.
const GATHER: Duration = Duration::from_millis(1);

/// The fence of a lease that is taken as a callback is inserted.
const FIRST_FENCE: i64 = 1;

/// The wait after the store has failed: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What the recording task is sent.
#[derive(Debug)]
pub(crate) enum Settling {
    /// An outcome of a lane's callback.
    Outcome(LaneId, Outcome, Of),
    /// Nothing follows.
    End,
}

/// What an outcome is of.
#[derive(Debug)]
pub(crate) enum Of {
    /// An attempt that was made, or could not be, for this channel.
    Attempt(Arc<str>),
    /// A callback that is given back.
    Queued,
    /// A callback that was leased to us at its commit and never handed over; the lanes know nothing of it.
    Promised,
}

impl Settling {
    /// Gives back a callback that was promised to us and never handed over.
    pub(super) fn promised(id: CallbackId, lane: LaneId, due_at: UtcMillis) -> Self {
        let outcome = Outcome {
            id,
            fence: FIRST_FENCE,
            attempt: None,
            next: Next::Due(due_at),
        };
        Self::Outcome(lane, outcome, Of::Promised)
    }

    /// Gives a callback back unattempted.
    pub(super) fn give_back(claimed: &Claimed, due_at: UtcMillis) -> Self {
        let outcome = Outcome {
            id: claimed.id,
            fence: claimed.fence,
            attempt: None,
            next: Next::Due(due_at),
        };
        Self::Outcome(claimed.lane, outcome, Of::Queued)
    }
}

/// Makes an attempt, and then the next of whichever lane has its turn, until nothing may start.
pub(super) async fn attempts(inner: Arc<Inner>, first: Claimed) {
    let mut next = Some(first);
    while let Some(claimed) = next {
        let lane = claimed.lane;
        let done = attempt_one(&inner, claimed).await;
        let now = inner.now();
        let ended = {
            let mut lanes = inner.lanes();
            let ended = lanes.ended(lane, done.effect, done.took, now);
            next = lanes.start(now);
            ended
        };
        if let (Some(failing), Some(told)) = (ended.tripped, done.told) {
            tell_of_breaker(&inner, failing, told, now);
        }
        inner.settle(done.settling);
        inner.give_back(ended.back);
        if next.is_some() {
            // A window that has grown lets more than one start.
            inner.start_attempts();
        }
    }
}

/// What came of an attempt.
struct Done {
    settling: Settling,
    effect: Effect,
    took: Duration,
    /// What an alert would tell; `None`: no attempt was made.
    told: Option<Told>,
}

/// What an alert tells of an attempt.
struct Told {
    channel_id: Arc<str>,
    endpoint: Arc<Endpoint>,
    reason: Option<Reason>,
}

impl Done {
    fn not_made(settling: Settling) -> Self {
        Self {
            settling,
            effect: Effect::NotMade,
            took: Duration::ZERO,
            told: None,
        }
    }
}

async fn attempt_one(inner: &Inner, claimed: Claimed) -> Done {
    let at = inner.now();
    let lane = claimed.lane;
    let endpoint = match inner
        .channels
        .endpoint(lane, claimed.url.as_deref(), at)
        .await
    {
        Ok(Some(endpoint)) => endpoint,
        // The channel rests or has no address: its lane waits until a poll finds that changed.
        Ok(None) => {
            let back = inner.lanes().set_paused(lane, true);
            inner.give_back(back);
            return Done::not_made(Settling::give_back(&claimed, at));
        }
        Err(error) => {
            inner.pulse.store_failed(&error);
            return Done::not_made(Settling::give_back(&claimed, at + PAUSE));
        }
    };
    let deadline = inner.config.deadline;
    let attempt = attempt::make(
        &endpoint.client,
        &endpoint.endpoint,
        claimed.id,
        claimed.body.clone(),
        deadline,
        at,
    );
    let made = tokio::select! {
        made = attempt => made,
        () = inner.abort.cancelled() => {
            return Done::not_made(Settling::give_back(&claimed, inner.now()));
        }
    };
    inner.pulse.attempted(&made.verdict);
    match &made.verdict {
        Verdict::Failed {
            reason: Reason::Gone,
            ..
        } => pause_gone(inner, &endpoint, at).await,
        Verdict::NotMade(why) => {
            tracing::warn!(callback = %claimed.id, %why, "an attempt could not be made")
        }
        Verdict::Acknowledged { .. } | Verdict::Failed { .. } => {}
    }
    let (effect, took) = (effect(&made.verdict), made.took);
    let reason = match &made.verdict {
        Verdict::Failed { reason, .. } => Some(*reason),
        Verdict::Acknowledged { .. } | Verdict::NotMade(_) => None,
    };
    let (attempt, next) = made.settle(
        &endpoint.endpoint.schedule,
        claimed.id,
        claimed.attempts,
        inner.now(),
    );
    let outcome = Outcome {
        id: claimed.id,
        fence: claimed.fence,
        attempt,
        next,
    };
    let told = Told {
        channel_id: Arc::clone(&endpoint.channel_id),
        endpoint: endpoint.endpoint,
        reason,
    };
    Done {
        settling: Settling::Outcome(lane, outcome, Of::Attempt(endpoint.channel_id)),
        effect,
        took,
        told: Some(told),
    }
}

/// An endpoint is rested because it only fails, or has come back.
fn tell_of_breaker(inner: &Inner, failing: bool, told: Told, at: UtcMillis) {
    let channel_id = told.channel_id;
    let endpoint = told.endpoint.origin();
    inner.alerts.raise(if failing {
        let reason = told.reason.map_or("", Reason::code);
        tracing::warn!(channel = %channel_id, %endpoint, reason, "an endpoint only fails; it is rested and probed");
        Alert::EndpointFailing {
            at,
            channel_id,
            endpoint,
            reason,
        }
    } else {
        tracing::info!(channel = %channel_id, %endpoint, "an endpoint that only failed works again");
        Alert::EndpointRecovered {
            at,
            channel_id,
            endpoint,
        }
    });
}

fn effect(verdict: &Verdict) -> Effect {
    match verdict {
        Verdict::Acknowledged { .. } => Effect::Acknowledged,
        Verdict::NotMade(_) => Effect::NotMade,
        Verdict::Failed {
            status: Some(429 | 503),
            retry_after: Some(wait @ 1..),
            ..
        } => Effect::AskedToWait(*wait),
        Verdict::Failed {
            status: Some(429 | 502 | 503 | 504),
            ..
        } => Effect::Overloaded,
        Verdict::Failed { reason, .. } => match reason {
            Reason::Dns
            | Reason::ConnectRefused
            | Reason::ConnectFailed
            | Reason::Tls
            | Reason::Timeout
            | Reason::ConnectionClosed => Effect::Overloaded,
            Reason::BlockedUrl
            | Reason::BlockedAddress
            | Reason::BadHttp
            | Reason::AnswerTooLarge
            | Reason::Redirect
            | Reason::HttpStatus
            | Reason::Gone
            | Reason::NotJson
            | Reason::ResponseCode => Effect::Refused,
        },
    }
}

/// HTTP 410 says that the endpoint is gone for good: the channel is paused until a person resumes it, and keeps its callbacks.
///
/// Only if the channel is still called there: an attempt that was under way when somebody put the address right says nothing of
/// the new one. And only for the channel's own address: that of a single flow is no reason to stop all the others.
async fn pause_gone(inner: &Inner, of: &LaneEndpoint, now: UtcMillis) {
    let Some(address) = &of.address else {
        return;
    };
    let channel_id = &of.channel_id;
    let reason = "the endpoint answered 410 Gone".to_owned();
    let pause = Pause {
        at: now,
        reason: reason.clone(),
    };
    let pausing = async {
        let channel = inner.store.find_channel(channel_id).await?;
        let still = channel.is_some_and(|channel| {
            channel.callback_url.as_deref() == Some(&**address) && channel.paused.is_none()
        });
        match still {
            true => inner.store.pause_channel(channel_id, pause).await,
            false => Ok(false),
        }
    };
    match pausing.await {
        Ok(true) => {
            tracing::warn!(channel = %channel_id, "paused: the endpoint answered 410 Gone");
            inner.alerts.raise(Alert::ChannelPaused {
                at: now,
                channel_id: Arc::clone(channel_id),
                reason,
            });
            inner.channels.forget(channel_id);
            inner.pulse.poll_now();
            inner.wake.notify_one();
        }
        // Paused already, or called elsewhere by now.
        Ok(false) => {}
        // The next attempt meets the same answer and pauses then.
        Err(error) => inner.pulse.store_failed(&error),
    }
}

/// Records outcomes in batches: while one batch is being committed, the next gathers, and waits a moment to become as large where
/// the store does not do so itself.
pub(super) async fn run(inner: Arc<Inner>, mut queue: mpsc::UnboundedReceiver<Settling>) {
    let mut gathered = Vec::with_capacity(BATCH);
    let mut ended = false;
    let waits = !inner.store.gathers_writes();
    let mut expected = 1;
    let mut suspects = Suspects::default();
    while !ended {
        tokio::select! {
            received = queue.recv_many(&mut gathered, BATCH) => if received == 0 { break },
            () = suspects.wait() => {
                suspects.try_again(&inner).await;
                continue;
            }
        }
        if waits && gathered.len() < expected {
            tokio::time::sleep(GATHER).await;
            while gathered.len() < BATCH
                && let Ok(settling) = queue.try_recv()
            {
                gathered.push(settling);
            }
        }
        expected = gathered.len();
        let mut batch = Batch::with_capacity(gathered.len());
        for settling in gathered.drain(..) {
            match settling {
                Settling::Outcome(lane, outcome, of) => batch.push((lane, of), outcome),
                Settling::End => ended = true,
            }
        }
        let refused = record(&inner, batch).await;
        suspects.add(&inner, refused);
    }
    suspects.try_again(&inner).await;
}

/// Outcomes to be recorded together, and what each is of.
#[derive(Debug, Default)]
struct Batch {
    of: Vec<(LaneId, Of)>,
    outcomes: Vec<Outcome>,
}

impl Batch {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            of: Vec::with_capacity(capacity),
            outcomes: Vec::with_capacity(capacity),
        }
    }

    fn push(&mut self, of: (LaneId, Of), outcome: Outcome) {
        self.of.push(of);
        self.outcomes.push(outcome);
    }

    fn append(&mut self, mut other: Self) {
        self.of.append(&mut other.of);
        self.outcomes.append(&mut other.outcomes);
    }

    fn len(&self) -> usize {
        self.outcomes.len()
    }

    fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Leaves the first `at`, and answers the others.
    fn split_off(&mut self, at: usize) -> Self {
        Self {
            of: self.of.split_off(at),
            outcomes: self.outcomes.split_off(at),
        }
    }
}

/// Outcomes that the database refuses, each also alone. They are tried again from time to time while what comes after them is
/// recorded; when its lease has ended, such a callback is claimed and attempted anew, and its old outcome no longer counts.
#[derive(Debug, Default)]
struct Suspects {
    batch: Batch,
    /// When they are tried again, and the wait that led there.
    next: Option<(Instant, Duration)>,
}

impl Suspects {
    /// Returns when they should be tried again; never if there are none.
    async fn wait(&self) {
        match self.next {
            Some((at, _)) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Takes in what has just been refused, and tells of it.
    fn add(&mut self, inner: &Inner, refused: Vec<(Batch, Error)>) {
        for (one, error) in refused {
            for ((_, of), outcome) in one.of.iter().zip(&one.outcomes) {
                tell_of_refused(inner, of, outcome, &error);
            }
            self.batch.append(one);
            self.next
                .get_or_insert_with(|| (Instant::now() + RETRY.0, RETRY.0));
        }
    }

    /// Tries them again, all together.
    async fn try_again(&mut self, inner: &Inner) {
        let Some((_, wait)) = self.next.take() else {
            return;
        };
        let mut batch = std::mem::take(&mut self.batch);
        if wait >= RETRY.1 {
            // What comes from outside may be what the database cannot take; that there was an attempt is worth more.
            for attempt in batch
                .outcomes
                .iter_mut()
                .filter_map(|of| of.attempt.as_mut())
            {
                attempt.detail = None;
                attempt.answer = Bytes::new();
            }
        }
        let began = Instant::now();
        for (one, _) in record(inner, batch).await {
            self.batch.append(one);
        }
        if !self.batch.is_empty() {
            // However many they are, most of the time is for the others.
            let wait = (2 * wait).min(RETRY.1);
            self.next = Some((Instant::now() + wait.max(4 * began.elapsed()), wait));
        }
    }
}

fn tell_of_refused(inner: &Inner, of: &Of, outcome: &Outcome, error: &Error) {
    inner.pulse.refused();
    let why = error.source().map(ToString::to_string).unwrap_or_default();
    tracing::error!(
        callback = %outcome.id, %error, why,
        "the database refuses this outcome; until it takes it, the callback is sent again whenever its lease has ended"
    );
    if let Of::Attempt(channel_id) = of {
        inner.alerts.raise(Alert::OutcomeRefused {
            at: inner.now(),
            channel_id: Arc::clone(channel_id),
            callback: outcome.id,
        });
    }
}

/// Whether the database, which is there, has said no to what it was given.
fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Database(_) | Error::Undecodable { .. })
}

/// Records outcomes, in the order of their coming and for as long as it takes. Answers those that the database refuses, each
/// tried alone: a batch that is refused is halved until they stand apart.
async fn record(inner: &Inner, batch: Batch) -> Vec<(Batch, Error)> {
    let mut refused = Vec::new();
    let mut recorded = false;
    let mut left = vec![batch];
    let mut wait = RETRY.0;
    while let Some(mut part) = left.pop() {
        if part.is_empty() {
            continue;
        }
        let outcomes: Arc<[Outcome]> = part.outcomes.into();
        let error = match inner
            .store
            .finish(inner.holder, Arc::clone(&outcomes))
            .await
        {
            Ok(counted) => {
                settle(inner, &part.of, &outcomes, counted);
                recorded = true;
                continue;
            }
            Err(error) => error,
        };
        part.outcomes = outcomes.to_vec();
        if !is_refused(&error) {
            inner.pulse.record_failed(&error);
            left.push(part);
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(RETRY.1);
        } else if part.len() > 1 {
            let second = part.split_off(part.len() / 2);
            left.push(second);
            left.push(part);
        } else {
            refused.push((part, error));
        }
    }
    // Of several not one: it is not they.
    if let ([_, (_, error), ..], false) = (&*refused, recorded) {
        inner.pulse.record_failed(error);
    }
    refused
}

/// Learns that outcomes are on disk, or did not count.
fn settle(inner: &Inner, of: &[(LaneId, Of)], outcomes: &[Outcome], counted: Vec<bool>) {
    let now = inner.now();
    let mut held = inner.lanes();
    for (((lane, of), outcome), counted) in of.iter().zip(outcomes).zip(counted) {
        let due_at = match outcome.next {
            Next::Due(at) if counted => Some(at),
            _ => None,
        };
        match of {
            Of::Promised => {
                // Not counted: it was never committed.
                if let Some(due_at) = due_at {
                    held.waits(*lane, due_at);
                }
                continue;
            }
            Of::Queued => {}
            Of::Attempt(channel) => {
                if let (true, Next::Failed(at), Some(attempt)) =
                    (counted, outcome.next, &outcome.attempt)
                {
                    inner.alerts.raise(Alert::CallbackFailed {
                        at,
                        channel_id: Arc::clone(channel),
                        callback: outcome.id,
                        reason: attempt.reason.unwrap_or_default(),
                    });
                }
            }
        }
        if !counted {
            inner.pulse.fenced();
        }
        held.settled(*lane, outcome.id, outcome.fence, due_at);
    }
    inner.waiting.tell(&held, now);
    let claim = held.next_claim_at().is_some_and(|at| at <= now + 1000);
    drop(held);
    inner.pulse.recorded(outcomes, now);
    if claim && !inner.stopping.load(Ordering::Acquire) {
        inner.wake.notify_one();
    }
}
