//! What is in the certificates of the built-in authority (RFC 5280 section 4.2).

use der::asn1::Ia5String;
use x509_cert::{
    builder::{self, profile::BuilderProfile},
    certificate::TbsCertificate,
    ext::{
        Extension, ToExtension as _,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage,
            KeyUsage, KeyUsages, SubjectKeyIdentifier,
            crl::dp::DistributionPoint,
            name::{DistributionPointName, GeneralName},
        },
    },
    name::Name,
    spki::SubjectPublicKeyInfoRef,
};

use super::oid;

/// The self-signed root: it issues certificates and revocation lists, to leaves alone.
pub(super) struct RootProfile {
    pub(super) subject: Name,
}

impl BuilderProfile for RootProfile {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        spk: SubjectPublicKeyInfoRef<'_>,
        _issuer: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let subject = tbs.subject();
        Ok(vec![
            BasicConstraints {
                ca: true,
                path_len_constraint: Some(0),
            }
            .to_extension(subject, &[])?,
            KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign).to_extension(subject, &[])?,
            SubjectKeyIdentifier::try_from(spk)?.to_extension(subject, &[])?,
        ])
    }
}

/// What the authority issues: for signing documents, or for timestamps alone.
pub(super) struct LeafProfile {
    pub(super) issuer: Name,
    pub(super) subject: Name,
    pub(super) for_timestamps: bool,
    pub(super) crl_url: Option<String>,
}

impl BuilderProfile for LeafProfile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        spk: SubjectPublicKeyInfoRef<'_>,
        issuer: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let subject = tbs.subject();
        let issuer_key = SubjectKeyIdentifier::try_from(issuer)?;
        let mut extensions = vec![
            BasicConstraints {
                ca: false,
                path_len_constraint: None,
            }
            .to_extension(subject, &[])?,
            KeyUsage(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation)
                .to_extension(subject, &[])?,
            self.purposes(tbs)?,
            SubjectKeyIdentifier::try_from(spk)?.to_extension(subject, &[])?,
            AuthorityKeyIdentifier {
                key_identifier: Some(issuer_key.0),
                ..Default::default()
            }
            .to_extension(subject, &[])?,
        ];
        if let Some(url) = &self.crl_url {
            let location = GeneralName::UniformResourceIdentifier(Ia5String::new(url)?);
            let point = DistributionPoint {
                distribution_point: Some(DistributionPointName::FullName(vec![location])),
                reasons: None,
                crl_issuer: None,
            };
            extensions.push(CrlDistributionPoints(vec![point]).to_extension(subject, &[])?);
        }
        Ok(extensions)
    }
}

impl LeafProfile {
    fn purposes(&self, tbs: &TbsCertificate) -> der::Result<Extension> {
        if self.for_timestamps {
            // Critical, and nothing else beside it (RFC 3161 section 2.3).
            let purposes = ExtendedKeyUsage(vec![oid::TIME_STAMPING]);
            (true, &purposes).to_extension(tbs.subject(), &[])
        } else {
            let purposes = ExtendedKeyUsage(vec![oid::DOCUMENT_SIGNING, oid::EMAIL_PROTECTION]);
            purposes.to_extension(tbs.subject(), &[])
        }
    }
}
