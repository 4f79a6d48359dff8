//! The delivery engine: claims what is due, POSTs it through the address guard, judges the answer, plans the retry.
//!
//! The database is the queue ([`sealpost_store`]); the engine keeps in memory only what it is about to send. Its parts, from
//! the inside out:
//!
//! - [`retry`], [`reason`], [`guard`] and `lanes`: pure decisions, functions of their arguments;
//! - [`connector`] and [`client`]: one guarded way out of the machine, with one deadline and a cap on what is read;
//! - [`attempt`]: sign, POST, judge;
//! - [`engine`]: the tasks that hold it together.
//!
//! It knows nothing of axum, of PDF or of how secrets are encrypted: who starts it hands in how to open them.

pub mod attempt;
pub mod client;
pub mod connector;
mod error;
pub mod guard;
pub mod reason;
pub mod retry;

pub use error::Error;
pub use reason::Reason;
