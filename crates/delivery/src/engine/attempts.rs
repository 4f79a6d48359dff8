//! Making attempts: what is sent, what came of it, and what a lane or a channel owes to that.

use std::sync::Arc;
use std::time::Duration;

use sealpost_contract::UtcMillis;
use sealpost_store::{Claimed, Outcome, Pause};

use super::Inner;
use super::record::{Of, Settling};
use crate::alerts::Alert;
use crate::attempt::{self, Endpoint, PAUSE, Verdict};
use crate::channels::LaneEndpoint;
use crate::lanes::Effect;
use crate::reason::Reason;

/// Makes an attempt, and then the next of whichever lane has its turn, until nothing may start.
pub(super) async fn run(inner: Arc<Inner>, first: Claimed) {
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
