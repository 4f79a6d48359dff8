//! The contract's promises, as seen from outside the crate.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod callback;
mod fuzz;
mod properties;
mod schedule;
mod vectors;
mod webhook;
