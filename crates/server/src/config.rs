//! The configuration: a TOML file, `SEALPOST_*` variables over it, flags over those. Unknown keys are errors.
//!
//! [`SETTINGS`] lists every key with what it means; a variable's name is the key in capitals with dots as underscores
//! (`delivery.allow_http` is `SEALPOST_DELIVERY_ALLOW_HTTP`). Nothing here reads the environment by itself: the command
//! line hands everything in, so that tests do not depend on the process they run in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use sealpost_delivery::guard::IpRange;
use sealpost_store::PostgresOptions;
use serde::Deserialize;
use thiserror::Error;

use crate::secrets::TOKEN_LENGTH;

/// The most characters that `sign_file_url` may have (the callback contract).
const SIGN_FILE_URL_MAX: usize = 128;

/// The most characters of a public URL: what is left of `sign_file_url` beside `/f/` and the token.
pub const PUBLIC_URL_MAX: usize = SIGN_FILE_URL_MAX - "/f/".len() - TOKEN_LENGTH;

/// The file that is read when no other is named and it exists.
pub const DEFAULT_FILE: &str = "sealpost.toml";

/// Why the configuration cannot be used. Every text names the key and where it was set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no TOML, has an unknown key or a value of another type.
    #[error("the configuration file {path} is wrong")]
    File {
        /// The file.
        path: String,
        /// Where and why.
        source: toml::de::Error,
    },
    /// A `SEALPOST_*` variable that names no setting.
    #[error("the variable {0} names no setting; `sealpost settings` lists them")]
    UnknownVariable(String),
    /// A variable or flag whose value has another type.
    #[error("{origin} is wrong: {reason}")]
    Value {
        /// The variable or flag.
        origin: String,
        /// Why.
        reason: String,
    },
    /// A value that is of the right type but cannot be used.
    #[error("{key} cannot be {value:?}: {reason}")]
    Unfit {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// Why.
        reason: String,
    },
}

/// How the text of a variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// As it is.
    Text,
    /// An integer.
    Integer,
    /// `true` or `false`.
    Switch,
    /// Elements separated by commas.
    List,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the file.
    pub key: &'static str,
    /// Its type.
    pub kind: ValueKind,
    /// Its default, as words.
    pub default: &'static str,
    /// What it is for.
    pub help: &'static str,
}

impl Setting {
    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("SEALPOST_{}", self.key.to_uppercase().replace('.', "_"))
    }
}

const fn setting(
    key: &'static str,
    kind: ValueKind,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        key,
        kind,
        default,
        help,
    }
}

use ValueKind::{Integer, List, Switch, Text};

/// Every setting. A test proves that [`RawConfig`] knows exactly these.
pub const SETTINGS: &[Setting] = &[
    setting(
        "listen",
        Text,
        "127.0.0.1:8080",
        "address and port to listen on",
    ),
    setting(
        "public_url",
        Text,
        "http://<listen>",
        "what people and channels reach this server under; at most 101 characters",
    ),
    setting(
        "data",
        Text,
        "./sealpost-data",
        "folder of the database, the documents and the master secret",
    ),
    setting(
        "database.url",
        Text,
        "an SQLite file in the data folder",
        "PostgreSQL instead: postgres://user:password@host/database?sslmode=require",
    ),
    setting(
        "database.ca_file",
        Text,
        "none",
        "further root certificates (PEM) for PostgreSQL over TLS",
    ),
    setting(
        "database.sessions",
        Integer,
        "8",
        "connections to PostgreSQL for writing, and as many for reading",
    ),
    setting(
        "database.statement_seconds",
        Integer,
        "30",
        "how long a statement of PostgreSQL may take",
    ),
    setting(
        "time_zone",
        Text,
        "Asia/Shanghai",
        "zone of sign_end_time and of times on paper (IANA name)",
    ),
    setting(
        "trusted_proxies",
        List,
        "none",
        "networks whose x-forwarded-for is believed",
    ),
    setting(
        "log.filter",
        Text,
        "info",
        "what is logged (tracing's filter syntax)",
    ),
    setting(
        "log.format",
        Text,
        "text",
        "text or json, on standard error",
    ),
    setting(
        "flow.default_days",
        Integer,
        "7",
        "days until a flow expires that names no expires_at",
    ),
    setting(
        "flow.max_days",
        Integer,
        "365",
        "the most days until a flow may expire",
    ),
    setting(
        "sealing.parallel",
        Integer,
        "the number of cores",
        "PDFs worked on at one moment",
    ),
    setting(
        "delivery.allow_http",
        Switch,
        "false",
        "whether callbacks may go to plain http",
    ),
    setting(
        "delivery.allow_networks",
        List,
        "none",
        "networks that callbacks may reach although they are not public",
    ),
    setting(
        "delivery.attempt_seconds",
        Integer,
        "10",
        "deadline of a whole attempt",
    ),
    setting(
        "delivery.ca_file",
        Text,
        "none",
        "further root certificates (PEM) for callbacks over TLS",
    ),
    setting(
        "delivery.alert_url",
        Text,
        "none",
        "URL that is told of failed callbacks and paused channels",
    ),
    setting(
        "timestamps.authorities",
        List,
        "none",
        "URLs of timestamp authorities (RFC 3161), asked in this order",
    ),
    setting(
        "timestamps.policy",
        Text,
        "none",
        "policy that timestamps must keep to, an object identifier",
    ),
    setting(
        "timestamps.roots",
        Text,
        "none",
        "root certificates (PEM) of the authorities, beside the built-in one",
    ),
    setting(
        "sms.url",
        Text,
        "none",
        "SMS gateway that codes and reminders are POSTed to",
    ),
    setting(
        "sms.body",
        Text,
        "none",
        "the gateway's JSON body, with {to}, {text} and {code}",
    ),
    setting(
        "sms.authorization",
        Text,
        "none",
        "the gateway's authorization header",
    ),
    setting(
        "mail.server",
        Text,
        "none",
        "mail server: smtps://user:password@host:465 or smtp://host:25",
    ),
    setting("mail.from", Text, "none", "sender of mails"),
    setting(
        "codes.to_log",
        Switch,
        "false",
        "write codes and reminders to the log instead: for trying out only",
    ),
];

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
    /// The zone of `sign_end_time` and of times on paper.
    pub time_zone: TimeZone,
    /// Networks whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<IpRange>,
    /// What is logged.
    pub log: Log,
    /// Limits of flows.
    pub flow: FlowLimits,
    /// PDFs worked on at one moment.
    pub sealing_parallel: usize,
    /// Delivery of callbacks.
    pub delivery: Delivery,
    /// Timestamps in signatures.
    pub timestamps: Timestamps,
    /// How codes and reminders reach signers.
    pub notify: Notify,
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

/// Delivery of callbacks.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Whether plain http is permitted.
    pub allow_http: bool,
    /// Networks permitted although not public.
    pub allow_networks: Vec<IpRange>,
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

/// A base URL under which `/f/{token}` fits into the 128 characters of `sign_file_url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Checks a base URL: http or https, no query, fragment or credentials, at most [`PUBLIC_URL_MAX`] characters without
    /// a slash at its end.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = url::Url::parse(text).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("it must be an absolute http or https URL".to_owned());
        }
        if url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err("it must have no query, fragment or credentials".to_owned());
        }
        let base = url.as_str().trim_end_matches('/');
        let length = base.chars().count();
        if length > PUBLIC_URL_MAX {
            return Err(format!(
                "it has {length} characters; at most {PUBLIC_URL_MAX} are possible, because {base}/f/ and a token of \
                 {TOKEN_LENGTH} characters must fit into the {SIGN_FILE_URL_MAX} characters of sign_file_url"
            ));
        }
        Ok(Self(base.to_owned()))
    }

    /// `http://` and an address that is listened on.
    pub fn of_address(address: SocketAddr) -> Result<Self, ConfigError> {
        let text = format!("http://{address}");
        Self::parse(&text).map_err(|reason| unfit("listen", &text, reason))
    }

    /// The URL without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is https.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }
}

impl std::fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file's shape: every key optional, none unknown.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    listen: Option<String>,
    public_url: Option<String>,
    data: Option<String>,
    database: RawDatabase,
    time_zone: Option<String>,
    trusted_proxies: Option<Vec<String>>,
    log: RawLog,
    flow: RawFlow,
    sealing: RawSealing,
    delivery: RawDelivery,
    timestamps: RawTimestamps,
    sms: RawSms,
    mail: RawMail,
    codes: RawCodes,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDatabase {
    url: Option<String>,
    ca_file: Option<String>,
    sessions: Option<u32>,
    statement_seconds: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLog {
    filter: Option<String>,
    format: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFlow {
    default_days: Option<u32>,
    max_days: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSealing {
    parallel: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDelivery {
    allow_http: Option<bool>,
    allow_networks: Option<Vec<String>>,
    attempt_seconds: Option<u32>,
    ca_file: Option<String>,
    alert_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTimestamps {
    authorities: Option<Vec<String>>,
    policy: Option<String>,
    roots: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSms {
    url: Option<String>,
    body: Option<String>,
    authorization: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawMail {
    server: Option<String>,
    from: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCodes {
    to_log: Option<bool>,
}

/// Where the configuration comes from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file named by a flag or by `SEALPOST_CONFIG`; must exist. Else [`DEFAULT_FILE`] if it exists.
    pub file: Option<PathBuf>,
    /// The `SEALPOST_*` variables, by name, without `SEALPOST_CONFIG` and `SEALPOST_SECRET`.
    pub variables: BTreeMap<String, String>,
    /// Keys set by flags.
    pub flags: Vec<(&'static str, String)>,
}

impl Config {
    /// Reads and checks the configuration.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut table = match &sources.file {
            Some(path) => read_file(path)?,
            None if Path::new(DEFAULT_FILE).exists() => read_file(Path::new(DEFAULT_FILE))?,
            None => toml::Table::new(),
        };
        for (name, text) in &sources.variables {
            let setting = SETTINGS
                .iter()
                .find(|setting| setting.variable() == *name)
                .ok_or_else(|| ConfigError::UnknownVariable(name.clone()))?;
            set(&mut table, setting, text, name)?;
        }
        for (key, text) in &sources.flags {
            let origin = format!("--{}", key.replace(['.', '_'], "-"));
            let setting = SETTINGS
                .iter()
                .find(|setting| setting.key == *key)
                .ok_or_else(|| ConfigError::UnknownVariable(origin.clone()))?;
            set(&mut table, setting, text, &origin)?;
        }
        let raw: RawConfig =
            toml::Value::Table(table)
                .try_into()
                .map_err(|error: toml::de::Error| ConfigError::Value {
                    origin: "a setting".to_owned(),
                    reason: error.to_string(),
                })?;
        raw.check()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            data: PathBuf::from("sealpost-data"),
            database: None,
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
            sealing_parallel: std::thread::available_parallelism().map_or(2, usize::from),
            delivery: Delivery {
                allow_http: false,
                allow_networks: Vec::new(),
                attempt_timeout: Duration::from_secs(10),
                ca_file: None,
                alert_url: None,
            },
            timestamps: Timestamps::default(),
            notify: Notify::default(),
        }
    }
}

const fn days(days: u32) -> Duration {
    Duration::from_secs(days as u64 * 24 * 60 * 60)
}

impl RawConfig {
    fn check(self) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        if let Some(text) = self.listen {
            config.listen = text.parse().map_err(|_| {
                unfit(
                    "listen",
                    &text,
                    "it must be an address and a port, like 127.0.0.1:8080",
                )
            })?;
        }
        if let Some(text) = self.public_url {
            config.public_url =
                Some(PublicUrl::parse(&text).map_err(|reason| unfit("public_url", &text, reason))?);
        }
        if let Some(text) = self.data {
            config.data = PathBuf::from(text);
        }
        config.database = self.database.check()?;
        if let Some(text) = self.time_zone {
            config.time_zone = TimeZone::get(&text)
                .map_err(|error| unfit("time_zone", &text, error.to_string()))?;
        }
        for text in self.trusted_proxies.into_iter().flatten() {
            config
                .trusted_proxies
                .push(network("trusted_proxies", &text)?);
        }
        config.log.filter = self.log.filter.unwrap_or(config.log.filter);
        config.log.json = match self.log.format.as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => return Err(unfit("log.format", other, "it must be text or json")),
        };
        config.flow.default_life = within("flow.default_days", self.flow.default_days, 1..=3650)?
            .map_or(config.flow.default_life, days);
        config.flow.max_life = within("flow.max_days", self.flow.max_days, 1..=3650)?
            .map_or(config.flow.max_life, days);
        if config.flow.default_life > config.flow.max_life {
            return Err(unfit(
                "flow.default_days",
                "that",
                "it must not be more than flow.max_days",
            ));
        }
        if let Some(parallel) = self.sealing.parallel {
            if !(1..=256).contains(&parallel) {
                return Err(unfit(
                    "sealing.parallel",
                    &parallel.to_string(),
                    "it must be 1 to 256",
                ));
            }
            config.sealing_parallel = parallel;
        }
        config.delivery = self.delivery.check(config.delivery)?;
        config.timestamps = self.timestamps.check()?;
        config.notify = Notify {
            sms: self.sms.check()?,
            mail: self.mail.check()?,
            to_log: self.codes.to_log.unwrap_or_default(),
        };
        Ok(config)
    }
}

impl RawDatabase {
    fn check(self) -> Result<Option<PostgresOptions>, ConfigError> {
        let Some(url) = self.url else {
            return Ok(None);
        };
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            // What was given may hold a password, so it is not repeated.
            let reason = "it must begin with postgres://";
            return Err(unfit("database.url", "what is given", reason));
        }
        let mut options = PostgresOptions::new(url);
        options.ca_file = self.ca_file.map(PathBuf::from);
        if let Some(sessions) = within("database.sessions", self.sessions, 1..=200)? {
            options.sessions = sessions as usize;
        }
        if let Some(seconds) = within(
            "database.statement_seconds",
            self.statement_seconds,
            1..=600,
        )? {
            options.statement_timeout = Duration::from_secs(seconds.into());
        }
        Ok(Some(options))
    }
}

/// Without the URL, which may hold a password.
impl std::fmt::Debug for RawDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawDatabase").finish_non_exhaustive()
    }
}

impl RawDelivery {
    fn check(self, mut delivery: Delivery) -> Result<Delivery, ConfigError> {
        delivery.allow_http = self.allow_http.unwrap_or(delivery.allow_http);
        for text in self.allow_networks.into_iter().flatten() {
            delivery
                .allow_networks
                .push(network("delivery.allow_networks", &text)?);
        }
        if let Some(seconds) = within("delivery.attempt_seconds", self.attempt_seconds, 1..=120)? {
            delivery.attempt_timeout = Duration::from_secs(seconds.into());
        }
        delivery.ca_file = self.ca_file.map(PathBuf::from);
        if let Some(text) = self.alert_url {
            PublicUrl::parse(&text).map_err(|reason| unfit("delivery.alert_url", &text, reason))?;
            delivery.alert_url = Some(text);
        }
        Ok(delivery)
    }
}

impl RawTimestamps {
    fn check(self) -> Result<Timestamps, ConfigError> {
        const MOST: usize = 10;
        let authorities = self.authorities.unwrap_or_default();
        if authorities.len() > MOST {
            return Err(unfit(
                "timestamps.authorities",
                "that",
                "there may be at most 10",
            ));
        }
        for text in &authorities {
            let is_http =
                url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !is_http {
                return Err(unfit(
                    "timestamps.authorities",
                    text,
                    "each must be an absolute http or https URL",
                ));
            }
        }
        if let Some(policy) = &self.policy
            && policy
                .split('.')
                .any(|arc| arc.is_empty() || !arc.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Err(unfit(
                "timestamps.policy",
                policy,
                "it must be an object identifier like 1.2.3.4",
            ));
        }
        Ok(Timestamps {
            authorities,
            policy: self.policy,
            roots: self.roots.map(PathBuf::from),
        })
    }
}

impl RawSms {
    fn check(self) -> Result<Option<SmsGateway>, ConfigError> {
        let (url, body) = match (self.url, self.body) {
            (None, None) => return Ok(None),
            (Some(url), Some(body)) => (url, body),
            (None, Some(_)) => return Err(unfit("sms.url", "", "sms.body needs it")),
            (Some(_), None) => return Err(unfit("sms.body", "", "sms.url needs it")),
        };
        let is_http =
            url::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_http {
            return Err(unfit(
                "sms.url",
                &url,
                "it must be an absolute http or https URL",
            ));
        }
        if serde_json::from_str::<serde_json::Value>(&body).is_err() || !body.contains("{to}") {
            return Err(unfit(
                "sms.body",
                &body,
                "it must be JSON with {to} and {text} or {code} in its strings",
            ));
        }
        Ok(Some(SmsGateway {
            url,
            body,
            authorization: self.authorization,
        }))
    }
}

impl RawMail {
    fn check(self) -> Result<Option<MailServer>, ConfigError> {
        match (self.server, self.from) {
            (None, None) => Ok(None),
            (Some(url), Some(from))
                if url.starts_with("smtp://") || url.starts_with("smtps://") =>
            {
                Ok(Some(MailServer { url, from }))
            }
            // The value may hold a password, so it is not repeated.
            (Some(_), Some(_)) => Err(unfit(
                "mail.server",
                "…",
                "it must begin with smtp:// or smtps://",
            )),
            (None, Some(_)) => Err(unfit("mail.server", "", "mail.from needs it")),
            (Some(_), None) => Err(unfit("mail.from", "", "mail.server needs it")),
        }
    }
}

fn network(key: &'static str, text: &str) -> Result<IpRange, ConfigError> {
    text.parse().map_err(|_| {
        unfit(
            key,
            text,
            "it must be a network like 10.0.0.0/8 or an address",
        )
    })
}

fn unfit(key: &'static str, value: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Unfit {
        key,
        value: value.to_owned(),
        reason: reason.into(),
    }
}

fn within(
    key: &'static str,
    value: Option<u32>,
    range: std::ops::RangeInclusive<u32>,
) -> Result<Option<u32>, ConfigError> {
    match value {
        Some(value) if !range.contains(&value) => Err(unfit(
            key,
            &value.to_string(),
            format!("it must be {} to {}", range.start(), range.end()),
        )),
        value => Ok(value),
    }
}

/// Reads the file and checks its keys and types at once, so that the error names the line.
fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: name(),
        source,
    })?;
    let wrong = |source| ConfigError::File {
        path: name(),
        source,
    };
    toml::from_str::<RawConfig>(&text).map_err(wrong)?;
    toml::from_str(&text).map_err(wrong)
}

/// Sets one key from the text of a variable or flag.
fn set(
    table: &mut toml::Table,
    setting: &Setting,
    text: &str,
    origin: &str,
) -> Result<(), ConfigError> {
    let wrong = |reason: &str| ConfigError::Value {
        origin: origin.to_owned(),
        reason: reason.to_owned(),
    };
    let value = match setting.kind {
        Text => text.into(),
        Integer => toml::Value::Integer(text.parse().map_err(|_| wrong("it must be an integer"))?),
        Switch => toml::Value::Boolean(
            text.parse()
                .map_err(|_| wrong("it must be true or false"))?,
        ),
        List => text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .into(),
    };
    match setting.key.split_once('.') {
        None => {
            table.insert(setting.key.to_owned(), value);
        }
        Some((section, key)) => {
            let section = table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into());
            if let Some(section) = section.as_table_mut() {
                section.insert(key.to_owned(), value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        file: &str,
        variables: &[(&str, &str)],
        flags: &[(&'static str, &str)],
    ) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealpost.toml");
        std::fs::write(&path, file).unwrap();
        let sources = Sources {
            file: Some(path),
            variables: variables
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            flags: flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect(),
        };
        Config::load(&sources).map_err(|error| crate::problem::Chain(&error).to_string())
    }

    #[test]
    fn flags_win_over_variables_and_those_over_the_file() {
        let file = "listen = '127.0.0.1:1'\n[delivery]\nallow_http = true\nattempt_seconds = 3\n";
        let variables = [
            ("SEALPOST_LISTEN", "127.0.0.1:2"),
            ("SEALPOST_DELIVERY_ATTEMPT_SECONDS", "4"),
        ];
        let config = load(file, &variables, &[("listen", "127.0.0.1:3")]).unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.delivery.attempt_timeout, Duration::from_secs(4));
        assert!(config.delivery.allow_http);
    }

    #[test]
    fn unknown_keys_are_errors_wherever_they_stand() {
        for (file, says) in [
            ("lisen = 'x'", "lisen"),
            ("[delivery]\nallow = true", "allow"),
            ("[post]\n", "post"),
        ] {
            let error = load(file, &[], &[]).unwrap_err();
            assert!(error.contains(says) && error.contains("line"), "{error}");
        }
        assert!(
            load("", &[("SEALPOST_LISEN", "x")], &[])
                .unwrap_err()
                .contains("SEALPOST_LISEN")
        );
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named_with_its_key() {
        for (file, says) in [
            ("listen = 'localhost'", "listen"),
            ("time_zone = 'Mars/Base'", "time_zone"),
            ("public_url = 'ftp://x'", "public_url"),
            ("public_url = 'https://u:p@x'", "public_url"),
            ("trusted_proxies = ['10.0.0.0/33']", "trusted_proxies"),
            ("[log]\nformat = 'xml'", "log.format"),
            ("[flow]\ndefault_days = 0", "flow.default_days"),
            ("[sms]\nurl = 'https://sms.example/'", "sms.body"),
            (
                "[sms]\nurl = 'https://sms.example/'\nbody = '{to}'",
                "sms.body",
            ),
            (
                "[mail]\nserver = 'imap://x'\nfrom = 'a@b.example'",
                "mail.server",
            ),
        ] {
            let error = load(file, &[], &[]).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(
            load("", &[("SEALPOST_DELIVERY_ALLOW_HTTP", "yes")], &[])
                .unwrap_err()
                .contains("ALLOW_HTTP")
        );
    }

    #[test]
    fn a_public_url_must_leave_room_for_the_file_link() {
        let longest = format!(
            "https://{}.cn",
            "a".repeat(PUBLIC_URL_MAX - "https://.cn".len())
        );
        let url = PublicUrl::parse(&format!("{longest}/")).unwrap();
        assert_eq!(
            format!("{url}/f/{}", "x".repeat(TOKEN_LENGTH)).len(),
            SIGN_FILE_URL_MAX
        );
        let reason = PublicUrl::parse(&format!("{longest}n")).unwrap_err();
        assert!(
            reason.contains("102") && reason.contains("101") && reason.contains("128"),
            "{reason}"
        );
    }

    #[test]
    fn the_operators_guide_lists_the_settings_as_they_are() {
        let guide = include_str!("../../../docs/operators.md");
        for setting in SETTINGS {
            let row = format!(
                "| `{}` | {} | {} |",
                setting.key, setting.default, setting.help
            );
            let row = row.replace('<', "&lt;");
            assert!(
                guide.contains(&row),
                "docs/operators.md lacks the line\n{row}"
            );
        }
    }

    #[test]
    fn each_listed_setting_is_known_to_the_file_and_the_other_way_round() {
        let mut table = toml::Table::new();
        for setting in SETTINGS {
            let text = match setting.kind {
                Integer => "5",
                Switch => "true",
                Text | List => "x",
            };
            set(&mut table, setting, text, "test").unwrap();
        }
        let raw: RawConfig = toml::Value::Table(table).try_into().unwrap();
        let shown = format!("{raw:?}");
        assert!(
            !shown.contains("None"),
            "a key of the file is not in SETTINGS: {shown}"
        );
    }
}
