//! The server as a whole, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod bad_input;
mod callbacks;
mod channel_side;
mod delivery_faults;
mod delivery_process;
mod demo;
mod documents;
#[path = "../../../store/tests/it/front.rs"]
mod front;
mod keys;
mod kill;
mod lanes;
mod levels;
mod mtls;
mod nodes;
mod openapi;
mod operating;
mod operator_api;
mod pages;
mod postgres;
#[path = "../../../store/tests/it/postgresql.rs"]
mod postgresql;
mod seals;
#[path = "../../../store/tests/it/storage.rs"]
mod storage;
#[path = "../../../store/tests/it/strict_storage.rs"]
mod strict_storage;
mod support;
mod timestamps;
