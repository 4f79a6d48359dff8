//! Which callback starts next: the lanes, their queues, limits and breakers.
//!
//! A lane is one endpoint of one channel. Whatever happens in one lane, the others keep their share:
//!
//! - a lane runs at most its *window* of attempts at once, which grows while the endpoint keeps up and halves when it does not;
//! - of the attempts that all lanes together may still start, a lane takes at most as many as stay free (the dynamic threshold
//!   of Choudhury and Hahne), so there is room for a lane that has none yet; and lanes whose last attempt failed leave a
//!   quarter of all attempts to the others;
//! - a lane that only fails is rested by its *breaker*, which costs its callbacks no attempts, and is then probed by one;
//! - only lanes with room ask for more from the database, so memory is bounded whatever waits on disk.
//!
//! Everything here is a function of its arguments: no clock, no I/O, no task. The engine drives it, and so does the simulation.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sealpost_contract::UtcMillis;
use sealpost_store::{CallbackId, Claim, Claimed, LaneId};

use crate::breaker::{Breaker, BreakerState};
use crate::window::Window;

/// The bounds of what is done at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Attempts at once, over all lanes.
    pub attempts: usize,
    /// Attempts at once in one lane.
    pub attempts_per_lane: usize,
    /// Callbacks held in memory, over all lanes. A lane that holds none may take one beyond it, so that it never waits for
    /// the others.
    pub held: usize,
    /// An attempt is started only if its lease holds for longer than this, in milliseconds: the deadline, and some time to
    /// record the outcome.
    pub lease_margin: i64,
}

/// How an attempt went, as far as its lane is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The channel acknowledged.
    Acknowledged,
    /// The channel answered something else; it keeps up, but does not accept.
    Refused,
    /// The endpoint did not keep up: no connection, no answer in time, 429, 502, 503, 504.
    Overloaded,
    /// Nothing was sent, for a reason of our own.
    NotMade,
}

/// All lanes.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    lanes: HashMap<LaneId, Lane>,
    /// Lanes with something to read from the database, by when.
    agenda: BTreeSet<(UtcMillis, LaneId)>,
    /// Lanes that have something queued and could start it, in the order of their turn.
    turn: VecDeque<LaneId>,
    /// What is held, by the fence it was claimed under, so that nothing is held twice under one lease. Under a newer lease it
    /// is: the outcome of the older one is on disk then, only we have not been told yet.
    holding: HashMap<CallbackId, i64>,
    running: usize,
    /// Callbacks asked for by claims under way.
    asked: usize,
}

#[derive(Debug)]
struct Lane {
    /// Claimed and not yet started.
    queue: VecDeque<Claimed>,
    /// Attempts being made.
    running: usize,
    /// Attempts that are over, and whose outcome is not yet on disk.
    unsettled: usize,
    window: Window,
    breaker: Breaker,
    paused: bool,
    /// When the first of what waits on disk is due, as far as we know.
    due_at: Option<UtcMillis>,
    /// How many callbacks a claim that is under way asks for.
    asked: Option<usize>,
    /// The lane's entry in the agenda, if it has one.
    on_agenda: Option<UtcMillis>,
    has_turn: bool,
}

impl Lane {
    fn held(&self) -> usize {
        self.queue.len() + self.running + self.unsettled
    }

    fn is_idle(&self) -> bool {
        self.held() == 0
            && self.due_at.is_none()
            && self.asked.is_none()
            && self.breaker.is_closed()
    }
}

/// What a lane shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneReport {
    /// The lane.
    pub lane: LaneId,
    /// The id of its channel, where that is known.
    pub channel_id: Option<Arc<str>>,
    /// Attempts being made.
    pub running: usize,
    /// Attempts it may make at once.
    pub window: usize,
    /// Claimed and not yet started.
    pub queued: usize,
    /// Held in memory: queued, running, or not yet recorded.
    pub held: usize,
    /// The breaker.
    pub breaker: BreakerState,
    /// Whether its channel is paused.
    pub paused: bool,
    /// When the first of what waits on disk is due.
    pub due_at: Option<UtcMillis>,
}

/// The `most` lanes in the worst state: those whose breaker is not closed first, then those with the longest overdue
/// callback on disk, then those with the most in memory. A channel that a person has paused is in no bad state.
pub fn worst(mut lanes: Vec<LaneReport>, most: usize, now: UtcMillis) -> Vec<LaneReport> {
    lanes.sort_by_key(|lane| {
        let overdue = lane.due_at.map_or(0, |due_at| (now - due_at).max(0));
        (
            lane.paused,
            lane.breaker == BreakerState::Closed,
            Reverse((overdue, lane.held)),
            lane.lane,
        )
    });
    lanes.truncate(most);
    lanes
}

impl Lanes {
    /// No lanes yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            agenda: BTreeSet::new(),
            turn: VecDeque::new(),
            holding: HashMap::new(),
            running: 0,
            asked: 0,
        }
    }

    fn lane(&mut self, id: LaneId) -> &mut Lane {
        let most = self.limits.attempts_per_lane;
        self.lanes.entry(id).or_insert_with(|| Lane {
            queue: VecDeque::new(),
            running: 0,
            unsettled: 0,
            window: Window::new(most),
            breaker: Breaker::default(),
            paused: false,
            due_at: None,
            asked: None,
            on_agenda: None,
            has_turn: false,
        })
    }

    /// Callbacks held in memory.
    pub fn held(&self) -> usize {
        self.holding.len()
    }

    /// Attempts being made.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Whether a callback that is just being accepted for this lane should be taken in at once. Not when older ones of the
    /// lane are due on disk, which would be overtaken, nor when there is no room or no use.
    pub fn has_room(&self, lane: LaneId, now: UtcMillis) -> bool {
        self.lanes.get(&lane).is_none_or(|lane| {
            let backlog = lane.asked.is_some() || lane.due_at.is_some_and(|due_at| due_at <= now);
            !backlog
                && !lane.paused
                && lane.breaker.is_closed()
                && lane.held() < self.capacity(lane)
        })
    }

    /// Takes in a callback that was claimed as it was accepted.
    pub fn admit(&mut self, claimed: Claimed) {
        let id = claimed.lane;
        self.hold(claimed);
        self.give_turn(id);
    }

    fn hold(&mut self, claimed: Claimed) {
        let newer = self
            .holding
            .get(&claimed.id)
            .is_none_or(|fence| *fence < claimed.fence);
        if newer {
            self.holding.insert(claimed.id, claimed.fence);
            self.lane(claimed.lane).queue.push_back(claimed);
        }
    }

    /// Learns that something of this lane waits on disk and is due at `due_at`.
    pub fn waits(&mut self, id: LaneId, due_at: UtcMillis) {
        let lane = self.lane(id);
        lane.due_at = Some(lane.due_at.map_or(due_at, |known| known.min(due_at)));
        self.schedule(id);
    }

    /// Learns whether the lane's channel is paused. What is queued when a pause begins comes back, to be given back.
    pub fn set_paused(&mut self, id: LaneId, paused: bool) -> Vec<Claimed> {
        let lane = self.lane(id);
        lane.paused = paused;
        let back = if paused {
            self.take_queue(id)
        } else {
            Vec::new()
        };
        self.give_turn(id);
        self.schedule(id);
        back
    }

    /// Lanes that should be asked for more at `now`, each with how many, together about `callbacks`; each counts as being
    /// asked until [`Lanes::claimed`] or [`Lanes::claim_failed`].
    pub fn to_claim(&mut self, now: UtcMillis, callbacks: usize) -> Vec<(LaneId, usize)> {
        let mut asks = Vec::new();
        let mut asked = 0;
        while asked < callbacks {
            let Some(&(at, id)) = self.agenda.first() else {
                break;
            };
            if at > now {
                break;
            }
            // Others may have taken what there was when the lane was put on the agenda.
            let room = self.room(id);
            if room > 0 {
                let lane = self.lane(id);
                lane.asked = Some(room);
                lane.due_at = None;
                self.asked += room;
                asks.push((id, room));
                asked += room;
            }
            self.schedule(id);
        }
        asks
    }

    /// Takes in what a claim brought.
    pub fn claimed(&mut self, id: LaneId, claim: Claim) {
        for claimed in claim.taken {
            self.hold(claimed);
        }
        self.no_longer_asked(id);
        let lane = self.lane(id);
        if let Some(next) = claim.next_due_at {
            lane.due_at = Some(lane.due_at.map_or(next, |known| known.min(next)));
        }
        self.give_turn(id);
        self.schedule(id);
    }

    /// A claim failed; the lane is asked for again from `again_at` on.
    pub fn claim_failed(&mut self, id: LaneId, again_at: UtcMillis) {
        self.no_longer_asked(id);
        let lane = self.lane(id);
        lane.due_at = Some(lane.due_at.map_or(again_at, |known| known.min(again_at)));
        self.schedule(id);
    }

    fn no_longer_asked(&mut self, id: LaneId) {
        let asked = self.lane(id).asked.take().unwrap_or(0);
        self.asked -= asked;
    }

    /// When the database should be asked next; `None`: nothing is known to wait.
    pub fn next_claim_at(&self) -> Option<UtcMillis> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// The next callback to attempt, if one may start now. Counts as running until [`Lanes::ended`].
    ///
    /// What is met on the way whose lease is too short for an attempt is let go: it comes back when the lease has ended.
    pub fn start(&mut self, now: UtcMillis) -> Option<Claimed> {
        for _ in 0..self.turn.len() {
            let id = self.turn.pop_front()?;
            let attempts = self.limits.attempts;
            let margin = self.limits.lease_margin;
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            lane.has_turn = false;
            while lane
                .queue
                .front()
                .is_some_and(|claimed| claimed.lease_until - now <= margin)
                && let Some(claimed) = lane.queue.pop_front()
            {
                lane.due_at = Some(
                    lane.due_at
                        .map_or(claimed.lease_until, |known| known.min(claimed.lease_until)),
                );
                if self.holding.get(&claimed.id) == Some(&claimed.fence) {
                    self.holding.remove(&claimed.id);
                }
            }
            let open_to_it = if lane.breaker.is_clean() {
                attempts
            } else {
                attempts - attempts / 4
            };
            let free = open_to_it.saturating_sub(self.running);
            if lane.running < free.min(lane.window.size())
                && !lane.paused
                && lane.breaker.permits(lane.running, now)
                && let Some(claimed) = lane.queue.pop_front()
            {
                lane.running += 1;
                self.running += 1;
                self.give_turn(id);
                self.schedule(id);
                return Some(claimed);
            }
            if self.running >= attempts {
                // Nobody can start; this lane keeps its turn.
                self.give_turn_first(id);
                return None;
            }
            // The lane must wait for itself: it gets its turn back when one of its attempts ends. If it waits for the
            // others' attempts, the next end passes it on.
            if self.lanes.get(&id).is_some_and(|lane| lane.running == 0) {
                self.give_turn(id);
            }
            self.schedule(id);
        }
        None
    }

    /// An attempt is over; its outcome is on the way to disk. What is queued when the breaker opens comes back, to be given
    /// back.
    pub fn ended(
        &mut self,
        id: LaneId,
        effect: Effect,
        took: Duration,
        now: UtcMillis,
    ) -> Vec<Claimed> {
        self.running -= 1;
        let lane = self.lane(id);
        let full = lane.running >= lane.window.size();
        lane.running -= 1;
        lane.unsettled += 1;
        match effect {
            Effect::Acknowledged => {
                lane.window.kept_up(took, full);
                lane.breaker.acknowledged();
            }
            Effect::Refused => {
                lane.window.kept_up(took, full);
                lane.breaker.failed(now);
            }
            Effect::Overloaded => {
                lane.window.overloaded();
                lane.breaker.failed(now);
            }
            Effect::NotMade => lane.window.overloaded(),
        }
        let back = if lane.breaker.is_closed() {
            Vec::new()
        } else {
            self.take_queue(id)
        };
        self.give_turn(id);
        self.schedule(id);
        back
    }

    /// An outcome is on disk (or did not count any more). `due_at`: when the callback is due again.
    pub fn settled(
        &mut self,
        id: LaneId,
        callback: CallbackId,
        fence: i64,
        due_at: Option<UtcMillis>,
    ) {
        if self.holding.get(&callback) == Some(&fence) {
            self.holding.remove(&callback);
        }
        let lane = self.lane(id);
        lane.unsettled = lane.unsettled.saturating_sub(1);
        if let Some(due_at) = due_at {
            lane.due_at = Some(lane.due_at.map_or(due_at, |known| known.min(due_at)));
        }
        self.schedule(id);
    }

    /// Takes everything that has not started out of every queue, to be given back.
    pub fn take_all(&mut self) -> Vec<Claimed> {
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        ids.into_iter().flat_map(|id| self.take_queue(id)).collect()
    }

    /// Forgets lanes that have nothing to do and nothing to remember.
    pub fn forget_idle(&mut self) {
        self.lanes
            .retain(|_, lane| !lane.is_idle() || lane.has_turn);
    }

    /// Every lane, for the metrics; which channels they belong to is not known here.
    pub fn report(&self, now: UtcMillis) -> Vec<LaneReport> {
        let report = |(id, lane): (&LaneId, &Lane)| LaneReport {
            lane: *id,
            channel_id: None,
            running: lane.running,
            window: lane.window.size(),
            queued: lane.queue.len(),
            held: lane.held(),
            breaker: lane.breaker.state(now),
            paused: lane.paused,
            due_at: lane.due_at,
        };
        self.lanes.iter().map(report).collect()
    }

    /// Empties a lane's queue; what was in it stays held, as unsettled, until it is given back.
    fn take_queue(&mut self, id: LaneId) -> Vec<Claimed> {
        let lane = self.lane(id);
        let back: Vec<Claimed> = lane.queue.drain(..).collect();
        lane.unsettled += back.len();
        back
    }

    /// How many more the lane should take from the database: nothing until half of what it may hold has gone, then all of it.
    fn room(&self, id: LaneId) -> usize {
        let Some(lane) = self.lanes.get(&id) else {
            return 0;
        };
        if !lane.breaker.is_closed() {
            // One probe at a time.
            return usize::from(lane.held() == 0);
        }
        let capacity = self.capacity(lane);
        if lane.held() * 2 > capacity {
            0
        } else {
            capacity - lane.held()
        }
    }

    /// How many callbacks a lane may hold: four times what it sends at once, at most half of what is still free, and one in
    /// any case.
    fn capacity(&self, lane: &Lane) -> usize {
        let free = self
            .limits
            .held
            .saturating_sub(self.holding.len() + self.asked);
        (4 * lane.window.size())
            .min(lane.held() + free.div_ceil(2))
            .max(1)
    }

    fn give_turn(&mut self, id: LaneId) {
        let lane = self.lane(id);
        if !lane.has_turn && !lane.queue.is_empty() {
            lane.has_turn = true;
            self.turn.push_back(id);
        }
    }

    fn give_turn_first(&mut self, id: LaneId) {
        let lane = self.lane(id);
        if !lane.has_turn && !lane.queue.is_empty() {
            lane.has_turn = true;
            self.turn.push_front(id);
        }
    }

    /// Puts the lane's entry in the agenda right after something changed.
    fn schedule(&mut self, id: LaneId) {
        let room = self.room(id);
        let lane = self.lane(id);
        let wanted = match lane.due_at {
            Some(due_at) if lane.asked.is_none() && !lane.paused && room > 0 => {
                Some(lane.breaker.earliest().map_or(due_at, |at| at.max(due_at)))
            }
            _ => None,
        };
        if wanted != lane.on_agenda {
            let before = std::mem::replace(&mut lane.on_agenda, wanted);
            if let Some(at) = before {
                self.agenda.remove(&(at, id));
            }
            if let Some(at) = wanted {
                self.agenda.insert((at, id));
            }
        }
    }
}
