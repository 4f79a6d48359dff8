//! Which callback starts next: the lanes, their queues, limits and breakers.
//!
//! A lane is one endpoint of one channel. Whatever happens in one lane, the others keep their share:
//!
//! - a lane runs at most its *window* of attempts at once, which grows while the endpoint keeps up and halves when it does not;
//! - of the attempts that all lanes together may still start, a lane takes at most as many as stay free (the dynamic threshold
//!   of Choudhury and Hahne), so there is room for a lane that has none yet;
//! - a lane is *proven* if its last attempt acknowledged. The others, unknown or failing, leave it a quarter of all attempts
//!   and some of what is held, and wait in a queue of their own: however many endpoints hang at once, one that works does not
//!   wait for them, nor does looking for its turn take longer;
//! - a lane of which nothing is known begins with two attempts at once, so that many that turn out to hang take little;
//! - a lane that only fails is rested by its *breaker*, which costs its callbacks no attempts, and is then probed by one;
//! - only lanes with room ask for more from the database, so memory is bounded whatever waits on disk, in however many lanes.
//!
//! Everything here is a function of its arguments: no clock, no I/O, no task. The engine drives it, and so does the simulation.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
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
    /// Callbacks held in memory, over all lanes. Proven lanes may take a quarter beyond it, so that they never wait for the
    /// others.
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
    /// The same, and its answer (429, 503) asks to be left alone for so many milliseconds (`Retry-After`). That concerns the
    /// endpoint and not this callback alone: its lane rests, which spares the others an attempt in vain.
    AskedToWait(i64),
    /// Nothing was sent, for a reason of our own.
    NotMade,
}

/// What an attempt that has ended leaves to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// What was queued when the breaker opened, to be given back.
    pub back: Vec<Claimed>,
    /// Whether this attempt has opened the breaker because the endpoint only fails (`true`), or closed it again.
    pub tripped: Option<bool>,
}

/// Lanes that are not in memory and are remembered as proven, at most; beyond, all of these count as unknown again.
const PROVEN: usize = 100_000;

/// Attempts at once in a lane of which nothing is known, until the first is over.
const AT_FIRST: usize = 2;

/// How many callbacks a proven lane may hold at least, if it sends as many at once: enough to keep it busy.
const LEAST: usize = 16;

/// A backlog whose first callback has been due for less than this many milliseconds is soon over.
const YOUNG: i64 = 1000;

/// How many callbacks a lane is asked for of which is not known that it has more.
const FEW: usize = 4;

/// Which lanes stand together when there is not enough for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Proven,
    Other,
}

impl Class {
    const BOTH: [Self; 2] = [Self::Proven, Self::Other];
}

/// Something for each class.
#[derive(Debug, Default)]
struct ByClass<T> {
    proven: T,
    other: T,
}

impl<T> ByClass<T> {
    fn of(&self, class: Class) -> &T {
        match class {
            Class::Proven => &self.proven,
            Class::Other => &self.other,
        }
    }

    fn of_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Proven => &mut self.proven,
            Class::Other => &mut self.other,
        }
    }
}

/// All lanes.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    lanes: HashMap<LaneId, Lane>,
    /// Lanes with something to read from the database, by when.
    agenda: ByClass<BTreeSet<(UtcMillis, LaneId)>>,
    /// Lanes that have something queued and could start it, in the order of their turn. What a lane's `turn` does not confirm
    /// is out of date.
    turn: ByClass<VecDeque<(LaneId, u64)>>,
    /// Turns that have been given.
    turns: u64,
    /// Whose turn it is to start first.
    first: Class,
    /// Lanes that have been forgotten, and whose last attempt acknowledged.
    proven: HashSet<LaneId>,
    /// What is held, by the fence it was claimed under, so that nothing is held twice under one lease. Under a newer lease it
    /// is: the outcome of the older one is on disk then, only we have not been told yet.
    holding: HashMap<CallbackId, i64>,
    /// Attempts being made, each in the class that its lane is of now.
    running: ByClass<usize>,
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
    /// The claim that is under way.
    asked: Option<Asked>,
    /// Whether the last claim brought all that it asked for, and left more.
    deep: bool,
    /// Whether an attempt has been over, so that something is known of the endpoint.
    tried: bool,
    /// Whether the last attempt acknowledged.
    proven: bool,
    /// When an attempt was last started.
    started_at: Option<UtcMillis>,
    /// The lane's entry in the agenda, if it has one.
    on_agenda: Option<(Class, UtcMillis)>,
    /// The queue in which the lane has its turn, and the number of the turn, if it has one.
    turn: Option<(Class, u64)>,
}

/// A claim under way.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// How many callbacks it asks for.
    callbacks: usize,
    /// When the first of what waited on disk was due.
    due_at: UtcMillis,
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

    fn class(&self) -> Class {
        if self.proven {
            Class::Proven
        } else {
            Class::Other
        }
    }

    /// Since when what is due lies on disk although nothing keeps it there: neither a pause nor the breaker, nor that the lane
    /// is busy with others of its callbacks.
    fn left_since(&self) -> Option<UtcMillis> {
        let due_at = self.due_at.filter(|_| !self.paused && self.running == 0)?;
        let since = self.started_at.map_or(due_at, |at| at.max(due_at));
        Some(self.breaker.earliest().map_or(since, |at| at.max(since)))
    }
}

/// Whether something of the lane lies on disk and is due, or is being read.
fn has_backlog(lane: &Lane, now: UtcMillis) -> bool {
    lane.asked.is_some() || lane.due_at.is_some_and(|due_at| due_at <= now)
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
    /// Since when (or from when on) what waits on disk is left lying, though neither a pause nor the breaker keeps it there
    /// and the lane is not busy.
    pub left_since: Option<UtcMillis>,
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
            agenda: ByClass::default(),
            turn: ByClass::default(),
            turns: 0,
            first: Class::Proven,
            proven: HashSet::new(),
            holding: HashMap::new(),
            running: ByClass::default(),
            asked: 0,
        }
    }

    fn lane(&mut self, id: LaneId) -> &mut Lane {
        let most = self.limits.attempts_per_lane;
        let forgotten = &mut self.proven;
        self.lanes.entry(id).or_insert_with(|| {
            let proven = forgotten.remove(&id);
            Lane {
                queue: VecDeque::new(),
                running: 0,
                unsettled: 0,
                window: Window::new(most),
                breaker: Breaker::default(),
                paused: false,
                due_at: None,
                asked: None,
                deep: false,
                tried: proven,
                proven,
                started_at: None,
                on_agenda: None,
                turn: None,
            }
        })
    }

    /// Callbacks held in memory.
    pub fn held(&self) -> usize {
        self.holding.len()
    }

    /// Attempts being made.
    pub fn running(&self) -> usize {
        self.running.proven + self.running.other
    }

    /// Whether a callback that is just being accepted for this lane should be taken in at once. Not when older ones of the
    /// lane are due on disk, which would be overtaken, nor when there is no room or no use.
    pub fn has_room(&self, lane: LaneId, now: UtcMillis) -> bool {
        let class = match self.lanes.get(&lane) {
            Some(lane) => lane.class(),
            None if self.proven.contains(&lane) => Class::Proven,
            None => Class::Other,
        };
        if self.is_full(class) {
            return false;
        }
        self.lanes.get(&lane).is_none_or(|lane| {
            !has_backlog(lane, now)
                && !lane.paused
                && lane.breaker.is_closed()
                && lane.held() < self.capacity(lane)
        })
    }

    /// Whether there will be room for a callback of this lane as soon as attempts have ended: it delivers, and holds as many
    /// as it may, or works off a backlog that has only just come about.
    pub fn is_busy(&self, lane: LaneId, now: UtcMillis) -> bool {
        self.lanes.get(&lane).is_some_and(|lane| {
            let asked = lane.asked.map(|asked| asked.due_at);
            let mut due = lane.due_at.into_iter().chain(asked);
            let young = due.all(|due_at| due_at > now - YOUNG);
            let full = lane.held() >= self.capacity(lane);
            young && !lane.paused && lane.breaker.is_closed() && (full || has_backlog(lane, now))
        })
    }

    /// How many more callbacks of this lane may be taken in as they are accepted.
    pub fn free(&self, lane: LaneId, now: UtcMillis) -> usize {
        self.lanes.get(&lane).map_or(1, |lane| {
            let free = self.capacity(lane).saturating_sub(lane.held());
            if has_backlog(lane, now) { 0 } else { free }
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

    /// Learns whether the lane's channel is paused. What is queued when a pause begins comes back, to be given back. When one
    /// ends, somebody has looked after the endpoint: it is probed at once.
    pub fn set_paused(&mut self, id: LaneId, paused: bool) -> Vec<Claimed> {
        let lane = self.lane(id);
        if lane.paused && !paused {
            lane.breaker.probe_now();
        }
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

    /// Learns that somebody has changed the lane's endpoint: a rest that it owes to how it was is over, and it is probed at once.
    pub fn endpoint_changed(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.breaker.probe_now();
            self.give_turn(id);
            self.schedule(id);
        }
    }

    /// Lanes that should be asked for more at `now`, each with how many, together about `callbacks`; each counts as being
    /// asked until [`Lanes::claimed`] or [`Lanes::claim_failed`].
    pub fn to_claim(&mut self, now: UtcMillis, callbacks: usize) -> Vec<(LaneId, usize)> {
        let mut asks = Vec::new();
        // Of a claim, each class has half; what it does not need goes to the other.
        self.ask(Class::Proven, now, callbacks / 2, &mut asks);
        self.ask(Class::Other, now, callbacks, &mut asks);
        self.ask(Class::Proven, now, callbacks, &mut asks);
        asks
    }

    fn ask(
        &mut self,
        class: Class,
        now: UtcMillis,
        callbacks: usize,
        asks: &mut Vec<(LaneId, usize)>,
    ) {
        let mut asked: usize = asks.iter().map(|(_, room)| room).sum();
        while asked < callbacks && !self.is_full(class) {
            let Some(&(at, id)) = self.agenda.of(class).first() else {
                break;
            };
            if at > now {
                break;
            }
            // Others may have taken what there was when the lane was put on the agenda.
            let room = self.room(id);
            if room > 0 {
                let lane = self.lane(id);
                let room = if lane.deep { room } else { room.min(FEW) };
                lane.asked = Some(Asked {
                    callbacks: room,
                    due_at: lane.due_at.unwrap_or(at),
                });
                lane.due_at = None;
                self.asked += room;
                asks.push((id, room));
                asked += room;
            }
            self.schedule(id);
        }
    }

    /// Takes in what a claim brought.
    pub fn claimed(&mut self, id: LaneId, claim: Claim) {
        let taken = claim.taken.len();
        for claimed in claim.taken {
            self.hold(claimed);
        }
        let asked = self.no_longer_asked(id);
        let lane = self.lane(id);
        lane.deep = taken >= asked && claim.next_due_at.is_some();
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

    fn no_longer_asked(&mut self, id: LaneId) -> usize {
        let asked = self.lane(id).asked.take();
        let asked = asked.map_or(0, |asked| asked.callbacks);
        self.asked -= asked;
        asked
    }

    /// When the database should be asked next; `None`: nothing is known to wait, or there is no room for it.
    pub fn next_claim_at(&self) -> Option<UtcMillis> {
        let first = |class| self.agenda.of(class).first().map(|(at, _)| *at);
        let open = Class::BOTH
            .into_iter()
            .filter(|class| !self.is_full(*class));
        open.filter_map(first).min()
    }

    /// Whether lanes of this class may hold no more.
    fn is_full(&self, class: Class) -> bool {
        let most = match class {
            Class::Proven => self.limits.held + self.limits.held.div_ceil(4),
            Class::Other => self.limits.held,
        };
        self.holding.len() + self.asked >= most
    }

    /// How many more attempts lanes of this class may start: all that are free, but the others never run more than three
    /// quarters. What is free goes to the classes by turns, so neither waits for the other.
    fn open_to(&self, class: Class) -> usize {
        let free = self.limits.attempts.saturating_sub(self.running());
        match class {
            Class::Proven => free,
            Class::Other => {
                let most = self.limits.attempts - self.limits.attempts / 4;
                free.min(most.saturating_sub(self.running.other))
            }
        }
    }

    /// The next callback to attempt, if one may start now. Counts as running until [`Lanes::ended`].
    ///
    /// What is met on the way whose lease is too short for an attempt is let go: it comes back when the lease has ended.
    pub fn start(&mut self, now: UtcMillis) -> Option<Claimed> {
        let (first, then) = match self.first {
            Class::Proven => (Class::Proven, Class::Other),
            Class::Other => (Class::Other, Class::Proven),
        };
        if let Some(claimed) = self.start_of(first, now) {
            self.first = then;
            return Some(claimed);
        }
        self.start_of(then, now)
    }

    fn start_of(&mut self, class: Class, now: UtcMillis) -> Option<Claimed> {
        for _ in 0..self.turn.of(class).len() {
            let free = self.open_to(class);
            if free == 0 {
                // Nobody of this class can start; all keep their turn.
                return None;
            }
            let (id, turn) = self.turn.of_mut(class).pop_front()?;
            let margin = self.limits.lease_margin;
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            if lane.turn != Some((class, turn)) {
                continue;
            }
            lane.turn = None;
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
            let window = if lane.tried {
                lane.window.size()
            } else {
                lane.window.size().min(AT_FIRST)
            };
            if lane.running < free.min(window)
                && !lane.paused
                && lane.breaker.permits(lane.running, now)
                && let Some(claimed) = lane.queue.pop_front()
            {
                lane.running += 1;
                lane.started_at = Some(now);
                *self.running.of_mut(class) += 1;
                self.give_turn(id);
                self.schedule(id);
                return Some(claimed);
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

    /// An attempt is over; its outcome is on the way to disk.
    pub fn ended(&mut self, id: LaneId, effect: Effect, took: Duration, now: UtcMillis) -> Ended {
        let lane = self.lane(id);
        let before = lane.class();
        let tripped = lane.breaker.is_tripped();
        let full = lane.running >= lane.window.size();
        lane.running -= 1;
        lane.unsettled += 1;
        lane.tried |= effect != Effect::NotMade;
        match effect {
            Effect::Acknowledged => {
                lane.window.kept_up(took, full);
                lane.breaker.acknowledged(now);
                lane.proven = true;
            }
            Effect::Refused => {
                lane.window.kept_up(took, full);
                lane.breaker.failed(now);
            }
            Effect::Overloaded => {
                lane.window.overloaded();
                lane.breaker.failed(now);
            }
            Effect::AskedToWait(wait) => {
                lane.window.overloaded();
                lane.breaker.failed(now);
                lane.breaker.asked_to_wait(wait, now);
            }
            Effect::NotMade => lane.window.overloaded(),
        }
        match effect {
            Effect::Acknowledged | Effect::NotMade => {}
            Effect::Refused | Effect::Overloaded | Effect::AskedToWait(_) => lane.proven = false,
        }
        let tripped = Some(lane.breaker.is_tripped()).filter(|now| *now != tripped);
        // Its other attempts go over to its new class with it.
        let (class, running) = (lane.class(), lane.running);
        *self.running.of_mut(before) -= running + 1;
        *self.running.of_mut(class) += running;
        let lane = self.lane(id);
        let back = if lane.breaker.is_closed() {
            Vec::new()
        } else {
            self.take_queue(id)
        };
        self.give_turn(id);
        self.schedule(id);
        Ended { back, tripped }
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
        let proven = &mut self.proven;
        self.lanes.retain(|id, lane| {
            let keep = !lane.is_idle() || lane.turn.is_some();
            if !keep && lane.proven {
                if proven.len() >= PROVEN {
                    proven.clear();
                }
                proven.insert(*id);
            }
            keep
        });
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
            left_since: lane.left_since(),
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

    /// How many callbacks a lane may hold: four times what it sends at once, at most half of what is still free of three
    /// quarters, and a few in any case, if it is proven, or one: the last quarter is for lanes that have none yet.
    fn capacity(&self, lane: &Lane) -> usize {
        let shared = self.limits.held - self.limits.held / 4;
        let free = shared.saturating_sub(self.holding.len() + self.asked);
        let least = match lane.class() {
            Class::Proven => lane.window.size().min(LEAST),
            Class::Other => 1,
        };
        (4 * lane.window.size())
            .min(lane.held() + free.div_ceil(2))
            .max(least)
    }

    fn give_turn(&mut self, id: LaneId) {
        let lane = self.lane(id);
        let class = lane.class();
        // One that has changed its class goes over to the other queue; what is left of it in the first is out of date.
        if lane.turn.is_none_or(|(of, _)| of != class) && !lane.queue.is_empty() {
            self.turns += 1;
            let turn = self.turns;
            self.lane(id).turn = Some((class, turn));
            self.turn.of_mut(class).push_back((id, turn));
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
        let class = lane.class();
        let wanted = wanted.map(|at| (class, at));
        if wanted != lane.on_agenda {
            let before = std::mem::replace(&mut lane.on_agenda, wanted);
            if let Some((class, at)) = before {
                self.agenda.of_mut(class).remove(&(at, id));
            }
            if let Some((class, at)) = wanted {
                self.agenda.of_mut(class).insert((at, id));
            }
        }
    }
}
