//! Reads certificate revocation lists (RFC 5280 section 5), and checks whose they are.

use der::{Decode as _, Encode as _};
use x509_cert::{
    crl::CertificateList,
    ext::pkix::{
        BasicConstraints, CrlDistributionPoints, IssuingDistributionPoint, KeyUsage, KeyUsages,
        name::{DistributionPointName, GeneralName},
    },
};

use super::{
    algorithm,
    known::{Known, Remembered},
    report::RevocationReason,
    timestamp::generalized_time,
    tlv::Tlv,
};
use crate::pki::{oid, utc_millis};

/// How long a list counts that does not say when the next comes, in milliseconds.
const UNLIMITED: i64 = 24 * 3_600_000;

const GENERALIZED_TIME: u8 = 0x18;

/// That a certificate is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revoked {
    /// Since when, in UTC milliseconds.
    pub(crate) since: i64,
    pub(crate) reason: Option<RevocationReason>,
    /// Since when its key may have been known to others, where its issuer says so (RFC 5280 section 5.3.2), in UTC milliseconds.
    pub(crate) invalid_since: Option<i64>,
}

impl Revoked {
    /// Since when nothing that was made with its key proves a time.
    pub(super) fn doubtful_since(&self) -> i64 {
        self.invalid_since
            .map_or(self.since, |invalid| invalid.min(self.since))
    }
}

/// A certificate revocation list (RFC 5280 section 5).
pub(crate) struct RevocationList {
    list: CertificateList,
    tbs: Vec<u8>,
    /// By whom it was found to be signed or not.
    signed: Remembered<bool>,
}

impl RevocationList {
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let list = CertificateList::from_der(der).ok()?;
        let tbs = list.tbs_cert_list.to_der().ok()?;
        Some(Self {
            list,
            tbs,
            signed: Remembered::default(),
        })
    }

    pub(super) fn this_update(&self) -> i64 {
        utc_millis(self.list.tbs_cert_list.this_update)
    }

    /// Whether it had been replaced by then, so that it says nothing about it.
    pub(super) fn is_stale(&self, at: i64) -> bool {
        let until = self
            .next_update()
            .unwrap_or(self.this_update().saturating_add(UNLIMITED));
        until < at
    }

    pub(super) fn next_update(&self) -> Option<i64> {
        self.list.tbs_cert_list.next_update.map(utc_millis)
    }

    /// Whether it is the list of a certificate's issuer.
    pub(super) fn speaks_for(&self, known: &Known, issuer: &Known) -> bool {
        self.list.tbs_cert_list.issuer == *known.certificate.tbs_certificate().issuer()
            && self.signed.of(issuer, || self.signed_by(issuer))
    }

    /// Whether a certificate of its issuer that it does not have is not revoked: it is complete, and not of other certificates
    /// or of some reasons alone (RFC 5280 section 5.2).
    pub(super) fn covers(&self, known: &Known) -> bool {
        let extensions = self.list.tbs_cert_list.crl_extensions.iter().flatten();
        extensions.into_iter().all(|extension| {
            if extension.extn_id != oid::ISSUING_DISTRIBUTION_POINT {
                return !extension.critical;
            }
            IssuingDistributionPoint::from_der(extension.extn_value.as_bytes())
                .is_ok_and(|point| is_of(&point, known))
        })
    }

    /// Since when it has a certificate as revoked, and why. One that it has as released (removeFromCRL) is not revoked.
    pub(super) fn entry(&self, known: &Known) -> Option<Revoked> {
        let serial = known.certificate.tbs_certificate().serial_number();
        let mut revoked = self
            .list
            .tbs_cert_list
            .revoked_certificates
            .iter()
            .flatten();
        let entry = revoked.find(|entry| entry.serial_number == *serial)?;
        let extension = |id| {
            let mut extensions = entry.crl_entry_extensions.iter().flatten();
            let found = extensions.find(|extension| extension.extn_id == id);
            found.map(|extension| extension.extn_value.as_bytes())
        };
        // An ENUMERATED of one octet.
        let reason = match extension(oid::REASON_CODE) {
            Some([0x0a, 1, number]) => RevocationReason::of(*number),
            _ => None,
        };
        if reason == Some(RevocationReason::RemoveFromCrl) {
            return None;
        }
        let invalid_since = extension(oid::INVALIDITY_DATE).and_then(invalidity_date);
        Some(Revoked {
            since: utc_millis(entry.revocation_date),
            reason,
            invalid_since,
        })
    }

    /// Since when a certificate of `issuer` is revoked, when this is the issuer's list and says so.
    pub(super) fn revoked_at(&self, known: &Known, issuer: &Known) -> Option<i64> {
        let entry = self.entry(known)?;
        self.speaks_for(known, issuer).then_some(entry.since)
    }

    fn signed_by(&self, issuer: &Known) -> bool {
        let Some(signature) = self.list.signature.as_bytes() else {
            return false;
        };
        let tbs = issuer.certificate.tbs_certificate();
        let usage = tbs.get_extension::<KeyUsage>().ok().flatten();
        usage.is_none_or(|(_, usage)| usage.0.contains(KeyUsages::CRLSign))
            && self.list.signature_algorithm == self.list.tbs_cert_list.signature
            && algorithm::check(
                tbs.subject_public_key_info(),
                &self.list.signature_algorithm,
                None,
                &self.tbs,
                signature,
            )
            .is_ok()
    }
}

/// The GeneralizedTime of an invalidityDate extension.
pub(super) fn invalidity_date(value: &[u8]) -> Option<i64> {
    let (time, _) = Tlv::split(value)?;
    (time.tag == GENERALIZED_TIME)
        .then(|| generalized_time(time.content))
        .flatten()
}

/// Whether the lists of an issuing distribution point (section 5.2.5) are those that have a certificate when it is revoked.
fn is_of(point: &IssuingDistributionPoint, known: &Known) -> bool {
    let tbs = known.certificate.tbs_certificate();
    let constraints = tbs.get_extension::<BasicConstraints>().ok().flatten();
    let is_authority = constraints.is_some_and(|(_, constraints)| constraints.ca);
    let other_kind = point.only_contains_attribute_certs
        || point.only_contains_user_certs && is_authority
        || point.only_contains_ca_certs && !is_authority;
    if other_kind || point.only_some_reasons.is_some() {
        return false;
    }
    let names: &[GeneralName] = match &point.distribution_point {
        None => return true,
        Some(DistributionPointName::FullName(names)) => names,
        Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => return false,
    };
    let points = tbs.get_extension::<CrlDistributionPoints>().ok().flatten();
    let points = points.into_iter().flat_map(|(_, points)| points.0);
    points.into_iter().any(|own| match own.distribution_point {
        Some(DistributionPointName::FullName(own)) => own.iter().any(|name| names.contains(name)),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use der::asn1::{Ia5String, ObjectIdentifier, OctetString};
    use x509_cert::ext::Extension;

    use super::*;
    use crate::{Authority, KeyAlgorithm, Subject, Validity};

    #[test]
    fn why_a_certificate_is_revoked_is_read() {
        let validity = Validity {
            not_before: 1_795_514_400_000,
            not_after: 1_795_600_800_000,
        };
        let authority = Authority::generate("test", KeyAlgorithm::P256, validity).unwrap();
        let subject = Subject::TimestampAuthority { name: "stamps" };
        let issued = authority.issue(subject, KeyAlgorithm::P256, validity);
        let issued = issued.unwrap();
        let leaf = Known::parse(&issued.chain()[0]).unwrap();
        let revoked = crate::Revocation {
            serial: issued.serial_hex(),
            since: validity.not_before,
            reason: None,
        };
        let list = authority.revocation_list(&[revoked], 1, validity).unwrap();
        let entry = |extensions: &[(ObjectIdentifier, &[u8])]| {
            let mut list = RevocationList::parse(&list).unwrap();
            let entries = list.list.tbs_cert_list.revoked_certificates.as_mut();
            let extensions = extensions.iter().map(|&(extn_id, value)| Extension {
                extn_id,
                critical: false,
                extn_value: OctetString::new(value).unwrap(),
            });
            entries.unwrap()[0].crl_entry_extensions = Some(extensions.collect());
            list.entry(&leaf)
        };
        let reason = |value: Option<&[u8]>| {
            let value = value.map(|value| (oid::REASON_CODE, value));
            let entry = entry(value.as_slice()).unwrap();
            assert_eq!(entry.since, validity.not_before);
            assert_eq!(entry.doubtful_since(), entry.since);
            entry.reason
        };
        // One that is held no longer is not revoked.
        assert_eq!(entry(&[(oid::REASON_CODE, &[0x0a, 1, 8])]), None);
        // 2026-11-24, ten hours before the list says that it is revoked; what is later than that says nothing new.
        let hour = 3_600_000;
        for (date, doubtful) in [
            (
                &b"\x18\x0f20261124000000Z"[..],
                validity.not_before - 10 * hour,
            ),
            (b"\x18\x0f20261124110000Z", validity.not_before),
            (b"\x17\x0f20261124000000Z", validity.not_before),
            (b"\x18\x0f2026112400", validity.not_before),
        ] {
            let entry = entry(&[(oid::INVALIDITY_DATE, date)]).unwrap();
            assert_eq!(entry.since, validity.not_before);
            assert_eq!(entry.doubtful_since(), doubtful, "{date:?}");
        }
        for (value, read, leaves) in [
            (None, None, false),
            (
                Some(&[0x0a, 1, 0][..]),
                Some(RevocationReason::Unspecified),
                true,
            ),
            (
                Some(&[0x0a, 1, 1]),
                Some(RevocationReason::KeyCompromise),
                false,
            ),
            (
                Some(&[0x0a, 1, 4]),
                Some(RevocationReason::Superseded),
                true,
            ),
            (
                Some(&[0x0a, 1, 5]),
                Some(RevocationReason::CessationOfOperation),
                true,
            ),
            (Some(&[0x0a, 1, 7]), None, false),
            (Some(&[0x02, 1, 5]), None, false),
        ] {
            assert_eq!(reason(value), read);
            assert_eq!(RevocationReason::leaves_timestamps(read), leaves);
        }
    }

    #[test]
    fn a_list_of_other_certificates_says_nothing_of_one_that_it_has_not() {
        let validity = Validity {
            not_before: 1_795_514_400_000,
            not_after: 1_795_600_800_000,
        };
        let authority = Authority::generate("test", KeyAlgorithm::P256, validity).unwrap();
        let subject = Subject::Organization {
            name: "signer",
            credit_code: None,
        };
        let issued = authority
            .issue(subject, KeyAlgorithm::P256, validity)
            .unwrap();
        let leaf = Known::parse(&issued.chain()[0]).unwrap();
        let issuer = Known::parse(&issued.chain()[1]).unwrap();
        let der = authority.revocation_list(&[], 1, validity).unwrap();
        let covers = |id, value: Vec<u8>, known| {
            let mut list = RevocationList::parse(&der).unwrap();
            assert!(list.covers(known));
            let extensions = &mut list.list.tbs_cert_list.crl_extensions;
            extensions.get_or_insert_default().push(Extension {
                extn_id: id,
                critical: true,
                extn_value: OctetString::new(value).unwrap(),
            });
            list.covers(known)
        };
        let point = |change: fn(&mut IssuingDistributionPoint)| {
            let mut point = IssuingDistributionPoint {
                distribution_point: None,
                only_contains_user_certs: false,
                only_contains_ca_certs: false,
                only_some_reasons: None,
                indirect_crl: false,
                only_contains_attribute_certs: false,
            };
            change(&mut point);
            point.to_der().unwrap()
        };
        let of = |change, known| covers(oid::ISSUING_DISTRIBUTION_POINT, point(change), known);
        assert!(of(|_| {}, &leaf));
        assert!(of(|point| point.only_contains_user_certs = true, &leaf));
        assert!(!of(|point| point.only_contains_user_certs = true, &issuer));
        assert!(of(|point| point.only_contains_ca_certs = true, &issuer));
        assert!(!of(|point| point.only_contains_ca_certs = true, &leaf));
        assert!(!of(
            |point| {
                let url = Ia5String::new("http://example.com/1.crl").unwrap();
                let name = GeneralName::UniformResourceIdentifier(url);
                point.distribution_point = Some(DistributionPointName::FullName(vec![name]));
            },
            &leaf
        ));
        // A list of changes alone (section 5.2.4).
        let base = ObjectIdentifier::new_unwrap("2.5.29.27");
        assert!(!covers(base, vec![0x02, 1, 1], &leaf));
    }
}
