//! Keys, certificates and the built-in certification authority.
//!
//! What is signed with them is the business of [`crate::sign`]; whether a chain is to be trusted, of [`crate::verify`].

mod algorithm;
mod authority;
mod credential;
mod external;
mod hash;
mod key;
mod name;
pub(crate) mod oid;
mod pkcs12;
mod profile;
pub(crate) mod sm2;

pub use algorithm::{KeyAlgorithm, UnknownAlgorithm};
pub(crate) use authority::utc_millis;
pub use authority::{Authority, NewKey, Revocation, Subject, Validity};
pub use credential::Credential;
pub use external::{ExternalKey, ExternalKeyError, ecdsa_signature};
pub(crate) use hash::{Digest, Hash};
pub(crate) use key::PrivateKey;
pub(crate) use name::name_text;
pub use pkcs12::Pkcs12;

/// SHA-256 in lower-case hex.
pub(crate) fn hex_sha256(data: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data))
}
