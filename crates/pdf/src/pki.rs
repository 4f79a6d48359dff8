//! Keys, certificates and the built-in certification authority.
//!
//! What is signed with them is the business of [`crate::sign`]; whether a chain is to be trusted, of [`crate::verify`].

mod authority;
mod credential;
mod key;

pub use authority::{Authority, Subject, Validity};
pub use credential::Credential;
pub use key::KeyAlgorithm;
pub(crate) use key::PrivateKey;
