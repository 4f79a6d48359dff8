//! What the crate makes, judged by other people's tools.

mod draw;
mod mark;
mod paper;
mod receipt;
mod render;
mod samples;
mod seal;
mod signature;
mod tools;
