//! The sign flow's rules, from outside.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod chain;
mod create;
mod properties;
mod stories;
mod table;
