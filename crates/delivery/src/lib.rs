//! The delivery engine: claims what is due, POSTs it through the address guard, judges the answer, plans the retry.
//!
//! The database is the queue ([`sealpost_store`]); the engine keeps in memory only what it is about to send. Its parts, from
//! the inside out:
//!
//! - [`retry`], [`reason`], [`guard`], [`lanes`], [`window`] and [`breaker`]: pure decisions, functions of their arguments;
//! - [`connector`] and [`client`]: one guarded way out of the machine, with one deadline and a cap on what is read;
//! - [`attempt`]: sign, POST, judge;
//! - [`engine`]: the tasks that hold it together; `alerts` tells an operator what needs a person.
//!
//! It knows nothing of axum, of PDF or of how secrets are encrypted: who starts it hands in how to open them.

mod alerts;
pub mod attempt;
pub mod breaker;
mod channels;
pub mod client;
pub mod connector;
pub mod engine;
mod error;
pub mod guard;
pub mod health;
pub mod lanes;
pub mod reason;
pub mod retry;
pub mod window;

pub use engine::{Clock, Config, Engine, OpenSecret};
pub use error::Error;
pub use health::Health;
pub use reason::Reason;
