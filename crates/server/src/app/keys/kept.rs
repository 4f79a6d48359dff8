//! A key as it is kept in the store: with its certificates, encrypted under the master secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealpost_pdf::{Credential, SignError};
use serde::{Deserialize, Serialize};

use super::KeyError;
use crate::secrets::Secrets;

/// A key as it is kept, before it is encrypted.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// PKCS#8 in base64.
    key: String,
    /// Certificates in DER and base64, leaf first.
    chain: Vec<String>,
}

impl Kept {
    pub(super) fn new(pkcs8: &[u8], chain: &[Vec<u8>]) -> Self {
        Self {
            key: STANDARD.encode(pkcs8),
            chain: chain.iter().map(|der| STANDARD.encode(der)).collect(),
        }
    }

    pub(super) fn encrypt(&self, secrets: &Secrets, place: &str) -> Result<Vec<u8>, KeyError> {
        Ok(secrets.encrypt(place, &serde_json::to_vec(self)?)?)
    }

    pub(super) fn decrypt(secrets: &Secrets, place: &str, sealed: &[u8]) -> Result<Self, KeyError> {
        Ok(serde_json::from_slice(&secrets.decrypt(place, sealed)?)?)
    }

    pub(super) fn key(&self) -> Vec<u8> {
        STANDARD.decode(&self.key).unwrap_or_default()
    }

    pub(super) fn chain(&self) -> Vec<Vec<u8>> {
        self.chain
            .iter()
            .map(|der| STANDARD.decode(der).unwrap_or_default())
            .collect()
    }

    pub(super) fn credential(&self) -> Result<Credential, SignError> {
        Credential::from_pkcs8(&self.key(), self.chain())
    }
}
