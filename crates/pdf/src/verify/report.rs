//! What verification says. The names of codes and verdicts are stable: interfaces show them.

use serde::Serialize;

/// What a document's signatures are worth, taken together and one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst verdict of all signatures; [`Verdict::Unsigned`] when there are none.
    pub verdict: Verdict,
    /// SHA-256 of the whole file, in lower-case hex.
    pub file_sha256: String,
    /// How many bytes the file has.
    pub file_bytes: usize,
    /// The signatures in the order in which they were made.
    pub signatures: Vec<SignatureReport>,
    /// Names of signature fields that are still empty.
    pub empty_fields: Vec<String>,
}

/// What is to be thought of a signature or a document (ETSI EN 319 102-1 section 5.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything was checked and is right: TOTAL-PASSED.
    Valid,
    /// The signature is intact but something needed for trust is missing, such as a trusted root: INDETERMINATE.
    Indeterminate,
    /// There is no signature.
    Unsigned,
    /// Something is wrong: the bytes were changed, the signature is false, the certificate was revoked: TOTAL-FAILED.
    Invalid,
}

/// What is known of one signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureReport {
    /// The name of its field.
    pub field: String,
    /// A signature of a document, or a timestamp over one.
    pub kind: SignatureKind,
    /// What it is worth.
    pub verdict: Verdict,
    /// Everything that stands against it or should be known.
    pub findings: Vec<Finding>,
    /// The PAdES level that it reaches, when it is PAdES at all.
    pub level: Option<Level>,
    /// Which revision of the file it signs, counted from 1.
    pub revision: usize,
    /// How many bytes of the file it covers: all up to here, except the signature itself.
    pub covers_bytes: usize,
    /// Whether nothing was appended after it.
    pub covers_whole_file: bool,
    /// The digest and signature algorithms, such as `sha256` with `rsa`.
    pub digest_algorithm: String,
    /// The signature algorithm: `rsa`, `rsa-pss`, `ecdsa-p256`, `ecdsa-p384`, `sm2`.
    pub signature_algorithm: String,
    /// Who signed, by the certificate.
    pub signer: Option<Party>,
    /// The chain above the signer, as far as it was found, up to the trusted root.
    pub chain: Vec<Party>,
    /// The time that counts, in UTC milliseconds: a trusted timestamp's if there is one, else the signer's claim.
    pub signed_at: Option<i64>,
    /// Whose clock [`Self::signed_at`] is.
    pub clock: Clock,
    /// The time that the signer claims (`/M`), in UTC milliseconds.
    pub claimed_at: Option<i64>,
    /// Whether the signer's certificate had been revoked at the time that counts.
    pub revocation: Revocation,
    /// The timestamp authority, when a valid timestamp covers the signature.
    pub timestamp_authority: Option<Party>,
    /// `/Reason`, as the signer wrote it.
    pub reason: Option<String>,
    /// `/Location`, as the signer wrote it.
    pub location: Option<String>,
    /// `/Name`, as the signer wrote it; [`Self::signer`] is what was certified.
    pub name: Option<String>,
    /// What was changed in the document after this signature.
    pub changes: Vec<Change>,
}

/// A signature of a document, or a timestamp over one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureKind {
    /// A signer's signature.
    Signature,
    /// A document timestamp (PAdES B-LTA).
    DocumentTimestamp,
}

/// The levels of ETSI EN 319 142-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// A basic signature.
    #[serde(rename = "B-B")]
    BB,
    /// With a trusted timestamp.
    #[serde(rename = "B-T")]
    BT,
    /// With everything that is needed to check it later.
    #[serde(rename = "B-LT")]
    BLT,
    /// With a document timestamp over that.
    #[serde(rename = "B-LTA")]
    BLTA,
}

impl Level {
    /// As the standard names it: `B-B`, `B-T`, `B-LT` or `B-LTA`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BB => "B-B",
            Self::BT => "B-T",
            Self::BLT => "B-LT",
            Self::BLTA => "B-LTA",
        }
    }
}

/// Whose clock a time was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// Nobody stated a time.
    None,
    /// The signer's own, unproven.
    Signer,
    /// A timestamp authority's.
    TimestampAuthority,
}

/// What is known of a certificate's revocation at the time that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// What came out.
    pub status: RevocationStatus,
    /// What said so.
    pub source: Option<RevocationSource>,
    /// As of when it said so, in UTC milliseconds.
    pub as_of: Option<i64>,
    /// Since when the certificate is revoked, in UTC milliseconds.
    pub revoked_at: Option<i64>,
    /// Why, if that is said.
    pub reason: Option<RevocationReason>,
}

impl Revocation {
    /// Nothing is known.
    pub(super) const UNKNOWN: Self = Self {
        status: RevocationStatus::Unknown,
        source: None,
        as_of: None,
        revoked_at: None,
        reason: None,
    };
}

/// Why a certificate was revoked (RFC 5280 section 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevocationReason {
    /// It is not said, in so many words.
    Unspecified,
    /// The key may be known to others.
    KeyCompromise,
    /// The key of an authority above may be known to others.
    CaCompromise,
    /// The holder is another, or has another name.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// It is not needed any more.
    CessationOfOperation,
    /// For a while.
    CertificateHold,
    /// It was held, and is no longer.
    RemoveFromCrl,
    /// What it permitted is not permitted any more.
    PrivilegeWithdrawn,
    /// The key of an attribute authority may be known to others.
    AaCompromise,
}

impl RevocationReason {
    /// The reason that RFC 5280 names so, if it is one for which a certificate is revoked for good.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "keyCompromise" => Self::KeyCompromise,
            "affiliationChanged" => Self::AffiliationChanged,
            "superseded" => Self::Superseded,
            "cessationOfOperation" => Self::CessationOfOperation,
            "privilegeWithdrawn" => Self::PrivilegeWithdrawn,
            _ => return None,
        })
    }

    /// Its number (CRLReason).
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            Self::RemoveFromCrl => 8,
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }

    /// The reason of a number (CRLReason); `None`: there is none.
    pub(super) fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Unspecified,
            1 => Self::KeyCompromise,
            2 => Self::CaCompromise,
            3 => Self::AffiliationChanged,
            4 => Self::Superseded,
            5 => Self::CessationOfOperation,
            6 => Self::CertificateHold,
            8 => Self::RemoveFromCrl,
            9 => Self::PrivilegeWithdrawn,
            10 => Self::AaCompromise,
            _ => return None,
        })
    }

    /// Whether what a timestamp authority stamped before counts on. A revocation that gives no reason says so no less than one
    /// whose reason is a compromise (RFC 3161 section 4).
    pub(super) fn leaves_timestamps(reason: Option<Self>) -> bool {
        matches!(
            reason,
            Some(
                Self::Unspecified
                    | Self::AffiliationChanged
                    | Self::Superseded
                    | Self::CessationOfOperation
            )
        )
    }
}

/// Whether a certificate had been revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationStatus {
    /// Nothing says.
    Unknown,
    /// It had not been, and was not later, as far as is known.
    Good,
    /// It was, but later.
    RevokedLater,
    /// It had been.
    Revoked,
}

/// What says whether a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationSource {
    /// A revocation list of its issuer (RFC 5280).
    Crl,
    /// An OCSP response (RFC 6960).
    Ocsp,
}

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// The common name.
    pub common_name: Option<String>,
    /// The organization.
    pub organization: Option<String>,
    /// The whole subject (RFC 4514).
    pub subject: String,
    /// Who issued the certificate (RFC 4514).
    pub issuer: String,
    /// The serial number in lower-case hex.
    pub serial: String,
    /// The first moment of validity, in UTC milliseconds.
    pub not_before: i64,
    /// The last moment of validity, in UTC milliseconds.
    pub not_after: i64,
    /// SHA-256 of the certificate, in lower-case hex.
    pub sha256: String,
}

impl Party {
    /// What people call it: the common name, or the whole subject where there is none.
    pub fn name(&self) -> &str {
        self.common_name.as_deref().unwrap_or(&self.subject)
    }
}

/// One thing that verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it does to the verdict.
    pub severity: Severity,
    /// Which thing it is.
    pub code: Code,
    /// More about it, in English.
    pub detail: String,
}

/// What a finding does to the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing; it should be known.
    Note,
    /// It makes the signature indeterminate.
    Doubt,
    /// It makes the signature invalid.
    Failure,
}

/// The things that verification can find. Their snake-case names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The signature dictionary or its CMS structure cannot be read.
    Malformed,
    /// `/SubFilter` names a kind of signature that is not checked here.
    UnsupportedFormat,
    /// An algorithm that is not known, or too weak to be relied on.
    UnsupportedAlgorithm,
    /// The byte range does not cover the whole revision except the signature itself.
    ByteRange,
    /// The file's bytes are not those that were signed.
    DigestMismatch,
    /// The cryptographic signature is false.
    SignatureMismatch,
    /// The signing-certificate attribute is missing or names another certificate (ETSI EN 319 122-1 section 5.2.2).
    SigningCertificate,
    /// The signer's certificate is not in the signature.
    NoCertificate,
    /// The certificate does not lead to a trusted root.
    Untrusted,
    /// The certificate's keyUsage or extended key usage does not permit signing documents.
    KeyUsage,
    /// A certificate of the chain was not yet valid at the time that counts.
    NotYetValid,
    /// A certificate of the chain had expired at the time that counts.
    Expired,
    /// A certificate of the chain was revoked before the time that counts.
    Revoked,
    /// Nothing says whether the certificate was revoked.
    RevocationUnknown,
    /// The timestamp in the signature is wrong or not trusted.
    Timestamp,
    /// The time that the signer claims lies in the future of the verification.
    ClaimedTime,
    /// The document was changed after the signature in a way that is not permitted.
    Modified,
    /// Bytes were appended after the end of the last revision.
    TrailingBytes,
    /// Two signatures, or two objects, cannot be told apart.
    Ambiguous,
}

/// One change that was made after a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind of change it is.
    pub kind: ChangeKind,
    /// Whether it leaves the signature's meaning as it was.
    pub permitted: bool,
    /// More about it, in English.
    pub detail: String,
}

/// The kinds of changes that can follow a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// An empty signature field was signed.
    FieldSigned,
    /// A signature field was added.
    FieldAdded,
    /// Evidence for later checks was added (`/DSS`).
    ValidationDataAdded,
    /// The document's metadata was rewritten.
    Metadata,
    /// Something else: what a reader sees may be changed.
    Other,
}
