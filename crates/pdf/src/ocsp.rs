//! Asking an OCSP responder (RFC 6960) whether a certificate was revoked, as far as that needs no network.
//!
//! Whoever has a connection POSTs [`OcspRequest::der`] as `application/ocsp-request` to the URL that the certificate names,
//! and hands the answer's body to [`OcspRequest::accept`]. What is accepted goes into a document with
//! [`add_evidence`](crate::add_evidence), where [`verify`](crate::verify()) finds it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use der::{
    Encode as _, Sequence,
    asn1::{Int, ObjectIdentifier, OctetString},
};
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::{
    pki::oid,
    sign::SignError,
    verify::{
        known::Known,
        ocsp::{OcspResponse, Status, Unanswered},
    },
};

/// The largest answer of a responder that is read, in bytes.
pub const MAX_RESPONSE: usize = 64 * 1024;
/// How far a responder's clock may be ahead of ours, in milliseconds.
const CLOCK_SKEW: i64 = 5 * 60 * 1000;

/// Why an answer says nothing about the certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcspError {
    /// The answer cannot be read.
    #[error("the answer is not an OCSP response")]
    Malformed,
    /// The responder did not answer.
    #[error("the responder refused with status {0}")]
    Refused(
        /// Its OCSPResponseStatus (RFC 6960 section 4.2.1): 1 malformed request, 2 internal error, 3 try later, 5 signature
        /// required, 6 unauthorized.
        u8,
    ),
    /// It is about something else, or by somebody who may not say so.
    #[error("the answer does not count: {0}")]
    Another(&'static str),
    /// The responder does not know the certificate.
    #[error("the responder does not know the certificate")]
    Unknown,
}

#[derive(Sequence)]
struct CertId {
    algorithm: AlgorithmIdentifierOwned,
    issuer_name: OctetString,
    issuer_key: OctetString,
    serial: Int,
}

#[derive(Sequence)]
struct Request {
    certificate: CertId,
}

#[derive(Sequence)]
struct Extension {
    id: ObjectIdentifier,
    value: OctetString,
}

#[derive(Sequence)]
struct TbsRequest {
    requests: Vec<Request>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct OcspRequestData {
    tbs: TbsRequest,
}

/// A question to an OCSP responder about one certificate.
pub struct OcspRequest {
    certificate: Known,
    issuer: Known,
    nonce: Option<Vec<u8>>,
    der: Vec<u8>,
}

/// What a responder says of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspAnswer {
    der: Vec<u8>,
    revoked_at: Option<i64>,
    next_update: Option<i64>,
}

impl OcspAnswer {
    /// The response in DER, as it goes into a document.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Since when the certificate is revoked, in UTC milliseconds; `None`: it is not.
    pub fn revoked_at(&self) -> Option<i64> {
        self.revoked_at
    }

    /// When the responder will know more at the latest, in UTC milliseconds.
    pub fn next_update(&self) -> Option<i64> {
        self.next_update
    }
}

impl OcspRequest {
    /// Asks about a certificate of an issuer, both in DER. `nonce` is 16 random bytes, which responders may repeat.
    ///
    /// # Errors
    /// When a certificate cannot be read or the request cannot be written.
    pub fn new(
        certificate: &[u8],
        issuer: &[u8],
        nonce: Option<[u8; 16]>,
    ) -> Result<Self, SignError> {
        let unread = SignError::Certificate("it is not an X.509 certificate");
        let (Some(certificate), Some(issuer)) = (Known::parse(certificate), Known::parse(issuer))
        else {
            return Err(unread);
        };
        let tbs = certificate.certificate.tbs_certificate();
        let key = issuer.public_key().ok_or(unread)?;
        let sha1 =
            |bytes: &[u8]| OctetString::new(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
        let id = CertId {
            algorithm: AlgorithmIdentifierOwned {
                oid: oid::SHA1,
                parameters: Some(der::Any::null()),
            },
            issuer_name: sha1(&tbs.issuer().to_der()?)?,
            issuer_key: sha1(key)?,
            serial: Int::new(tbs.serial_number().as_bytes())?,
        };
        let extensions = match nonce {
            None => None,
            Some(nonce) => Some(vec![Extension {
                id: oid::OCSP_NONCE,
                value: OctetString::new(OctetString::new(nonce)?.to_der()?)?,
            }]),
        };
        let request = OcspRequestData {
            tbs: TbsRequest {
                requests: vec![Request { certificate: id }],
                extensions,
            },
        };
        Ok(Self {
            der: request.to_der()?,
            nonce: nonce.map(Vec::from),
            certificate,
            issuer,
        })
    }

    /// The request's bytes: the body of a POST.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Accepts the body of an answer: successful, about the certificate that was asked about, signed by its issuer or by whom
    /// the issuer has made its responder, current as of `now` (UTC milliseconds), and with the same nonce where it has one.
    ///
    /// # Errors
    /// When any of that is not so, or the responder does not know the certificate.
    pub fn accept(&self, response: &[u8], now: i64) -> Result<OcspAnswer, OcspError> {
        let response = OcspResponse::parse(response).map_err(|error| match error {
            Unanswered::Malformed => OcspError::Malformed,
            Unanswered::Refused(status) => OcspError::Refused(status),
        })?;
        let statement = response
            .statement(&self.certificate, &self.issuer, &[])
            .ok_or(OcspError::Another(
                "it is about another certificate, by nobody who may say so, or has a critical extension that is unknown",
            ))?;
        // Responders that answer from a cache cannot repeat a nonce, and need not.
        if let (Some(asked), Some(answered)) = (&self.nonce, &response.nonce)
            && asked != answered
        {
            return Err(OcspError::Another("its nonce is another"));
        }
        if statement.this_update > now.saturating_add(CLOCK_SKEW) {
            return Err(OcspError::Another("it is from the future"));
        }
        if statement.is_stale(now.saturating_sub(CLOCK_SKEW)) {
            return Err(OcspError::Another("it is out of date"));
        }
        let revoked_at = match statement.status {
            Status::Good => None,
            Status::Revoked(revoked) => Some(revoked.since),
            Status::Unknown => return Err(OcspError::Unknown),
        };
        Ok(OcspAnswer {
            revoked_at,
            next_update: statement.next_update,
            der: response.der,
        })
    }
}
