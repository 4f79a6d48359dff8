//! Builds and checks certificate chains (RFC 5280 section 6), as of a given time.
//!
//! A chain leads from a certificate over others to a trusted root. Its certificates come from the signature, the document
//! and the verifier. Names are compared byte by byte, as issuers copy them.

use std::cell::RefCell;

use der::{Encode as _, asn1::ObjectIdentifier};
use x509_cert::{
    Certificate,
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages},
    time::Time,
};

use super::{
    algorithm,
    crl::RevocationList,
    ocsp::{OcspResponse, Status},
    report::{
        Code, Finding, Party, Revocation, RevocationReason, RevocationSource, RevocationStatus,
        Severity,
    },
};
use crate::pki::{hex_sha256, name_text, oid, utc_millis};

/// The most certificates between a leaf and its root.
const MAX_DEPTH: usize = 8;
/// The most public-key operations that building one chain may take.
const MAX_CHECKS: usize = 64;

/// A certificate with what is asked of it again and again.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) der: Vec<u8>,
    pub(crate) certificate: Certificate,
    /// Certificates, in DER, that it was found to have signed: a seal that is in a document several times is checked once.
    vouched: RefCell<Vec<Vec<u8>>>,
}

/// What was found out about something with issuers' keys, by their certificates in DER: it is asked about for each certificate
/// of each signature.
pub(super) struct Remembered<T>(RefCell<Vec<(Vec<u8>, T)>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Copy> Remembered<T> {
    pub(super) fn of(&self, issuer: &Known, find_out: impl FnOnce() -> T) -> T {
        let known = self.0.borrow();
        if let Some((_, found)) = known.iter().find(|(der, _)| *der == issuer.der) {
            return *found;
        }
        drop(known);
        let found = find_out();
        self.0.borrow_mut().push((issuer.der.clone(), found));
        found
    }
}

impl Known {
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        use der::Decode as _;
        Some(Self {
            der: der.to_vec(),
            certificate: Certificate::from_der(der).ok()?,
            vouched: RefCell::default(),
        })
    }

    pub(super) fn party(&self) -> Party {
        let tbs = self.certificate.tbs_certificate();
        let part = |attribute: ObjectIdentifier| {
            let found = tbs.subject().iter().find(|part| part.oid == attribute)?;
            text_of(&found.value)
        };
        Party {
            common_name: part(oid::COMMON_NAME),
            organization: part(oid::ORGANIZATION),
            subject: name_text(tbs.subject()),
            issuer: name_text(tbs.issuer()),
            serial: hex::encode(tbs.serial_number().as_bytes()),
            not_before: utc_millis(tbs.validity().not_before),
            not_after: utc_millis(tbs.validity().not_after),
            sha256: hex_sha256(&self.der),
        }
    }

    /// Whether it is a timestamp authority's and for nothing else (RFC 3161 section 2.3).
    pub(crate) fn is_for_timestamps(&self) -> bool {
        unfit(self, Purpose::Timestamps).is_none()
    }

    /// The public key without the algorithm around it.
    pub(crate) fn public_key(&self) -> Option<&[u8]> {
        let key = self.certificate.tbs_certificate().subject_public_key_info();
        key.subject_public_key.as_bytes()
    }

    fn is_issuer_of(&self, other: &Self) -> bool {
        self.certificate.tbs_certificate().subject() == other.certificate.tbs_certificate().issuer()
    }

    fn is_authority(&self, below: usize) -> bool {
        let tbs = self.certificate.tbs_certificate();
        let constraints = tbs.get_extension::<BasicConstraints>().ok().flatten();
        let usage = tbs.get_extension::<KeyUsage>().ok().flatten();
        constraints.is_some_and(|(_, constraints)| {
            constraints.ca
                && constraints
                    .path_len_constraint
                    .is_none_or(|most| below <= usize::from(most))
        }) && usage.is_none_or(|(_, usage)| usage.0.contains(KeyUsages::KeyCertSign))
    }

    pub(super) fn signed(&self, other: &Self) -> bool {
        if self.vouched.borrow().contains(&other.der) {
            return true;
        }
        let issued = &other.certificate;
        let (Ok(message), Some(signature)) = (
            issued.tbs_certificate().to_der(),
            issued.signature().as_bytes(),
        ) else {
            return false;
        };
        // The algorithm stated inside must be the one stated outside (RFC 5280 section 4.1.1.2).
        let algorithm = issued.signature_algorithm();
        let key = self.certificate.tbs_certificate().subject_public_key_info();
        let holds = algorithm == issued.tbs_certificate().signature()
            && algorithm::check(key, algorithm, None, &message, signature).is_ok();
        if holds {
            self.vouched.borrow_mut().push(other.der.clone());
        }
        holds
    }
}

fn text_of(value: &der::Any) -> Option<String> {
    use der::Tagged as _;
    match value.tag() {
        der::Tag::BmpString => {
            let units = value
                .value()
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            Some(
                char::decode_utf16(units)
                    .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect(),
            )
        }
        der::Tag::Utf8String
        | der::Tag::PrintableString
        | der::Tag::Ia5String
        | der::Tag::TeletexString => Some(String::from_utf8_lossy(value.value()).into_owned()),
        _ => None,
    }
}

/// What a certificate must be good for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Documents,
    Timestamps,
}

/// Where the certificates of a verification come from, and what says which were revoked.
pub(super) struct Pool<'p> {
    pub(super) roots: &'p [Known],
    pub(super) others: Vec<&'p Known>,
    pub(super) lists: &'p [&'p RevocationList],
    pub(super) responses: &'p [OcspResponse],
}

/// What is to be thought of a certificate that was used for something.
pub(super) struct Judged {
    pub(super) findings: Vec<Finding>,
    /// Whether revocation is known for a chain up to a trusted root.
    pub(super) lasting: bool,
    /// What is known of the leaf's revocation.
    pub(super) revocation: Revocation,
    /// What was revoked later in a way that makes what a timestamp authority has stamped before doubtful.
    pub(super) compromised: Option<Compromise>,
}

/// A certificate that was revoked for a reason that does not exclude that others know its key, who could have stamped any time with it.
#[derive(Clone, Debug)]
pub(super) struct Compromise {
    /// Since when that may be so, in UTC milliseconds.
    pub(super) since: i64,
    /// Whose certificate.
    pub(super) subject: String,
}

/// A chain from a leaf (not in it) up to a root, or as far as it goes.
pub(super) struct Chain {
    pub(super) above: Vec<Known>,
    pub(super) trusted: bool,
}

impl Pool<'_> {
    /// The chain of `leaf`: a trusted one when there is one.
    pub(super) fn chain(&self, leaf: &Known) -> Chain {
        if self.roots.iter().any(|root| root.der == leaf.der) {
            return Chain {
                above: Vec::new(),
                trusted: true,
            };
        }
        let mut path = Vec::new();
        let mut checks = MAX_CHECKS;
        if self.climb(leaf, &mut path, &mut checks) {
            return Chain {
                above: path.into_iter().cloned().collect(),
                trusted: true,
            };
        }
        // Not trusted: show the first issuers all the same.
        let mut above: Vec<Known> = Vec::new();
        while above.len() < MAX_DEPTH {
            let below = above.last().unwrap_or(leaf);
            let next = self
                .others
                .iter()
                .find(|known| known.is_issuer_of(below) && known.der != below.der);
            match next {
                Some(next) if above.iter().all(|known| known.der != next.der) => {
                    above.push((*next).clone())
                }
                _ => break,
            }
        }
        Chain {
            above,
            trusted: false,
        }
    }

    fn climb<'c>(&'c self, below: &Known, path: &mut Vec<&'c Known>, checks: &mut usize) -> bool {
        if path.len() == MAX_DEPTH {
            return false;
        }
        let candidates = self.roots.iter().map(|root| (root, true));
        let candidates = candidates.chain(self.others.iter().map(|known| (*known, false)));
        for (candidate, is_root) in candidates {
            if !candidate.is_issuer_of(below)
                || !candidate.is_authority(path.len())
                || path.iter().any(|known| known.der == candidate.der)
            {
                continue;
            }
            let Some(left) = checks.checked_sub(1) else {
                return false;
            };
            *checks = left;
            if !candidate.signed(below) {
                continue;
            }
            path.push(candidate);
            if is_root || self.climb(candidate, path, checks) {
                return true;
            }
            path.pop();
        }
        false
    }

    /// Everything that stands against using `leaf` for `purpose` at `at` (UTC milliseconds). `proven` says that `at` is more
    /// than the signer's claim; otherwise `now` counts too.
    pub(super) fn judge(
        &self,
        leaf: &Known,
        chain: &Chain,
        purpose: Purpose,
        (at, proven, now): (i64, bool, i64),
    ) -> Judged {
        let mut findings = Vec::new();
        if !chain.trusted {
            let detail = "the certificate does not lead to a trusted root".to_owned();
            findings.push(Finding {
                severity: Severity::Doubt,
                code: Code::Untrusted,
                detail,
            });
        }
        if let Some(detail) = unfit(leaf, purpose) {
            findings.push(Finding {
                severity: Severity::Failure,
                code: Code::KeyUsage,
                detail,
            });
        }
        let mut revocation_known = true;
        let mut of_leaf = None;
        let mut compromised: Option<Compromise> = None;
        let all: Vec<&Known> = std::iter::once(leaf).chain(&chain.above).collect();
        for (n, known) in all.iter().enumerate() {
            findings.extend(unknown_critical(known));
            findings.extend(validity(known, at, proven, now));
            let issuer = all.get(n + 1);
            // A root is trusted by decision; nobody can revoke it but the verifier. And what strangers say of their own is worth
            // nothing, while there may be so much of it that checking it takes hours.
            if let Some(issuer) = issuer {
                let (revocation, doubtful_since) = match chain.trusted {
                    true => self.revocation(known, issuer, at),
                    false => (Revocation::UNKNOWN, None),
                };
                findings.extend(against(known, &revocation, proven));
                if revocation.status == RevocationStatus::RevokedLater
                    && !RevocationReason::leaves_timestamps(revocation.reason)
                    && let Some(since) = doubtful_since
                    && compromised.as_ref().is_none_or(|other| since < other.since)
                {
                    let subject = known.certificate.tbs_certificate().subject();
                    compromised = Some(Compromise {
                        since,
                        subject: subject.to_string(),
                    });
                }
                revocation_known &= revocation.status != RevocationStatus::Unknown;
                of_leaf.get_or_insert(revocation);
            }
        }
        if !revocation_known {
            let detail = "nothing says whether the certificate was revoked".to_owned();
            findings.push(Finding {
                severity: Severity::Note,
                code: Code::RevocationUnknown,
                detail,
            });
        }
        Judged {
            findings,
            lasting: revocation_known && chain.trusted,
            revocation: of_leaf.unwrap_or(Revocation::UNKNOWN),
            compromised,
        }
    }

    /// What the revocation lists and OCSP responses say of a certificate as of `at`: the newest of them, unless one knows of a
    /// revocation. One that is out of date clears nobody, but a revocation stays one unless something newer does not have it. With
    /// a revocation comes since when others may know the key.
    pub(super) fn revocation(
        &self,
        known: &Known,
        issuer: &Known,
        at: i64,
    ) -> (Revocation, Option<i64>) {
        let tbs = known.certificate.tbs_certificate();
        // Who has dropped a certificate because it had expired says nothing of it.
        let expired = utc_millis(tbs.validity().not_after).saturating_add(999);
        let lists = self.lists.iter().filter_map(|list| {
            let (stale, entry) = (list.is_stale(at), list.entry(known));
            let says = entry.is_some() || (!stale && list.covers(known));
            (says && list.speaks_for(known, issuer)).then_some((
                stale,
                RevocationSource::Crl,
                list.this_update(),
                entry,
            ))
        });
        let responses = self.responses.iter().filter_map(|response| {
            let said = response.statement(known, issuer, self.lists)?;
            let revoked = match said.status {
                Status::Good => None,
                Status::Revoked(revoked) => Some(revoked),
                Status::Unknown => return None,
            };
            let stale = said.is_stale(at);
            Some((stale, RevocationSource::Ocsp, said.this_update, revoked))
        });
        let mut all: Vec<_> = lists.chain(responses).collect();
        all.sort_by_key(|(stale, ..)| *stale);
        let mut newest = Revocation::UNKNOWN;
        let mut doubtful_since = None;
        for (stale, source, as_of, revoked) in all {
            let status = match revoked {
                Some(revoked) if revoked.since <= at => RevocationStatus::Revoked,
                Some(_) => RevocationStatus::RevokedLater,
                None if stale || as_of > expired => continue,
                None => RevocationStatus::Good,
            };
            let found = Revocation {
                status,
                source: Some(source),
                as_of: Some(as_of),
                revoked_at: revoked.map(|revoked| revoked.since),
                reason: revoked.and_then(|revoked| revoked.reason),
            };
            let outdone = stale && found.as_of <= newest.as_of;
            if !outdone && (found.status, found.as_of) > (newest.status, newest.as_of) {
                newest = found;
                doubtful_since = revoked.map(|revoked| revoked.doubtful_since());
            }
        }
        (newest, doubtful_since)
    }
}

/// What a revocation does to the verdict. `proven` says that the time of use is more than the signer's claim.
fn against(known: &Known, revocation: &Revocation, proven: bool) -> Option<Finding> {
    let (severity, detail) = match revocation.status {
        RevocationStatus::Unknown | RevocationStatus::Good => return None,
        RevocationStatus::Revoked => (Severity::Failure, "a certificate had been revoked"),
        RevocationStatus::RevokedLater if proven => {
            (Severity::Note, "a certificate was revoked later")
        }
        RevocationStatus::RevokedLater => (
            Severity::Doubt,
            "a certificate was revoked later than the time that the signer claims",
        ),
    };
    let subject = known.certificate.tbs_certificate().subject();
    Some(Finding {
        severity,
        code: Code::Revoked,
        detail: format!("{detail}: {subject}"),
    })
}

/// Why a leaf may not be used for `purpose`.
fn unfit(leaf: &Known, purpose: Purpose) -> Option<String> {
    let tbs = leaf.certificate.tbs_certificate();
    let usage = match tbs.get_extension::<KeyUsage>() {
        Ok(usage) => usage,
        Err(_) => return Some("the certificate's keyUsage cannot be read".to_owned()),
    };
    let signs = KeyUsages::DigitalSignature | KeyUsages::NonRepudiation;
    if usage.is_some_and(|(_, usage)| (usage.0 & signs).is_empty()) {
        return Some("the certificate's keyUsage does not permit signing".to_owned());
    }
    let extended = match tbs.get_extension::<ExtendedKeyUsage>() {
        Ok(extended) => extended.map(|(_, extended)| extended.0),
        Err(_) => return Some("the certificate's extended key usage cannot be read".to_owned()),
    };
    match (purpose, extended) {
        (Purpose::Timestamps, Some(purposes)) if purposes == [oid::TIME_STAMPING] => None,
        (Purpose::Timestamps, _) => {
            Some("the certificate is not a timestamp authority's alone".to_owned())
        }
        (Purpose::Documents, Some(purposes)) if !permits_documents(&purposes) => Some(
            "the certificate's extended key usage does not permit signing documents".to_owned(),
        ),
        (Purpose::Documents, _) => None,
    }
}

/// Whether a certificate for these purposes signs documents: it is for documents, for e-mail, or for anything (RFC 9336
/// section 3). One for web servers, web clients, code or timestamps is another thing.
fn permits_documents(purposes: &[ObjectIdentifier]) -> bool {
    const FIT: [ObjectIdentifier; 5] = [
        oid::ANY_PURPOSE,
        oid::DOCUMENT_SIGNING,
        oid::EMAIL_PROTECTION,
        oid::ADOBE_DOCUMENT_SIGNING,
        oid::MICROSOFT_DOCUMENT_SIGNING,
    ];
    purposes.iter().any(|purpose| FIT.contains(purpose))
}

/// A critical extension that is not understood forbids using the certificate (RFC 5280 section 4.2).
fn unknown_critical(known: &Known) -> Option<Finding> {
    const UNDERSTOOD: [ObjectIdentifier; 6] = [
        oid::BASIC_CONSTRAINTS,
        oid::KEY_USAGE,
        oid::EXTENDED_KEY_USAGE,
        oid::SUBJECT_ALT_NAME,
        oid::CERTIFICATE_POLICIES,
        oid::CRL_DISTRIBUTION_POINTS,
    ];
    let extensions = known.certificate.tbs_certificate().extensions()?;
    let unknown = extensions
        .iter()
        .find(|extension| extension.critical && !UNDERSTOOD.contains(&extension.extn_id))?;
    let detail = format!(
        "a certificate has a critical extension that is not understood: {}",
        unknown.extn_id
    );
    Some(Finding {
        severity: Severity::Doubt,
        code: Code::Untrusted,
        detail,
    })
}

fn validity(known: &Known, at: i64, proven: bool, now: i64) -> Option<Finding> {
    let tbs = known.certificate.tbs_certificate();
    // Certificates state whole seconds and are valid through the last one.
    let end = |time: Time| utc_millis(time).saturating_add(999);
    let (first, last) = (
        utc_millis(tbs.validity().not_before),
        end(tbs.validity().not_after),
    );
    let finding = |severity, code, detail: &str| {
        Some(Finding {
            severity,
            code,
            detail: format!("{detail}: {}", tbs.subject()),
        })
    };
    if at < first {
        finding(
            Severity::Failure,
            Code::NotYetValid,
            "a certificate was not yet valid",
        )
    } else if at > last {
        finding(
            Severity::Failure,
            Code::Expired,
            "a certificate had expired",
        )
    } else if !proven && now > last {
        let detail = "a certificate has expired since, and only the signer's own clock says that it was still valid";
        finding(Severity::Doubt, Code::Expired, detail)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, KeyAlgorithm, Subject, Validity};

    /// A certificate of the built-in authority with other purposes of the same length; its own signature is not looked at.
    fn with_purposes(last_bytes: [u8; 2]) -> Known {
        let validity = Validity {
            not_before: 1_795_514_400_000,
            not_after: 1_795_600_800_000,
        };
        let authority = Authority::generate("test", KeyAlgorithm::P256, validity).unwrap();
        let subject = Subject::Organization {
            name: "purposes",
            credit_code: None,
        };
        let issued = authority
            .issue(subject, KeyAlgorithm::P256, validity)
            .unwrap();
        let mut der = issued.chain()[0].clone();
        for (purpose, last) in [oid::DOCUMENT_SIGNING, oid::EMAIL_PROTECTION]
            .iter()
            .zip(last_bytes)
        {
            let bytes = purpose.as_bytes();
            let place = der.windows(bytes.len()).position(|window| window == bytes);
            der[place.unwrap() + bytes.len() - 1] = last;
        }
        Known::parse(&der).unwrap()
    }

    #[test]
    fn documents_are_signed_with_certificates_for_that() {
        let (server, client, code, email, documents) = (1, 2, 3, 4, 36);
        let fits = |purposes| unfit(&with_purposes(purposes), Purpose::Documents).is_none();
        assert!(fits([documents, email]));
        assert!(fits([server, email]));
        assert!(fits([documents, client]));
        assert!(!fits([server, client]));
        assert!(!fits([code, client]));
    }

    #[test]
    fn vendors_names_for_signing_documents_are_known() {
        let permits = |purpose| permits_documents(&[ObjectIdentifier::new_unwrap(purpose)]);
        for fit in [
            "2.5.29.37.0",
            "1.3.6.1.5.5.7.3.36",
            "1.3.6.1.5.5.7.3.4",
            "1.2.840.113583.1.1.5",
            "1.3.6.1.4.1.311.10.3.12",
        ] {
            assert!(permits(fit), "{fit}");
        }
        for unfit in [
            "1.3.6.1.5.5.7.3.1",
            "1.3.6.1.5.5.7.3.2",
            "1.3.6.1.5.5.7.3.8",
        ] {
            assert!(!permits(unfit), "{unfit}");
        }
        assert!(!permits_documents(&[]));
    }
}
