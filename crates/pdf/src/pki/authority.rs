//! The built-in certification authority: a root of our own, and what it issues.
//!
//! It lets an operator start at once. It is **not** a licensed certification authority (电子认证服务机构), and its own name says
//! so wherever a reader shows it.

use std::time::Duration;

use der::{
    Any, DateTime, Decode as _, Encode as _,
    asn1::{ObjectIdentifier, OctetString, PrintableStringRef, SetOfVec, Uint, Utf8StringRef},
};
use x509_cert::{
    attr::AttributeTypeAndValue,
    builder::{self, Builder as _, CertificateBuilder, CrlBuilder, profile::BuilderProfile},
    crl::RevokedCert,
    ext::{
        Extension,
        pkix::{BasicConstraints, CrlNumber},
    },
    name::Name,
    serial_number::SerialNumber,
    time::Time,
};
use zeroize::Zeroizing;

use super::{
    Credential, KeyAlgorithm, PrivateKey,
    key::SignatureBytes,
    oid,
    profile::{LeafProfile, RootProfile},
};
use crate::{sign::SignError, verify::RevocationReason};

/// Said in the issuer's name of every certificate. 64 characters is the most that X.520 permits.
const NOT_LICENSED: &str = "Sealpost built-in CA (not a licensed CA / 非持牌电子认证机构)";

/// The most characters of a name in a certificate (X.520 `ub-common-name`, `ub-organization-name`).
const MAX_NAME: usize = 64;

/// From when until when a certificate is valid, both inclusive, in UTC milliseconds; certificates cut them to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Validity {
    /// The first moment.
    pub not_before: i64,
    /// The last moment.
    pub not_after: i64,
}

/// Whom a certificate is issued to. Names have 1 to 64 characters and no control characters.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// An organization with a seal.
    Organization {
        /// Its registered name, such as 上海某某置业有限公司.
        name: &'a str,
        /// Its unified social credit code (统一社会信用代码), when known.
        credit_code: Option<&'a str>,
    },
    /// A timestamp authority of our own.
    TimestampAuthority {
        /// What it is called.
        name: &'a str,
    },
    /// A person who signs in one sign flow.
    Person {
        /// The person's name.
        name: &'a str,
        /// The sign flow's id: the certificate is good for nothing else.
        flow: &'a str,
    },
}

/// The built-in certification authority.
///
/// Its root is self-signed. What it issues: certificates of organizations, kept and used for years, and certificates of
/// persons, whose keys sign one document and are forgotten.
pub struct Authority {
    root: Credential,
    crl_url: Option<String>,
}

impl Authority {
    /// Makes a new authority. `label` tells one operator's root from another's in the root's common name.
    ///
    /// # Errors
    /// When the label is no fit name, the validity cannot be stated, or the cryptographic library fails.
    pub fn generate(
        label: &str,
        algorithm: KeyAlgorithm,
        validity: Validity,
    ) -> Result<Self, SignError> {
        let key = PrivateKey::generate(algorithm)?;
        let common_name = format!("Sealpost built-in root {label}");
        let subject = name(&[
            (oid::COUNTRY, "CN"),
            (oid::ORGANIZATION, NOT_LICENSED),
            (
                oid::COMMON_NAME,
                checked(
                    common_name.trim_end(),
                    "the label is too long or holds control characters",
                )?,
            ),
        ])?;
        let certificate = certificate(RootProfile { subject }, validity, &key, &key)?;
        Ok(Self {
            root: Credential::new(key, vec![certificate])?,
            crl_url: None,
        })
    }

    /// The authority of a kept root: its unencrypted PKCS#8 key and its certificate in DER.
    ///
    /// # Errors
    /// When either cannot be read, they do not belong together, or the certificate is no authority's.
    pub fn load(pkcs8: &[u8], certificate: &[u8]) -> Result<Self, SignError> {
        let root = Credential::from_pkcs8(pkcs8, vec![certificate.to_vec()])?;
        let constraints = root
            .leaf()
            .tbs_certificate()
            .get_extension::<BasicConstraints>()?;
        if !constraints.is_some_and(|(_, constraints)| constraints.ca) {
            return Err(SignError::Certificate(
                "it is not a certification authority's",
            ));
        }
        Ok(Self {
            root,
            crl_url: None,
        })
    }

    /// Names, in what is issued from now on, where the authority's revocation list is published.
    #[must_use]
    pub fn with_crl_url(mut self, url: impl Into<String>) -> Self {
        self.crl_url = Some(url.into());
        self
    }

    /// The root's certificate in DER: what a verifier trusts.
    pub fn certificate(&self) -> &[u8] {
        &self.root.chain_der[0]
    }

    /// The root's certificate in PEM.
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", self.certificate())
    }

    /// The root's private key as an unencrypted PKCS#8 `PrivateKeyInfo`. Whoever keeps it encrypts it first.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SignError> {
        self.root.to_pkcs8()
    }

    /// The root's name, for people.
    pub fn subject(&self) -> String {
        self.root.subject()
    }

    /// What the root signs with.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.root.algorithm()
    }

    /// When the root is valid.
    pub fn validity(&self) -> Validity {
        self.root.validity()
    }

    /// Makes a key and certifies it for `subject`.
    ///
    /// The certificate may sign documents (keyUsage digitalSignature and nonRepudiation; extended key usage document
    /// signing and e-mail protection, which Poppler's NSS asks for) and nothing else.
    ///
    /// # Errors
    /// When the name is unfit, the validity cannot be stated or exceeds the root's, or the cryptographic library fails.
    pub fn issue(
        &self,
        subject: Subject<'_>,
        algorithm: KeyAlgorithm,
        validity: Validity,
    ) -> Result<Credential, SignError> {
        self.certify(subject, NewKey::generate(algorithm)?, validity)
    }

    /// Certifies a key that was made before, as [`Authority::issue`] does one that it makes.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn certify(
        &self,
        subject: Subject<'_>,
        NewKey(key): NewKey,
        validity: Validity,
    ) -> Result<Credential, SignError> {
        if validity.not_after > self.validity().not_after {
            return Err(SignError::Certificate("it would outlive the root"));
        }
        let profile = LeafProfile {
            issuer: self.root.leaf().tbs_certificate().subject().clone(),
            subject: subject.name()?,
            for_timestamps: matches!(subject, Subject::TimestampAuthority { .. }),
            crl_url: self.crl_url.clone(),
        };
        let certificate = certificate(profile, validity, &key, &self.root.key)?;
        Credential::new(key, vec![certificate, self.certificate().to_vec()])
    }
}

/// A certificate of `key`, signed with `issuer`'s, in DER.
fn certificate(
    profile: impl BuilderProfile,
    validity: Validity,
    key: &PrivateKey,
    issuer: &PrivateKey,
) -> Result<Vec<u8>, SignError> {
    let builder = CertificateBuilder::new(
        profile,
        random_serial()?,
        x509_validity(validity)?,
        key.public().clone(),
    )
    .map_err(built)?;
    let certificate = builder.build::<_, SignatureBytes>(issuer).map_err(built)?;
    Ok(certificate.to_der()?)
}

/// A key that no certificate names yet. Making one of RSA takes from a tenth of a second to several, so whoever is in a hurry
/// has one ready.
pub struct NewKey(PrivateKey);

impl NewKey {
    /// Makes a key.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, SignError> {
        PrivateKey::generate(algorithm).map(Self)
    }

    /// What it signs with.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.0.algorithm()
    }
}

/// A certificate that is good no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its serial number in hex, as of [`Credential::serial_hex`].
    pub serial: String,
    /// Since when, in UTC milliseconds.
    pub since: i64,
    /// Why, if the list is to say so.
    pub reason: Option<RevocationReason>,
}

impl Authority {
    /// The certificate revocation list (RFC 5280 section 5), in DER: everything that was ever revoked. `number` grows from
    /// list to list; `validity` is from now until the next list at the latest.
    ///
    /// # Errors
    /// When a serial number is no hex or too long, a time cannot be stated, or the cryptographic library fails.
    pub fn revocation_list(
        &self,
        revoked: &[Revocation],
        number: u64,
        validity: Validity,
    ) -> Result<Vec<u8>, SignError> {
        let entry = |revocation: &Revocation| -> Result<RevokedCert, SignError> {
            let serial = hex::decode(&revocation.serial);
            let serial =
                serial.map_err(|_| SignError::Certificate("its serial number is no hex"))?;
            let reason = revocation.reason.map(|reason| -> Result<_, SignError> {
                // An ENUMERATED (section 5.3.1).
                let value = OctetString::new([0x0a, 1, reason.number()])?;
                Ok(vec![Extension {
                    extn_id: oid::REASON_CODE,
                    critical: false,
                    extn_value: value,
                }])
            });
            Ok(RevokedCert {
                serial_number: SerialNumber::new(&serial)?,
                revocation_date: x509_time(revocation.since)?,
                crl_entry_extensions: reason.transpose()?,
            })
        };
        let entries = revoked.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let number = CrlNumber(Uint::new(&number.to_be_bytes())?);
        let this_update = x509_time(validity.not_before)?;
        let mut builder = CrlBuilder::new_with_this_update(self.root.leaf(), number, this_update)?
            .with_next_update(Some(x509_time(validity.not_after)?));
        // The list of entries is left out when it is empty (section 5.1.2.6).
        if !entries.is_empty() {
            builder = builder.with_certificates(entries.into_iter());
        }
        let list = builder
            .build::<_, SignatureBytes>(&self.root.key)
            .map_err(built)?;
        Ok(list.to_der()?)
    }
}

impl Subject<'_> {
    fn name(&self) -> Result<Name, SignError> {
        match *self {
            Subject::Organization {
                name: organization,
                credit_code,
            } => {
                let organization = checked(
                    organization,
                    "an organization's name has 1 to 64 characters",
                )?;
                let mut parts = vec![(oid::COUNTRY, "CN"), (oid::ORGANIZATION, organization)];
                if let Some(code) = credit_code {
                    parts.push((
                        oid::ORGANIZATION_IDENTIFIER,
                        checked(code, "a credit code has 1 to 64 characters")?,
                    ));
                }
                parts.push((oid::COMMON_NAME, organization));
                name(&parts)
            }
            Subject::TimestampAuthority { name: authority } => name(&[
                (oid::COUNTRY, "CN"),
                (oid::ORGANIZATION, NOT_LICENSED),
                (
                    oid::COMMON_NAME,
                    checked(authority, "an authority's name has 1 to 64 characters")?,
                ),
            ]),
            Subject::Person { name: person, flow } => {
                let unit = format!("sign flow {flow}");
                name(&[
                    (oid::COUNTRY, "CN"),
                    (
                        oid::ORGANIZATIONAL_UNIT,
                        checked(&unit, "a sign flow's id is too long")?,
                    ),
                    (
                        oid::COMMON_NAME,
                        checked(person, "a person's name has 1 to 64 characters")?,
                    ),
                ])
            }
        }
    }
}

/// UTC milliseconds of a certificate's time.
pub(crate) fn utc_millis(time: Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX)
}

/// A certificate's time of UTC milliseconds, cut to the second.
pub(crate) fn x509_time(at: i64) -> Result<Time, SignError> {
    let seconds = u64::try_from(at.div_euclid(1000)).map_err(|_| SignError::Time(at))?;
    let time = DateTime::from_unix_duration(Duration::from_secs(seconds))
        .map_err(|_| SignError::Time(at))?;
    Ok(Time::from(time))
}

/// Armours `der` as PEM (RFC 7468) with lines of 64 characters.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|&byte| char::from(byte)));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

fn x509_validity(validity: Validity) -> Result<x509_cert::time::Validity, SignError> {
    if validity.not_after < validity.not_before {
        return Err(SignError::Time(validity.not_after));
    }
    Ok(x509_cert::time::Validity::new(
        x509_time(validity.not_before)?,
        x509_time(validity.not_after)?,
    ))
}

fn built(error: builder::Error) -> SignError {
    match error {
        builder::Error::Asn1(error) => SignError::Encoding(error),
        _ => SignError::Crypto("issue a certificate"),
    }
}

/// 127 random bits, never zero in front, so that every serial number has 16 bytes.
fn random_serial() -> Result<SerialNumber, SignError> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SignError::Crypto("make random bytes"))?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::new(&bytes)?)
}

fn checked<'a>(text: &'a str, complaint: &'static str) -> Result<&'a str, SignError> {
    let fits = (1..=MAX_NAME).contains(&text.chars().count());
    if !fits || text.chars().any(char::is_control) || text.trim() != text {
        return Err(SignError::Subject(complaint));
    }
    Ok(text)
}

/// A distinguished name in the given order; the country as PrintableString, the rest as UTF8String (RFC 5280 section 4.1.2.4).
pub(super) fn name(parts: &[(ObjectIdentifier, &str)]) -> Result<Name, SignError> {
    let mut sequence = Vec::with_capacity(parts.len());
    for &(attribute, text) in parts {
        let value = if attribute == oid::COUNTRY {
            Any::encode_from(&PrintableStringRef::new(text)?)?
        } else {
            Any::encode_from(&Utf8StringRef::new(text)?)?
        };
        sequence.push(SetOfVec::try_from(vec![AttributeTypeAndValue {
            oid: attribute,
            value,
        }])?);
    }
    Ok(Name::from_der(&sequence.to_der()?)?)
}
