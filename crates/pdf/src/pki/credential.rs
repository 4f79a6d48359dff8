//! A private key with the certificates that say whose it is.

use std::sync::Arc;

use der::Decode as _;
use x509_cert::Certificate;
use zeroize::Zeroizing;

use super::{
    ExternalKey, KeyAlgorithm, Pkcs12, PrivateKey, Validity, authority::utc_millis, name_text,
};
use crate::{sign::SignError, verify::algorithm};

/// A private key and its certificate chain, leaf first: what signs a document.
pub struct Credential {
    pub(crate) key: PrivateKey,
    /// Leaf first, each the issuer of the one before; the root may be missing.
    pub(crate) chain: Vec<Certificate>,
    /// The chain again as it is embedded, so that signing does not encode it anew.
    pub(crate) chain_der: Vec<Vec<u8>>,
}

/// The most certificates that a credential's chain may have.
const MAX_CHAIN: usize = 10;

impl Credential {
    /// A credential of an unencrypted PKCS#8 key and its chain in DER, leaf first.
    ///
    /// # Errors
    /// When the key or a certificate cannot be read, the chain is empty or longer than 10, or the leaf certifies another key.
    pub fn from_pkcs8(pkcs8: &[u8], chain: Vec<Vec<u8>>) -> Result<Self, SignError> {
        Self::new(PrivateKey::from_pkcs8(pkcs8)?, chain)
    }

    /// The credential of a PKCS#12 file (RFC 7292), as certification authorities hand them out: one private key, its
    /// certificate, and what of the chain the file holds.
    ///
    /// # Errors
    /// What [`Pkcs12::open`] says, or when the file holds no certificate for its key.
    pub fn from_pkcs12(file: &[u8], password: &str) -> Result<Self, SignError> {
        let opened = Pkcs12::open(file, password)?;
        let key = PrivateKey::from_pkcs8(&opened.key)?;
        let certificates = opened.certificates.iter().map(Vec::as_slice);
        let certificates: Vec<(&[u8], Certificate)> = certificates
            .filter_map(|der| Some((der, Certificate::from_der(der).ok()?)))
            .collect();
        let leaf = certificates
            .iter()
            .find(|(_, certificate)| certifies(certificate, &key))
            .ok_or(SignError::Certificate(
                "the PKCS#12 file holds none for its key",
            ))?;
        let mut chain = vec![leaf];
        while chain.len() < MAX_CHAIN {
            let below = chain[chain.len() - 1].1.tbs_certificate();
            let above = certificates.iter().find(|(der, certificate)| {
                certificate.tbs_certificate().subject() == below.issuer()
                    && chain.iter().all(|(known, _)| known != der)
            });
            let Some(above) = above else { break };
            chain.push(above);
        }
        Self::new(
            key,
            chain.into_iter().map(|(der, _)| der.to_vec()).collect(),
        )
    }

    /// A credential whose key is elsewhere, with its chain in DER, leaf first. The key signs once to show that the leaf is its
    /// certificate.
    ///
    /// # Errors
    /// When a certificate cannot be read, the chain is empty or longer than 10, the leaf is for an algorithm that is not ours, or
    /// the key does not sign or signs as another one.
    pub fn external(key: Arc<dyn ExternalKey>, chain: Vec<Vec<u8>>) -> Result<Self, SignError> {
        let leaf = chain.first().map(|der| Certificate::from_der(der));
        let Some(Ok(leaf)) = leaf else {
            return Err(SignError::Certificate("it is not an X.509 certificate"));
        };
        let public = leaf.tbs_certificate().subject_public_key_info().clone();
        let key = PrivateKey::external(key, public)?;
        let probe = b"Sealpost asks whether this key is its certificate's.";
        let signature = key.sign(probe)?;
        let stated = key.algorithm().signature_algorithm();
        algorithm::check(key.public(), &stated, None, probe, &signature)
            .map_err(|_| SignError::Certificate("it certifies another key"))?;
        Self::new(key, chain)
    }

    pub(crate) fn new(key: PrivateKey, chain_der: Vec<Vec<u8>>) -> Result<Self, SignError> {
        if chain_der.len() > MAX_CHAIN {
            return Err(SignError::TooLarge {
                what: "the certificate chain",
                limit: MAX_CHAIN,
            });
        }
        let chain = chain_der
            .iter()
            .map(|der| {
                Certificate::from_der(der)
                    .map_err(|_| SignError::Certificate("it is not an X.509 certificate"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let leaf = chain
            .first()
            .ok_or(SignError::Certificate("the chain is empty"))?;
        if !certifies(leaf, &key) {
            return Err(SignError::Certificate("it certifies another key"));
        }
        Ok(Self {
            key,
            chain,
            chain_der,
        })
    }

    /// The private key as an unencrypted PKCS#8 `PrivateKeyInfo`. Whoever keeps it encrypts it first.
    ///
    /// # Errors
    /// When the key is elsewhere, or the cryptographic library fails.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SignError> {
        self.key.to_pkcs8()
    }

    /// What the key signs with.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.key.algorithm()
    }

    /// The chain in DER, leaf first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain_der
    }

    /// The leaf's serial number in lower-case hex, as it is recorded with a signature.
    pub fn serial_hex(&self) -> String {
        hex::encode(self.leaf().tbs_certificate().serial_number().as_bytes())
    }

    /// The leaf's subject as RFC 4514 text.
    pub fn subject(&self) -> String {
        name_text(self.leaf().tbs_certificate().subject())
    }

    /// When the leaf is valid.
    pub fn validity(&self) -> Validity {
        let validity = self.leaf().tbs_certificate().validity();
        Validity {
            not_before: utc_millis(validity.not_before),
            not_after: utc_millis(validity.not_after),
        }
    }

    /// When the first certificate of the chain ends, in UTC milliseconds.
    pub fn chain_not_after(&self) -> i64 {
        let ends = self.chain.iter();
        let ends = ends.map(|one| utc_millis(one.tbs_certificate().validity().not_after));
        ends.min().unwrap_or(i64::MIN)
    }

    pub(crate) fn leaf(&self) -> &Certificate {
        // `new` refuses an empty chain.
        &self.chain[0]
    }
}

/// Whether a certificate is for this key.
fn certifies(certificate: &Certificate, key: &PrivateKey) -> bool {
    let stated = certificate.tbs_certificate().subject_public_key_info();
    stated.subject_public_key == key.public().subject_public_key
}
