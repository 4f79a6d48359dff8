//! The keys that sign: the built-in certification authority, the organizations' and the persons'.
//!
//! The authority and each organization's key are made once and kept in the store, encrypted; a person's key is made for one
//! flow, used once and forgotten. The built-in authority is not a licensed one, and its certificates say so.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_pdf::{Authority, Credential, KeyAlgorithm, SignError, Subject, Trust, Validity};
use sealpost_store::Store;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::secrets::{SecretError, Secrets, sha256};

const YEAR: i64 = 365 * 24 * 60 * 60 * 1000;

/// How long the authority's root is valid.
const ROOT_YEARS: i64 = 30;

/// How long an organization's key is used.
const ORGANIZATION_YEARS: i64 = 5;

/// How long a person's certificate is valid. Its key is forgotten at once; without a timestamp, readers judge the signature
/// by the clock of the day they look at it, so a short validity would only make good signatures look bad.
const PERSON_YEARS: i64 = 10;

/// How long the key of our own timestamp authority is valid.
const TIMESTAMP_YEARS: i64 = 15;

/// Clocks of others may be behind ours by this much.
const SLACK: i64 = 5 * 60 * 1000;

/// Organizations' keys that are kept in memory.
const KEPT: usize = 256;

/// Why a key cannot be made or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The store does not give or take it.
    #[error("the store does not give or take the key")]
    Store(#[from] sealpost_store::Error),
    /// It cannot be encrypted or decrypted.
    #[error("the key cannot be encrypted or decrypted")]
    Secret(#[from] SecretError),
    /// It cannot be made, or what is kept is damaged.
    #[error("the key cannot be made, or what is kept is damaged")]
    Sign(#[from] SignError),
    /// What is kept is not what we wrote.
    #[error("what is kept of the key cannot be read")]
    Form(#[from] serde_json::Error),
}

/// The keys of this installation.
pub(crate) struct Keys {
    authority: Authority,
    organizations: Mutex<HashMap<String, Arc<Credential>>>,
}

/// A key as it is kept, before it is encrypted.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// PKCS#8 in base64.
    key: String,
    /// Certificates in DER and base64, leaf first.
    chain: Vec<String>,
}

impl Keys {
    /// The authority from the store; made on the first start.
    pub(crate) async fn open(
        store: &Store,
        secrets: &Secrets,
        now: UtcMillis,
    ) -> Result<Self, KeyError> {
        const NAME: &str = "authority";
        let sealed = match store.find_credential(NAME).await? {
            Some(sealed) => sealed,
            None => {
                let validity = Validity {
                    not_before: now - SLACK,
                    not_after: now + ROOT_YEARS * YEAR,
                };
                let label = hex::encode(crate::secrets::random::<4>()?);
                let authority = Authority::generate(&label, KeyAlgorithm::P256, validity)?;
                let kept = Kept::new(&authority.to_pkcs8()?, &[authority.certificate().to_vec()]);
                tracing::info!(
                    subject = authority.subject(),
                    "a built-in certification authority was made; it is not a licensed one"
                );
                store
                    .keep_credential(NAME, kept.encrypt(secrets, NAME)?, now)
                    .await?
            }
        };
        let kept = Kept::decrypt(secrets, NAME, &sealed)?;
        let chain = kept.chain();
        let certificate = chain.first().map(Vec::as_slice).unwrap_or_default();
        Ok(Self {
            authority: Authority::load(&kept.key(), certificate)?,
            organizations: Mutex::default(),
        })
    }

    /// The authority's certificate in PEM.
    pub(crate) fn authority_pem(&self) -> String {
        self.authority.certificate_pem()
    }

    /// The authority's name and validity, for people.
    pub(crate) fn authority_subject(&self) -> (String, Validity) {
        (self.authority.subject(), self.authority.validity())
    }

    /// Trusts the built-in authority and no other.
    pub(crate) fn trust(&self) -> Trust {
        Trust::roots([self.authority.certificate().to_vec()])
    }

    /// The key of an organization: the one that is kept, or a new one when there is none or it has nearly expired.
    pub(crate) async fn organization(
        &self,
        store: &Store,
        secrets: &Secrets,
        name: &str,
        now: UtcMillis,
    ) -> Result<Arc<Credential>, KeyError> {
        let known = self
            .organizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        if let Some(credential) = known.filter(|credential| is_fresh(credential, now)) {
            return Ok(credential);
        }
        let place = format!(
            "organization/{}",
            hex::encode(&sha256(name.as_bytes())[..16])
        );
        let mut found = match store.find_credential(&place).await? {
            Some(sealed) => Some(Kept::decrypt(secrets, &place, &sealed)?.credential()?),
            None => None,
        };
        if found
            .as_ref()
            .is_none_or(|credential| !is_fresh(credential, now))
        {
            let subject = Subject::Organization {
                name,
                credit_code: None,
            };
            let validity = Validity {
                not_before: now - SLACK,
                not_after: now + ORGANIZATION_YEARS * YEAR,
            };
            let made = self
                .authority
                .issue(subject, KeyAlgorithm::Rsa2048, validity)?;
            let sealed = Kept::new(&made.to_pkcs8()?, made.chain()).encrypt(secrets, &place)?;
            found = Some(if found.is_some() {
                store.replace_credential(&place, sealed, now).await?;
                made
            } else {
                let kept = store.keep_credential(&place, sealed, now).await?;
                Kept::decrypt(secrets, &place, &kept)?.credential()?
            });
        }
        let credential = Arc::new(found.ok_or(SignError::Crypto("keep a key"))?);
        let mut organizations = self
            .organizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if organizations.len() >= KEPT {
            organizations.clear();
        }
        organizations.insert(name.to_owned(), Arc::clone(&credential));
        Ok(credential)
    }

    /// The key of our own timestamp authority: the one that is kept, or a new one.
    pub(crate) async fn timestamp_authority(
        &self,
        store: &Store,
        secrets: &Secrets,
        now: UtcMillis,
    ) -> Result<Credential, KeyError> {
        const NAME: &str = "timestamp-authority";
        let sealed = match store.find_credential(NAME).await? {
            Some(sealed) => sealed,
            None => {
                let subject = Subject::TimestampAuthority {
                    name: "Sealpost built-in timestamps",
                };
                let validity = Validity {
                    not_before: now - SLACK,
                    not_after: now + TIMESTAMP_YEARS * YEAR,
                };
                let made = self
                    .authority
                    .issue(subject, KeyAlgorithm::P256, validity)?;
                let kept = Kept::new(&made.to_pkcs8()?, made.chain());
                store
                    .keep_credential(NAME, kept.encrypt(secrets, NAME)?, now)
                    .await?
            }
        };
        Ok(Kept::decrypt(secrets, NAME, &sealed)?.credential()?)
    }

    /// A key for one person and one flow.
    pub(crate) fn person(
        &self,
        name: &str,
        flow: &SignFlowId,
        now: UtcMillis,
    ) -> Result<Credential, SignError> {
        let validity = Validity {
            not_before: now - SLACK,
            not_after: now + PERSON_YEARS * YEAR,
        };
        self.authority.issue(
            Subject::Person {
                name,
                flow: flow.as_str(),
            },
            KeyAlgorithm::P256,
            validity,
        )
    }
}

impl Kept {
    fn new(pkcs8: &[u8], chain: &[Vec<u8>]) -> Self {
        Self {
            key: STANDARD.encode(pkcs8),
            chain: chain.iter().map(|der| STANDARD.encode(der)).collect(),
        }
    }

    fn encrypt(&self, secrets: &Secrets, place: &str) -> Result<Vec<u8>, KeyError> {
        Ok(secrets.encrypt(place, &serde_json::to_vec(self)?)?)
    }

    fn decrypt(secrets: &Secrets, place: &str, sealed: &[u8]) -> Result<Self, KeyError> {
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

    fn credential(&self) -> Result<Credential, SignError> {
        Credential::from_pkcs8(&self.key(), self.chain())
    }
}

/// Whether a key may still be used: its certificate is valid for another month.
fn is_fresh(credential: &Credential, now: UtcMillis) -> bool {
    credential.validity().not_after > now + YEAR / 12
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.authority.subject())
    }
}
