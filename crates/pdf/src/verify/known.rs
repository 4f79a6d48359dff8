//! A certificate with what is asked of it again and again: whose it is, whom it may have issued, and whether it signed another.

use std::cell::RefCell;

use der::{Encode as _, asn1::ObjectIdentifier};
use x509_cert::{
    Certificate,
    ext::pkix::{BasicConstraints, KeyUsage, KeyUsages},
};

use super::{
    algorithm,
    fitness::{Purpose, unfit},
    report::Party,
};
use crate::pki::{hex_sha256, name_text, oid, utc_millis};

/// A certificate with what is asked of it again and again.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) der: Vec<u8>,
    pub(crate) certificate: Certificate,
    /// Certificates, in DER, that it was found to have signed: a seal that is in a document several times is checked once.
    vouched: RefCell<Vec<Vec<u8>>>,
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

    pub(super) fn is_issuer_of(&self, other: &Self) -> bool {
        self.certificate.tbs_certificate().subject() == other.certificate.tbs_certificate().issuer()
    }

    pub(super) fn is_authority(&self, below: usize) -> bool {
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
