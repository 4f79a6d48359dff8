//! The engine's decisions against a scripted world, many thousands of times.
//!
//! Real: the lanes, windows and breakers, the retry policy, and the store with its SQL on a real SQLite database. Played, from
//! a seed: time, the endpoints, the clients, one or two nodes, and what goes wrong: crashes between any two steps, shutdowns,
//! nodes that stop for longer than a lease, lost answers, attempts that cannot be made, database operations that fail before
//! or after they took effect, clocks that jump, channels paused and resumed. What must hold in every world:
//!
//! 1. every accepted callback is acknowledged, or kept as failed after exactly 1 + 3 counted attempts;
//! 2. no attempt starts after an acknowledgement was recorded (while clocks do not jump);
//! 3. no outcome counts whose lease has gone to somebody else, and each lease is for one attempt;
//! 4. whatever is sent is counted, but for attempts that a crash, a stop or a clock cut off from their outcome;
//! 5. a healthy lane does not wait for a dead one's backlog, and what is due again starts when it is due (without faults);
//! 6. what a node has in memory is bounded, and nothing of it is left when nothing is to be done.
//!
//! A failing seed is printed; `SEALPOST_SEED=n` runs that one alone, `SEALPOST_SEEDS=n` that many.

mod steps;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sealpost_contract::{Schedule, SignFlowId, UtcMillis};
use sealpost_delivery::Reason;
use sealpost_delivery::attempt::{Made, Verdict};
use sealpost_delivery::lanes::{Effect, Lanes, Limits};
use sealpost_store::{
    Accepted, ApiKey, CallbackId, CallbackState, Channel, Claim, Claimed, Holder, LaneId, Lease,
    NewCallback, Next, Outcome, Pause, Store,
};

const DEADLINE: i64 = 10_000;
const MARGIN: i64 = DEADLINE + 2000;
const LEASE: i64 = 40_000;
const POLL: i64 = 5000;
/// Until then clients come and faults strike; after it everything heals.
const TROUBLE: i64 = 60_000;
/// By then everything must have ended.
const LIMIT: i64 = 3 * 3_600_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    fn one_in(&mut self, chances: u64) -> bool {
        chances > 0 && self.below(chances) == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Healthy,
    /// One in so many attempts fails, before or after the channel has noted it.
    Flaky(u64),
    Refusing,
    Hanging,
    /// Takes this long at least, in milliseconds, and always less than the deadline.
    Slow(i64),
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Acknowledged,
    /// Nothing that acknowledges: something else, or nothing at all.
    Other,
    /// Nothing was sent, for want of a descriptor and the like.
    NotMade,
}

/// One lease of one callback.
type LeaseOf = (CallbackId, i64);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive {
        channel: usize,
        flow: u64,
    },
    Poll {
        node: usize,
        life: u32,
    },
    Claim {
        node: usize,
        life: u32,
    },
    End {
        node: usize,
        life: u32,
        lease: LeaseOf,
        answer: Answer,
        took: i64,
    },
    Claimed {
        node: usize,
        life: u32,
    },
    Record {
        node: usize,
        life: u32,
    },
    Recorded {
        node: usize,
        life: u32,
    },
    Crash {
        node: usize,
    },
    ShutDown {
        node: usize,
    },
    Start {
        node: usize,
    },
    Stop {
        node: usize,
        until: i64,
    },
    Jump {
        node: usize,
        by: i64,
    },
    PauseChannel {
        channel: usize,
        paused: bool,
    },
}

struct Node {
    lanes: Lanes,
    life: u32,
    up: bool,
    stopped_until: i64,
    clock: i64,
    running: HashMap<LeaseOf, Claimed>,
    /// Ended, and not yet on disk.
    pending: Vec<(LaneId, Outcome)>,
    /// On disk (or not, and to be tried again), and not yet told to the lanes.
    recorded: Option<Recorded>,
    /// Claims that the database has answered, and of which the lanes have not been told.
    claimed: VecDeque<Claims>,
    recording: bool,
    claim_at: Option<i64>,
}

/// The outcomes of a batch, and whether each counted; `None`: nobody knows.
type Recorded = (Vec<(LaneId, Outcome)>, Option<Vec<bool>>);

/// What was asked for, and what came; `None`: an error.
type Claims = (Vec<(LaneId, usize)>, Option<Vec<Claim>>);

/// How a world is made; everything else follows from the seed.
struct Faults {
    crashes: bool,
    stops: bool,
    jumps: bool,
    /// One in so many database operations fails; 0: none.
    errors: u64,
    pauses: bool,
    /// One in so many attempts cannot be made; 0: none.
    not_made: u64,
}

impl Faults {
    fn none(&self) -> bool {
        !self.cut_off() && self.errors == 0 && !self.pauses && self.not_made == 0
    }

    /// Whether a node may lose a lease that it holds.
    fn leases_are_lost(&self) -> bool {
        self.stops || self.jumps
    }

    /// Whether an attempt may lose its outcome.
    fn cut_off(&self) -> bool {
        self.crashes || self.leases_are_lost()
    }
}

struct World<'a> {
    seed: u64,
    random: Random,
    store: &'a Store,
    start: i64,
    now: i64,
    healed: bool,
    order: u64,
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    nodes: Vec<Node>,
    behaviour: Vec<Behaviour>,
    faults: Faults,
    channels: Vec<String>,
    channel_of: HashMap<LaneId, usize>,
    schedule: Schedule,
    /// What the clients were told is safe: when, and of which channel.
    accepted: BTreeMap<CallbackId, (i64, usize)>,
    paused: Vec<bool>,
    /// POSTs that left a node.
    sent: HashSet<LeaseOf>,
    /// POSTs whose outcome counted.
    counted: HashSet<LeaseOf>,
    /// POSTs whose outcome never came to be recorded, or came too late.
    cut_off: HashSet<LeaseOf>,
    first_start: HashMap<CallbackId, i64>,
    acknowledged: HashMap<CallbackId, i64>,
    newest_fence: HashMap<CallbackId, i64>,
    /// When a callback that waits for its next attempt is due, in the world's time.
    due: HashMap<CallbackId, i64>,
}

fn node_holder(seed: u64, node: usize, life: u32) -> Holder {
    Holder(Random(seed ^ ((node as u64) << 32) ^ u64::from(life)).next() as i64)
}

fn limits() -> Limits {
    Limits {
        attempts: 12,
        attempts_per_lane: 6,
        held: 40,
        lease_margin: MARGIN,
    }
}

impl World<'_> {
    fn at(&mut self, at: i64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn node_now(&self, node: usize) -> UtcMillis {
        self.start + self.now + self.nodes[node].clock
    }

    /// Whether the database plays a trick now: `Some(false)` fails before the operation, `Some(true)` after it.
    fn trick(&mut self) -> Option<bool> {
        let chances = if self.healed { 0 } else { self.faults.errors };
        self.random.one_in(chances).then(|| self.random.one_in(2))
    }

    fn holder(&self, node: usize) -> Holder {
        node_holder(self.seed, node, self.nodes[node].life)
    }

    fn lease(&self, node: usize) -> Lease {
        Lease {
            holder: self.holder(node),
            until: self.node_now(node) + LEASE,
        }
    }

    async fn run(&mut self) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            assert!(at < LIMIT, "not everything has ended by then");
            self.now = at;
            if !self.healed && at >= TROUBLE {
                self.heal().await;
            }
            let (node, life) = match &event {
                Event::Poll { node, life }
                | Event::Claim { node, life }
                | Event::Claimed { node, life }
                | Event::Record { node, life }
                | Event::Recorded { node, life }
                | Event::End { node, life, .. } => (*node, Some(*life)),
                _ => (usize::MAX, None),
            };
            if let Some(life) = life {
                let state = &self.nodes[node];
                if !state.up || state.life != life {
                    continue;
                }
                if state.stopped_until > at {
                    let later = state.stopped_until;
                    self.at(later, event);
                    continue;
                }
            }
            match event {
                Event::Arrive { channel, flow } => self.arrive(channel, flow).await,
                Event::Poll { node, life } => self.poll(node, life).await,
                Event::Claim { node, .. } => self.claim(node).await,
                Event::Claimed { node, .. } => self.claimed(node),
                Event::Recorded { node, .. } => self.recorded(node),
                Event::End {
                    node,
                    lease,
                    answer,
                    took,
                    ..
                } => self.end(node, lease, answer, took),
                Event::Record { node, .. } => self.record(node).await,
                Event::Crash { node } if self.nodes[node].up => self.crash(node),
                Event::ShutDown { node }
                    if self.nodes[node].up && self.nodes[node].stopped_until <= at =>
                {
                    self.shut_down(node).await
                }
                Event::Crash { .. } | Event::ShutDown { .. } => {}
                Event::Start { node } => self.start_node(node).await,
                Event::Stop { node, until } => self.nodes[node].stopped_until = until,
                Event::Jump { node, by } => self.nodes[node].clock += by,
                Event::PauseChannel { channel, paused } => {
                    let id = self.channels[channel].clone();
                    self.paused[channel] = paused;
                    if paused {
                        let pause = Pause {
                            at: self.start + self.now,
                            reason: "by a person".into(),
                        };
                        self.store.pause_channel(&id, pause).await.unwrap();
                    } else {
                        self.store.resume_channel(&id).await.unwrap();
                    }
                }
            }
            if self.healed && self.now % 50 == 0 && self.all_ended().await {
                return;
            }
            if self.healed && self.events.len() <= self.nodes.len() && self.all_ended().await {
                return;
            }
        }
    }

    async fn all_ended(&self) -> bool {
        let mine = |lane: &LaneId| self.channel_of.contains_key(lane);
        self.events
            .iter()
            .all(|Reverse((_, _, event))| !matches!(event, Event::Arrive { .. }))
            && self
                .store
                .due_lanes()
                .await
                .unwrap()
                .iter()
                .all(|lane| !mine(&lane.id))
    }

    async fn heal(&mut self) {
        self.healed = true;
        for channel in self.channels.clone() {
            self.store.resume_channel(&channel).await.unwrap();
        }
        self.paused.fill(false);
    }

    async fn check(&self) {
        for (id, (accepted_at, channel)) in &self.accepted {
            let kept = self
                .store
                .find_callback(*id)
                .await
                .unwrap()
                .expect("what was accepted is kept");
            let attempts = self.store.attempts(*id).await.unwrap();
            assert_eq!(
                attempts.len() as u32,
                kept.attempts,
                "{id}: every counted attempt is kept"
            );
            assert!(
                attempts
                    .iter()
                    .enumerate()
                    .all(|(place, attempt)| attempt.number as usize == place + 1)
            );
            match kept.state {
                CallbackState::Acknowledged => {
                    assert!((1..=4).contains(&kept.attempts), "{id}");
                    assert!(
                        attempts
                            .iter()
                            .rev()
                            .skip(1)
                            .all(|attempt| attempt.reason.is_some()),
                        "{id}: acknowledged twice"
                    );
                    assert_eq!(
                        attempts.last().and_then(|attempt| attempt.reason.clone()),
                        None,
                        "{id}"
                    );
                }
                CallbackState::Failed => {
                    assert_eq!(
                        kept.attempts, 4,
                        "{id} is given up after other than 1 + 3 attempts"
                    );
                    assert!(
                        attempts.iter().all(|attempt| attempt.reason.is_some()),
                        "{id}"
                    );
                }
                CallbackState::Waiting => panic!("{id} still waits"),
            }
            let counted = self.counted.iter().filter(|(counted, _)| counted == id);
            assert_eq!(counted.count() as u32, kept.attempts, "{id}");
            if self.faults.none() && self.behaviour[*channel] == Behaviour::Healthy {
                let waited = self.first_start[id] - accepted_at;
                assert!(waited < 400, "{id}: a healthy lane waited {waited} ms");
            }
        }
        // Of nodes whose lease was lost, some may still be sending when everything has ended.
        let under_way: HashSet<LeaseOf> = self
            .nodes
            .iter()
            .flat_map(|node| {
                let recorded = node.recorded.iter().flat_map(|(batch, _)| batch);
                let ended = node.pending.iter().chain(recorded);
                let ended = ended.map(|(_, outcome)| (outcome.id, outcome.fence));
                node.running.keys().copied().chain(ended)
            })
            .collect();
        assert!(self.counted.is_subset(&self.sent), "counted and never sent");
        for lease in self.sent.difference(&self.counted) {
            if self.faults.cut_off() {
                assert!(
                    self.cut_off.contains(lease) || under_way.contains(lease),
                    "{lease:?} was sent and is not counted"
                );
            } else {
                panic!("{lease:?} was sent and is not counted, and nothing cut it off");
            }
        }
        self.nothing_is_left();
    }

    /// Once nothing waits and nothing is under way, the lanes must have forgotten every callback.
    fn nothing_is_left(&self) {
        for node in self.nodes.iter().filter(|node| node.up) {
            let at_work = !node.running.is_empty()
                || !node.pending.is_empty()
                || node.recorded.is_some()
                || !node.claimed.is_empty()
                || node.stopped_until > self.now;
            // What lies in a queue under a lease that is lost is met when its turn comes.
            if !at_work && !self.faults.cut_off() && self.faults.errors == 0 {
                assert_eq!(node.lanes.held(), 0, "callbacks are held that have ended");
                assert_eq!(node.lanes.running(), 0, "attempts run that have ended");
            }
        }
    }
}

async fn simulate(store: &Store, seed: u64) {
    let mut random = Random(seed);
    let faults = Faults {
        crashes: random.one_in(2),
        stops: random.one_in(3),
        jumps: random.one_in(4),
        errors: if random.one_in(2) {
            8 + random.below(40)
        } else {
            0
        },
        pauses: random.one_in(3),
        not_made: if random.one_in(4) {
            2 + random.below(20)
        } else {
            0
        },
    };
    let node_count = 1 + usize::from(random.one_in(3));
    // Sometimes without any wait, so that a callback is claimed again before the lanes know that it was recorded.
    let mut wait = |most| {
        if random.one_in(3) {
            0
        } else {
            random.between(0, most)
        }
    };
    let schedule = Schedule::new([wait(2000), wait(4000), wait(8000)]).unwrap();
    let behaviour = (0..1 + random.below(4))
        .map(|_| match random.below(6) {
            0 | 1 => Behaviour::Healthy,
            2 => Behaviour::Flaky(2 + random.below(5)),
            3 => Behaviour::Refusing,
            4 => Behaviour::Hanging,
            _ => Behaviour::Slow(if random.one_in(2) { 2000 } else { 9000 }),
        })
        .collect();
    let mut world = World::new(store, seed, random, behaviour, schedule, faults).await;
    for node in 0..node_count {
        world.add_node(node);
    }
    world.plan();
    world.run().await;
    world.check().await;
}

impl<'a> World<'a> {
    /// A world with these channels and without nodes.
    async fn new(
        store: &'a Store,
        seed: u64,
        random: Random,
        behaviour: Vec<Behaviour>,
        schedule: Schedule,
        faults: Faults,
    ) -> World<'a> {
        // Each seed has years of its own, so that no id of one meets another's.
        let start = 1_000_000_000_000 + (seed % 1_000_000) as i64 * 10_000_000;
        let mut channels = Vec::new();
        for place in 0..behaviour.len() {
            let name = format!("{seed}-{place}");
            let channel = Channel {
                id: name.clone(),
                name: name.clone(),
                callback_url: Some("https://channel.example/".into()),
                schedule,
                created_at: start,
                paused: None,
                secrets: Vec::new(),
            };
            let key = ApiKey {
                id: name.clone(),
                channel_id: name.clone(),
                hash: sealpost_flow::Digest::of(name.as_bytes()),
                created_at: start,
                revoked_at: None,
            };
            assert!(store.create_channel(channel, key).await.unwrap());
            channels.push(name);
        }
        World {
            seed,
            random,
            store,
            start,
            now: 0,
            healed: false,
            order: 0,
            events: BinaryHeap::new(),
            nodes: Vec::new(),
            paused: vec![false; behaviour.len()],
            behaviour,
            faults,
            channels,
            channel_of: HashMap::new(),
            schedule,
            accepted: BTreeMap::new(),
            sent: HashSet::new(),
            counted: HashSet::new(),
            cut_off: HashSet::new(),
            first_start: HashMap::new(),
            acknowledged: HashMap::new(),
            newest_fence: HashMap::new(),
            due: HashMap::new(),
        }
    }

    fn add_node(&mut self, node: usize) {
        self.nodes.push(Node {
            lanes: Lanes::new(limits()),
            life: 0,
            up: false,
            stopped_until: 0,
            clock: 0,
            running: HashMap::new(),
            pending: Vec::new(),
            recorded: None,
            claimed: VecDeque::new(),
            recording: false,
            claim_at: None,
        });
        self.at(0, Event::Start { node });
    }
}

impl World<'_> {
    /// What the clients do and what goes wrong, in this seed.
    fn plan(&mut self) {
        let mut flow = 0;
        for _ in 0..1 + self.random.below(6) {
            // A burst for one channel.
            let channel = self.random.below(self.channels.len() as u64) as usize;
            let at = self.random.between(0, TROUBLE / 2);
            for _ in 0..1 + self.random.below(25) {
                flow += 1;
                let at = at + self.random.between(0, 200);
                self.at(at, Event::Arrive { channel, flow });
            }
        }
        let nodes = self.nodes.len() as u64;
        for _ in 0..6 {
            let at = self.random.between(0, TROUBLE);
            let node = self.random.below(nodes) as usize;
            if self.faults.crashes && self.random.one_in(2) {
                let event = if self.random.one_in(3) {
                    Event::ShutDown { node }
                } else {
                    Event::Crash { node }
                };
                self.at(at, event);
            }
            if self.faults.stops && self.random.one_in(3) {
                let until = at + self.random.between(100, 2 * LEASE);
                self.at(at, Event::Stop { node, until });
            }
            if self.faults.jumps && self.random.one_in(3) {
                let by = self.random.between(-2 * LEASE, 2 * LEASE);
                self.at(at, Event::Jump { node, by });
            }
            if self.faults.pauses && self.random.one_in(2) {
                let channel = self.random.below(self.channels.len() as u64) as usize;
                let paused = self.random.one_in(2);
                self.at(at, Event::PauseChannel { channel, paused });
            }
        }
    }
}

/// A folder in memory, where a sync costs nothing; what a sync is for is tested elsewhere.
fn folder() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Plays one seed after the other, until one fails or `failed` says that one has elsewhere.
fn simulate_all(seeds: impl Iterator<Item = u64>, failed: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut folder, mut store) = (None, None);
    for (place, seed) in seeds.enumerate() {
        if failed.load(Ordering::Relaxed) {
            return;
        }
        // Seeds share a database, so that what one leaves behind would show in another, but not too many.
        if place % 50 == 0 {
            let fresh = self::folder();
            store = Some(Store::open(fresh.path()).unwrap());
            folder = Some(fresh);
        }
        let store = store.as_ref().expect("opened above");
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(simulate(store, seed))
        }));
        if outcome.is_err() {
            failed.store(true, Ordering::Relaxed);
            panic!("failed with SEALPOST_SEED={seed}");
        }
    }
    drop(folder);
}

#[test]
fn every_world_keeps_its_promises() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let failed = &AtomicBool::new(false);
    if let Some(seed) = number("SEALPOST_SEED") {
        return simulate_all(std::iter::once(seed), failed);
    }
    let seeds = number("SEALPOST_SEEDS").unwrap_or(2000);
    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let own = (0..seeds).filter(move |seed| seed % threads == thread);
                simulate_all(own, failed)
            });
        }
    });
}

/// The longest that a healthy channel's callback waits for its first attempt, beside four bad channels with a backlog of so
/// many each.
async fn longest_wait(store: &Store, seed: u64, backlog: u64) -> i64 {
    let faults = Faults {
        crashes: false,
        stops: false,
        jumps: false,
        errors: 0,
        pauses: false,
        not_made: 0,
    };
    let behaviour = vec![
        Behaviour::Healthy,
        Behaviour::Hanging,
        Behaviour::Hanging,
        Behaviour::Refusing,
        Behaviour::Slow(2000),
    ];
    let schedule = Schedule::new([1000, 2000, 4000]).unwrap();
    let mut world = World::new(store, seed, Random(seed), behaviour, schedule, faults).await;
    world.add_node(0);
    let mut flow = 0;
    let mut arrive = |world: &mut World<'_>, at, channel| {
        flow += 1;
        world.at(at, Event::Arrive { channel, flow });
    };
    for bad in 1..5 {
        for number in 0..backlog {
            arrive(&mut world, 10 + number as i64, bad);
        }
    }
    let mut at = 2000;
    while at < TROUBLE {
        at += world.random.between(1, 400);
        arrive(&mut world, at, 0);
    }
    world.run().await;
    world.check().await;
    let healthy = world
        .accepted
        .iter()
        .filter(|(_, (_, channel))| *channel == 0);
    let waits = healthy.map(|(id, (accepted_at, _))| world.first_start[id] - accepted_at);
    waits.max().expect("callbacks of a healthy channel")
}

#[test]
fn a_healthy_lane_does_not_wait_longer_for_a_larger_backlog_of_dead_ones() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for seed in 0..10 {
        let [small, large] = [5, 500].map(|backlog| {
            let folder = folder();
            let store = Store::open(folder.path()).unwrap();
            runtime.block_on(longest_wait(&store, seed, backlog))
        });
        println!("seed {seed}: {small} ms, {large} ms");
        assert!(
            large <= small.max(100),
            "seed {seed}: {small} ms beside a small backlog, {large} ms beside a large one"
        );
    }
}
