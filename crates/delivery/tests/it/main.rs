//! The delivery engine against the real store and real HTTP endpoints on loopback.

mod client;
mod engine;
mod guard;
mod support;
