//! Builds the CMS structures of signatures and timestamps (RFC 5652, ETSI EN 319 122-1).

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

use crate::{
    pki::{Credential, oid},
    sign::SignError,
};

/// Names one certificate (RFC 5652 section 10.2.4).
#[derive(Clone, Debug, Sequence, ValueOrd)]
pub(crate) struct IssuerAndSerialNumber {
    pub(crate) issuer: Name,
    pub(crate) serial_number: SerialNumber,
}

/// RFC 5652 section 3.
#[derive(Sequence)]
struct ContentInfo {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: Any,
}

/// RFC 5652 section 5.1, with certificates of X.509 alone and without revocation lists.
#[derive(Sequence)]
struct SignedData {
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

/// A finished signature of one signer, not yet encoded.
pub(crate) struct Signed {
    content: EncapsulatedContent,
    certificates: Option<SetOfVec<Any>>,
    signer: SignerInfo,
}

/// What a signature is over.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// A document, which stays outside, by its digest.
    Detached(&'a Digest),
    /// A timestamp's statement, which is inside.
    TstInfo(&'a [u8]),
}

/// Signs `content`, with the chain of the credential inside when `with_chain` says so.
///
/// Signed attributes: content type, message digest, and signing-certificate-v2. The signing time is not among them: PAdES
/// has it in the signature dictionary (ETSI EN 319 142-1 section 5.3), a timestamp in its statement.
pub(crate) fn sign(
    credential: &Credential,
    content: Content<'_>,
    with_chain: bool,
) -> Result<Signed, SignError> {
    let leaf = credential.leaf().tbs_certificate();
    let certificate = SigningCertificateV2 {
        certs: vec![EssCertIdV2 {
            hash_algorithm: None,
            cert_hash: OctetString::new(digest(&SHA256, &credential.chain_der[0]).as_ref())?,
            issuer_serial: None,
        }],
        policies: None,
    };
    let inner;
    let (content_type, content, message) = match content {
        Content::Detached(digest) => (oid::DATA, None, digest),
        Content::TstInfo(info) => {
            inner = digest(credential.key.digest(), info);
            (oid::TST_INFO, Some(OctetString::new(info)?), &inner)
        }
    };
    let signed_attributes = Attributes::try_from(vec![
        attribute(oid::CONTENT_TYPE, Any::from(content_type))?,
        attribute(
            oid::MESSAGE_DIGEST,
            Any::encode_from(&OctetString::new(message.as_ref())?)?,
        )?,
        attribute(oid::SIGNING_CERTIFICATE_V2, Any::encode_from(&certificate)?)?,
    ])?;
    let signature = credential.key.sign(&signed_attributes.to_der()?)?;
    let signer = SignerInfo {
        version: 1,
        sid: IssuerAndSerialNumber {
            issuer: leaf.issuer().clone(),
            serial_number: leaf.serial_number().clone(),
        },
        digest_algorithm: digest_algorithm(message),
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
    Ok(Signed {
        content: EncapsulatedContent {
            content_type,
            content,
        },
        certificates: with_chain
            .then(|| SetOfVec::try_from(certificates))
            .transpose()?,
        signer,
    })
}

impl Signed {
    /// The signature itself: what a timestamp of it is over.
    pub(crate) fn signature(&self) -> &[u8] {
        self.signer.signature.as_bytes()
    }

    /// Puts a timestamp token over the signature beside it (RFC 3161 appendix A).
    pub(crate) fn set_timestamp(&mut self, token: &[u8]) -> Result<(), SignError> {
        let attributes = vec![attribute(oid::TIMESTAMP_TOKEN, Any::from_der(token)?)?];
        self.signer.unsigned_attributes = Some(Attributes::try_from(attributes)?);
        Ok(())
    }

    /// The structure as it stands in `/Contents`, or as a token.
    pub(crate) fn encode(self) -> Result<Vec<u8>, SignError> {
        let signed = SignedData {
            // Version 3 where the content is anything but data (RFC 5652 section 5.1).
            version: if self.content.content_type == oid::DATA {
                1
            } else {
                3
            },
            digest_algorithms: SetOfVec::try_from(vec![self.signer.digest_algorithm.clone()])?,
            content: self.content,
            certificates: self.certificates,
            signers: SetOfVec::try_from(vec![self.signer])?,
        };
        let content = ContentInfo {
            content_type: oid::SIGNED_DATA,
            content: Any::encode_from(&signed)?,
        };
        Ok(content.to_der()?)
    }
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
