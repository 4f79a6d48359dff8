//! What the crate makes, judged by other people's tools.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpora;
mod draw;
mod find;
mod hostile;
mod judges;
mod mark;
mod ocsp;
mod outside;
mod paper;
mod parties;
mod place;
mod preflight;
mod receipt;
mod render;
mod report;
mod samples;
mod seal;
mod sign;
mod signature;
mod sm2;
mod structures;
mod timestamp;
mod tools;
mod typed;
mod verify;
