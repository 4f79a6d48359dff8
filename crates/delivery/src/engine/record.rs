//! Recording what came of attempts.

use std::collections::{HashSet, VecDeque};
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use sealpost_contract::UtcMillis;
use sealpost_store::{CallbackId, Claimed, Error, LaneId, Next, Outcome};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Inner;
use crate::alerts::Alert;

/// Outcomes in one transaction at most.
const BATCH: usize = 512;

/// How long a transaction waits to have as many outcomes as the one before.
const GATHER: Duration = Duration::from_millis(1);

/// The fence of a lease that is taken as a callback is inserted.
const FIRST_FENCE: i64 = 1;

/// The wait after the store has failed: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Times that an outcome is refused while it is the only one there is before it is taken to be its own fault, and that outcomes
/// are tried at the end when none is recorded.
const TRIES: u32 = 7;

/// Refusals, in the first pass, after which it is not looked further for an outcome that is not refused; twice as many in each
/// that follows, up to more than it takes to find the only one in a batch, and from the beginning again.
const PROBES: usize = 16;

/// What the recording task is sent.
#[derive(Debug)]
pub(crate) enum Settling {
    /// An outcome of a lane's callback.
    Outcome(LaneId, Outcome, Of),
    /// Nothing follows.
    End,
}

/// What an outcome is of.
#[derive(Debug, Clone)]
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

/// Records outcomes in batches: while one batch is being committed, the next gathers, and waits a moment to become as large where
/// the store does not do so itself.
pub(super) async fn run(inner: Arc<Inner>, mut queue: mpsc::UnboundedReceiver<Settling>) {
    let mut gathered = Vec::with_capacity(BATCH);
    let mut ended = false;
    let waits = !inner.store.gathers_writes();
    let mut expected = 1;
    let mut suspects = Suspects::default();
    let mut held = Held::default();
    while !ended || held.goes_on() {
        tokio::select! {
            received = queue.recv_many(&mut gathered, BATCH), if held.is_empty() => if received == 0 { break },
            () = held.wait(), if !held.is_empty() => {
                // With what has come meanwhile: whether that is refused as well shows whose fault it is.
                while !ended && gathered.len() < BATCH && let Ok(settling) = queue.try_recv() {
                    gathered.push(settling);
                }
            }
            () = suspects.wait(), if held.is_empty() => {
                suspects.try_again(&inner).await;
                continue;
            }
        }
        if waits && gathered.len() < expected && held.is_empty() {
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
        let refused = held.record(&inner, batch).await;
        suspects.add(&inner, refused);
    }
    suspects.try_again(&inner).await;
}

/// Outcomes to be recorded together, and what each is of.
#[derive(Debug, Default, Clone)]
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

/// Outcomes that are recorded for the first time, and those of them that wait because the database has refused all there were: that
/// is nothing that one of them is to blame for.
#[derive(Debug, Default)]
struct Held {
    batch: Batch,
    /// How often all were refused, in a row.
    tries: u32,
    /// When they are tried again.
    next: Option<Instant>,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Whether they are worth another try when nothing follows.
    fn goes_on(&self) -> bool {
        !self.is_empty() && self.tries < TRIES
    }

    async fn wait(&self) {
        if let Some(at) = self.next {
            tokio::time::sleep_until(at).await;
        }
    }

    /// Records `new` and what is held. Answers those that the database refuses while it takes others.
    async fn record(&mut self, inner: &Inner, mut new: Batch) -> Vec<(Batch, Error)> {
        new.append(std::mem::take(&mut self.batch));
        let began = Instant::now();
        let pass = record(inner, new, self.tries).await;
        let wait = RETRY.1.min(RETRY.0 * 2_u32.saturating_pow(self.tries));
        let alone = matches!(&*pass.refused, [(one, _)] if one.len() == 1);
        if pass.recorded || pass.refused.is_empty() || (alone && self.tries >= TRIES) {
            self.tries = 0;
            return pass.refused;
        }
        for (index, (part, error)) in pass.refused.into_iter().enumerate() {
            if index == 0 {
                inner.pulse.record_failed(&error);
            }
            self.batch.append(part);
        }
        self.tries += 1;
        self.next = Some(Instant::now() + wait.max(4 * began.elapsed()));
        Vec::new()
    }
}

/// Outcomes that the database refuses, each also alone, while it takes others. They are tried again from time to time while what comes after them is
/// recorded; when its lease has ended, such a callback is claimed and attempted anew, and its old outcome no longer counts.
#[derive(Debug, Default)]
struct Suspects {
    batch: Batch,
    /// How often they were tried.
    tries: u32,
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
        let began = Instant::now();
        let mut pass = record(inner, std::mem::take(&mut self.batch), self.tries).await;
        if wait >= RETRY.1 {
            pass.try_bare(inner, self.tries).await;
        }
        self.tries = self.tries.wrapping_add(1);
        for (part, _) in pass.refused {
            self.batch.append(part);
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

/// What came of trying outcomes.
#[derive(Debug, Default)]
struct Pass {
    /// Whether any was recorded.
    recorded: bool,
    /// Those that were refused: each alone if any was recorded, else in parts.
    refused: Vec<(Batch, Error)>,
}

impl Pass {
    /// Tries those that were refused without what comes from outside: that may be what the database cannot take, and that there
    /// was an attempt is worth more. Those that are refused so too keep it.
    async fn try_bare(&mut self, inner: &Inner, tries: u32) {
        let mut bare = Batch::default();
        for (part, _) in &self.refused {
            bare.append(part.clone());
        }
        let attempts = bare.outcomes.iter_mut();
        for attempt in attempts.filter_map(|outcome| outcome.attempt.as_mut()) {
            attempt.detail = None;
            attempt.answer = Bytes::new();
        }
        let tried = record(inner, bare, tries).await;
        if !tried.recorded {
            return;
        }
        self.recorded = true;
        let key = |outcome: &Outcome| (outcome.id.number(), outcome.fence);
        let still: HashSet<_> = tried
            .refused
            .iter()
            .flat_map(|(part, _)| part.outcomes.iter().map(key))
            .collect();
        let mut refused = Vec::new();
        for (mut part, error) in self.refused.drain(..) {
            while !part.is_empty() {
                let one = part.split_off(part.len() - 1);
                if one.outcomes.iter().any(|of| still.contains(&key(of))) {
                    refused.push((one, error.clone()));
                }
            }
        }
        self.refused = refused;
    }
}

/// Records outcomes, for as long as it takes. A batch that is refused is halved, first into its larger parts, until those stand
/// alone that the database refuses; but where it refuses all that it is given, only so often as befits the pass after `tries`.
async fn record(inner: &Inner, mut batch: Batch, tries: u32) -> Pass {
    let mut pass = Pass::default();
    let mut left = VecDeque::new();
    while batch.len() > BATCH {
        let rest = batch.split_off(BATCH);
        left.push_back(std::mem::replace(&mut batch, rest));
    }
    left.push_back(batch);
    let mut probes = PROBES << (tries % 8);
    let mut wait = RETRY.0;
    while let Some(mut part) = left.pop_front() {
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
                pass.recorded = true;
                continue;
            }
            Err(error) => error,
        };
        part.outcomes = outcomes.to_vec();
        if !is_refused(&error) {
            inner.pulse.record_failed(&error);
            left.push_front(part);
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(RETRY.1);
            continue;
        }
        probes = probes.saturating_sub(1);
        if !pass.recorded && probes == 0 {
            let rest = left.drain(..).map(|part| (part, error.clone()));
            pass.refused.extend(rest);
            pass.refused.push((part, error));
        } else if part.len() > 1 {
            let second = part.split_off(part.len() / 2);
            left.push_back(part);
            left.push_back(second);
        } else {
            pass.refused.push((part, error));
        }
    }
    pass
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
