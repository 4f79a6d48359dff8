//! The signature in a callback's headers, after the Standard Webhooks specification 1.0 (symmetric, `v1`):
//! HMAC-SHA256 over `webhook-id.webhook-timestamp.body`, keyed per channel.
//!
//! Several signatures may stand in the header and several secrets may be valid at once: that is how a secret is
//! rotated without a gap. The page's contract knows no signature, so a receiver may leave it unchecked.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::UtcMillis;

/// Header with the callback's id, the same for each attempt.
pub const ID_HEADER: &str = "webhook-id";
/// Header with the attempt's time in whole seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Header with the signatures, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How far a timestamp may lie before or after the receiver's clock, in seconds, unless told otherwise.
pub const DEFAULT_TOLERANCE_SECONDS: i64 = 5 * 60;

/// The most signatures looked at in one header; the rest is ignored.
const MAX_SIGNATURES: usize = 16;

/// Lengths of a secret in bytes that the specification allows.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A channel's shared secret, 24 to 64 bytes, written `whsec_` and base64. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A secret of these bytes.
    ///
    /// # Errors
    /// [`BadSecret`] unless there are 24 to 64 of them.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, BadSecret> {
        let bytes = bytes.into();
        if SECRET_BYTES.contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(BadSecret)
        }
    }

    /// The secret itself, as a person hands it to the other side: `whsec_…`. Neither log nor store it readable.
    pub fn expose(&self) -> String {
        format!("whsec_{}", STANDARD.encode(&self.0))
    }

    /// The secret's bytes, to encrypt them for storage.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl FromStr for Secret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let encoded = text.trim().strip_prefix("whsec_").ok_or(BadSecret)?;
        Self::from_bytes(LENIENT.decode(encoded).map_err(|_| BadSecret)?)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Text or bytes that are no [`Secret`]; says nothing of what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is whsec_ followed by 24 to 64 bytes in base64")]
pub struct BadSecret;

/// One signature, `v1,…`, over a callback sent at `timestamp` (whole seconds since 1970).
pub fn sign(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let tag = tag(secret, id, &timestamp.to_string(), body);
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

/// The value of the signature header while several secrets are valid: one signature each, the newest secret first.
pub fn sign_all(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signatures: Vec<String> = secrets
        .iter()
        .map(|secret| sign(secret, id, timestamp, body))
        .collect();
    signatures.join(" ")
}

/// The three headers as they came; absent ones are `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// [`ID_HEADER`]
    pub id: Option<&'a str>,
    /// [`TIMESTAMP_HEADER`]
    pub timestamp: Option<&'a str>,
    /// [`SIGNATURE_HEADER`]
    pub signature: Option<&'a str>,
}

/// Checks that one of `secrets` signed these bytes within `tolerance_seconds` of `now`, before or after.
/// Signatures are compared in constant time; those of other versions than `v1` are passed over.
///
/// # Errors
/// [`Unverified`] says what is missing or wrong. A receiver answers each with code 401.
pub fn verify(
    secrets: &[Secret],
    headers: Headers<'_>,
    body: &[u8],
    now: UtcMillis,
    tolerance_seconds: i64,
) -> Result<(), Unverified> {
    let id = headers.id.ok_or(Unverified::Missing(ID_HEADER))?;
    let timestamp = headers
        .timestamp
        .ok_or(Unverified::Missing(TIMESTAMP_HEADER))?;
    let signatures = headers
        .signature
        .ok_or(Unverified::Missing(SIGNATURE_HEADER))?;

    // A full stop in the id would let the same signed bytes be split in two ways.
    if id.is_empty() || id.contains('.') {
        return Err(Unverified::Id);
    }
    let sent = parse_seconds(timestamp).ok_or(Unverified::Timestamp)?;
    let age = now.div_euclid(1000).saturating_sub(sent);
    if age > tolerance_seconds {
        return Err(Unverified::TooOld);
    }
    if age < tolerance_seconds.saturating_neg() {
        return Err(Unverified::TooNew);
    }

    let received = || {
        let signatures = signatures.split(' ').take(MAX_SIGNATURES);
        signatures.filter_map(|signature| LENIENT.decode(signature.strip_prefix("v1,")?).ok())
    };
    let matches = secrets.iter().any(|secret| {
        let expected = tag(secret, id, timestamp, body);
        received()
            .any(|tag| constant_time::verify_slices_are_equal(&tag, expected.as_ref()).is_ok())
    });
    if matches {
        Ok(())
    } else {
        Err(Unverified::NoMatch)
    }
}

/// Why a callback's signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unverified {
    /// This header is not there, or holds other than visible ASCII.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// The id is empty or holds a full stop.
    #[error("the header webhook-id is empty or holds a full stop")]
    Id,
    /// The timestamp is not a plain count of seconds.
    #[error("the header webhook-timestamp is no count of seconds")]
    Timestamp,
    /// Sent too long ago: an old request played again, or a clock that is wrong.
    #[error("the signature is too old")]
    TooOld,
    /// Sent in the future: a clock that is wrong.
    #[error("the signature is dated in the future")]
    TooNew,
    /// None of the signatures fits any of the secrets.
    #[error("no signature fits")]
    NoMatch,
}

/// Decimal digits only: no sign, no blanks, nothing that another parser might read otherwise.
fn parse_seconds(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn tag(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&secret.key());
    context.update(id.as_bytes());
    context.update(b".");
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body);
    context.sign()
}
