//! Keys, certificates and the built-in certification authority.
//!
//! What is signed with them is the business of [`crate::sign`]; whether a chain is to be trusted, of [`crate::verify`].

mod authority;
mod credential;
mod key;
pub(crate) mod oid;
mod profile;

pub(crate) use authority::utc_millis;
pub use authority::{Authority, Revocation, Subject, Validity};
pub use credential::Credential;
pub use key::KeyAlgorithm;
pub(crate) use key::PrivateKey;

/// SHA-256 in lower-case hex.
pub(crate) fn hex_sha256(data: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data))
}
