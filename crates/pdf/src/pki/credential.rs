//! A private key with the certificates that say whose it is.

use der::Decode as _;
use x509_cert::Certificate;
use zeroize::Zeroizing;

use super::{KeyAlgorithm, PrivateKey, Validity, authority::utc_millis};
use crate::sign::SignError;

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
        let stated = &leaf
            .tbs_certificate()
            .subject_public_key_info()
            .subject_public_key;
        if *stated != key.public().subject_public_key {
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
    /// When the cryptographic library fails.
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
        self.leaf().tbs_certificate().subject().to_string()
    }

    /// When the leaf is valid.
    pub fn validity(&self) -> Validity {
        let validity = self.leaf().tbs_certificate().validity();
        Validity {
            not_before: utc_millis(validity.not_before),
            not_after: utc_millis(validity.not_after),
        }
    }

    pub(crate) fn leaf(&self) -> &Certificate {
        // `new` refuses an empty chain.
        &self.chain[0]
    }
}
