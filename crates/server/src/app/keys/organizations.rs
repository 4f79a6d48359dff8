//! The keys of organizations: the operator's own, or one that is kept in the store, made when it is needed and renewed when it must be.

use std::sync::{Arc, PoisonError};

use sealpost_contract::UtcMillis;
use sealpost_pdf::{Credential, KeyAlgorithm, NewKey, SignError, Subject, Validity};
use sealpost_store::Store;

use super::kept::Kept;
use super::operator::OperatorKey;
use super::{KeyError, Keys, SLACK, YEAR};
use crate::secrets::{Secrets, sha256};

/// How long an organization's key is used.
const ORGANIZATION_YEARS: i64 = 5;

/// Organizations' keys that are kept in memory.
const KEPT: usize = 256;

/// What the names of organizations' keys in the store begin with.
pub(super) const ORGANIZATION: &str = "organization/";

impl Keys {
    /// Makes a spare key beside everything else. One that takes no time to make needs no spare.
    pub(crate) fn make_spare(&self) {
        let (spare, suite) = (Arc::clone(&self.spare), self.organization_suite);
        if matches!(
            suite,
            KeyAlgorithm::P256 | KeyAlgorithm::P384 | KeyAlgorithm::Sm2
        ) {
            return;
        }
        tokio::task::spawn_blocking(move || match NewKey::generate(suite) {
            Ok(key) => *spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(key),
            Err(error) => tracing::error!(%error, "no spare key can be made"),
        });
    }

    /// A new key for an organization: the spare one, or one that is made now, away from the async threads.
    async fn new_key(&self) -> Result<NewKey, KeyError> {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(key) = spare {
            self.make_spare();
            return Ok(key);
        }
        let suite = self.organization_suite;
        Ok(tokio::task::spawn_blocking(move || NewKey::generate(suite)).await??)
    }

    /// The kept key of an organization, if it has one.
    pub(crate) async fn find_organization(
        &self,
        store: &Store,
        secrets: &Secrets,
        name: &str,
    ) -> Result<Option<Credential>, KeyError> {
        let place = organization_place(name);
        match store.find_credential(&place).await? {
            Some(sealed) => Ok(Some(Kept::decrypt(secrets, &place, &sealed)?.credential()?)),
            None => Ok(None),
        }
    }

    /// The key of an organization: the operator's own; else the one that is kept, or a new one when there is none, it has nearly
    /// expired, or the configuration now wants another.
    pub(crate) async fn organization(
        &self,
        store: &Store,
        secrets: &Secrets,
        name: &str,
        now: UtcMillis,
    ) -> Result<Arc<Credential>, KeyError> {
        if self.operator.find(name).is_some() {
            let (operator, name) = (Arc::clone(&self.operator), name.to_owned());
            let open = move || {
                operator
                    .find(&name)
                    .map(OperatorKey::credential)
                    .transpose()
            };
            if let Some(credential) = tokio::task::spawn_blocking(open).await?? {
                return Ok(credential);
            }
        }
        let known = self
            .organizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        if let Some(credential) = known.filter(|credential| self.is_wanted(credential, now))
            && !store.is_revoked(&credential.serial_hex()).await?
        {
            return Ok(credential);
        }
        let place = organization_place(name);
        let mut found = match store.find_credential(&place).await? {
            Some(sealed) => Some(Kept::decrypt(secrets, &place, &sealed)?.credential()?),
            None => None,
        };
        let is_usable = match &found {
            None => false,
            Some(kept) => {
                self.is_wanted(kept, now) && !store.is_revoked(&kept.serial_hex()).await?
            }
        };
        if !is_usable {
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
                .certify(subject, self.new_key().await?, validity)?;
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

    /// Whether an organization's key may still be used: its certificate is valid for another month, and both are what the
    /// configuration wants.
    fn is_wanted(&self, credential: &Credential, now: UtcMillis) -> bool {
        credential.validity().not_after > now + YEAR / 12
            && credential.algorithm() == self.organization_suite
            && credential.chain().last().map(Vec::as_slice) == Some(self.authority.certificate())
    }
}

/// Under which name an organization's key is in the store.
fn organization_place(name: &str) -> String {
    let digest = sha256(name.as_bytes());
    format!("{ORGANIZATION}{}", hex::encode(&digest[..16]))
}
