//! How the engine is doing: what the metrics and the readiness check read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealpost_contract::UtcMillis;
use sealpost_store::{Backlog, Next, Outcome};

use crate::attempt::Verdict;
use crate::breaker::BreakerState;
use crate::lanes::LaneReport;

/// Polls that may be missed before the engine counts as stopped.
const MISSED_POLLS: u32 = 20;

/// How the engine is doing at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether the engine has lately looked at the database with success. If not, nothing new is being delivered.
    pub alive: bool,
    /// When it last did.
    pub last_poll_at: Option<UtcMillis>,
    /// When it last recorded an outcome.
    pub last_progress_at: Option<UtcMillis>,
    /// The store's last error, if what met it (looking for work, recording outcomes) has not worked since.
    pub store_error: Option<String>,
    /// When the longest due callback whose channel does not rest was due; `None`: nothing is overdue.
    pub oldest_due_at: Option<UtcMillis>,
    /// Since when a due callback has been left lying that nothing keeps: its channel is not paused, its endpoint's breaker is
    /// closed or its rest over, and no other callback of the lane has been attempted since. `None`: there is none.
    pub left_since: Option<UtcMillis>,
    /// What waits and what has failed, as last counted.
    pub backlog: Backlog,
    /// Lanes with something to do or to remember.
    pub lanes: usize,
    /// Lanes whose breaker is open or probing.
    pub breakers_open: usize,
    /// Lanes whose channel rests.
    pub resting: usize,
    /// Attempts that all lanes together may make at once, as their endpoints have shown to keep up with.
    pub window: usize,
    /// Callbacks held in memory.
    pub held: usize,
    /// Attempts being made.
    pub running: usize,
    /// Totals since the start.
    pub totals: Totals,
}

/// Counts since the engine started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Attempts that acknowledged.
    pub acknowledged: u64,
    /// Attempts that failed, by the code of their reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// Attempts that a fault of our own prevented.
    pub not_made: u64,
    /// Callbacks that were given up after the last attempt of a round.
    pub given_up: u64,
    /// Outcomes that did not count because the lease had been lost.
    pub fenced: u64,
    /// Outcomes that the database refused although it was there, each also alone; one that is refused again at a later try is not
    /// counted again.
    pub refused: u64,
    /// Errors of the store.
    pub store_errors: u64,
}

/// What the tasks report as they go.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    poll_now: AtomicBool,
    last_poll_at: AtomicI64,
    last_progress_at: AtomicI64,
    acknowledged: AtomicU64,
    recording_fails: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    polled: Option<Instant>,
    oldest_due_at: Option<UtcMillis>,
    backlog: Backlog,
    store_error: Option<String>,
    /// Outcomes that could not be recorded when it was last tried; polls, which only read, may work meanwhile.
    record_error: Option<String>,
    totals: Totals,
}

impl Pulse {
    /// Asks the watching task for a poll.
    pub(crate) fn poll_now(&self) {
        self.poll_now.store(true, Ordering::Release);
    }

    pub(crate) fn take_poll_now(&self) -> bool {
        self.poll_now.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn polled(&self, now: UtcMillis, oldest_due_at: Option<UtcMillis>) {
        self.last_poll_at.store(now, Ordering::Relaxed);
        self.with(|state| {
            state.polled = Some(Instant::now());
            state.oldest_due_at = oldest_due_at;
            if state.store_error.take().is_some() {
                tracing::info!("the store works again");
            }
        });
    }

    pub(crate) fn counted(&self, backlog: Backlog) {
        self.with(|state| state.backlog = backlog);
    }

    pub(crate) fn attempted(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Acknowledged { .. } => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Verdict::Failed { reason, .. } => {
                self.with(|state| *state.totals.failed.entry(reason.code()).or_default() += 1);
            }
            Verdict::NotMade(_) => self.with(|state| state.totals.not_made += 1),
        }
    }

    pub(crate) fn recorded(&self, outcomes: &[Outcome], now: UtcMillis) {
        self.last_progress_at.store(now, Ordering::Relaxed);
        if self.recording_fails.swap(false, Ordering::Relaxed) {
            tracing::info!("outcomes can be recorded again");
            self.with(|state| state.record_error = None);
        }
        let given_up = outcomes
            .iter()
            .filter(|outcome| matches!(outcome.next, Next::Failed(_)))
            .count();
        if given_up > 0 {
            self.with(|state| state.totals.given_up += given_up as u64);
        }
    }

    pub(crate) fn fenced(&self) {
        self.with(|state| state.totals.fenced += 1);
    }

    /// An outcome is refused, and those beside it are not to wait for it.
    pub(crate) fn refused(&self) {
        self.with(|state| state.totals.refused += 1);
    }

    /// As [`Pulse::store_failed`], when outcomes could not be recorded.
    pub(crate) fn record_failed(&self, error: &sealpost_store::Error) {
        let first = !self.recording_fails.swap(true, Ordering::Relaxed);
        if first {
            tracing::error!(%error, "outcomes cannot be recorded; the delivery engine keeps trying");
        }
        self.with(|state| {
            state.totals.store_errors += 1;
            state.record_error = Some(error.to_string());
        });
    }

    /// Keeps the error for the health, and logs the first of a row.
    pub(crate) fn store_failed(&self, error: &sealpost_store::Error) {
        self.with(|state| {
            state.totals.store_errors += 1;
            if state.store_error.is_none() {
                tracing::error!(%error, "the delivery engine cannot use the store; it keeps trying");
            }
            state.store_error = Some(error.to_string());
        });
    }

    pub(crate) fn health(
        &self,
        now: UtcMillis,
        poll: Duration,
        lanes: &[LaneReport],
        held: usize,
        running: usize,
    ) -> Health {
        let known = |at: &AtomicI64| Some(at.load(Ordering::Relaxed)).filter(|at| *at != 0);
        self.with(|state| {
            let mut totals = state.totals.clone();
            totals.acknowledged = self.acknowledged.load(Ordering::Relaxed);
            Health {
                alive: state
                    .polled
                    .is_some_and(|at| at.elapsed() < poll * MISSED_POLLS),
                last_poll_at: known(&self.last_poll_at),
                last_progress_at: known(&self.last_progress_at),
                store_error: state.record_error.clone().or(state.store_error.clone()),
                oldest_due_at: state.oldest_due_at.filter(|at| *at <= now),
                left_since: lanes
                    .iter()
                    .filter_map(|lane| lane.left_since)
                    .filter(|at| *at <= now)
                    .min(),
                backlog: state.backlog,
                lanes: lanes.len(),
                breakers_open: lanes
                    .iter()
                    .filter(|lane| lane.breaker != BreakerState::Closed)
                    .count(),
                resting: lanes.iter().filter(|lane| lane.paused).count(),
                window: lanes.iter().map(|lane| lane.window).sum(),
                held,
                running,
                totals,
            }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
