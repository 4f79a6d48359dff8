//! `App`: everything that a request or a worker needs, and the operations of the product on it.
//!
//! Handlers, pages, workers and the demo call these methods; none of them queries the store or decides a rule by itself.
//! The rules are in `sealpost_flow`, the paper in `sealpost_pdf`; here the two meet the clock, the store and the secrets.

pub(crate) mod cache;
pub(crate) mod callbacks;
mod callers;
pub(crate) mod channels;
pub(crate) mod client_certificates;
pub(crate) mod codes;
mod contacts;
pub(crate) mod contract_check;
pub(crate) mod details;
pub(crate) mod files;
pub(crate) mod flows;
mod hands;
pub(crate) mod keys;
pub(crate) mod nodes;
pub(crate) mod notify;
pub(crate) mod oidc;
pub(crate) mod operate;
pub(crate) mod overview;
pub(crate) mod paper;
pub(crate) mod passwords;
pub(crate) mod preservation;
pub(crate) mod rehearsal;
pub mod renewal;
pub(crate) mod revocation;
pub(crate) mod sealing;
pub(crate) mod seals;
pub(crate) mod signing;
pub mod view;

use std::fs::DirBuilder;
use std::io;
use std::path::Path;
use std::sync::Arc;

use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_store::{CallbackId, Store};
use thiserror::Error;
use tokio::sync::{Notify, Semaphore};

use crate::clock::Clock;
use crate::config::{Config, ConfigError, PublicUrl};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::secrets::{Purpose, SecretError, Secrets, random};
use crate::tsa::Authorities;

pub use signing::PagePng;

/// Everything that a request or a worker needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    public_url: PublicUrl,
    store: Store,
    secrets: Secrets,
    keys: keys::Keys,
    metrics: Metrics,
    clock: Clock,
    /// One for each PDF that may be worked on at this moment.
    paper: Arc<Semaphore>,
    images: cache::Cache,
    hands: hands::Hands,
    sealing: sealing::UnderWay,
    notifier: notify::Notifier,
    timestamps: Authorities,
    revocations: revocation::Revocations,
    callers: callers::Callers,
    provider: Option<oidc::Provider>,
    wake: Wake,
    membership: nodes::Membership,
    delivery: std::sync::OnceLock<sealpost_delivery::Engine>,
}

/// What wakes the workers before their next look.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    pub(crate) sealing: Notify,
    pub(crate) expiry: Notify,
    pub(crate) renewal: Notify,
}

/// Why the app cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The data folder cannot be made.
    #[error("the data folder {path} cannot be made")]
    Folder {
        /// The folder.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The configuration cannot be used.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The master secret cannot be had.
    #[error("the master secret cannot be had")]
    Secret(#[from] SecretError),
    /// The database was begun with another master secret.
    #[error(
        "this database was begun with another master secret: every node needs the same SEALPOST_SECRET, or the same secret.key in its data folder"
    )]
    OtherSecret,
    /// Another node keeps its documents in another place.
    #[error(
        "the node {other} keeps its documents in {theirs} and this one in {ours}: they must be in one bucket (documents.url), or in one folder that all nodes share"
    )]
    Elsewhere {
        /// The other node.
        other: String,
        /// Its place.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] sealpost_store::Error),
    /// Messages to signers cannot be sent as configured.
    #[error("messages to signers cannot be sent as configured: {0}")]
    Notify(String),
    /// Timestamps cannot be asked for as configured.
    #[error("timestamps cannot be asked for as configured: {0}")]
    Timestamps(String),
    /// Operators cannot sign in at the OpenID provider as configured.
    #[error("operators cannot sign in at the OpenID provider as configured: {0}")]
    Oidc(String),
    /// What signs cannot be had.
    #[error("the keys that sign cannot be had")]
    Keys(#[from] keys::KeyError),
}

impl App {
    /// Opens the data folder, making what is missing: the master secret, the database, the built-in authority.
    /// `secret` is the master secret when it is not to be in the folder.
    pub async fn open(config: Config, secret: Option<&str>) -> Result<Self, OpenError> {
        let public_url = match &config.public_url {
            Some(url) => url.clone(),
            None => PublicUrl::of_address(config.listen)?,
        };
        let notifier = notify::Notifier::new(&config.notify, config.delivery.ca_file.as_deref())
            .map_err(OpenError::Notify)?;
        let timestamps = Authorities::new(&config.timestamps, config.delivery.ca_file.as_deref())
            .map_err(OpenError::Timestamps)?;
        let revocations = revocation::Revocations::new(config.delivery.ca_file.as_deref())
            .map_err(OpenError::Timestamps)?;
        let ca_file = config.delivery.ca_file.as_deref();
        let provider = config
            .oidc
            .as_ref()
            .map(|oidc| oidc::Provider::new(oidc, ca_file))
            .transpose()
            .map_err(|error| OpenError::Oidc(error.to_string()))?;
        make_folder(&config.data).map_err(|source| OpenError::Folder {
            path: config.data.display().to_string(),
            source,
        })?;
        let secrets = Secrets::load_or_create(&config.data, secret)?;
        let (folder, database) = (config.data.clone(), config.database.clone());
        let bucket = config.documents.clone();
        let open = move || Store::open_with(&folder, database, bucket.as_ref());
        let store = tokio::task::spawn_blocking(open)
            .await
            .map_err(|_| sealpost_store::Error::Stopped)??;
        store.refuse_unfinished_copy().await?;
        let clock = Clock::default();
        nodes::check_secret(&store, &secrets, clock.now()).await?;
        let crl_url = format!("{public_url}/pki/root.crl");
        let keys = keys::Keys::open(&store, &secrets, clock.now(), crl_url, &config).await?;
        Ok(Self(Arc::new(Inner {
            paper: Arc::new(Semaphore::new(config.sealing_parallel)),
            config,
            public_url,
            store,
            secrets,
            keys,
            metrics: Metrics::new(),
            clock,
            images: cache::Cache::new(32 * 1024 * 1024),
            hands: hands::Hands::default(),
            sealing: sealing::UnderWay::default(),
            notifier,
            timestamps,
            revocations,
            callers: callers::Callers::default(),
            provider,
            wake: Wake::default(),
            membership: nodes::Membership::default(),
            delivery: std::sync::OnceLock::new(),
        })))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// What people and channels reach this server under.
    pub fn public_url(&self) -> &PublicUrl {
        &self.0.public_url
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The store; handlers and pages use the methods of `App` instead.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// The secrets derived from the master secret.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.0.secrets
    }

    pub(crate) fn wake(&self) -> &Wake {
        &self.0.wake
    }

    /// The timestamp authorities that signatures are taken to.
    pub(crate) fn timestamps(&self) -> &Authorities {
        &self.0.timestamps
    }

    /// Whom verification trusts: the built-in authority, and for timestamps the operator's roots too.
    pub(crate) fn trust(&self) -> sealpost_pdf::Trust {
        let mut trust = self.0.keys.trust();
        trust
            .timestamp_roots
            .extend_from_slice(self.0.timestamps.roots());
        trust
    }

    /// Makes a key for the next new organization, beside everything else.
    pub(crate) fn make_spare_key(&self) {
        self.0.keys.make_spare();
    }

    /// Opens the operator's own keys, which reading the configuration alone does not.
    pub(crate) async fn open_operator_keys(&self) -> Result<(), keys::KeyError> {
        self.0.keys.open_operators().await
    }

    /// The key of our own timestamp authority.
    pub(crate) async fn timestamp_credential(
        &self,
    ) -> Result<sealpost_pdf::Credential, keys::KeyError> {
        let keys = &self.0.keys;
        keys.timestamp_authority(self.store(), self.secrets(), self.now())
            .await
    }

    /// The OpenID provider, where operators may sign in at one.
    pub(crate) fn provider(&self) -> Option<&oidc::Provider> {
        self.0.provider.as_ref()
    }

    /// The delivery engine, once it has been started.
    pub(crate) fn delivery(&self) -> Option<&sealpost_delivery::Engine> {
        self.0.delivery.get()
    }

    /// Now, in UTC milliseconds.
    pub fn now(&self) -> UtcMillis {
        self.0.clock.now()
    }

    /// Moves the server's clock ahead. For tests.
    pub fn move_clock(&self, millis: i64) {
        self.0.clock.advance(millis);
        self.0.wake.expiry.notify_one();
        self.0.wake.sealing.notify_one();
        self.0.wake.renewal.notify_one();
    }

    /// `sign_url` of a signer.
    pub(crate) fn sign_url(&self, flow: &SignFlowId, signer: u8) -> String {
        format!(
            "{}/s/{}",
            self.public_url(),
            self.secrets().token(Purpose::Sign, flow, signer.into())
        )
    }

    /// `sign_file_url` of a flow.
    pub(crate) fn file_url(&self, flow: &SignFlowId) -> String {
        format!(
            "{}/f/{}",
            self.public_url(),
            self.secrets().token(Purpose::File, flow, 0)
        )
    }

    /// A new callback's id.
    pub(crate) fn new_callback_id(&self) -> Result<CallbackId, Problem> {
        Ok(CallbackId::new(
            self.now(),
            u32::from_be_bytes(random::<4>()?),
        ))
    }

    /// Does PDF work away from the async threads, and no more of it at a time than there are cores.
    pub(crate) async fn on_paper<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = Arc::clone(&self.0.paper)
            .acquire_owned()
            .await
            .map_err(|error| Problem::internal("the paper semaphore is closed", &error))?;
        let span = tracing::Span::current();
        // The work goes on when whoever asked hangs up, and so it keeps its place until it is done.
        let work = move || {
            let _permit = permit;
            span.in_scope(work)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Problem::internal("work on a PDF panicked", &error))
    }
}

/// Makes the data folder if it is missing, open to nobody but its owner: it holds personal data and secrets.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let mut folder = DirBuilder::new();
    folder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path)
}
