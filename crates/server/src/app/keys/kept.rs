//! A key as it is kept in the store: with its certificates, encrypted under the master secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealpost_contract::UtcMillis;
use sealpost_pdf::{Authority, Credential, SignError};
use sealpost_store::Store;
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

    fn key(&self) -> Vec<u8> {
        STANDARD.decode(&self.key).unwrap_or_default()
    }

    fn chain(&self) -> Vec<Vec<u8>> {
        self.chain
            .iter()
            .map(|der| STANDARD.decode(der).unwrap_or_default())
            .collect()
    }

    pub(super) fn credential(&self) -> Result<Credential, SignError> {
        Credential::from_pkcs8(&self.key(), self.chain())
    }

    /// The authority whose root it is.
    pub(super) fn authority(&self) -> Result<Authority, SignError> {
        let chain = self.chain();
        let certificate = chain.first().map(Vec::as_slice).unwrap_or_default();
        Authority::load(&self.key(), certificate)
    }
}

/// The key that is kept at a place in the store, if there is one.
pub(super) async fn find_kept(
    store: &Store,
    secrets: &Secrets,
    place: &str,
) -> Result<Option<Kept>, KeyError> {
    let found = store.find_credential(place).await?;
    found
        .map(|sealed| Kept::decrypt(secrets, place, &sealed))
        .transpose()
}

/// Keeps a key that was made at a place in the store: instead of the one that is there (`replaces`), or as the first. Gives the
/// key that is kept now: as the first, another node may have been faster with one.
pub(super) async fn keep(
    store: &Store,
    secrets: &Secrets,
    place: &str,
    made: Credential,
    replaces: bool,
    now: UtcMillis,
) -> Result<Credential, KeyError> {
    let sealed = Kept::new(&made.to_pkcs8()?, made.chain()).encrypt(secrets, place)?;
    if replaces {
        store.replace_credential(place, sealed, now).await?;
        return Ok(made);
    }
    let sealed = store.keep_credential(place, sealed, now).await?;
    Ok(Kept::decrypt(secrets, place, &sealed)?.credential()?)
}
