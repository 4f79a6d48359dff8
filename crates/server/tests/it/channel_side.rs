//! `sealpost receive`, `check` and `listen` as a channel uses them: the real binary, over HTTP on loopback.

mod actors;
mod broken;
mod check;
mod examples;
mod kill;
mod listen;
mod receive;
mod story;
