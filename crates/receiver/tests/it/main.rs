//! The receiver over real HTTP on loopback, with every inbox.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod channel;
mod http;
mod once;
mod postgres;
mod sqlite;
mod vectors;
