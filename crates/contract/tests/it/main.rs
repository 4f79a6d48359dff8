//! The contract's promises, as seen from outside the crate.

mod callback;
mod properties;
mod schedule;
mod vectors;
mod webhook;
