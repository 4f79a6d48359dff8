//! The store over a real database and a real folder.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod callbacks;
mod channels;
mod documents;
mod flows;
mod idempotency;
mod lists;
mod opening;
mod processes;
mod races;
mod world;
