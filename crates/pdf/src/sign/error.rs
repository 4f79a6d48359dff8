//! Why a document could not be signed.

use crate::document::Unreadable;

/// Why a key, a certificate or a document was refused, or a signature could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The document itself cannot be read, or has a property that forbids signing it.
    #[error("the PDF cannot be signed")]
    Unreadable(#[from] Unreadable),
    /// No empty signature field has this name.
    #[error("the document has no signature field named {0:?}")]
    NoSuchField(String),
    /// The document has no signatures.
    #[error("the document has no signatures")]
    NoSignature,
    /// The field already carries a signature.
    #[error("the signature field {0:?} is already signed")]
    AlreadySigned(String),
    /// A field with this name exists, or a name is given twice, is empty, longer than 128 characters or holds a full stop.
    #[error("{0:?} cannot be the name of a new signature field")]
    FieldName(String),
    /// The page of a new field does not exist.
    #[error("the document has no page {page}; it has {pages}")]
    NoSuchPage {
        /// The page that was asked for, counted from 0.
        page: usize,
        /// The pages there are.
        pages: usize,
    },
    /// An earlier signature certifies the document and forbids what was asked (DocMDP, ISO 32000-2 section 12.8.2.2).
    #[error("an earlier signature certifies the document and forbids this change")]
    Certified,
    /// A picture, text or other argument is beyond its limit.
    #[error("{what} is beyond its limit of {limit}")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// The limit, in the unit natural to it (bytes, characters, pixels).
        limit: usize,
    },
    /// The finished CMS structure does not fit the room reserved for it.
    #[error("the signature needs {needed} bytes but {reserved} were reserved")]
    NoRoom {
        /// The bytes that the signature has.
        needed: usize,
        /// The bytes that were reserved.
        reserved: usize,
    },
    /// A PKCS#12 file did not open.
    #[error("the PKCS#12 file is damaged, protected in an unknown way, or the password is wrong")]
    Pkcs12,
    /// A private key is of no kind that is supported, or damaged.
    #[error("the private key is damaged or of a kind that is not supported: {0}")]
    Key(&'static str),
    /// A private key outside this process did not sign.
    #[error("the private key outside this process did not sign")]
    ExternalKey(#[source] crate::pki::ExternalKeyError),
    /// A certificate is damaged, or does not belong to its key.
    #[error("the certificate cannot be used: {0}")]
    Certificate(&'static str),
    /// A subject's name is empty, too long or holds a control character.
    #[error("a certificate cannot be issued for this name: {0}")]
    Subject(&'static str),
    /// A timestamp policy is no object identifier in dotted decimals.
    #[error("a timestamp policy is an object identifier such as 1.2.3.4")]
    Policy,
    /// A time is outside what a certificate or a PDF can state (the years 1950 to 9999).
    #[error("the time {0} (UTC milliseconds) cannot be stated")]
    Time(i64),
    /// An ASN.1 structure could not be written.
    #[error("an ASN.1 structure could not be written")]
    Encoding(#[from] der::Error),
    /// The cryptographic library refused an operation.
    #[error("the cryptographic library failed to {0}")]
    Crypto(&'static str),
}
