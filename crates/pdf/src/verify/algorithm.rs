//! Checks digests and public-key signatures by the algorithms that CMS and X.509 name.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use der::{
    Decode as _, Encode as _, Sequence,
    asn1::{ObjectIdentifier, UintRef},
};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::pki::{Hash, oid, sm2};

/// What a digest is called in reports.
pub(super) fn digest_name(oid: ObjectIdentifier) -> String {
    match oid {
        oid::SHA1 => "sha1".to_owned(),
        oid::SHA256 => "sha256".to_owned(),
        oid::SHA384 => "sha384".to_owned(),
        oid::SHA512 => "sha512".to_owned(),
        oid::SM3 => "sm3".to_owned(),
        other => other.to_string(),
    }
}

/// What the pair of a signature's algorithm and its key is called in reports.
pub(super) fn signature_name(
    algorithm: ObjectIdentifier,
    key: Option<&SubjectPublicKeyInfoOwned>,
) -> String {
    match (algorithm, key.and_then(curve)) {
        (oid::RSA_PSS, _) => "rsa-pss".to_owned(),
        (oid::ED25519, _) => "ed25519".to_owned(),
        (_, Some(oid::P256)) => "ecdsa-p256".to_owned(),
        (_, Some(oid::P384)) => "ecdsa-p384".to_owned(),
        (_, Some(oid::P521)) => "ecdsa-p521".to_owned(),
        (_, Some(oid::SM2)) => "sm2".to_owned(),
        (
            oid::RSA
            | oid::SHA1_WITH_RSA
            | oid::SHA256_WITH_RSA
            | oid::SHA384_WITH_RSA
            | oid::SHA512_WITH_RSA,
            None,
        ) => "rsa".to_owned(),
        (other, _) => other.to_string(),
    }
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The algorithm, or its combination with the key, is unknown or too weak.
    Unsupported,
    /// The signature is false.
    Mismatch,
}

/// Checks `signature` over `message`. `digest` is the digest named beside the algorithm in CMS; certificates have none.
pub(crate) fn check(
    key: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
    digest: Option<ObjectIdentifier>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), Broken> {
    let public = key.subject_public_key.as_bytes();
    let public = public.ok_or(Broken::Unsupported)?;
    let holds = if curve(key) == Some(oid::SM2) {
        if !is_sm2_with_sm3(algorithm.oid, digest) {
            return Err(Broken::Unsupported);
        }
        sm2::verify(public, message, signature)
    } else {
        let verification = verification(key, algorithm, digest).ok_or(Broken::Unsupported)?;
        UnparsedPublicKey::new(verification, public)
            .verify(message, signature)
            .is_ok()
    };
    holds.then_some(()).ok_or(Broken::Mismatch)
}

/// Whether SM2 with SM3 is meant. Certificates name both in one; in CMS the digest is named beside it, and implementations
/// after GM/T 0010-2012 then name SM2 alone: its signatures or just its curve.
fn is_sm2_with_sm3(algorithm: ObjectIdentifier, digest: Option<ObjectIdentifier>) -> bool {
    match digest {
        None => algorithm == oid::SM2_WITH_SM3,
        Some(oid::SM3) => matches!(algorithm, oid::SM2_WITH_SM3 | oid::SM2_SIGN | oid::SM2),
        Some(_) => false,
    }
}

fn verification(
    key: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
    digest: Option<ObjectIdentifier>,
) -> Option<&'static dyn VerificationAlgorithm> {
    let agrees = |own: ObjectIdentifier| digest.is_none_or(|digest| digest == own).then_some(own);
    match algorithm.oid {
        oid::RSA => rsa(key, digest?),
        oid::SHA256_WITH_RSA => rsa(key, agrees(oid::SHA256)?),
        oid::SHA384_WITH_RSA => rsa(key, agrees(oid::SHA384)?),
        oid::SHA512_WITH_RSA => rsa(key, agrees(oid::SHA512)?),
        oid::RSA_PSS => rsa_pss(key, agrees(pss_digest(algorithm)?)?),
        oid::ECDSA_WITH_SHA256 => ecdsa(key, agrees(oid::SHA256)?),
        oid::ECDSA_WITH_SHA384 => ecdsa(key, agrees(oid::SHA384)?),
        oid::ECDSA_WITH_SHA512 => ecdsa(key, agrees(oid::SHA512)?),
        oid::ED25519 if key.algorithm.oid == oid::ED25519 => Some(&signature::ED25519),
        _ => None,
    }
}

/// RSA with PKCS#1 v1.5 padding and a modulus of at least 2,048 bits.
fn rsa(
    key: &SubjectPublicKeyInfoOwned,
    digest: ObjectIdentifier,
) -> Option<&'static dyn VerificationAlgorithm> {
    if key.algorithm.oid != oid::RSA {
        return None;
    }
    match digest {
        oid::SHA256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        oid::SHA384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        oid::SHA512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    }
}

fn rsa_pss(
    key: &SubjectPublicKeyInfoOwned,
    digest: ObjectIdentifier,
) -> Option<&'static dyn VerificationAlgorithm> {
    if key.algorithm.oid != oid::RSA && key.algorithm.oid != oid::RSA_PSS {
        return None;
    }
    match digest {
        oid::SHA256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        oid::SHA384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        oid::SHA512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn ecdsa(
    key: &SubjectPublicKeyInfoOwned,
    digest: ObjectIdentifier,
) -> Option<&'static dyn VerificationAlgorithm> {
    match (curve(key)?, digest) {
        (oid::P256, oid::SHA256) => Some(&signature::ECDSA_P256_SHA256_ASN1),
        (oid::P256, oid::SHA384) => Some(&signature::ECDSA_P256_SHA384_ASN1),
        (oid::P256, oid::SHA512) => Some(&signature::ECDSA_P256_SHA512_ASN1),
        (oid::P384, oid::SHA256) => Some(&signature::ECDSA_P384_SHA256_ASN1),
        (oid::P384, oid::SHA384) => Some(&signature::ECDSA_P384_SHA384_ASN1),
        (oid::P384, oid::SHA512) => Some(&signature::ECDSA_P384_SHA512_ASN1),
        (oid::P521, oid::SHA256) => Some(&signature::ECDSA_P521_SHA256_ASN1),
        (oid::P521, oid::SHA384) => Some(&signature::ECDSA_P521_SHA384_ASN1),
        (oid::P521, oid::SHA512) => Some(&signature::ECDSA_P521_SHA512_ASN1),
        _ => None,
    }
}

fn curve(key: &SubjectPublicKeyInfoOwned) -> Option<ObjectIdentifier> {
    if key.algorithm.oid != oid::EC_PUBLIC_KEY {
        return None;
    }
    key.algorithm.parameters.as_ref()?.decode_as().ok()
}

/// RSASSA-PSS-params (RFC 8017 appendix A.2.3).
#[derive(Sequence)]
struct PssParameters<'a> {
    #[asn1(context_specific = "0", optional = "true")]
    hash: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "1", optional = "true")]
    mask: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "2", optional = "true")]
    salt: Option<UintRef<'a>>,
    #[asn1(context_specific = "3", optional = "true")]
    trailer: Option<UintRef<'a>>,
}

/// The digest of PSS parameters of the usual form: one digest for message and mask, and a salt as long as it.
fn pss_digest(algorithm: &AlgorithmIdentifierOwned) -> Option<ObjectIdentifier> {
    let encoded = algorithm.parameters.as_ref()?.to_der().ok()?;
    let parameters = PssParameters::from_der(&encoded).ok()?;
    let digest = parameters.hash?.oid;
    let mask: AlgorithmIdentifierOwned = parameters.mask?.parameters?.decode_as().ok()?;
    let salt = parameters.salt?;
    let usual = mask.oid == digest
        && salt.as_bytes() == [u8::try_from(Hash::of_oid(digest)?.length()).ok()?]
        && parameters
            .trailer
            .is_none_or(|trailer| trailer.as_bytes() == [1]);
    usual.then_some(digest)
}
