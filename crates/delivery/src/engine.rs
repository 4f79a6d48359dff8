//! The engine: the tasks that carry callbacks from the database to the channels and the outcomes back.
//!
//! One task watches the database and claims what is due, as many tasks as there are attempts make them, and one records
//! outcomes in batches. None of them decides anything: [`lanes`](crate::lanes) says what starts, [`attempt`](crate::attempt)
//! what an answer means, [`retry`](crate::retry) what happens next.
//!
//! A task that meets an error of the store tries again until it works or the engine stops; what it holds stays under its
//! lease meanwhile, so nothing is lost and memory stays bounded.

mod attempts;
mod record;
mod room;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bytes::Bytes;
use sealpost_contract::webhook::Secret;
use sealpost_contract::{Callback, UtcMillis};
use sealpost_store::{
    Accepted, CallbackId, Claimed, Holder, LaneId, Lease, NewCallback, Placed, Store,
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alerts::Alerts;
use crate::channels::{Channels, Clients};
use crate::client::{Client, Identity, KEPT, Trust};
use crate::connector::Resolver;
use crate::error::Error;
use crate::guard::{Policy, Target};
use crate::health::{Health, Pulse};
use crate::lanes::{LaneReport, Lanes, Limits};
use crate::retry::mix;

/// Lanes whose channel is remembered at most.
const LANES_NAMED: usize = 65_536;

/// Tells the time; the server's own clock, or a test's.
pub type Clock = Arc<dyn Fn() -> UtcMillis + Send + Sync>;

/// Opens a channel's webhook secret, given the channel's id and the ciphertext that the store holds; `None` if it cannot be
/// opened, which leaves that secret out of the signature.
pub type OpenSecret = Arc<dyn Fn(&str, &[u8]) -> Option<Secret> + Send + Sync>;

/// Finds the certificate that a channel wants to see of us (mTLS), given the channel's id; asked when the channel is first
/// delivered to, and again when channels or credentials have changed. While it cannot be read, attempts wait.
pub type FindIdentity = Arc<
    dyn Fn(&str) -> Pin<Box<dyn Future<Output = sealpost_store::Result<Option<Identity>>> + Send>>
        + Send
        + Sync,
>;

/// How the engine works. The defaults are those of the contract.
#[derive(Clone)]
pub struct Config {
    /// What may be called.
    pub policy: Policy,
    /// Which certificates are believed.
    pub trust: Trust,
    /// How names are resolved.
    pub resolver: Resolver,
    /// The one deadline of an attempt: DNS, connect, TLS, headers and body.
    pub deadline: Duration,
    /// How long a lease holds beyond the deadline; a callback that waits longer than this in a queue is given back.
    pub lease: Duration,
    /// Attempts at once, over all lanes. Each takes a file descriptor.
    pub attempts: usize,
    /// Attempts at once in one lane, once its endpoint has shown that it keeps up.
    pub attempts_per_lane: usize,
    /// Callbacks held in memory.
    pub held: usize,
    /// Connections open at once, over all endpoints, up to which they are kept after use, for four seconds at most. While there are
    /// more, a request asks that its connection be closed after the answer. Each takes a file descriptor and some 25 kB.
    pub connections_kept: usize,
    /// How often the database is asked for what other processes put there.
    pub poll: Duration,
    /// Finds a channel's client certificate; `None`: no channel has one.
    pub find_identity: Option<FindIdentity>,
    /// Where alerts are told (see the source of `alerts` for the form); checked with [`Policy::unrestricted`].
    pub alert_url: Option<Target>,
    /// Whether this is the only process that delivers from this database; then leases of earlier runs end at the start.
    pub sole: bool,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("policy", &self.policy)
            .field("deadline", &self.deadline)
            .field("lease", &self.lease)
            .field("attempts", &self.attempts)
            .field("attempts_per_lane", &self.attempts_per_lane)
            .field("held", &self.held)
            .field("connections_kept", &self.connections_kept)
            .field("poll", &self.poll)
            .field("sole", &self.sole)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults, believing `trust`.
    pub fn new(trust: Trust) -> Self {
        Self {
            policy: Policy::default(),
            trust,
            resolver: Resolver::System,
            deadline: Duration::from_secs(10),
            lease: Duration::from_secs(30),
            attempts: 512,
            attempts_per_lane: 128,
            held: 8192,
            connections_kept: KEPT,
            poll: Duration::from_millis(500),
            find_identity: None,
            alert_url: None,
            sole: true,
        }
    }

    /// How long leases hold, in milliseconds.
    fn lease_ms(&self) -> i64 {
        millis(self.deadline) + millis(self.lease)
    }
}

/// The running engine. Cheap to clone; it runs until [`Engine::shut_down`], or until the runtime ends.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    store: Store,
    config: Config,
    clock: Clock,
    channels: Channels,
    holder: Holder,
    lanes: Mutex<Lanes>,
    /// The lanes of channels' own addresses, to know without a read whether one has room.
    own_lanes: RwLock<HashMap<String, LaneId>>,
    /// Which channel each lane belongs to, for those who look on.
    lane_channels: RwLock<HashMap<LaneId, Arc<str>>>,
    /// Leased to us by [`Engine::new_callback`] and not yet handed over: its lane, and since when.
    promised: Mutex<HashMap<CallbackId, (LaneId, UtcMillis)>>,
    waiting: room::Waiting,
    outcomes: mpsc::UnboundedSender<record::Settling>,
    wake: Notify,
    pulse: Pulse,
    alerts: Alerts,
    random: AtomicU64,
    stopping: AtomicBool,
    stop: CancellationToken,
    abort: CancellationToken,
    attempts: TaskTracker,
    /// The task that claims.
    watching: TaskTracker,
    tasks: TaskTracker,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("holder", &self.holder)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the engine's tasks on the current runtime. `seed` makes its ids and its name as a holder of leases: 64 random
    /// bits, different at each start.
    ///
    /// # Errors
    /// The TLS configuration cannot be built, or the store fails when leases of earlier runs are ended.
    pub async fn start(
        store: Store,
        config: Config,
        clock: Clock,
        open_secret: OpenSecret,
        seed: u64,
    ) -> Result<Self, Error> {
        let policy = Arc::new(config.policy.clone());
        let clients = Clients::new(
            Arc::clone(&policy),
            config.resolver.clone(),
            config.trust.clone(),
            config.find_identity.clone(),
            config.connections_kept,
        )?;
        let holder = Holder(i64::from_ne_bytes(mix(seed).to_ne_bytes()));
        if config.sole {
            let released = store.release_others(holder, clock()).await?;
            if released > 0 {
                tracing::info!(released, "took over what an earlier run had under way");
            }
        }
        let limits = Limits {
            attempts: config.attempts.max(1),
            attempts_per_lane: config.attempts_per_lane,
            held: config.held.max(1),
            lease_margin: millis(config.deadline) + 2000,
        };
        let (outcomes, to_record) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let unrestricted = Arc::new(Policy::unrestricted());
        let alert_client = Client::new(unrestricted, Resolver::System, &config.trust, None)?;
        let (alerts, telling) = Alerts::new(config.alert_url.as_ref(), alert_client, stop.clone());
        let inner = Arc::new(Inner {
            channels: Channels {
                store: store.clone(),
                policy,
                open_secret,
                clients,
                known: Mutex::default(),
            },
            store,
            clock,
            holder,
            lanes: Mutex::new(Lanes::new(limits)),
            own_lanes: RwLock::default(),
            lane_channels: RwLock::default(),
            promised: Mutex::default(),
            waiting: room::Waiting::default(),
            outcomes,
            wake: Notify::new(),
            pulse: Pulse::default(),
            alerts,
            random: AtomicU64::new(mix(seed ^ 1)),
            stopping: AtomicBool::new(false),
            stop,
            abort: CancellationToken::new(),
            attempts: TaskTracker::new(),
            watching: TaskTracker::new(),
            tasks: TaskTracker::new(),
            config,
        });
        inner.watching.spawn(watch::run(Arc::clone(&inner)));
        inner.watching.close();
        inner.tasks.spawn(watch::measure(Arc::clone(&inner)));
        inner
            .tasks
            .spawn(record::run(Arc::clone(&inner), to_record));
        if let Some(telling) = telling {
            inner.tasks.spawn(telling);
        }
        inner.tasks.close();
        Ok(Self { inner })
    }

    /// Keeps a callback of a flow that ended elsewhere, and starts delivering it. Once it answers [`Accepted::New`], the
    /// callback is safe on disk.
    ///
    /// # Errors
    /// The store failed; then nothing was kept.
    pub async fn accept(
        &self,
        channel_id: &str,
        url: Option<&Target>,
        callback: &Callback,
    ) -> Result<Accepted, Error> {
        if url.is_none() {
            self.wait_for_room(channel_id).await;
        }
        let new = self.new_callback(channel_id, url, callback);
        let accepted = self.inner.store.accept_callback(new.clone()).await?;
        if let Accepted::New(placed) = accepted {
            self.hand_over(new, placed);
        }
        Ok(accepted)
    }

    /// Waits until the lane of the channel's own address has room, so that a callback that is handed over comes in as fast as
    /// callbacks go out. At most a tenth of a second, and not at all where waiting would be of no use: the lane rests, or has had
    /// a backlog for more than a moment.
    pub async fn wait_for_room(&self, channel_id: &str) {
        if let Some(lane) = self.inner.own_lane(channel_id) {
            room::wait(&self.inner, lane).await;
        }
    }

    /// Makes the row of a callback that is about to be committed, for instance with the end of its sign flow. It is leased to
    /// this engine if its lane has room; then it should come back through [`Engine::hand_over`] after the commit. One that
    /// does not, because whoever made it was broken off, is found in the database some seconds later.
    pub fn new_callback(
        &self,
        channel_id: &str,
        url: Option<&Target>,
        callback: &Callback,
    ) -> NewCallback {
        let now = self.inner.now();
        let id = CallbackId::new(now, self.inner.random());
        NewCallback {
            id,
            channel_id: channel_id.to_owned(),
            url: url.map(|url| url.as_str().to_owned()),
            sign_flow_id: callback.sign_flow_id.clone(),
            body: Bytes::from(callback.to_json()),
            due_at: now,
            lease: self.inner.lease_for(id, channel_id, url, now),
        }
    }

    /// Takes over a callback after the transaction that holds it has committed: it starts at once if it was leased to this
    /// engine, and is claimed right away otherwise.
    pub fn hand_over(&self, new: NewCallback, placed: Placed) {
        let inner = &self.inner;
        match new.url {
            None => inner.learn_own_lane(&new.channel_id, placed.lane),
            Some(_) => inner.learn_lanes([(placed.lane, new.channel_id.as_str())]),
        }
        if new.lease.is_some() {
            inner.promised().remove(&new.id);
        }
        let Some(lease) = new.lease else {
            inner.lanes().waits(placed.lane, new.due_at);
            inner.wake.notify_one();
            return;
        };
        let claimed = Claimed {
            id: placed.id,
            lane: placed.lane,
            url: new.url,
            body: new.body,
            attempts: 0,
            fence: placed.fence,
            lease_until: lease.until,
        };
        if inner.stopping.load(Ordering::Acquire) {
            let now = inner.now();
            inner.settle(record::Settling::promised(placed.id, placed.lane, now));
            return;
        }
        inner.lanes().admit(claimed);
        inner.start_attempts();
    }

    /// Asks the engine to look at the database now: something was redelivered, a channel was resumed.
    pub fn poke(&self) {
        self.inner.pulse.poll_now();
        self.inner.wake.notify_one();
    }

    /// Forgets what is known of a channel (address, schedule, secrets, pause) and of how its endpoints behaved, after it was
    /// changed: whoever has put something right need not wait for the end of a breaker's rest.
    pub fn channel_changed(&self, channel_id: &str) {
        self.inner.channels.forget(channel_id);
        let of_channel: Vec<LaneId> = {
            let known = self.inner.lane_channels();
            let own = known
                .iter()
                .filter(|(_, channel)| ***channel == *channel_id);
            own.map(|(lane, _)| *lane).collect()
        };
        {
            let mut lanes = self.inner.lanes();
            for lane in of_channel {
                lanes.endpoint_changed(lane);
            }
        }
        self.poke();
    }

    /// How the engine is doing.
    pub fn health(&self) -> Health {
        let now = self.inner.now();
        let (lanes, held, running) = {
            let lanes = self.inner.lanes();
            (lanes.report(now), lanes.held(), lanes.running())
        };
        self.inner
            .pulse
            .health(now, self.inner.config.poll, &lanes, held, running)
    }

    /// Every lane with something to do or to remember.
    pub fn lanes(&self) -> Vec<LaneReport> {
        let now = self.inner.now();
        let mut lanes = self.inner.lanes().report(now);
        let channels = self.inner.lane_channels();
        for lane in &mut lanes {
            lane.channel_id = channels.get(&lane.lane).cloned();
        }
        lanes
    }

    /// Stops: claims nothing more, gives back what has not started, lets attempts end for at most `limit` and records their
    /// outcomes. An attempt that is not over by then is broken off and given back uncounted; the channel may have received it.
    pub async fn shut_down(&self, limit: Duration) {
        let inner = &self.inner;
        inner.stopping.store(true, Ordering::Release);
        inner.stop.cancel();
        inner.give_back_all();
        // A claim that was under way has brought more by the time it ends.
        if tokio::time::timeout(limit, inner.watching.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "a claim was not over at the end of the shutdown's limit; what it takes comes back when its lease ends"
            );
        }
        inner.give_back_all();
        inner.attempts.close();
        if tokio::time::timeout(limit, inner.attempts.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "attempts were still under way at the end of the shutdown's limit; they are given back"
            );
            inner.abort.cancel();
            inner.attempts.wait().await;
        }
        let _ = inner.outcomes.send(record::Settling::End);
        if tokio::time::timeout(limit, inner.tasks.wait())
            .await
            .is_err()
        {
            tracing::error!(
                "outcomes could not be recorded before the end of the shutdown's limit; their leases run out"
            );
        }
    }
}

impl Inner {
    fn now(&self) -> UtcMillis {
        (self.clock)()
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self) -> u32 {
        let bits = mix(self.random.fetch_add(1, Ordering::Relaxed));
        (bits >> 32) as u32
    }

    fn lease(&self, now: UtcMillis) -> Lease {
        Lease {
            holder: self.holder,
            until: now.saturating_add(self.config.lease_ms()),
        }
    }

    fn lease_for(
        &self,
        id: CallbackId,
        channel_id: &str,
        url: Option<&Target>,
        now: UtcMillis,
    ) -> Option<Lease> {
        if url.is_some() || self.stopping.load(Ordering::Acquire) {
            return None;
        }
        let lane = self.own_lane(channel_id)?;
        if !self.lanes().has_room(lane, now) {
            return None;
        }
        self.promised().insert(id, (lane, now));
        Some(self.lease(now))
    }

    fn own_lane(&self, channel_id: &str) -> Option<LaneId> {
        let known = self.own_lanes.read();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        known.get(channel_id).copied()
    }

    fn promised(&self) -> MutexGuard<'_, HashMap<CallbackId, (LaneId, UtcMillis)>> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what was promised to us before `before` and never came.
    fn give_back_promised(&self, before: UtcMillis) {
        let now = self.now();
        for (id, (lane, _)) in self.promised().extract_if(|_, (_, since)| *since < before) {
            self.settle(record::Settling::promised(id, lane, now));
        }
    }

    fn learn_own_lane(&self, channel_id: &str, lane: LaneId) {
        if self
            .own_lanes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(channel_id)
        {
            return;
        }
        self.own_lanes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(channel_id.to_owned(), lane);
        self.learn_lanes([(lane, channel_id)]);
    }

    fn lane_channels(&self) -> RwLockReadGuard<'_, HashMap<LaneId, Arc<str>>> {
        self.lane_channels
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns which channels lanes belong to.
    fn learn_lanes<'a>(&self, lanes: impl IntoIterator<Item = (LaneId, &'a str)>) {
        let new: Vec<(LaneId, &str)> = {
            let known = self.lane_channels();
            let lanes = lanes.into_iter();
            lanes
                .filter(|(lane, _)| !known.contains_key(lane))
                .collect()
        };
        if new.is_empty() {
            return;
        }
        let mut known = self
            .lane_channels
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= LANES_NAMED {
            // What is still in use is learned again by the next poll.
            known.clear();
        }
        let new = new.into_iter();
        known.extend(new.map(|(lane, channel_id)| (lane, Arc::from(channel_id))));
    }

    /// Starts what may start.
    fn start_attempts(self: &Arc<Self>) {
        loop {
            let Some(claimed) = ({
                let now = self.now();
                self.lanes().start(now)
            }) else {
                break;
            };
            self.attempts
                .spawn(attempts::run(Arc::clone(self), claimed));
        }
    }

    /// Gives callbacks back unattempted; they are due at once.
    fn give_back(&self, claimed: Vec<Claimed>) {
        let now = self.now();
        for claimed in claimed {
            self.settle(record::Settling::give_back(&claimed, now));
        }
    }

    /// Gives everything back that has not started.
    fn give_back_all(&self) {
        let waiting = self.lanes().take_all();
        self.give_back(waiting);
    }

    fn settle(&self, settling: record::Settling) {
        // Fails only after the recording task has ended, at the end of a shutdown; the lease then runs out.
        let _ = self.outcomes.send(settling);
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
