//! Making attempts, and recording what came of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sealpost_contract::UtcMillis;
use sealpost_store::{CallbackId, Claimed, LaneId, Next, Outcome, Pause};
use tokio::sync::mpsc;

use super::Inner;
use crate::alerts::Alert;
use crate::attempt::{self, PAUSE, Verdict};
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
        let (settling, effect, took) = attempt_one(&inner, claimed).await;
        let now = inner.now();
        let back = {
            let mut lanes = inner.lanes();
            let back = lanes.ended(lane, effect, took, now);
            next = lanes.start(now);
            back
        };
        inner.settle(settling);
        inner.give_back(back);
        if next.is_some() {
            // A window that has grown lets more than one start.
            inner.start_attempts();
        }
    }
}

async fn attempt_one(inner: &Inner, claimed: Claimed) -> (Settling, Effect, Duration) {
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
            return (
                Settling::give_back(&claimed, at),
                Effect::NotMade,
                Duration::ZERO,
            );
        }
        Err(error) => {
            inner.pulse.store_failed(&error);
            return (
                Settling::give_back(&claimed, at + PAUSE),
                Effect::NotMade,
                Duration::ZERO,
            );
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
            return (Settling::give_back(&claimed, inner.now()), Effect::NotMade, Duration::ZERO);
        }
    };
    inner.pulse.attempted(&made.verdict);
    match &made.verdict {
        Verdict::Failed {
            reason: Reason::Gone,
            ..
        } => pause_gone(inner, &endpoint.channel_id, at).await,
        Verdict::NotMade(why) => {
            tracing::warn!(callback = %claimed.id, %why, "an attempt could not be made")
        }
        Verdict::Acknowledged { .. } | Verdict::Failed { .. } => {}
    }
    let (effect, took) = (effect(&made.verdict), made.took);
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
    (
        Settling::Outcome(lane, outcome, Of::Attempt(endpoint.channel_id)),
        effect,
        took,
    )
}

fn effect(verdict: &Verdict) -> Effect {
    match verdict {
        Verdict::Acknowledged { .. } => Effect::Acknowledged,
        Verdict::NotMade(_) => Effect::NotMade,
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
async fn pause_gone(inner: &Inner, channel_id: &Arc<str>, now: UtcMillis) {
    let reason = "the endpoint answered 410 Gone".to_owned();
    let pause = Pause {
        at: now,
        reason: reason.clone(),
    };
    match inner.store.pause_channel(channel_id, pause).await {
        Ok(_) => {
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
    while !ended && queue.recv_many(&mut gathered, BATCH).await > 0 {
        if waits && gathered.len() < expected {
            tokio::time::sleep(GATHER).await;
            while gathered.len() < BATCH
                && let Ok(settling) = queue.try_recv()
            {
                gathered.push(settling);
            }
        }
        expected = gathered.len();
        let mut lanes = Vec::with_capacity(gathered.len());
        let mut outcomes = Vec::with_capacity(gathered.len());
        for settling in gathered.drain(..) {
            match settling {
                Settling::Outcome(lane, outcome, of) => {
                    lanes.push((lane, of));
                    outcomes.push(outcome);
                }
                Settling::End => ended = true,
            }
        }
        record(&inner, &lanes, outcomes.into()).await;
    }
}

async fn record(inner: &Inner, lanes: &[(LaneId, Of)], outcomes: Arc<[Outcome]>) {
    if outcomes.is_empty() {
        return;
    }
    let mut wait = RETRY.0;
    let counted = loop {
        match inner
            .store
            .finish(inner.holder, Arc::clone(&outcomes))
            .await
        {
            Ok(counted) => break counted,
            Err(error) => inner.pulse.record_failed(&error),
        }
        tokio::time::sleep(wait).await;
        wait = (2 * wait).min(RETRY.1);
    };
    let now = inner.now();
    let mut held = inner.lanes();
    for (((lane, of), outcome), counted) in lanes.iter().zip(outcomes.iter()).zip(counted) {
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
    let claim = held.next_claim_at().is_some_and(|at| at <= now + 1000);
    drop(held);
    inner.pulse.recorded(&outcomes, now);
    if claim && !inner.stopping.load(Ordering::Acquire) {
        inner.wake.notify_one();
    }
}
