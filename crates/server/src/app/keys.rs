//! The keys that sign: the built-in certification authority, the organizations' and the persons'.
//!
//! The authority and each organization's key are made once and kept in the store, encrypted; a person's key is made for one
//! flow, used once and forgotten. The built-in authority is not a licensed one, and its certificates say so. Where the operator
//! has a seal key of their own for an organization ([`operator`]), that one signs instead.

pub(crate) mod expiry;
mod inventory;
mod kept;
mod operator;
mod organizations;
mod pkcs11;
mod remote;
mod timestamps;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_pdf::{
    Authority, Credential, KeyAlgorithm, NewKey, SignError, Subject, Trust, Validity,
};
use sealpost_store::Store;
use thiserror::Error;

pub(crate) use self::inventory::{CertificateOf, KeptCertificate};
use self::kept::{Kept, find_kept};
use self::operator::{OperatorKeyError, OperatorKeys};
use crate::config::Config;
use crate::secrets::{SecretError, Secrets};
use crate::tsa::certificates;

const YEAR: i64 = 365 * 24 * 60 * 60 * 1000;

/// How long the authority's root is valid.
const ROOT_YEARS: i64 = 30;

/// How long a person's certificate is valid. Its key is forgotten at once; without a timestamp, readers judge the signature
/// by the clock of the day they look at it, so a short validity would only make good signatures look bad.
const PERSON_YEARS: i64 = 10;

/// Clocks of others may be behind ours by this much.
const SLACK: i64 = 5 * 60 * 1000;

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
        let mut earlier = Vec::new();
        for other in KeyAlgorithm::ALL
            .into_iter()
            .filter(|&other| other != suite)
        {
            let place = authority_place(other);
            if let Some(kept) = find_kept(store, secrets, &place).await? {
                earlier.push(kept.authority()?);
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
            authority: kept.authority()?.with_crl_url(crl_url),
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

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.authority.subject())
    }
}
