//! The server as a whole, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod bad_input;
mod callbacks;
mod channel_side;
mod delivery_faults;
mod delivery_process;
mod demo;
mod kill;
mod mtls;
mod openapi;
mod operating;
mod pages;
mod postgres;
mod support;
mod timestamps;
