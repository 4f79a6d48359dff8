//! The receiver over real HTTP on loopback, with both inboxes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod channel;
mod http;
mod once;
mod sqlite;
mod vectors;
