//! The sign flow.
mod digest;
pub use digest::{Digest, NotADigest};
