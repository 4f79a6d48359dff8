//! Reads certificate revocation lists (RFC 5280 section 5), and checks whose they are.

use der::Encode as _;
use x509_cert::{
    crl::CertificateList,
    ext::pkix::{KeyUsage, KeyUsages},
};

use super::{algorithm, chain::Known};
use crate::pki::utc_millis;

/// A certificate revocation list (RFC 5280 section 5).
#[derive(Clone)]
pub(crate) struct RevocationList {
    list: CertificateList,
    tbs: Vec<u8>,
}

impl RevocationList {
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        use der::Decode as _;
        let list = CertificateList::from_der(der).ok()?;
        let tbs = list.tbs_cert_list.to_der().ok()?;
        Some(Self { list, tbs })
    }

    pub(super) fn this_update(&self) -> i64 {
        utc_millis(self.list.tbs_cert_list.this_update)
    }

    /// Whether it had been replaced by then, so that it says nothing about it.
    pub(super) fn is_stale(&self, at: i64) -> bool {
        self.next_update().is_some_and(|next| next < at)
    }

    pub(super) fn next_update(&self) -> Option<i64> {
        self.list.tbs_cert_list.next_update.map(utc_millis)
    }

    /// Whether it is the list of a certificate's issuer.
    pub(super) fn speaks_for(&self, known: &Known, issuer: &Known) -> bool {
        self.list.tbs_cert_list.issuer == *known.certificate.tbs_certificate().issuer()
            && self.signed_by(issuer)
    }

    /// Since when it has a certificate as revoked.
    pub(super) fn entry(&self, known: &Known) -> Option<i64> {
        let serial = known.certificate.tbs_certificate().serial_number();
        let mut revoked = self
            .list
            .tbs_cert_list
            .revoked_certificates
            .iter()
            .flatten();
        let entry = revoked.find(|entry| entry.serial_number == *serial)?;
        Some(utc_millis(entry.revocation_date))
    }

    /// Since when a certificate of `issuer` is revoked, when this is the issuer's list and says so.
    pub(super) fn revoked_at(&self, known: &Known, issuer: &Known) -> Option<i64> {
        let since = self.entry(known)?;
        self.speaks_for(known, issuer).then_some(since)
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
