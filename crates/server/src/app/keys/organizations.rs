//! The keys of organizations: the operator's own, or one that is kept in the store, made when it is needed and renewed when it must be.

use std::sync::{Arc, PoisonError};

use sealpost_contract::UtcMillis;
use sealpost_pdf::{Credential, KeyAlgorithm, NewKey, Subject, Validity};
use sealpost_store::Store;

use super::kept::{find_kept, keep};
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
        let kept = find_kept(store, secrets, &organization_place(name)).await?;
        Ok(kept.map(|kept| kept.credential()).transpose()?)
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
        let found = self.find_organization(store, secrets, name).await?;
        let was_kept = found.is_some();
        let is_usable = match &found {
            None => false,
            Some(kept) => {
                self.is_wanted(kept, now) && !store.is_revoked(&kept.serial_hex()).await?
            }
        };
        let credential = match found.filter(|_| is_usable) {
            Some(kept) => kept,
            None => {
                let subject = Subject::Organization {
                    name,
                    credit_code: None,
                };
                let validity = Validity {
                    not_before: now - SLACK,
                    not_after: now + ORGANIZATION_YEARS * YEAR,
                };
                let new_key = self.new_key().await?;
                let made = self.authority.certify(subject, new_key, validity)?;
                let place = organization_place(name);
                keep(store, secrets, &place, made, was_kept, now).await?
            }
        };
        let credential = Arc::new(credential);
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
