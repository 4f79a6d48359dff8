//! Reads a CMS structure (RFC 5652) as far as a verifier needs it, and checks its cryptographic signature.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use der::{Decode as _, asn1::ObjectIdentifier};
use x509_cert::{ext::pkix::SubjectKeyIdentifier, spki::AlgorithmIdentifierOwned};

use super::{
    algorithm::{self, Broken},
    known::Known,
    tlv::{Elements, INTEGER, OCTET_STRING, SEQUENCE, SET, Tlv, context},
};
use crate::{
    cms::{IssuerAndSerialNumber, SigningCertificateV2},
    pki::{Hash, oid},
};

/// The most certificates, and the most revocation lists, of one structure.
const MAX_ITEMS: usize = 64;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// A signature as it was sent.
pub(crate) struct Cms<'a> {
    /// The content inside, of a timestamp token; signatures of documents have none.
    pub(crate) content: Option<&'a [u8]>,
    content_type: ObjectIdentifier,
    pub(crate) certificates: Vec<Known>,
    pub(crate) revocation_lists: Vec<&'a [u8]>,
    signer: SignerInfo<'a>,
    /// How many bytes it takes; what follows is padding.
    pub(crate) length: usize,
}

struct SignerInfo<'a> {
    sid: Tlv<'a>,
    digest: AlgorithmIdentifierOwned,
    signed_attributes: Option<Tlv<'a>>,
    algorithm: AlgorithmIdentifierOwned,
    signature: &'a [u8],
    unsigned_attributes: Option<Tlv<'a>>,
}

/// What is wrong with a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The digest of the content is not the one that was signed.
    Digest,
    /// The cryptographic signature is false.
    Signature,
    /// An algorithm is unknown or too weak.
    Algorithm,
    /// The content type that was signed is another.
    ContentType,
    /// There are no signed attributes where there must be.
    Attributes,
}

impl<'a> Cms<'a> {
    /// Reads the structure at the start of `bytes`; `None` when it is malformed, or has not exactly one signer.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (outer, _) = Tlv::split(bytes)?;
        let mut info = expect(outer, SEQUENCE)?.elements();
        // GM/T 0010-2012 has the structures of CMS under content types of its own.
        if !matches!(
            object_identifier(&mut info)?,
            oid::SIGNED_DATA | oid::GM_SIGNED_DATA
        ) {
            return None;
        }
        let mut signed = info
            .tagged(context(0))?
            .elements()
            .tagged(SEQUENCE)?
            .elements();
        signed.tagged(INTEGER)?;
        signed.tagged(SET)?;
        let mut encapsulated = signed.tagged(SEQUENCE)?.elements();
        let content_type = object_identifier(&mut encapsulated)?;
        let content = match encapsulated.tagged(context(0)) {
            Some(explicit) => Some(explicit.elements().tagged(OCTET_STRING)?.content),
            None => None,
        };
        let certificates = signed.tagged(context(0)).map(|set| set.elements());
        let certificates: Vec<_> = certificates.into_iter().flatten().take(MAX_ITEMS).collect();
        let lists = signed.tagged(context(1)).map(|set| set.elements());
        let lists: Vec<_> = lists
            .into_iter()
            .flatten()
            .take(MAX_ITEMS)
            .map(|list| list.raw)
            .collect();
        let mut signers = signed.tagged(SET)?.elements();
        let signer = SignerInfo::parse(signers.next()?)?;
        if signers.next().is_some() {
            return None;
        }
        Some(Self {
            content,
            content_type,
            certificates: certificates
                .iter()
                .filter_map(|certificate| Known::parse(certificate.raw))
                .collect(),
            revocation_lists: lists,
            signer,
            length: outer.raw.len(),
        })
    }

    pub(crate) fn content_type(&self) -> ObjectIdentifier {
        self.content_type
    }

    pub(crate) fn digest(&self) -> ObjectIdentifier {
        self.signer.digest.oid
    }

    pub(crate) fn algorithm(&self) -> ObjectIdentifier {
        self.signer.algorithm.oid
    }

    /// The signature value: what a timestamp of it is over.
    pub(crate) fn signature(&self) -> &'a [u8] {
        self.signer.signature
    }

    /// The certificate that the signer names, among those inside and `others`.
    pub(crate) fn signer<'c>(
        &'c self,
        mut others: impl Iterator<Item = &'c Known>,
    ) -> Option<&'c Known> {
        self.certificates
            .iter()
            .find(|known| self.names(known))
            .or_else(|| others.find(|known| self.names(known)))
    }

    fn names(&self, known: &Known) -> bool {
        let tbs = known.certificate.tbs_certificate();
        if self.signer.sid.tag != SEQUENCE {
            let id = tbs.get_extension::<SubjectKeyIdentifier>().ok().flatten();
            return id.is_some_and(|(_, id)| id.0.as_bytes() == self.signer.sid.content);
        }
        let sid = IssuerAndSerialNumber::from_der(self.signer.sid.raw);
        sid.is_ok_and(|sid| {
            sid.issuer == *tbs.issuer() && sid.serial_number == *tbs.serial_number()
        })
    }

    /// Checks that the signer signed content made of these pieces.
    pub(crate) fn check(&self, content: &[&[u8]], signer: &Known) -> Result<(), Flaw> {
        let broken = |broken| match broken {
            Broken::Unsupported => Flaw::Algorithm,
            Broken::Mismatch => Flaw::Signature,
        };
        let key = signer
            .certificate
            .tbs_certificate()
            .subject_public_key_info();
        let hash = Hash::of_oid(self.signer.digest.oid).ok_or(Flaw::Algorithm)?;
        let check = |message: &[u8]| {
            let digest = Some(self.signer.digest.oid);
            algorithm::check(
                key,
                &self.signer.algorithm,
                digest,
                message,
                self.signer.signature,
            )
            .map_err(broken)
        };
        let Some(attributes) = self.signer.signed_attributes else {
            // Without signed attributes the signature is over the content itself (section 5.4), which must then be plain data.
            return if matches!(self.content_type, oid::DATA | oid::GM_DATA) {
                check(&content.concat())
            } else {
                Err(Flaw::Attributes)
            };
        };
        let message_digest = self
            .signed_attribute(oid::MESSAGE_DIGEST)
            .ok_or(Flaw::Attributes)?;
        if message_digest.tag != OCTET_STRING || message_digest.content != hash.of(content).as_ref()
        {
            return Err(Flaw::Digest);
        }
        let content_type = self
            .signed_attribute(oid::CONTENT_TYPE)
            .ok_or(Flaw::Attributes)?;
        if ObjectIdentifier::from_der(content_type.raw).ok() != Some(self.content_type) {
            return Err(Flaw::ContentType);
        }
        // They are signed as a SET OF, though sent with the tag [0] (section 5.4).
        let mut message = attributes.raw.to_vec();
        message[0] = SET;
        check(&message)
    }

    /// Whether a signing-certificate attribute names the signer's certificate; `None` when there is none.
    pub(crate) fn names_certificate(&self, signer: &Known) -> Option<bool> {
        if let Some(attribute) = self.signed_attribute(oid::SIGNING_CERTIFICATE_V2) {
            let Ok(attribute) = SigningCertificateV2::from_der(attribute.raw) else {
                return Some(false);
            };
            let Some(first) = attribute.certs.first() else {
                return Some(false);
            };
            let stated = first.hash_algorithm.as_ref();
            let hash = stated.map_or(Some(Hash::Sha256), |stated| Hash::of_oid(stated.oid));
            return Some(hash.is_some_and(|hash| {
                hash.of(&[&signer.der]).as_ref() == first.cert_hash.as_bytes()
            }));
        }
        // The first version of the attribute has SHA-1 (RFC 2634 section 5.4): `SEQUENCE { SEQUENCE OF ESSCertID { hash, … } }`.
        let attribute = self.signed_attribute(oid::SIGNING_CERTIFICATE)?;
        let hash = attribute
            .elements()
            .tagged(SEQUENCE)
            .and_then(|certificates| {
                certificates
                    .elements()
                    .tagged(SEQUENCE)?
                    .elements()
                    .tagged(OCTET_STRING)
            });
        let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, &signer.der);
        Some(hash.is_some_and(|hash| hash.content == sha1.as_ref()))
    }

    /// The timestamp token over the signature, when it has one.
    pub(crate) fn timestamp_token(&self) -> Option<&'a [u8]> {
        attribute(self.signer.unsigned_attributes?, oid::TIMESTAMP_TOKEN).map(|token| token.raw)
    }

    fn signed_attribute(&self, oid: ObjectIdentifier) -> Option<Tlv<'a>> {
        attribute(self.signer.signed_attributes?, oid)
    }
}

impl<'a> SignerInfo<'a> {
    fn parse(info: Tlv<'a>) -> Option<Self> {
        let mut parts = expect(info, SEQUENCE)?.elements();
        parts.tagged(INTEGER)?;
        let sid = parts.next()?;
        // `[0]` of a subjectKeyIdentifier is primitive.
        if sid.tag != SEQUENCE && sid.tag != 0x80 {
            return None;
        }
        let digest = AlgorithmIdentifierOwned::from_der(parts.tagged(SEQUENCE)?.raw).ok()?;
        let signed_attributes = parts.tagged(context(0));
        let algorithm = AlgorithmIdentifierOwned::from_der(parts.tagged(SEQUENCE)?.raw).ok()?;
        let signature = parts.tagged(OCTET_STRING)?.content;
        let unsigned_attributes = parts.tagged(context(1));
        Some(Self {
            sid,
            digest,
            signed_attributes,
            algorithm,
            signature,
            unsigned_attributes,
        })
    }
}

/// The value of an attribute that is there exactly once and has exactly one value.
fn attribute<'a>(attributes: Tlv<'a>, oid: ObjectIdentifier) -> Option<Tlv<'a>> {
    let mut found = None;
    for attribute in attributes.elements() {
        let mut parts = attribute.elements();
        if object_identifier(&mut parts)? != oid {
            continue;
        }
        let mut values = parts.tagged(SET)?.elements();
        let value = values.next()?;
        if found.replace(value).is_some() || values.next().is_some() {
            return None;
        }
    }
    found
}

fn object_identifier(elements: &mut Elements<'_>) -> Option<ObjectIdentifier> {
    ObjectIdentifier::from_der(elements.tagged(OBJECT_IDENTIFIER)?.raw).ok()
}

fn expect(element: Tlv<'_>, tag: u8) -> Option<Tlv<'_>> {
    (element.tag == tag).then_some(element)
}
