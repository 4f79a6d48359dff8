//! The suites of key and digest that sign, by the names that a configuration calls them.

use std::{fmt, str::FromStr};

use der::{
    Any,
    asn1::{Null, ObjectIdentifier},
};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::{Hash, oid};

/// The kinds of keys that sign, each with its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA over NIST P-256 with SHA-256: small and fast, for keys that sign one document.
    P256,
    /// ECDSA over NIST P-384 with SHA-384.
    P384,
    /// RSA with a modulus of 2,048 bits, PKCS#1 v1.5, SHA-256: what every reader can check.
    Rsa2048,
    /// RSA with a modulus of 3,072 bits, PKCS#1 v1.5, SHA-256.
    Rsa3072,
    /// RSA with a modulus of 4,096 bits, PKCS#1 v1.5, SHA-256.
    Rsa4096,
    /// SM2 with SM3 (GB/T 32918, GB/T 32905): what Chinese rules on commercial cryptography ask for, and few readers know.
    Sm2,
}

impl KeyAlgorithm {
    /// The most bytes of a signature.
    pub(crate) fn longest_signature(self) -> usize {
        match self {
            // Two numbers in DER.
            Self::P256 | Self::Sm2 => 72,
            Self::P384 => 104,
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
        }
    }

    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::P256,
        Self::P384,
        Self::Sm2,
    ];

    /// Its name: `rsa-2048`, `rsa-3072`, `rsa-4096`, `p-256`, `p-384` or `sm2`.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "p-256",
            Self::P384 => "p-384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::Sm2 => "sm2",
        }
    }

    /// The suite of a certificate's key; `None` when it is none of ours.
    pub(crate) fn of(key: &SubjectPublicKeyInfoOwned) -> Option<Self> {
        let bytes = key.subject_public_key.as_bytes()?;
        if key.algorithm.oid == oid::RSA {
            return match modulus_bits(bytes)? {
                2048 => Some(Self::Rsa2048),
                3072 => Some(Self::Rsa3072),
                4096 => Some(Self::Rsa4096),
                _ => None,
            };
        }
        let curve = key.algorithm.parameters.as_ref()?;
        match (key.algorithm.oid, curve.decode_as().ok()?) {
            (oid::EC_PUBLIC_KEY, oid::P256) => Some(Self::P256),
            (oid::EC_PUBLIC_KEY, oid::P384) => Some(Self::P384),
            (oid::EC_PUBLIC_KEY, oid::SM2) => Some(Self::Sm2),
            _ => None,
        }
    }

    /// The digest that its signatures are made over.
    pub(crate) fn hash(self) -> Hash {
        match self {
            Self::P256 | Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
            Self::Sm2 => Hash::Sm3,
        }
    }

    /// What its signatures are called in certificates and in CMS.
    pub(crate) fn signature_algorithm(self) -> AlgorithmIdentifierOwned {
        let without = |oid: ObjectIdentifier| AlgorithmIdentifierOwned {
            oid,
            parameters: None,
        };
        // RFC 4055 section 5 wants a NULL for RSA; RFC 5758 section 3.2 nothing for ECDSA, and so SM2 has it in practice.
        match self {
            Self::P256 => without(oid::ECDSA_WITH_SHA256),
            Self::P384 => without(oid::ECDSA_WITH_SHA384),
            Self::Sm2 => without(oid::SM2_WITH_SM3),
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => AlgorithmIdentifierOwned {
                oid: oid::SHA256_WITH_RSA,
                parameters: Some(Any::from(Null)),
            },
        }
    }
}

/// The bits of the modulus of an `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn modulus_bits(key: &[u8]) -> Option<usize> {
    use crate::verify::tlv::{INTEGER, SEQUENCE, Tlv};
    let (key, _) = Tlv::split(key).filter(|(key, _)| key.tag == SEQUENCE)?;
    let modulus = key.elements().tagged(INTEGER)?.content;
    let modulus = crate::timestamp::unsigned(modulus);
    Some(modulus.len() * 8 - modulus.first()?.leading_zeros() as usize)
}

/// A name that is no suite's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be rsa-2048, rsa-3072, rsa-4096, p-256, p-384 or sm2")]
pub struct UnknownAlgorithm;

impl FromStr for KeyAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
