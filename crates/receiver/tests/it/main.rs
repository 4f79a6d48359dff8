//! The receiver over real HTTP on loopback, with every inbox.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod channel;
#[path = "../../../store/tests/it/cluster.rs"]
mod cluster;
mod http;
mod once;
mod postgres;
#[path = "../../../store/tests/it/postgresql.rs"]
mod postgresql;
mod sqlite;
mod tls;
#[path = "../../../store/tests/it/tls_server.rs"]
mod tls_server;
mod vectors;
