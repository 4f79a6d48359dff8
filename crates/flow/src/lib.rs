//! The sign flow: who signs in which order, what is permitted when, and what is recorded.
//!
//! `0` draft → `1` signing → `2` completed | `3` revoked | `5` expired | `7` rejected; the last four are final. Everything
//! here is a function of its arguments: the clock, ids and randomness are the caller's, and nothing is read or written.
//!
//! [`create`] checks what was asked for and makes a draft; [`apply`] answers each [`Operation`] on a [`Flow`] with the
//! [`Change`] it makes or the [`Refusal`] it meets. The caller commits the changed flow, its events and the callback it
//! causes in one transaction and, when another got in between, reads the flow again and applies again.
//!
//! **Sealing.** A signer's signature is first an intent ([`Step::Signed`]); a worker then puts it into the PDF and
//! reports [`Operation::Apply`]. The next order opens when all lower ones are applied. When no hand is waited for any more
//! (whoever is left seals by itself) the flow is [`State::Sealing`]: it can no longer expire, and it is `2` only after
//! [`Operation::Complete`], which reports that the finished bytes were verified again. On the wire sealing is still `1`.
//!
//! **Evidence.** Each change is recorded as [`Event`]s, hash-chained per flow; [`event`] says how to recompute the chain.

mod apply;
mod digest;
pub mod event;
mod new;
mod operation;
mod recorder;
mod state;

pub use apply::{Change, apply, sealing_wait};
pub use digest::{Digest, NotADigest};
pub use event::{Event, Happening};
pub use new::{Invalid, NewFlow, NewSigner, Problem, create, limits};
pub use operation::{Actor, Consent, Message, Method, Operation, Proof, Refusal, Route, Who};
pub use state::{
    Downgrade, Flow, Intent, Level, NotALevel, Party, Place, Sealing, Signer, SignerNo, State,
    Status, Step,
};
