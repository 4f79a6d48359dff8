//! Reads what an OCSP responder says of a certificate (RFC 6960), and checks that it may say so.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use der::{Decode as _, Encode as _, asn1::ObjectIdentifier};
use x509_cert::{ext::pkix::ExtendedKeyUsage, spki::AlgorithmIdentifierOwned};

use super::{
    algorithm,
    chain::{Known, Remembered},
    crl::RevocationList,
    timestamp::generalized_time,
    tlv::{Elements, INTEGER, OCTET_STRING, SEQUENCE, Tlv, context},
};
use crate::{
    ocsp::MAX_RESPONSE,
    pki::{Hash, oid, utc_millis},
};

const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const BIT_STRING: u8 = 0x03;
const GENERALIZED_TIME: u8 = 0x18;

/// The most statements of one response.
const MAX_STATEMENTS: usize = 32;
/// The most certificates of one response: its responder's, and perhaps a chain.
const MAX_CERTIFICATES: usize = 8;
/// How long a statement counts that does not say when the next comes, in milliseconds.
const UNLIMITED: i64 = 24 * 3_600_000;

/// A response that was read; whom it is by is known once it was checked against an issuer.
pub(crate) struct OcspResponse {
    /// The whole, as it is kept in a document.
    pub(crate) der: Vec<u8>,
    /// The part that is signed.
    signed: Vec<u8>,
    algorithm: AlgorithmIdentifierOwned,
    signature: Vec<u8>,
    certificates: Vec<Known>,
    produced_at: i64,
    pub(crate) nonce: Option<Vec<u8>>,
    statements: Vec<Statement>,
    /// Who was found to have signed it.
    by: Remembered<By>,
}

/// Who says something in an issuer's name.
#[derive(Clone, Copy)]
enum By {
    Issuer,
    /// Whom the issuer has made its responder; which of the response's certificates is theirs.
    Responder(usize),
    Nobody,
}

/// What is said of one certificate.
#[derive(Clone)]
pub(crate) struct Statement {
    certificate: CertificateId,
    pub(crate) status: Status,
    /// UTC milliseconds.
    pub(crate) this_update: i64,
    pub(crate) next_update: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Good,
    /// Since when, in UTC milliseconds.
    Revoked(i64),
    Unknown,
}

/// How a certificate is named: by digests of its issuer's name and key, and its serial number.
#[derive(Clone)]
struct CertificateId {
    digest: ObjectIdentifier,
    issuer_name: Vec<u8>,
    issuer_key: Vec<u8>,
    serial: Vec<u8>,
}

/// Why there is no response to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    Malformed,
    /// The responder did not answer; its OCSPResponseStatus (section 4.2.1).
    Refused(u8),
}

impl OcspResponse {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, Unanswered> {
        if der.len() > MAX_RESPONSE {
            return Err(Unanswered::Malformed);
        }
        let (outer, rest) = Tlv::split(der).ok_or(Unanswered::Malformed)?;
        let mut parts = outer.elements();
        let status = parts.tagged(ENUMERATED).ok_or(Unanswered::Malformed)?;
        match status.content {
            [0] if rest.is_empty() => Self::basic(der, &mut parts).ok_or(Unanswered::Malformed),
            [status @ 1..=6] => Err(Unanswered::Refused(*status)),
            _ => Err(Unanswered::Malformed),
        }
    }

    /// `[0] EXPLICIT SEQUENCE { responseType, response }`, where the response is a BasicOCSPResponse.
    fn basic(der: &[u8], parts: &mut Elements<'_>) -> Option<Self> {
        let mut bytes = parts
            .tagged(context(0))?
            .elements()
            .tagged(SEQUENCE)?
            .elements();
        let kind = ObjectIdentifier::from_der(bytes.tagged(OBJECT_IDENTIFIER)?.raw).ok()?;
        if kind != oid::OCSP_BASIC {
            return None;
        }
        let (basic, _) = Tlv::split(bytes.tagged(OCTET_STRING)?.content)?;
        let mut basic = basic.elements();
        let data = basic.tagged(SEQUENCE)?;
        let algorithm = AlgorithmIdentifierOwned::from_der(basic.tagged(SEQUENCE)?.raw).ok()?;
        // A signature has whole octets: its first says that no bits are unused.
        let signature = basic.tagged(BIT_STRING)?.content.strip_prefix(&[0])?;
        let certificates = match basic.tagged(context(0)) {
            Some(all) => all.elements().tagged(SEQUENCE)?.elements(),
            None => Tlv::split(&[SEQUENCE, 0])?.0.elements(),
        };

        let mut fields = data.elements();
        // Version 1 is the default; there is no other.
        let _ = fields.tagged(context(0));
        // The responder's name or key: whoever signed is found by trying, and its authority is checked all the same.
        fields
            .tagged(context(1))
            .or_else(|| fields.tagged(context(2)))?;
        let produced_at = generalized_time(fields.tagged(GENERALIZED_TIME)?.content)?;
        let statements = fields.tagged(SEQUENCE)?.elements().take(MAX_STATEMENTS);
        let statements = statements.map(Statement::parse).collect::<Option<_>>()?;
        let nonce = fields.tagged(context(1)).and_then(|all| nonce(&all));
        Some(Self {
            der: der.to_vec(),
            signed: data.raw.to_vec(),
            algorithm,
            signature: signature.to_vec(),
            certificates: certificates
                .take(MAX_CERTIFICATES)
                .filter_map(|certificate| Known::parse(certificate.raw))
                .collect(),
            produced_at,
            nonce,
            statements,
            by: Remembered::default(),
        })
    }

    /// What it says of a certificate, when it is by the certificate's issuer or by whom the issuer has made its responder
    /// (section 4.2.2.2).
    pub(crate) fn statement(
        &self,
        certificate: &Known,
        issuer: &Known,
        lists: &[&RevocationList],
    ) -> Option<&Statement> {
        let found = self
            .statements
            .iter()
            .find(|statement| statement.certificate.names(certificate, issuer))?;
        self.is_authorized(issuer, lists).then_some(found)
    }

    fn is_authorized(&self, issuer: &Known, lists: &[&RevocationList]) -> bool {
        let responder = match self.by.of(issuer, || self.by(issuer)) {
            By::Issuer => return true,
            By::Responder(n) => self.certificates.get(n),
            By::Nobody => None,
        };
        // Most say of themselves that they need not be asked about (id-pkix-ocsp-nocheck); a list that names one counts.
        responder.is_some_and(|responder| {
            !lists.iter().any(|list| {
                list.revoked_at(responder, issuer)
                    .is_some_and(|since| since <= self.produced_at)
            })
        })
    }

    fn by(&self, issuer: &Known) -> By {
        if self.signed_by(issuer) {
            return By::Issuer;
        }
        let responder = self.certificates.iter().position(|responder| {
            let tbs = responder.certificate.tbs_certificate();
            let purposes = tbs.get_extension::<ExtendedKeyUsage>().ok().flatten();
            let delegated = purposes.is_some_and(|(_, all)| all.0.contains(&oid::OCSP_SIGNING));
            let from = utc_millis(tbs.validity().not_before);
            let until = utc_millis(tbs.validity().not_after).saturating_add(999);
            delegated
                && (from..=until).contains(&self.produced_at)
                && tbs.issuer() == issuer.certificate.tbs_certificate().subject()
                && self.signed_by(responder)
                && issuer.signed(responder)
        });
        responder.map_or(By::Nobody, By::Responder)
    }

    fn signed_by(&self, known: &Known) -> bool {
        let key = known
            .certificate
            .tbs_certificate()
            .subject_public_key_info();
        algorithm::check(key, &self.algorithm, None, &self.signed, &self.signature).is_ok()
    }
}

impl Statement {
    fn parse(single: Tlv<'_>) -> Option<Self> {
        let mut parts = single.elements();
        let certificate = CertificateId::parse(parts.tagged(SEQUENCE)?)?;
        let status = parts.next()?;
        let status = match status.tag {
            0x80 => Status::Good,
            0xa1 => {
                let since = status.elements().tagged(GENERALIZED_TIME)?;
                Status::Revoked(generalized_time(since.content)?)
            }
            0x82 => Status::Unknown,
            _ => return None,
        };
        let this_update = generalized_time(parts.tagged(GENERALIZED_TIME)?.content)?;
        let next_update = match parts.tagged(context(0)) {
            Some(next) => {
                let time = next.elements().tagged(GENERALIZED_TIME)?;
                Some(generalized_time(time.content)?)
            }
            None => None,
        };
        Some(Self {
            certificate,
            status,
            this_update,
            next_update,
        })
    }

    /// Whether something newer had been said by then, so that this says nothing about it.
    pub(crate) fn is_stale(&self, at: i64) -> bool {
        let until = self
            .next_update
            .unwrap_or(self.this_update.saturating_add(UNLIMITED));
        until < at
    }
}

impl CertificateId {
    fn parse(id: Tlv<'_>) -> Option<Self> {
        let mut parts = id.elements();
        let digest = AlgorithmIdentifierOwned::from_der(parts.tagged(SEQUENCE)?.raw).ok()?;
        Some(Self {
            digest: digest.oid,
            issuer_name: parts.tagged(OCTET_STRING)?.content.to_vec(),
            issuer_key: parts.tagged(OCTET_STRING)?.content.to_vec(),
            serial: parts.tagged(INTEGER)?.content.to_vec(),
        })
    }

    fn names(&self, certificate: &Known, issuer: &Known) -> bool {
        let tbs = certificate.certificate.tbs_certificate();
        let (Ok(name), Some(key)) = (tbs.issuer().to_der(), issuer.public_key()) else {
            return false;
        };
        tbs.serial_number().as_bytes() == self.serial
            && digest_of(self.digest, &name).as_ref() == Some(&self.issuer_name)
            && digest_of(self.digest, key).as_ref() == Some(&self.issuer_key)
    }
}

/// A digest that names something; SHA-1 is good enough for that, and what most responders know alone (RFC 5019 section 2.1.1).
fn digest_of(algorithm: ObjectIdentifier, bytes: &[u8]) -> Option<Vec<u8>> {
    if algorithm == oid::SHA1 {
        return Some(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec());
    }
    let hash = Hash::of_oid(algorithm)?;
    Some(hash.of(&[bytes]).as_ref().to_vec())
}

/// The nonce among the extensions of a response: an OCTET STRING in the extension's OCTET STRING (RFC 8954).
fn nonce(extensions: &Tlv<'_>) -> Option<Vec<u8>> {
    for extension in extensions.elements().tagged(SEQUENCE)?.elements() {
        let mut parts = extension.elements();
        let id = ObjectIdentifier::from_der(parts.tagged(OBJECT_IDENTIFIER)?.raw).ok()?;
        if id == oid::OCSP_NONCE {
            let value = parts.find(|part| part.tag == OCTET_STRING)?;
            let (nonce, _) = Tlv::split(value.content)?;
            return Some(nonce.content.to_vec());
        }
    }
    None
}
