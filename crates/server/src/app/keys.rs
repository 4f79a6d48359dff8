//! The keys that sign: the built-in certification authority, the organizations' and the persons'.
//!
//! The authority and each organization's key are made once and kept in the store, encrypted; a person's key is made for one
//! flow, used once and forgotten. The built-in authority is not a licensed one, and its certificates say so. Where the operator
//! has a seal key of their own for an organization ([`operator`]), that one signs instead.

pub(crate) mod expiry;
mod kept;
mod operator;
mod pkcs11;
mod remote;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_pdf::{
    Authority, Credential, KeyAlgorithm, NewKey, SignError, Subject, Trust, Validity,
};
use sealpost_store::Store;
use thiserror::Error;

use self::kept::Kept;
use self::operator::{OperatorKey, OperatorKeyError, OperatorKeys};
use super::App;
use crate::config::Config;
use crate::problem::Problem;
use crate::secrets::{SecretError, Secrets, sha256};
use crate::tsa::certificates;

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
    /// An operator's own key cannot be used.
    #[error(transparent)]
    Operator(#[from] OperatorKeyError),
    /// The further roots cannot be read.
    #[error("keys.roots: {0}")]
    Roots(String),
    /// Work on a key panicked.
    #[error("work on a key panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// What the names of organizations' keys in the store begin with.
const ORGANIZATION: &str = "organization/";

/// The name of our own timestamp authority's key in the store.
const TIMESTAMP_AUTHORITY: &str = "timestamp-authority";

/// Whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CertificateOf {
    Authority,
    Timestamps,
    Organization,
    /// An organization that has a key of the operator's own.
    Operator,
}

impl CertificateOf {
    /// The word that the API uses.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Timestamps => "timestamps",
            Self::Organization => "organization",
            Self::Operator => "operator",
        }
    }
}

/// A certificate whose key is kept here, or is the operator's own.
#[derive(Debug, Clone)]
pub(crate) struct KeptCertificate {
    pub(crate) of: CertificateOf,
    /// Its distinguished name.
    pub(crate) subject: String,
    pub(crate) validity: Validity,
}

/// The keys of this installation.
pub(crate) struct Keys {
    authority: Authority,
    /// The authorities that the suite now configured has replaced: what they signed stays valid.
    earlier: Vec<Authority>,
    /// Further roots of the configuration, in DER.
    roots: Vec<Vec<u8>>,
    /// The suite of organizations' keys.
    organization_suite: KeyAlgorithm,
    /// The suite of persons' keys.
    person_suite: KeyAlgorithm,
    operator: Arc<OperatorKeys>,
    organizations: Mutex<HashMap<String, Arc<Credential>>>,
    /// A key for the next new organization, because making one of RSA takes longer than its request should.
    spare: Arc<Mutex<Option<NewKey>>>,
}

impl Keys {
    /// The authority from the store; made on the first start. `crl_url` is where its revocation list is published from now on.
    pub(crate) async fn open(
        store: &Store,
        secrets: &Secrets,
        now: UtcMillis,
        crl_url: String,
        config: &Config,
    ) -> Result<Self, KeyError> {
        let suite = config.keys.authority;
        let name = authority_place(suite);
        let sealed = match store.find_credential(&name).await? {
            Some(sealed) => sealed,
            None => {
                let validity = Validity {
                    not_before: now - SLACK,
                    not_after: now + ROOT_YEARS * YEAR,
                };
                let label = hex::encode(crate::secrets::random::<4>()?);
                let made = move || Authority::generate(&label, suite, validity);
                let authority = tokio::task::spawn_blocking(made).await??;
                let kept = Kept::new(&authority.to_pkcs8()?, &[authority.certificate().to_vec()]);
                tracing::info!(
                    subject = authority.subject(),
                    "a built-in certification authority was made; it is not a licensed one"
                );
                store
                    .keep_credential(&name, kept.encrypt(secrets, &name)?, now)
                    .await?
            }
        };
        let kept = Kept::decrypt(secrets, &name, &sealed)?;
        let chain = kept.chain();
        let certificate = chain.first().map(Vec::as_slice).unwrap_or_default();
        let mut earlier = Vec::new();
        for other in KeyAlgorithm::ALL
            .into_iter()
            .filter(|&other| other != suite)
        {
            let place = authority_place(other);
            if let Some(sealed) = store.find_credential(&place).await? {
                let kept = Kept::decrypt(secrets, &place, &sealed)?;
                let chain = kept.chain();
                let certificate = chain.first().map(Vec::as_slice).unwrap_or_default();
                earlier.push(Authority::load(&kept.key(), certificate)?);
            }
        }
        let roots = match &config.keys.roots {
            None => Vec::new(),
            Some(path) => certificates(path).map_err(KeyError::Roots)?,
        };
        let operator = match &config.keys.seals {
            None => OperatorKeys::default(),
            Some(path) => OperatorKeys::read(path, config.delivery.ca_file.as_deref())?,
        };
        Ok(Self {
            authority: Authority::load(&kept.key(), certificate)?.with_crl_url(crl_url),
            earlier,
            roots,
            organization_suite: config.keys.organizations,
            person_suite: config.keys.persons,
            operator: Arc::new(operator),
            organizations: Mutex::default(),
            spare: Arc::default(),
        })
    }

    /// Opens the operator's own keys, so that one that cannot be used is known before it is needed.
    pub(crate) async fn open_operators(&self) -> Result<(), KeyError> {
        let operator = Arc::clone(&self.operator);
        Ok(tokio::task::spawn_blocking(move || operator.open()).await??)
    }

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

    /// The authority's certificate in PEM.
    pub(crate) fn authority_pem(&self) -> String {
        self.authority.certificate_pem()
    }

    /// The authority's name and validity, for people.
    pub(crate) fn authority_subject(&self) -> (String, Validity) {
        (self.authority.subject(), self.authority.validity())
    }

    /// The built-in authority.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The authority's certificate in DER.
    pub(crate) fn authority_der(&self) -> &[u8] {
        self.authority.certificate()
    }

    /// The built-in authorities that were replaced.
    pub(crate) fn earlier_authorities(&self) -> &[Authority] {
        &self.earlier
    }

    /// The built-in authority, and those that it has replaced.
    fn authorities(&self) -> impl Iterator<Item = &Authority> {
        std::iter::once(&self.authority).chain(&self.earlier)
    }

    /// The built-in authority of this certificate in DER, which may be one that was replaced.
    pub(crate) fn find_authority(&self, certificate: &[u8]) -> Option<&Authority> {
        self.authorities()
            .find(|authority| authority.certificate() == certificate)
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

    /// Trusts the built-in authority, what its suite was before, the roots of the operator's own keys as far as they have been
    /// opened, and those of the configuration.
    pub(crate) fn trust(&self) -> Trust {
        let built_in = self.authorities();
        let mut trust = Trust::roots(built_in.map(|authority| authority.certificate().to_vec()));
        trust.roots.extend(self.roots.iter().cloned());
        let opened = self.operator.opened();
        let ends = opened.filter_map(|(_, credential)| credential.chain().last().cloned());
        trust.roots.extend(ends);
        trust
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

    /// The key of our own timestamp authority: the one that is kept, or a new one when there is none, it is at half its life and
    /// the new one ends later, or its root is no longer the authority's. So timestamps over documents can always be renewed by others that end later.
    pub(crate) async fn timestamp_authority(
        &self,
        store: &Store,
        secrets: &Secrets,
        now: UtcMillis,
    ) -> Result<Credential, KeyError> {
        const NAME: &str = TIMESTAMP_AUTHORITY;
        let kept = match store.find_credential(NAME).await? {
            Some(sealed) => Some(Kept::decrypt(secrets, NAME, &sealed)?.credential()?),
            None => None,
        };
        let was_kept = kept.is_some();
        let root = Some(self.authority.certificate());
        // Nothing outlives the root.
        let validity = Validity {
            not_before: now - SLACK,
            not_after: (now + TIMESTAMP_YEARS * YEAR).min(self.authority.validity().not_after),
        };
        if let Some(kept) = kept
            && (!is_half_over(kept.validity(), now)
                || validity.not_after <= kept.validity().not_after)
            && kept.chain().last().map(Vec::as_slice) == root
        {
            return Ok(kept);
        }
        let subject = Subject::TimestampAuthority {
            name: "Sealpost built-in timestamps",
        };
        let made = self.authority.issue(subject, self.person_suite, validity)?;
        let sealed = Kept::new(&made.to_pkcs8()?, made.chain()).encrypt(secrets, NAME)?;
        if was_kept {
            store.replace_credential(NAME, sealed, now).await?;
            return Ok(made);
        }
        let sealed = store.keep_credential(NAME, sealed, now).await?;
        Ok(Kept::decrypt(secrets, NAME, &sealed)?.credential()?)
    }

    /// The certificates whose keys are kept here: the authority's, our timestamp authority's, organizations'. Of the last
    /// those that were replaced are gone.
    pub(crate) async fn certificates(
        &self,
        store: &Store,
        secrets: &Secrets,
    ) -> Result<Vec<KeptCertificate>, KeyError> {
        let mut found = vec![KeptCertificate {
            of: CertificateOf::Authority,
            subject: self.authority.subject(),
            validity: self.authority.validity(),
        }];
        for (name, sealed) in store.credentials().await? {
            let of = match name.as_str() {
                TIMESTAMP_AUTHORITY => CertificateOf::Timestamps,
                name if name.starts_with(ORGANIZATION) => CertificateOf::Organization,
                _ => continue,
            };
            let credential = Kept::decrypt(secrets, &name, &sealed)?.credential()?;
            found.push(KeptCertificate {
                of,
                subject: credential.subject(),
                validity: credential.validity(),
            });
        }
        found.extend(
            self.operator
                .opened()
                .map(|(_, credential)| KeptCertificate {
                    of: CertificateOf::Operator,
                    subject: credential.subject(),
                    validity: credential.validity(),
                }),
        );
        found.sort_by_key(|kept| (kept.of, kept.validity.not_after));
        Ok(found)
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
            self.person_suite,
            validity,
        )
    }
}

/// Under which name the authority of a suite is in the store.
fn authority_place(suite: KeyAlgorithm) -> String {
    match suite {
        KeyAlgorithm::P256 => "authority".to_owned(),
        other => format!("authority/{other}"),
    }
}

/// Under which name an organization's key is in the store.
fn organization_place(name: &str) -> String {
    let digest = sha256(name.as_bytes());
    format!("{ORGANIZATION}{}", hex::encode(&digest[..16]))
}

/// Whether less than half of a certificate's life is left.
fn is_half_over(validity: Validity, now: UtcMillis) -> bool {
    now - validity.not_before > validity.not_after - now
}

impl App {
    /// The certificates whose keys are kept here, and until when they are valid.
    pub(crate) async fn certificates(&self) -> Result<Vec<KeptCertificate>, Problem> {
        let found = self.0.keys.certificates(self.store(), self.secrets()).await;
        found.map_err(|error| Problem::internal("the keys that are kept cannot be read", &error))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.authority.subject())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_life_is_over_after_the_middle() {
        let validity = Validity {
            not_before: 1000,
            not_after: 3000,
        };
        for (now, over) in [(0, false), (2000, false), (2001, true), (4000, true)] {
            assert_eq!(is_half_over(validity, now), over, "{now}");
        }
    }
}
