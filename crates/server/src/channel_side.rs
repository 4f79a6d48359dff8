//! The channel's side of the contract as commands: `sealpost receive`, `sealpost check` and `sealpost listen`.
//!
//! They use nothing of the platform's side but the guarded HTTP client and the PDF verifier: a channel runs them on a
//! machine that has no Sealpost server, no database and no configuration file.

pub mod check;
pub mod listen;
pub mod receive;
mod values;
mod wire;
