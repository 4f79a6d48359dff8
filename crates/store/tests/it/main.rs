//! The store over real databases and a real folder. Every test of what is kept runs on SQLite and on PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod world;

mod buckets;
mod callbacks;
mod channels;
mod cluster;
mod codes;
mod console;
mod copies;
mod documents;
mod flows;
mod front;
mod idempotency;
mod lists;
mod locks;
mod moving;
mod nodes;
mod opening;
mod operating;
mod postgresql;
mod preservation;
mod processes;
mod questions;
mod races;
mod seals;
mod signed;
mod storage;
mod strict_storage;
mod tls;
mod tls_server;
mod upgrade;
mod wakes;
