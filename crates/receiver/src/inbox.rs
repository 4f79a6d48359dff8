//! Where callbacks are kept, and the record of what was handled.

use std::future::Future;

use sealpost_contract::{Callback, SignFlowId, UtcMillis};

use crate::Error;

/// A durable set of callbacks, one per flow. Clones share it.
///
/// The claim makes a handler run for one copy at a time, across processes if the inbox is shared by several: it is a
/// lease with a number, and a claim that has run out cannot record anything any more.
pub trait Inbox: Clone + Send + Sync + 'static {
    /// Keeps a callback unless its flow is known. When this returns, what was kept is durable.
    ///
    /// # Errors
    /// [`Error`]; nothing is kept then.
    fn keep(
        &self,
        callback: &Callback,
        now: UtcMillis,
    ) -> impl Future<Output = Result<Kept, Error>> + Send;

    /// Asks to handle a kept callback until `until`. Counts as an attempt.
    ///
    /// # Errors
    /// [`Error`]
    fn claim(
        &self,
        id: &SignFlowId,
        now: UtcMillis,
        until: UtcMillis,
    ) -> impl Future<Output = Result<Claim, Error>> + Send;

    /// Records how handling ended and gives the claim back. Returns `false`, and records nothing, when the claim had
    /// run out and another was given since.
    ///
    /// # Errors
    /// [`Error`]; the claim then runs out by itself.
    fn finish(
        &self,
        id: &SignFlowId,
        claim: i64,
        outcome: &Outcome,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Up to `limit` kept callbacks that wait to be handled at `now` and are claimed by nobody, longest due first.
    ///
    /// # Errors
    /// [`Error`]
    fn due(
        &self,
        now: UtcMillis,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Callback>, Error>> + Send;
}

/// What [`Inbox::keep`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The flow was unknown; the callback is kept now.
    New {
        /// Whether keeping it was all there was to do.
        handled: bool,
    },
    /// The same callback, all four members of it, is kept already.
    Again {
        /// Whether it has been handled.
        handled: bool,
    },
    /// Another end of the same flow is kept already: this one.
    Conflict(Box<Callback>),
}

/// What [`Inbox::claim`] gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The claim's number, to be given back with [`Inbox::finish`]; and how many attempts this makes.
    Granted {
        /// The number.
        claim: i64,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// Somebody else is handling it.
    Busy,
    /// It has been handled.
    Handled,
    /// No such flow is kept.
    Unknown,
}

/// How handling ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The handler succeeded.
    Handled {
        /// When.
        at: UtcMillis,
    },
    /// The handler failed; it is due again at `retry_at`.
    Failed {
        /// The handler's reason, cut to 1,000 characters by the receiver.
        reason: String,
        /// When to try again.
        retry_at: UtcMillis,
    },
}

/// One kept callback with its state, to show to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The callback.
    pub callback: Callback,
    /// When it was kept.
    pub kept_at: UtcMillis,
    /// Where it stands.
    pub state: State,
    /// How often the handler was started.
    pub attempts: u32,
    /// How many other ends for the same flow were refused.
    pub conflicts: u32,
}

/// Where a kept callback stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Kept, and not yet handled.
    Waiting {
        /// When the handler is due.
        due_at: UtcMillis,
        /// Why the last attempt failed, if there was one.
        failure: Option<String>,
    },
    /// Handled.
    Handled {
        /// When.
        at: UtcMillis,
    },
}
