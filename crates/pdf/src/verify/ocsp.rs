//! Reads what an OCSP responder says of a certificate (RFC 6960), and checks that it may say so.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use der::{Decode as _, Encode as _, asn1::ObjectIdentifier};
use x509_cert::{ext::pkix::ExtendedKeyUsage, spki::AlgorithmIdentifierOwned};

use super::{
    algorithm,
    crl::{RevocationList, Revoked, invalidity_date},
    known::{Known, Remembered},
    report::RevocationReason,
    timestamp::generalized_time,
    tlv::{Elements, INTEGER, OCTET_STRING, SEQUENCE, Tlv, context},
};
use crate::{
    ocsp::MAX_RESPONSE,
    pki::{Hash, oid, utc_millis},
};

const BOOLEAN: u8 = 0x01;
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
    /// Whether it has no critical extension that is unknown here.
    understood: bool,
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
    /// Whether it has no critical extension that is unknown here.
    understood: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Good,
    Revoked(Revoked),
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
        let extensions = Extensions::of(fields.tagged(context(1)));
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
            nonce: extensions.nonce,
            understood: extensions.understood,
            statements,
            by: Remembered::default(),
        })
    }

    /// What it says of a certificate, when it is by the certificate's issuer or by whom the issuer has made its responder
    /// (section 4.2.2.2), and all of it that is critical is understood (section 4.4).
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
        let understood = self.understood && found.understood;
        (understood && self.is_authorized(issuer, lists)).then_some(found)
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
        let mut status = match status.tag {
            0x80 => Status::Good,
            0xa1 => {
                let mut parts = status.elements();
                let since = parts.tagged(GENERALIZED_TIME)?;
                let reason = parts.tagged(context(0));
                let reason = reason.and_then(|reason| reason.elements().tagged(ENUMERATED));
                Status::Revoked(Revoked {
                    since: generalized_time(since.content)?,
                    reason: match reason.map(|reason| reason.content) {
                        Some([number]) => RevocationReason::of(*number),
                        _ => None,
                    },
                    invalid_since: None,
                })
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
        let extensions = Extensions::of(parts.tagged(context(1)));
        if let Status::Revoked(revoked) = &mut status {
            revoked.invalid_since = extensions.invalid_since;
        }
        Some(Self {
            certificate,
            status,
            this_update,
            next_update,
            understood: extensions.understood,
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

/// What is taken from the extensions of a response, or of one of its statements.
struct Extensions {
    nonce: Option<Vec<u8>>,
    /// What revocation lists say in the same words (section 4.4.5).
    invalid_since: Option<i64>,
    /// Whether all that are critical are known here, and all can be read.
    understood: bool,
}

impl Extensions {
    /// Of `[1] EXPLICIT SEQUENCE OF Extension`, which may be missing.
    fn of(all: Option<Tlv<'_>>) -> Self {
        let mut read = Self {
            nonce: None,
            invalid_since: None,
            understood: true,
        };
        if let Some(all) = all {
            read.understood = read.all(&all).is_some();
        }
        read
    }

    fn all(&mut self, all: &Tlv<'_>) -> Option<()> {
        let list = all.elements().tagged(SEQUENCE)?;
        let mut rest = list.content;
        while !rest.is_empty() {
            let (extension, after) = Tlv::split(rest)?;
            rest = after;
            let mut parts = extension.elements();
            let id = ObjectIdentifier::from_der(parts.tagged(OBJECT_IDENTIFIER)?.raw).ok()?;
            let critical = parts.tagged(BOOLEAN);
            let critical = critical.is_some_and(|critical| critical.content != [0]);
            let value = parts.tagged(OCTET_STRING)?;
            // The nonce is an OCTET STRING in the extension's OCTET STRING (RFC 8954).
            if id == oid::OCSP_NONCE {
                self.nonce = Some(Tlv::split(value.content)?.0.content.to_vec());
            } else if id == oid::INVALIDITY_DATE {
                self.invalid_since = invalidity_date(value.content);
            } else if critical {
                return None;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::PrivateKey;
    use crate::{Authority, KeyAlgorithm, Subject, Validity};

    const AT: i64 = 1_795_514_400_000;

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, length[0], length[1]], &content[..]].concat()
    }

    fn extension(id: ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
        let critical: &[u8] = if critical { &[BOOLEAN, 1, 0xff] } else { &[] };
        let id = id.to_der().unwrap();
        tlv(SEQUENCE, &[&id, critical, &tlv(OCTET_STRING, &[value])])
    }

    /// An authority, what it has issued, and its answers with these extensions of the whole, of the statement, and this status.
    struct Answers {
        key: PrivateKey,
        leaf: Known,
        issuer: Known,
    }

    impl Answers {
        fn new() -> Self {
            let validity = Validity {
                not_before: AT,
                not_after: AT + 1000 * UNLIMITED,
            };
            let authority = Authority::generate("test", KeyAlgorithm::P256, validity).unwrap();
            let subject = Subject::TimestampAuthority { name: "stamps" };
            let issued = authority.issue(subject, KeyAlgorithm::P256, validity);
            Self {
                key: PrivateKey::from_pkcs8(&authority.to_pkcs8().unwrap()).unwrap(),
                leaf: Known::parse(&issued.unwrap().chain()[0]).unwrap(),
                issuer: Known::parse(authority.certificate()).unwrap(),
            }
        }

        fn answer(&self, whole: &[u8], single: &[u8], status: &[u8]) -> OcspResponse {
            let tbs = self.leaf.certificate.tbs_certificate();
            let sha256 = |bytes: &[u8]| Hash::of_oid(oid::SHA256).unwrap().of(&[bytes]);
            let algorithm = AlgorithmIdentifierOwned {
                oid: oid::SHA256,
                parameters: None,
            };
            let name = sha256(&tbs.issuer().to_der().unwrap());
            let key = sha256(self.issuer.public_key().unwrap());
            let id = tlv(
                SEQUENCE,
                &[
                    &algorithm.to_der().unwrap(),
                    &tlv(OCTET_STRING, &[name.as_ref()]),
                    &tlv(OCTET_STRING, &[key.as_ref()]),
                    &tlv(INTEGER, &[tbs.serial_number().as_bytes()]),
                ],
            );
            let time = tlv(GENERALIZED_TIME, &[b"20261124100000Z"]);
            let list = |extensions: &[u8]| match extensions {
                [] => Vec::new(),
                some => tlv(context(1), &[&tlv(SEQUENCE, &[some])]),
            };
            let statement = tlv(SEQUENCE, &[&id, status, &time, &list(single)]);
            let data = tlv(
                SEQUENCE,
                &[
                    &tlv(context(2), &[&tlv(OCTET_STRING, &[key.as_ref()])]),
                    &time,
                    &tlv(SEQUENCE, &[&statement]),
                    &list(whole),
                ],
            );
            let signature = self.key.sign(&data).unwrap();
            let algorithm = self.key.algorithm().signature_algorithm();
            let basic = tlv(
                SEQUENCE,
                &[
                    &data,
                    &algorithm.to_der().unwrap(),
                    &tlv(BIT_STRING, &[&[0], &signature]),
                ],
            );
            let kind = oid::OCSP_BASIC.to_der().unwrap();
            let bytes = tlv(SEQUENCE, &[&kind, &tlv(OCTET_STRING, &[&basic])]);
            let whole = tlv(
                SEQUENCE,
                &[&[ENUMERATED, 1, 0], &tlv(context(0), &[&bytes])],
            );
            OcspResponse::parse(&whole).unwrap()
        }

        fn said(&self, whole: &[u8], single: &[u8], status: &[u8]) -> Option<Status> {
            let answer = self.answer(whole, single, status);
            let statement = answer.statement(&self.leaf, &self.issuer, &[]);
            statement.map(|statement| statement.status)
        }
    }

    #[test]
    fn what_is_critical_and_unknown_makes_an_answer_unusable() {
        const GOOD: &[u8] = &[0x80, 0];
        let answers = Answers::new();
        let unknown = ObjectIdentifier::new_unwrap("1.2.3.4");
        let nonce = extension(oid::OCSP_NONCE, true, &tlv(OCTET_STRING, &[b"12345678"]));
        let critical = extension(unknown, true, b"?");
        let harmless = extension(unknown, false, b"?");
        let both = [nonce.clone(), harmless.clone()].concat();
        assert_eq!(answers.said(&[], &[], GOOD), Some(Status::Good));
        assert_eq!(answers.said(&both, &harmless, GOOD), Some(Status::Good));
        let answer = answers.answer(&both, &[], GOOD);
        assert_eq!(answer.nonce.as_deref(), Some(&b"12345678"[..]));
        for (whole, single) in [
            (&critical[..], &[][..]),
            (&[], &critical),
            (&[&both[..], &critical].concat(), &harmless),
            (&[], &[&harmless[..], &critical].concat()),
            (&nonce[..nonce.len() - 1], &[]),
        ] {
            assert_eq!(answers.said(whole, single, GOOD), None);
        }
    }

    #[test]
    fn the_reason_of_a_revocation_is_read() {
        let answers = Answers::new();
        let time = tlv(GENERALIZED_TIME, &[b"20261124100000Z"]);
        let reason = |reason: &[u8]| {
            let status = tlv(0xa1, &[&time, reason]);
            match answers.said(&[], &[], &status) {
                Some(Status::Revoked(revoked)) => revoked.reason,
                other => panic!("{other:?}"),
            }
        };
        let of = |number| tlv(context(0), &[&[ENUMERATED, 1, number]]);
        assert_eq!(reason(&[]), None);
        assert_eq!(reason(&of(1)), Some(RevocationReason::KeyCompromise));
        assert_eq!(reason(&of(4)), Some(RevocationReason::Superseded));
        assert_eq!(reason(&of(7)), None);
        // Since when the key may have been known to others is said as in a revocation list.
        let date = tlv(GENERALIZED_TIME, &[b"20261124000000Z"]);
        let date = extension(oid::INVALIDITY_DATE, false, &date);
        match answers.said(&[], &date, &tlv(0xa1, &[&time])) {
            Some(Status::Revoked(revoked)) => {
                assert_eq!(revoked.since, AT);
                assert_eq!(revoked.doubtful_since(), AT - 10 * 3_600_000);
            }
            other => panic!("{other:?}"),
        }
    }
}
