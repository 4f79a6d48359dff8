//! Private keys: making, loading, exporting and signing with them.
//!
//! RSA and ECDSA run in aws-lc-rs, SM2 in the crate of that name, and what is external wherever it is. What a signature is
//! made over (a set of CMS attributes, a certificate) is the business of the callers.

use std::sync::Arc;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{self, EcdsaKeyPair, KeyPair as _},
};
use der::{Decode as _, Encode as _, asn1::BitString};
use x509_cert::spki::{
    self, AlgorithmIdentifierOwned, Document, DynSignatureAlgorithmIdentifier, EncodePublicKey,
    SignatureBitStringEncoding, SubjectPublicKeyInfoOwned,
};
use zeroize::Zeroizing;

use super::{ExternalKey, KeyAlgorithm, sm2::Sm2Key};
use crate::sign::SignError;

/// A private key, with its public half ready for certificates.
pub(crate) struct PrivateKey {
    pair: Pair,
    algorithm: KeyAlgorithm,
    public: SubjectPublicKeyInfoOwned,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
    Sm2(Box<Sm2Key>),
    External(Arc<dyn ExternalKey>),
}

impl PrivateKey {
    /// Makes a new key with the operating system's randomness. RSA takes from a tenth of a second to several.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Self, SignError> {
        let failed = |_| SignError::Crypto("make a key");
        let rsa = |size| Self::rsa(RsaKeyPair::generate(size).map_err(failed)?, algorithm);
        let ec = |curve| Self::ec(EcdsaKeyPair::generate(curve).map_err(failed)?, algorithm);
        match algorithm {
            KeyAlgorithm::P256 => ec(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyAlgorithm::P384 => ec(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyAlgorithm::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyAlgorithm::Rsa3072 => rsa(KeySize::Rsa3072),
            KeyAlgorithm::Rsa4096 => rsa(KeySize::Rsa4096),
            KeyAlgorithm::Sm2 => Self::sm2(Sm2Key::generate()?),
        }
    }

    /// Reads an unencrypted PKCS#8 `PrivateKeyInfo` (RFC 5208).
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SignError> {
        let ec = |curve| EcdsaKeyPair::from_pkcs8(curve, pkcs8);
        if let Ok(pair) = ec(&signature::ECDSA_P256_SHA256_ASN1_SIGNING) {
            return Self::ec(pair, KeyAlgorithm::P256);
        }
        if let Ok(pair) = ec(&signature::ECDSA_P384_SHA384_ASN1_SIGNING) {
            return Self::ec(pair, KeyAlgorithm::P384);
        }
        if let Some(key) = Sm2Key::from_pkcs8(pkcs8) {
            return Self::sm2(key);
        }
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| {
            SignError::Key(
                "neither RSA of 2,048 bits and more nor EC on P-256, P-384 or SM2's curve in PKCS#8",
            )
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
        Self::rsa(pair, algorithm)
    }

    /// A key that is elsewhere, with the public half that a certificate states.
    pub(crate) fn external(
        key: Arc<dyn ExternalKey>,
        public: SubjectPublicKeyInfoOwned,
    ) -> Result<Self, SignError> {
        let algorithm = KeyAlgorithm::of(&public).ok_or(SignError::Key(
            "its certificate is neither for RSA of 2,048, 3,072 or 4,096 bits nor for P-256, P-384 or SM2",
        ))?;
        Ok(Self {
            pair: Pair::External(key),
            algorithm,
            public,
        })
    }

    fn rsa(pair: RsaKeyPair, algorithm: KeyAlgorithm) -> Result<Self, SignError> {
        Ok(Self {
            public: stated(pair.public_key())?,
            pair: Pair::Rsa(Box::new(pair)),
            algorithm,
        })
    }

    fn ec(pair: EcdsaKeyPair, algorithm: KeyAlgorithm) -> Result<Self, SignError> {
        Ok(Self {
            public: stated(pair.public_key())?,
            pair: Pair::Ec(Box::new(pair)),
            algorithm,
        })
    }

    fn sm2(key: Sm2Key) -> Result<Self, SignError> {
        Ok(Self {
            public: key.public()?,
            pair: Pair::Sm2(Box::new(key)),
            algorithm: KeyAlgorithm::Sm2,
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
            Pair::Sm2(key) => key.to_pkcs8(),
            Pair::External(_) => Err(SignError::Key("it is elsewhere and cannot be exported")),
        }
    }

    /// Signs `message` itself (it is digested on the way). Signatures of elliptic curves are in their ASN.1 form.
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
            Pair::Sm2(key) => key.sign(message),
            Pair::External(key) => key
                .sign(self.algorithm, message)
                .map_err(SignError::ExternalKey),
        }
    }

    pub(crate) fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    pub(crate) fn public(&self) -> &SubjectPublicKeyInfoOwned {
        &self.public
    }
}

/// The public half of a key pair as certificates state it.
fn stated<'k>(
    key: &impl AsDer<PublicKeyX509Der<'k>>,
) -> Result<SubjectPublicKeyInfoOwned, SignError> {
    let spki = key.as_der();
    let spki = spki.map_err(|_| SignError::Crypto("state a public key"))?;
    Ok(SubjectPublicKeyInfoOwned::from_der(spki.as_ref())?)
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
        Ok(self.algorithm.signature_algorithm())
    }
}

impl ::signature::Signer<SignatureBytes> for PrivateKey {
    fn try_sign(&self, message: &[u8]) -> Result<SignatureBytes, ::signature::Error> {
        self.sign(message)
            .map(SignatureBytes)
            .map_err(|_| ::signature::Error::new())
    }
}
