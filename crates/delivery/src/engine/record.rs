//! Making attempts, and recording what came of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sealpost_contract::UtcMillis;
use sealpost_store::{CallbackId, Claimed, LaneId, Next, Outcome, Pause};
use tokio::sync::mpsc;

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
