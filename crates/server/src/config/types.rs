//! The configuration as the program uses it: checked, with defaults filled in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use sealpost_delivery::guard::IpRange;
use sealpost_flow::Level;
use sealpost_pdf::KeyAlgorithm;
use sealpost_store::{BucketOptions, PostgresOptions};

use super::{Oidc, PublicUrl};

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What people and channels reach this server under; `None` means `http://` and the address listened on.
    pub public_url: Option<PublicUrl>,
    /// The data folder.
    pub data: PathBuf,
    /// PostgreSQL, if not SQLite in the data folder.
    pub database: Option<PostgresOptions>,
    /// The bucket of documents, if they are not in the data folder.
    pub documents: Option<BucketOptions>,
    /// How long `/readyz` says that the server is stopping before connections are refused.
    pub drain: Duration,
    /// The zone of `sign_end_time` and of times on paper.
    pub time_zone: TimeZone,
    /// Networks whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<IpRange>,
    /// What is logged.
    pub log: Log,
    /// Limits of flows.
    pub flow: FlowLimits,
    /// What signs.
    pub keys: Keys,
    /// PDFs worked on at one moment.
    pub sealing_parallel: usize,
    /// Delivery of callbacks.
    pub delivery: Delivery,
    /// Timestamps in signatures.
    pub timestamps: Timestamps,
    /// How long signatures can be checked.
    pub signatures: Signatures,
    /// How codes and reminders reach signers.
    pub notify: Notify,
    /// Signing in to the console at an OpenID provider; `None`: with a password only.
    pub oidc: Option<Oidc>,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// Tracing's filter.
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
}

/// Limits of flows.
#[derive(Debug, Clone, Copy)]
pub struct FlowLimits {
    /// How long a flow lives that names no deadline.
    pub default_life: Duration,
    /// How long one may live.
    pub max_life: Duration,
}

/// What signs.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The key of the built-in authority.
    pub authority: KeyAlgorithm,
    /// The keys that it issues to organizations.
    pub organizations: KeyAlgorithm,
    /// The keys that it issues to persons.
    pub persons: KeyAlgorithm,
    /// The list of the operator's own seal keys.
    pub seals: Option<PathBuf>,
    /// Further roots of signers.
    pub roots: Option<PathBuf>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            authority: KeyAlgorithm::P256,
            organizations: KeyAlgorithm::Rsa2048,
            persons: KeyAlgorithm::P256,
            seals: None,
            roots: None,
        }
    }
}

/// Delivery of callbacks.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Whether plain http is permitted.
    pub allow_http: bool,
    /// Networks permitted although not public.
    pub allow_networks: Vec<IpRange>,
    /// The only ports permitted; empty: every port but those of [`BAD`](sealpost_delivery::guard::BAD).
    pub ports: Vec<u16>,
    /// The deadline of a whole attempt.
    pub attempt_timeout: Duration,
    /// Further root certificates.
    pub ca_file: Option<PathBuf>,
    /// Where alerts go.
    pub alert_url: Option<String>,
}

/// Timestamps in signatures (PAdES B-T). Without authorities there are none.
#[derive(Debug, Clone, Default)]
pub struct Timestamps {
    /// URLs of the authorities, in the order in which they are asked.
    pub authorities: Vec<String>,
    /// The policy that they must keep to.
    pub policy: Option<String>,
    /// Their root certificates.
    pub roots: Option<PathBuf>,
}

/// How long signatures can be checked, and what is done when that cannot be had at once.
#[derive(Debug, Clone, Copy)]
pub struct Signatures {
    /// The level; `None`: [`Level::BT`] where there are timestamp authorities, else [`Level::BB`].
    pub level: Option<Level>,
    /// Failed attempts after which a lower level is made, which is recorded; `None`: never, the flow waits.
    pub downgrade_after: Option<u32>,
    /// How long before a timestamp over a completed document ends it is renewed by itself; zero: never.
    pub renew_within: Duration,
}

impl Default for Signatures {
    fn default() -> Self {
        Self {
            level: None,
            downgrade_after: None,
            renew_within: days(180),
        }
    }
}

impl Config {
    /// The level that signatures are to have.
    pub fn signature_level(&self) -> Level {
        let derived = match self.timestamps.authorities.is_empty() {
            true => Level::BB,
            false => Level::BT,
        };
        self.signatures.level.unwrap_or(derived)
    }
}

/// How codes and reminders reach signers. What is not set reaches nobody.
#[derive(Debug, Clone, Default)]
pub struct Notify {
    /// By SMS, through an HTTP gateway.
    pub sms: Option<SmsGateway>,
    /// By mail.
    pub mail: Option<MailServer>,
    /// To the log instead, for trying out.
    pub to_log: bool,
}

/// An SMS gateway with an HTTP interface.
#[derive(Clone)]
pub struct SmsGateway {
    /// Where messages are POSTed to.
    pub url: String,
    /// The JSON body, in which `{to}`, `{text}` and `{code}` are replaced.
    pub body: String,
    /// The `authorization` header.
    pub authorization: Option<String>,
    /// What the gateway's answer holds when it took a message; without it the HTTP status alone tells.
    pub accepted: Option<String>,
}

/// A mail server.
#[derive(Clone)]
pub struct MailServer {
    /// `smtps://` or `smtp://`, with user and password where the server asks for them.
    pub url: String,
    /// The sender.
    pub from: String,
}

/// Without the credentials.
impl std::fmt::Debug for SmsGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmsGateway")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Without the credentials.
impl std::fmt::Debug for MailServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailServer")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            data: PathBuf::from("sealpost-data"),
            database: None,
            documents: None,
            drain: Duration::ZERO,
            time_zone: TimeZone::get("Asia/Shanghai")
                .unwrap_or(TimeZone::fixed(jiff::tz::offset(8))),
            trusted_proxies: Vec::new(),
            log: Log {
                filter: "info".to_owned(),
                json: false,
            },
            flow: FlowLimits {
                default_life: days(7),
                max_life: days(365),
            },
            keys: Keys::default(),
            sealing_parallel: std::thread::available_parallelism().map_or(2, usize::from),
            delivery: Delivery {
                allow_http: false,
                allow_networks: Vec::new(),
                ports: Vec::new(),
                attempt_timeout: Duration::from_secs(10),
                ca_file: None,
                alert_url: None,
            },
            timestamps: Timestamps::default(),
            signatures: Signatures::default(),
            notify: Notify::default(),
            oidc: None,
        }
    }
}

pub(super) const fn days(days: u32) -> Duration {
    Duration::from_secs(days as u64 * 24 * 60 * 60)
}
