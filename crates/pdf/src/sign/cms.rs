//! Builds the CMS structure of a signature (RFC 5652, ETSI EN 319 122-1).

use aws_lc_rs::digest::{Digest, SHA256, SHA384, SHA512, digest};
use der::{
    Any, Decode as _, Encode as _, Sequence, ValueOrd,
    asn1::{ObjectIdentifier, OctetString, SetOfVec},
};
use x509_cert::{
    attr::{Attribute, Attributes},
    name::Name,
    serial_number::SerialNumber,
    spki::AlgorithmIdentifierOwned,
};

use super::SignError;
use crate::{pki::Credential, pki::oid};

/// Names one certificate (RFC 5652 section 10.2.4).
#[derive(Clone, Debug, Sequence, ValueOrd)]
pub(crate) struct IssuerAndSerialNumber {
    pub(crate) issuer: Name,
    pub(crate) serial_number: SerialNumber,
}

/// RFC 5652 section 3.
#[derive(Sequence)]
pub(super) struct ContentInfo {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: Any,
}

/// RFC 5652 section 5.1, with certificates of X.509 alone and without revocation lists.
#[derive(Clone, Debug, Sequence)]
pub(super) struct SignedData {
    version: u8,
    digest_algorithms: SetOfVec<AlgorithmIdentifierOwned>,
    content: EncapsulatedContent,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    certificates: Option<SetOfVec<Any>>,
    signers: SetOfVec<SignerInfo>,
}

/// RFC 5652 section 5.2.
#[derive(Clone, Debug, Sequence)]
struct EncapsulatedContent {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    content: Option<OctetString>,
}

/// RFC 5652 section 5.3, of a signer that is named by issuer and serial number.
#[derive(Clone, Debug, Sequence, ValueOrd)]
struct SignerInfo {
    version: u8,
    sid: IssuerAndSerialNumber,
    digest_algorithm: AlgorithmIdentifierOwned,
    #[asn1(
        context_specific = "0",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    signed_attributes: Option<Attributes>,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: OctetString,
    #[asn1(
        context_specific = "1",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    unsigned_attributes: Option<Attributes>,
}

/// A `SigningCertificateV2` attribute (RFC 5035 section 3).
#[derive(Clone, Debug, Sequence)]
pub(crate) struct SigningCertificateV2 {
    pub(crate) certs: Vec<EssCertIdV2>,
    pub(crate) policies: Option<Any>,
}

/// Names one certificate by its hash; SHA-256 unless it says otherwise.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct EssCertIdV2 {
    pub(crate) hash_algorithm: Option<AlgorithmIdentifierOwned>,
    pub(crate) cert_hash: OctetString,
    pub(crate) issuer_serial: Option<Any>,
}

/// A detached signature over content with this digest.
///
/// Signed attributes: content type, message digest, and signing-certificate-v2. The signing time is not among them: PAdES
/// has it in the signature dictionary (ETSI EN 319 142-1 section 5.3).
pub(super) fn sign(credential: &Credential, content: &Digest) -> Result<SignedData, SignError> {
    let leaf = credential.leaf().tbs_certificate();
    let certificate = SigningCertificateV2 {
        certs: vec![EssCertIdV2 {
            hash_algorithm: None,
            cert_hash: OctetString::new(digest(&SHA256, &credential.chain_der[0]).as_ref())?,
            issuer_serial: None,
        }],
        policies: None,
    };
    let signed_attributes = Attributes::try_from(vec![
        attribute(oid::CONTENT_TYPE, Any::from(oid::DATA))?,
        attribute(
            oid::MESSAGE_DIGEST,
            Any::encode_from(&OctetString::new(content.as_ref())?)?,
        )?,
        attribute(oid::SIGNING_CERTIFICATE_V2, Any::encode_from(&certificate)?)?,
    ])?;
    let signature = credential.key.sign(&signed_attributes.to_der()?)?;
    let digest_algorithm = digest_algorithm(content);
    let signer = SignerInfo {
        version: 1,
        sid: IssuerAndSerialNumber {
            issuer: leaf.issuer().clone(),
            serial_number: leaf.serial_number().clone(),
        },
        digest_algorithm: digest_algorithm.clone(),
        signed_attributes: Some(signed_attributes),
        signature_algorithm: credential.key.signature_algorithm(),
        signature: OctetString::new(signature)?,
        unsigned_attributes: None,
    };
    let certificates: Vec<Any> = credential
        .chain_der
        .iter()
        .map(|der| Any::from_der(der))
        .collect::<Result<_, _>>()?;
    Ok(SignedData {
        version: 1,
        digest_algorithms: SetOfVec::try_from(vec![digest_algorithm])?,
        content: EncapsulatedContent {
            content_type: oid::DATA,
            content: None,
        },
        certificates: Some(SetOfVec::try_from(certificates)?),
        signers: SetOfVec::try_from(vec![signer])?,
    })
}

/// The structure as it stands in `/Contents`.
pub(super) fn encode(signed: &SignedData) -> Result<Vec<u8>, SignError> {
    let content = ContentInfo {
        content_type: oid::SIGNED_DATA,
        content: Any::encode_from(signed)?,
    };
    Ok(content.to_der()?)
}

fn attribute(oid: ObjectIdentifier, value: Any) -> Result<Attribute, SignError> {
    Ok(Attribute {
        oid,
        values: SetOfVec::try_from(vec![value])?,
    })
}

/// The identifier of a digest's algorithm, without parameters (RFC 5754 section 2).
fn digest_algorithm(digest: &Digest) -> AlgorithmIdentifierOwned {
    let oid = if digest.algorithm() == &SHA384 {
        oid::SHA384
    } else if digest.algorithm() == &SHA512 {
        oid::SHA512
    } else {
        oid::SHA256
    };
    AlgorithmIdentifierOwned {
        oid,
        parameters: None,
    }
}
