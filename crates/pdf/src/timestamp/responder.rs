//! A timestamp authority's answers (RFC 3161 section 2.4.2): for tests, and for networks that reach no other.

use der::{
    Any, Decode as _, Encode as _, Sequence, Tag,
    asn1::{BitString, ObjectIdentifier, Uint, Utf8StringRef},
};
use jiff::{Timestamp as Moment, tz::Offset};

use super::{MessageImprint, TimeStampReq};
use crate::{
    cms::{self, Content},
    pki::{Credential, Hash},
    sign::SignError,
};

/// The largest question that is answered, in bytes.
const MAX_REQUEST: usize = 4096;

/// PKIFailureInfo bits.
const BAD_ALGORITHM: u8 = 0;
const BAD_REQUEST: u8 = 2;
const UNACCEPTED_POLICY: u8 = 15;

/// A timestamp authority: its key, and the policy that it states.
pub struct Responder {
    credential: Credential,
    policy: ObjectIdentifier,
}

#[derive(Sequence)]
struct TstInfo {
    version: u8,
    policy: ObjectIdentifier,
    imprint: MessageImprint,
    serial: Uint,
    /// GeneralizedTime with milliseconds, which the type of that name does not have.
    at: Any,
    accuracy: Accuracy,
    nonce: Option<Uint>,
}

#[derive(Sequence)]
struct Accuracy {
    seconds: u8,
}

#[derive(Sequence)]
struct Status {
    status: u8,
    text: Option<Vec<Any>>,
    failure: Option<BitString>,
}

#[derive(Sequence)]
struct Response {
    status: Status,
    token: Option<Any>,
}

impl Responder {
    /// An authority with a credential of [`Subject::TimestampAuthority`](crate::Subject::TimestampAuthority) and a policy in
    /// dotted decimals.
    ///
    /// # Errors
    /// When the policy is no object identifier.
    pub fn new(credential: Credential, policy: &str) -> Result<Self, SignError> {
        let policy = ObjectIdentifier::new(policy).map_err(|_| SignError::Policy)?;
        Ok(Self { credential, policy })
    }

    /// Answers one question as of `now` (UTC milliseconds, within a second of the truth). `serial` is 16 bytes that no other
    /// timestamp of this authority has, such as random ones. A question that is not understood is answered with a rejection.
    ///
    /// # Errors
    /// When the time cannot be stated or the cryptographic library fails.
    pub fn respond(
        &self,
        question: &[u8],
        now: i64,
        serial: [u8; 16],
    ) -> Result<Vec<u8>, SignError> {
        let request = match TimeStampReq::from_der(question) {
            Ok(request) if question.len() <= MAX_REQUEST && request.version == 1 => request,
            _ => return reject(BAD_REQUEST, "the request cannot be read"),
        };
        let Some(hash) = Hash::of_oid(request.imprint.algorithm.oid) else {
            return reject(
                BAD_ALGORITHM,
                "the digest is not SHA-256, SHA-384, SHA-512 or SM3",
            );
        };
        if request.imprint.hash.as_bytes().len() != hash.length() {
            return reject(
                BAD_REQUEST,
                "the digest has another length than its algorithm",
            );
        }
        if request.policy.is_some_and(|policy| policy != self.policy) {
            return reject(UNACCEPTED_POLICY, "the policy is another");
        }
        let info = TstInfo {
            version: 1,
            policy: self.policy,
            imprint: request.imprint,
            serial: Uint::new(&serial)?,
            at: generalized_time(now)?,
            accuracy: Accuracy { seconds: 1 },
            nonce: request.nonce,
        };
        let content = Content::TstInfo(&info.to_der()?);
        let token = cms::sign(&self.credential, content, request.cert_req)?.encode()?;
        let response = Response {
            status: Status {
                status: 0,
                text: None,
                failure: None,
            },
            token: Some(Any::from_der(&token)?),
        };
        Ok(response.to_der()?)
    }
}

fn reject(failure: u8, text: &str) -> Result<Vec<u8>, SignError> {
    let mut bits = [0_u8; 2];
    bits[usize::from(failure / 8)] |= 0x80 >> (failure % 8);
    // A named bit list has no trailing zeros.
    let octets = usize::from(failure / 8) + 1;
    let response = Response {
        status: Status {
            status: 2,
            text: Some(vec![Any::encode_from(&Utf8StringRef::new(text)?)?]),
            failure: Some(BitString::new(7 - failure % 8, bits[..octets].to_vec())?),
        },
        token: None,
    };
    Ok(response.to_der()?)
}

/// `YYYYMMDDhhmmss.fffZ`, where DER wants no zero at the end of the fraction.
fn generalized_time(at: i64) -> Result<Any, SignError> {
    let moment = Moment::from_millisecond(at).map_err(|_| SignError::Time(at))?;
    let local = Offset::UTC.to_datetime(moment);
    let fraction = format!(".{:03}", local.subsec_nanosecond() / 1_000_000);
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    let text = format!("{}{fraction}Z", local.strftime("%Y%m%d%H%M%S"));
    Ok(Any::new(Tag::GeneralizedTime, text.as_bytes())?)
}
