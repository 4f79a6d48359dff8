//! What a certificate is good for (RFC 5280 section 4.2, RFC 3161 section 2.3, RFC 9336) and when (RFC 5280 section 4.1.2.5).

use der::asn1::ObjectIdentifier;
use x509_cert::{
    ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages},
    time::Time,
};

use super::{
    known::Known,
    report::{Code, Finding, Severity},
};
use crate::pki::{oid, utc_millis};

/// What a certificate must be good for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Documents,
    Timestamps,
}

/// Why a leaf may not be used for `purpose`.
pub(super) fn unfit(leaf: &Known, purpose: Purpose) -> Option<String> {
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
pub(super) fn unknown_critical(known: &Known) -> Option<Finding> {
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

pub(super) fn validity(known: &Known, at: i64, proven: bool, now: i64) -> Option<Finding> {
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
