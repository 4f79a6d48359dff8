//! Private keys: making, loading, exporting and signing with them.
//!
//! Every private-key operation runs in aws-lc-rs. What a signature is made over (a set of CMS attributes, a certificate)
//! is the business of the callers.

use aws_lc_rs::{
    digest::Algorithm as DigestAlgorithm,
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{self, EcdsaKeyPair, KeyPair as _},
};
use der::{
    Any, Decode as _, Encode as _,
    asn1::{BitString, Null},
};
use x509_cert::spki::{
    self, AlgorithmIdentifierOwned, Document, DynSignatureAlgorithmIdentifier, EncodePublicKey,
    SignatureBitStringEncoding, SubjectPublicKeyInfoOwned,
};
use zeroize::Zeroizing;

use super::oid;
use crate::sign::SignError;

/// The kinds of keys that sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
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
}

/// A private key in memory, with its public half ready for certificates.
pub(crate) struct PrivateKey {
    pair: Pair,
    algorithm: KeyAlgorithm,
    public: SubjectPublicKeyInfoOwned,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
}

impl PrivateKey {
    /// Makes a new key with the operating system's randomness. RSA takes from a tenth of a second to several.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Self, SignError> {
        let failed = |_| SignError::Crypto("make a key");
        let rsa = |size| RsaKeyPair::generate(size).map(|pair| Pair::Rsa(Box::new(pair)));
        let ec = |curve| EcdsaKeyPair::generate(curve).map(|pair| Pair::Ec(Box::new(pair)));
        let pair = match algorithm {
            KeyAlgorithm::P256 => ec(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyAlgorithm::P384 => ec(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyAlgorithm::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyAlgorithm::Rsa3072 => rsa(KeySize::Rsa3072),
            KeyAlgorithm::Rsa4096 => rsa(KeySize::Rsa4096),
        };
        Self::new(pair.map_err(failed)?, algorithm)
    }

    /// Reads an unencrypted PKCS#8 `PrivateKeyInfo` (RFC 5208).
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SignError> {
        let ec =
            |curve| EcdsaKeyPair::from_pkcs8(curve, pkcs8).map(|pair| Pair::Ec(Box::new(pair)));
        if let Ok(pair) = ec(&signature::ECDSA_P256_SHA256_ASN1_SIGNING) {
            return Self::new(pair, KeyAlgorithm::P256);
        }
        if let Ok(pair) = ec(&signature::ECDSA_P384_SHA384_ASN1_SIGNING) {
            return Self::new(pair, KeyAlgorithm::P384);
        }
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| {
            SignError::Key("neither RSA of 2,048 bits and more nor EC on P-256 or P-384 in PKCS#8")
        })?;
        let algorithm = match pair.public_modulus_len() {
            256 => KeyAlgorithm::Rsa2048,
            384 => KeyAlgorithm::Rsa3072,
            512 => KeyAlgorithm::Rsa4096,
            _ => {
                return Err(SignError::Key(
                    "an RSA modulus of other than 2,048, 3,072 or 4,096 bits",
                ));
            }
        };
        Self::new(Pair::Rsa(Box::new(pair)), algorithm)
    }

    fn new(pair: Pair, algorithm: KeyAlgorithm) -> Result<Self, SignError> {
        let failed = |_| SignError::Crypto("state a public key");
        let spki: PublicKeyX509Der<'_> = match &pair {
            Pair::Rsa(pair) => pair.public_key().as_der().map_err(failed)?,
            Pair::Ec(pair) => pair.public_key().as_der().map_err(failed)?,
        };
        let public = SubjectPublicKeyInfoOwned::from_der(spki.as_ref())?;
        Ok(Self {
            pair,
            algorithm,
            public,
        })
    }

    /// The key as an unencrypted PKCS#8 `PrivateKeyInfo`; the caller encrypts it before it rests anywhere.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let failed = |_| SignError::Crypto("export a key");
        match &self.pair {
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                Ok(Zeroizing::new(der.as_ref().to_vec()))
            }
            Pair::Ec(pair) => Ok(Zeroizing::new(
                pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            )),
        }
    }

    /// Signs `message` itself (it is digested on the way). ECDSA signatures are in their ASN.1 form.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = |_| SignError::Crypto("sign");
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut out)
                    .map_err(failed)?;
                Ok(out)
            }
            Pair::Ec(pair) => Ok(pair
                .sign(&random, message)
                .map_err(failed)?
                .as_ref()
                .to_vec()),
        }
    }

    pub(crate) fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    pub(crate) fn public(&self) -> &SubjectPublicKeyInfoOwned {
        &self.public
    }

    /// The digest that signatures of this key are made over.
    pub(crate) fn digest(&self) -> &'static DigestAlgorithm {
        match self.algorithm {
            KeyAlgorithm::P384 => &aws_lc_rs::digest::SHA384,
            KeyAlgorithm::P256
            | KeyAlgorithm::Rsa2048
            | KeyAlgorithm::Rsa3072
            | KeyAlgorithm::Rsa4096 => &aws_lc_rs::digest::SHA256,
        }
    }

    pub(crate) fn signature_algorithm(&self) -> AlgorithmIdentifierOwned {
        // RFC 4055 section 5 wants a NULL for RSA, RFC 5758 section 3.2 nothing for ECDSA.
        match self.algorithm {
            KeyAlgorithm::P256 => AlgorithmIdentifierOwned {
                oid: oid::ECDSA_WITH_SHA256,
                parameters: None,
            },
            KeyAlgorithm::P384 => AlgorithmIdentifierOwned {
                oid: oid::ECDSA_WITH_SHA384,
                parameters: None,
            },
            KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
                AlgorithmIdentifierOwned {
                    oid: oid::SHA256_WITH_RSA,
                    parameters: Some(Any::from(Null)),
                }
            }
        }
    }
}

/// A finished signature, as the builders of x509-cert want it.
pub(crate) struct SignatureBytes(Vec<u8>);

impl SignatureBitStringEncoding for SignatureBytes {
    fn to_bitstring(&self) -> der::Result<BitString> {
        BitString::from_bytes(&self.0)
    }
}

/// The public half, as the builders of x509-cert want it.
#[derive(Clone)]
pub(crate) struct PublicHalf(SubjectPublicKeyInfoOwned);

impl EncodePublicKey for PublicHalf {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::try_from(self.0.to_der()?)?)
    }
}

impl ::signature::Keypair for PrivateKey {
    type VerifyingKey = PublicHalf;

    fn verifying_key(&self) -> PublicHalf {
        PublicHalf(self.public.clone())
    }
}

impl DynSignatureAlgorithmIdentifier for PrivateKey {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(self.signature_algorithm())
    }
}

impl ::signature::Signer<SignatureBytes> for PrivateKey {
    fn try_sign(&self, message: &[u8]) -> Result<SignatureBytes, ::signature::Error> {
        self.sign(message)
            .map(SignatureBytes)
            .map_err(|_| ::signature::Error::new())
    }
}
