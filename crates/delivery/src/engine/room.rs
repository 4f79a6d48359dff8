//! Waiting for room: who hands over a callback for a lane that delivers as fast as it can is answered at the pace at which the
//! lane delivers.
//!
//! Without that, callbacks that come in faster than they go out pile up in the database, and each of them must be claimed by
//! reading it again, which leaves even less of the machine for delivering. Nobody waits for a lane whose backlog is older than a
//! moment, that rests, or has met trouble, nor long: then the callback goes to the database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealpost_contract::UtcMillis;
use sealpost_store::LaneId;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Inner;
use crate::lanes::Lanes;

/// How long one callback waits for room at most.
const PATIENCE: Duration = Duration::from_millis(100);

/// Those who wait for room, by lane; the one who has waited longest is first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_lane: Mutex<HashMap<LaneId, VecDeque<oneshot::Sender<()>>>>,
}

impl Waiting {
    fn by_lane(&self) -> MutexGuard<'_, HashMap<LaneId, VecDeque<oneshot::Sender<()>>>> {
        self.by_lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line_up(&self, lane: LaneId) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut by_lane = self.by_lane();
        let line = by_lane.entry(lane).or_default();
        // All have the same patience, so those who have lost it stand in front.
        while line.front().is_some_and(oneshot::Sender::is_closed) {
            line.pop_front();
        }
        line.push_back(tell);
        told
    }

    /// Tells as many as there is room for now.
    pub(super) fn tell(&self, lanes: &Lanes, now: UtcMillis) {
        self.by_lane().retain(|lane, waiting| {
            let mut free = lanes.free(*lane, now);
            while free > 0
                && let Some(tell) = waiting.pop_front()
            {
                // Who has lost patience leaves the place to the next.
                free -= usize::from(tell.send(()).is_ok());
            }
            !waiting.is_empty()
        });
    }
}

/// Waits until the lane has room, or as long as makes sense.
pub(super) async fn wait(inner: &Inner, lane: LaneId) {
    let is_busy = || inner.lanes().is_busy(lane, inner.now());
    if !is_busy() {
        return;
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let told = inner.waiting.line_up(lane);
        // Room that came before we stood in line is told to nobody.
        if !is_busy() || timeout_at(until, told).await.is_err() || !is_busy() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use sealpost_store::{CallbackId, Claim, Claimed};

    use super::*;
    use crate::lanes::{Effect, Limits};

    const LANE: LaneId = LaneId(1);

    /// Lanes that send one callback at once each.
    fn one_at_a_time() -> Lanes {
        Lanes::new(Limits {
            attempts: 8,
            attempts_per_lane: 1,
            held: 100,
            lease_margin: 0,
        })
    }

    fn callback(number: u32) -> Claimed {
        Claimed {
            id: CallbackId::new(0, number),
            lane: LANE,
            url: None,
            body: Bytes::new(),
            attempts: 0,
            fence: 1,
            lease_until: i64::MAX,
        }
    }

    #[test]
    fn as_many_are_told_as_there_is_room_for() {
        let mut lanes = one_at_a_time();
        let waiting = Waiting::default();
        assert!(!lanes.is_busy(LANE, 0));
        // Four times what the lane sends at once.
        for number in 0..4 {
            assert!(lanes.has_room(LANE, 0));
            lanes.admit(callback(number));
        }
        assert!(lanes.is_busy(LANE, 0) && !lanes.has_room(LANE, 0));

        let gone = waiting.line_up(LANE);
        let mut first = waiting.line_up(LANE);
        let mut second = waiting.line_up(LANE);
        drop(gone);
        waiting.tell(&lanes, 0);
        assert!(first.try_recv().is_err());

        let started = lanes.start(0).unwrap();
        lanes.ended(LANE, Effect::Acknowledged, Duration::from_millis(1), 0);
        lanes.settled(LANE, started.id, started.fence, None);
        waiting.tell(&lanes, 0);
        assert!(first.try_recv().is_ok());
        assert!(second.try_recv().is_err());
    }

    #[test]
    fn a_backlog_keeps_others_waiting_only_while_it_is_young() {
        let mut lanes = one_at_a_time();
        let waiting = Waiting::default();
        lanes.waits(LANE, 0);
        assert!(lanes.is_busy(LANE, 0) && !lanes.has_room(LANE, 0));
        assert!(lanes.is_busy(LANE, 999) && !lanes.is_busy(LANE, 1000));

        let mut told = waiting.line_up(LANE);
        waiting.tell(&lanes, 0);
        assert!(told.try_recv().is_err());
        // It is being read, and then all of it has been.
        let asks = lanes.to_claim(0, 10);
        assert_eq!(asks.len(), 1);
        assert!(lanes.is_busy(LANE, 999) && !lanes.is_busy(LANE, 1000));
        lanes.claimed(LANE, Claim::default());
        assert!(!lanes.is_busy(LANE, 0));
        waiting.tell(&lanes, 0);
        assert!(told.try_recv().is_ok());
    }

    #[test]
    fn a_lane_that_rests_keeps_nobody_waiting() {
        let mut lanes = one_at_a_time();
        lanes.waits(LANE, 0);
        lanes.set_paused(LANE, true);
        assert!(!lanes.is_busy(LANE, 0) && !lanes.has_room(LANE, 0));
    }
}
