//! The server as a whole, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod callbacks;
mod demo;
mod kill;
mod support;
