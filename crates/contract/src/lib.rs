//! The callback contract between the e-sign platform and a channel participant (渠道参与方).
//!
//! When a sign flow ends, the platform POSTs four members to the channel and expects `{"response_code":"000"}`.
//! This crate holds what both sides must agree on, and nothing that reads a clock, a socket or a file:
//!
//! - [`Callback`] and its four members: types that are valid once made, parsed strictly by [`Callback::parse`];
//! - [`answer`]: what a receiver may answer, and [`answer::judge`], which decides whether an answer acknowledges;
//! - [`webhook`]: the signature in the headers (Standard Webhooks), with rotation and an age window;
//! - [`schedule`]: when a callback that was not acknowledged is sent again.
//!
//! The cases in the folder `vectors/` of this crate settle what the words leave open. Sender, receiver and
//! `sealpost check` all run them.

pub mod answer;
mod callback;
mod json;
pub mod schedule;
pub mod vectors;
pub mod webhook;

pub use answer::{Answer, NotAcknowledged};
pub use callback::{Callback, EndStatus, Malformed, Member, SignEndTime, SignFileUrl, SignFlowId};
pub use json::MAX_NESTING;
pub use schedule::Schedule;

/// A moment in milliseconds since 1970-01-01T00:00:00Z. Fields of this type are named `*_at`, arguments `now`.
pub type UtcMillis = i64;

/// The most bytes a receiver reads of a callback's body: 64 KiB. The four members at their limits take under 3 KiB;
/// the rest is room for members that a later version of the page may add.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The content type of a callback and of its answer.
pub const CONTENT_TYPE: &str = "application/json; charset=utf-8";
