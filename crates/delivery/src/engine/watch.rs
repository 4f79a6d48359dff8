//! Watching the database: claiming what is due, seeing what other processes changed, counting what waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Inner, millis};
use crate::alerts::BacklogWatch;

/// Callbacks claimed in one transaction at most, so that claims keep nobody waiting long.
const CLAIM: usize = 512;

/// How long a callback may be on its way from [`Engine::new_callback`](super::Engine::new_callback) to
/// [`Engine::hand_over`](super::Engine::hand_over), in milliseconds. One that comes later is delivered, and may be twice.
const PROMISED: i64 = 5000;

/// The wait after the store has failed.
const RETRY: Duration = Duration::from_millis(200);

/// Lanes that are told what a poll found while nobody else may look at them.
const TOLD: usize = 1024;

/// How much of the time polls may take at most, as one part of so many, and how many times less often than configured they may
/// become for it: with a hundred thousand lanes on disk one takes a good part of a second, in which nothing is claimed.
const POLLING: (u32, u32) = (5, 8);

/// The shortest time between two counts of the backlog.
const COUNT: Duration = Duration::from_secs(2);

/// Claims what is due until the engine stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut polled: Option<Instant> = None;
    let mut every = inner.config.poll;
    let mut wakes = inner.store.wakes();
    loop {
        if inner.pulse.take_poll_now() || polled.is_none_or(|at| at.elapsed() >= every) {
            let began = Instant::now();
            let worked = poll(&inner).await;
            every = poll_every(inner.config.poll, began.elapsed());
            polled = Some(Instant::now());
            if !worked {
                pause(&inner, RETRY).await;
            }
        }
        let more = claim(&inner).await;
        if inner.stop.is_cancelled() {
            return;
        }
        inner.start_attempts();
        if more {
            continue;
        }
        let until_poll = polled.map_or(Duration::ZERO, |at| every.saturating_sub(at.elapsed()));
        let until_due = inner
            .lanes()
            .next_claim_at()
            .map(|at| at.saturating_sub(inner.now()).max(0).unsigned_abs());
        let wait = until_due.map_or(until_poll, |due| until_poll.min(Duration::from_millis(due)));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = inner.wake.notified() => {}
            () = wakes.woken() => inner.pulse.poll_now(),
            () = inner.stop.cancelled() => return,
        }
    }
}

/// How long to wait from one poll to the next, when one takes so long.
fn poll_every(configured: Duration, took: Duration) -> Duration {
    let (parts, most) = POLLING;
    configured.max((parts - 1) * took).min(most * configured)
}

async fn pause(inner: &Inner, wait: Duration) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = inner.stop.cancelled() => {}
    }
}

/// Learns from the database which lanes have something waiting. Answers whether that worked.
async fn poll(inner: &Inner) -> bool {
    let read = async {
        inner.store.read_channel_revision().await?;
        inner.store.due_lanes().await
    };
    let due = match read.await {
        Ok(due) => due,
        Err(error) => {
            inner.pulse.store_failed(&error);
            return false;
        }
    };
    let now = inner.now();
    inner.learn_lanes(due.iter().map(|lane| (lane.id, lane.channel_id.as_str())));
    let mut back = Vec::new();
    for some in due.chunks(TOLD) {
        let mut lanes = inner.lanes();
        for lane in some {
            lanes.waits(lane.id, lane.due_at);
            back.extend(lanes.set_paused(lane.id, lane.resting));
        }
    }
    inner.lanes().forget_idle();
    inner.give_back(back);
    inner.give_back_promised(now - PROMISED);
    let oldest = due
        .iter()
        .filter(|lane| !lane.resting && lane.due_at <= now)
        .map(|lane| lane.due_at)
        .min();
    inner.pulse.polled(now, oldest);
    true
}

/// Claims one batch of what is due. Answers whether there is more to claim at once.
async fn claim(inner: &Inner) -> bool {
    let now = inner.now();
    let asks = inner.lanes().to_claim(now, CLAIM);
    if asks.is_empty() {
        return false;
    }
    match inner
        .store
        .claim_due(asks.clone(), inner.lease(now), now)
        .await
    {
        Ok(claims) => {
            let mut lanes = inner.lanes();
            for ((lane, _), claim) in asks.into_iter().zip(claims) {
                lanes.claimed(lane, claim);
            }
            lanes.next_claim_at().is_some_and(|at| at <= inner.now())
        }
        Err(error) => {
            inner.pulse.store_failed(&error);
            let again_at = now + millis(RETRY);
            let mut lanes = inner.lanes();
            for (lane, _) in asks {
                lanes.claim_failed(lane, again_at);
            }
            false
        }
    }
}

/// Counts the backlog from time to time; the more it costs, the less often.
pub(super) async fn measure(inner: Arc<Inner>) {
    let mut watch = BacklogWatch::default();
    loop {
        let began = Instant::now();
        let now = inner.now();
        match inner.store.backlog(now).await {
            Ok(backlog) => {
                inner.pulse.counted(backlog);
                if let Some(alert) = watch.look(&backlog, now) {
                    inner.alerts.raise(alert);
                }
            }
            Err(error) => inner.pulse.store_failed(&error),
        }
        pause(&inner, COUNT.max(50 * began.elapsed())).await;
        if inner.stop.is_cancelled() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_that_take_long_become_rarer_within_bounds() {
        let ms = Duration::from_millis;
        assert_eq!(poll_every(ms(500), ms(1)), ms(500));
        assert_eq!(poll_every(ms(500), ms(300)), ms(1200));
        assert_eq!(poll_every(ms(500), ms(60_000)), ms(4000));
    }
}
