//! Builds the CMS structures of signatures and timestamps (RFC 5652, ETSI EN 319 122-1).

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
    pki::{Credential, Digest, Hash, oid},
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
///
/// With SM2 the structure is the same one of RFC 5652, with the identifiers of SM2 and SM3 for its algorithms, and not that of
/// GM/T 0010-2012, which differs in its content types alone and which CMS libraries do not take.
pub(crate) fn sign(
    credential: &Credential,
    content: Content<'_>,
    with_chain: bool,
) -> Result<Signed, SignError> {
    let leaf = credential.leaf().tbs_certificate();
    let hash = credential.key.algorithm().hash();
    // One digest for documents and for certificates, but for SHA-384, which goes with the default for the latter.
    let naming = match hash {
        Hash::Sm3 => Hash::Sm3,
        Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => Hash::Sha256,
    };
    let certificate = SigningCertificateV2 {
        certs: vec![EssCertIdV2 {
            // SHA-256 is the default, and DER leaves defaults out.
            hash_algorithm: (naming != Hash::Sha256).then(|| identifier(naming)),
            cert_hash: OctetString::new(naming.of(&[&credential.chain_der[0]]).as_ref())?,
            issuer_serial: None,
        }],
        policies: None,
    };
    let inner;
    let (content_type, content, message) = match content {
        Content::Detached(digest) => (oid::DATA, None, digest),
        Content::TstInfo(info) => {
            inner = hash.of(&[info]);
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
        digest_algorithm: identifier(message.hash()),
        signed_attributes: Some(signed_attributes),
        signature_algorithm: credential.key.algorithm().signature_algorithm(),
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
fn identifier(hash: Hash) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned {
        oid: hash.oid(),
        parameters: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pki::{Authority, KeyAlgorithm, Subject, Validity},
        verify::cms::{Cms, Flaw},
    };

    /// What an implementation after GM/T 0010-2012 sends: content types of its own, and the signature's algorithm is SM2's alone;
    /// with signed attributes and without.
    #[test]
    fn the_form_of_gmt_0010_is_understood() {
        let validity = Validity {
            not_before: 1_795_514_400_000,
            not_after: 1_895_514_400_000,
        };
        let authority = Authority::generate("test", KeyAlgorithm::Sm2, validity).unwrap();
        let subject = Subject::Organization {
            name: "某某公司",
            credit_code: None,
        };
        let credential = authority
            .issue(subject, KeyAlgorithm::Sm2, validity)
            .unwrap();
        let document = b"a document";
        let message = Hash::Sm3.of(&[document]);
        let attributes = Attributes::try_from(vec![
            attribute(oid::CONTENT_TYPE, Any::from(oid::GM_DATA)).unwrap(),
            attribute(
                oid::MESSAGE_DIGEST,
                Any::encode_from(&OctetString::new(message.as_ref()).unwrap()).unwrap(),
            )
            .unwrap(),
        ])
        .unwrap();
        for (algorithm, attributes) in [
            (oid::SM2_SIGN, Some(attributes.clone())),
            (oid::SM2_SIGN, None),
            (oid::SM2, Some(attributes.clone())),
            (oid::SM2_WITH_SM3, Some(attributes)),
        ] {
            let signed = match &attributes {
                Some(attributes) => attributes.to_der().unwrap(),
                None => document.to_vec(),
            };
            let mut made = sign(&credential, Content::Detached(&message), true).unwrap();
            made.content.content_type = oid::GM_DATA;
            made.signer.signed_attributes = attributes;
            made.signer.signature_algorithm.oid = algorithm;
            let signature = credential.key.sign(&signed).unwrap();
            made.signer.signature = OctetString::new(signature).unwrap();
            let encoded = made.encode().unwrap();
            let pkcs = oid::SIGNED_DATA.to_der().unwrap();
            let at = encoded
                .windows(pkcs.len())
                .position(|window| window == pkcs)
                .unwrap();
            // The outer type is of another length, so the structure is put together again.
            let content = Any::from_der(&encoded[at + pkcs.len()..]).unwrap();
            let content = Any::from_der(content.value()).unwrap();
            let info = ContentInfo {
                content_type: oid::GM_SIGNED_DATA,
                content,
            };
            let encoded = info.to_der().unwrap();
            let cms = Cms::parse(&encoded).unwrap();
            let signer = cms.signer(std::iter::empty()).unwrap();
            assert_eq!(cms.check(&[document], signer), Ok(()), "{algorithm}");
            let changed = cms.check(&[b"another"], signer);
            assert!(matches!(changed, Err(Flaw::Digest | Flaw::Signature)));
        }
    }
}
