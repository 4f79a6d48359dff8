//! The `sealpost` program: HTTP API, signing pages, workers and command line around the other crates.
//!
//! It holds no rules of its own: what a sign flow permits is in `sealpost_flow`, what a PDF is in `sealpost_pdf`, how a
//! callback is delivered in `sealpost_delivery`. The library exists for the binary and for the tests; it is not a public API.

mod api;
pub mod app;
mod bucket;
pub mod channel_side;
pub mod cli;
mod clock;
pub mod config;
mod demo;
mod docs;
mod doctor;
mod health;
pub mod http_client;
pub mod metrics;
pub mod pages;
pub mod problem;
mod router;
pub mod secrets;
pub mod server;
mod tsa;
mod web;
mod workers;
