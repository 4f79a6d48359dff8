//! The delivery engine against the real store and real HTTP endpoints on loopback.

// A test that unwraps says what it expects; helpers outside of `#[test]` functions are no different.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod cluster;
mod dying;
mod engine;
mod fairness;
mod giving_back;
mod guard;
mod lanes;
#[path = "../../../store/tests/it/cluster.rs"]
mod made;
mod outage;
mod poison;
mod ports;
#[path = "../../../store/tests/it/postgresql.rs"]
mod postgresql;
mod prompt;
mod simulation;
mod stopped;
mod support;
mod tls;
mod woken;
