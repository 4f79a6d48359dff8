//! Timestamps of RFC 3161, as far as they need no network: asking for one, accepting the answer, and answering.
//!
//! Whoever has a connection POSTs [`TimestampRequest::der`] as `application/timestamp-query` and hands the answer's body to
//! [`TimestampRequest::accept`]. Whether the authority is to be trusted is for [`crate::verify()`] to say.

mod responder;

use der::{
    Decode as _, Encode as _, Sequence,
    asn1::{ObjectIdentifier, OctetString, Uint},
};
use x509_cert::spki::AlgorithmIdentifierOwned;

pub use responder::Responder;

use crate::{
    pki::{Digest, oid},
    sign::SignError,
    verify::{
        cms::Cms,
        timestamp::TstInfo,
        tlv::{INTEGER, SEQUENCE, Tlv},
    },
};

/// The largest answer of an authority that is read, in bytes.
pub const MAX_RESPONSE: usize = 64 * 1024;

/// Why an answer is no timestamp for what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// The answer cannot be read.
    #[error("the answer is not a timestamp response")]
    Malformed,
    /// The authority refused.
    #[error("the authority refused with status {status}: {text:?}")]
    Refused {
        /// Its PKIStatus (RFC 3161 section 2.4.2): 2 rejection, 3 waiting, 4 and 5 about revocation.
        status: u32,
        /// What it says, at most 256 characters.
        text: String,
    },
    /// The timestamp is for something else.
    #[error("the timestamp is not for what was asked: {0}")]
    Another(&'static str),
    /// The timestamp's signature is wrong.
    #[error("the timestamp's signature is false, or its algorithm unknown")]
    Signature,
}

/// The imprint of what is timestamped (RFC 3161 section 2.4.1).
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(crate) struct MessageImprint {
    pub(crate) algorithm: AlgorithmIdentifierOwned,
    pub(crate) hash: OctetString,
}

#[derive(Clone, Debug, Sequence)]
struct TimeStampReq {
    version: u8,
    imprint: MessageImprint,
    policy: Option<ObjectIdentifier>,
    nonce: Option<Uint>,
    #[asn1(default = "Default::default")]
    cert_req: bool,
}

/// A question to a timestamp authority.
#[derive(Clone, Debug)]
pub struct TimestampRequest {
    request: TimeStampReq,
    der: Vec<u8>,
}

/// An authority's timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    token: Vec<u8>,
    at: i64,
}

impl Timestamp {
    /// The time that the authority states, in UTC milliseconds.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// The token in DER.
    pub fn token(&self) -> &[u8] {
        &self.token
    }
}

impl TimestampRequest {
    /// Asks for a timestamp over a digest. `policy` is one that the authority must keep to.
    pub(crate) fn new(
        imprint: &Digest,
        nonce: [u8; 16],
        policy: Option<&str>,
    ) -> Result<Self, SignError> {
        let algorithm = AlgorithmIdentifierOwned {
            oid: imprint.hash().oid(),
            parameters: None,
        };
        let request = TimeStampReq {
            version: 1,
            imprint: MessageImprint {
                algorithm,
                hash: OctetString::new(imprint.as_ref())?,
            },
            policy: policy
                .map(ObjectIdentifier::new)
                .transpose()
                .map_err(|_| SignError::Policy)?,
            nonce: Some(Uint::new(&nonce)?),
            cert_req: true,
        };
        Ok(Self {
            der: request.to_der()?,
            request,
        })
    }

    /// The request's bytes: the body of a POST.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Accepts the body of an answer: granted, over the same digest, with the same nonce and policy, by a certificate for
    /// timestamps that is inside, and signed by it.
    ///
    /// # Errors
    /// When any of that is not so.
    pub fn accept(&self, response: &[u8]) -> Result<Timestamp, TimestampError> {
        if response.len() > MAX_RESPONSE {
            return Err(TimestampError::Malformed);
        }
        let token = token(response)?;
        let cms = Cms::parse(token).ok_or(TimestampError::Malformed)?;
        let content = cms.content.filter(|_| cms.content_type() == oid::TST_INFO);
        let content = content.ok_or(TimestampError::Malformed)?;
        let info = TstInfo::parse(content).ok_or(TimestampError::Malformed)?;
        let imprint = &self.request.imprint;
        if info.digest != imprint.algorithm.oid || info.imprint != imprint.hash.as_bytes() {
            return Err(TimestampError::Another("it is over another digest"));
        }
        if self.request.nonce.as_ref().map(Uint::as_bytes) != info.nonce.map(unsigned) {
            return Err(TimestampError::Another("its nonce is another"));
        }
        if self
            .request
            .policy
            .is_some_and(|policy| policy != info.policy)
        {
            return Err(TimestampError::Another("its policy is another"));
        }
        let signer = cms.signer(std::iter::empty());
        let signer = signer.ok_or(TimestampError::Another("its certificate is missing"))?;
        if !signer.is_for_timestamps() {
            return Err(TimestampError::Another(
                "its certificate is not for timestamps",
            ));
        }
        let intact = cms.check(&[content], signer).is_ok();
        if !intact || cms.names_certificate(signer) != Some(true) {
            return Err(TimestampError::Signature);
        }
        Ok(Timestamp {
            token: token.to_vec(),
            at: info.at,
        })
    }
}

/// The token of a response that grants one: `SEQUENCE { PKIStatusInfo, TimeStampToken OPTIONAL }`.
fn token(response: &[u8]) -> Result<&[u8], TimestampError> {
    let malformed = TimestampError::Malformed;
    let parse = || {
        let (outer, _) = Tlv::split(response)?;
        let mut parts = outer.elements();
        let mut status = parts.tagged(SEQUENCE)?.elements();
        let code = u32::from_der(status.tagged(INTEGER)?.raw).ok()?;
        let text = status
            .tagged(SEQUENCE)
            .and_then(|texts| texts.elements().next());
        Some((code, text, parts.tagged(SEQUENCE).map(|token| token.raw)))
    };
    match parse().ok_or(malformed.clone())? {
        // Granted, or granted with modifications.
        (0 | 1, _, Some(token)) => Ok(token),
        (0 | 1, _, None) => Err(malformed),
        (status, text, _) => {
            let text = text.map(|text| String::from_utf8_lossy(text.content).into_owned());
            let text = text.unwrap_or_default().chars().take(256).collect();
            Err(TimestampError::Refused { status, text })
        }
    }
}

/// The bytes of a non-negative INTEGER without the zero that keeps it so.
pub(crate) fn unsigned(integer: &[u8]) -> &[u8] {
    match integer {
        [0, rest @ ..] if !rest.is_empty() => rest,
        other => other,
    }
}
