//! From what was written to what is used: every value is checked, and refused with its key.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use sealpost_delivery::guard::IpRange;
use sealpost_flow::Level;
use sealpost_pdf::UnknownAlgorithm;
use sealpost_store::{BucketCredentials, BucketOptions, PostgresOptions};

use super::raw::{
    RawConfig, RawDatabase, RawDelivery, RawDocuments, RawKeys, RawMail, RawPort, RawSignatures,
    RawSms, RawTimestamps,
};
use super::types::days;
use super::{
    Config, ConfigError, Delivery, Keys, MailServer, Notify, PublicUrl, Signatures, SmsGateway,
    Timestamps, unfit,
};

impl RawConfig {
    /// The configuration, with defaults where the file says nothing.
    pub(super) fn check(self) -> Result<Config, ConfigError> {
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
        config.documents = self.documents.check()?;
        if let Some(seconds) = within("drain_seconds", self.drain_seconds, 0..=600)? {
            config.drain = Duration::from_secs(seconds.into());
        }
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
        config.keys = self.keys.check(config.keys)?;
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
        config.signatures = self.signatures.check(&config.timestamps)?;
        config.notify = Notify {
            sms: self.sms.check()?,
            mail: self.mail.check()?,
            to_log: self.codes.to_log.unwrap_or_default(),
        };
        config.oidc = self.oidc.check()?;
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

impl RawKeys {
    fn check(self, keys: Keys) -> Result<Keys, ConfigError> {
        let suite = |key, text: Option<String>, default| match text {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|error: UnknownAlgorithm| unfit(key, &text, error.to_string())),
        };
        Ok(Keys {
            authority: suite("keys.authority", self.authority, keys.authority)?,
            organizations: suite("keys.organizations", self.organizations, keys.organizations)?,
            persons: suite("keys.persons", self.persons, keys.persons)?,
            seals: self.seals.map(PathBuf::from),
            roots: self.roots.map(PathBuf::from),
        })
    }
}

impl RawDocuments {
    fn check(self) -> Result<Option<BucketOptions>, ConfigError> {
        let Some(url) = self.url else {
            return Ok(None);
        };
        let mut options = BucketOptions::parse(&url)
            .map_err(|error| unfit("documents.url", &url, error.to_string()))?;
        options.allow_http = self.allow_http.unwrap_or_default();
        if let Some(endpoint) = &self.endpoint {
            let reason = match url::Url::parse(endpoint) {
                Ok(url) if url.scheme() == "https" => None,
                Ok(url) if url.scheme() == "http" && options.allow_http => None,
                Ok(url) if url.scheme() == "http" => Some("plain http needs documents.allow_http"),
                _ => Some("it must be an absolute https URL"),
            };
            if let Some(reason) = reason {
                return Err(unfit("documents.endpoint", endpoint, reason));
            }
        }
        options.endpoint = self.endpoint;
        options.region = self.region;
        options.virtual_host = self.virtual_host.unwrap_or_default();
        options.ca_file = self.ca_file.map(PathBuf::from);
        options.credentials = match (self.access_key_id, self.secret_access_key) {
            (None, None) => None,
            (Some(access_key_id), Some(secret_access_key)) => Some(BucketCredentials {
                access_key_id,
                secret_access_key,
                session_token: self.session_token,
            }),
            (Some(_), None) => {
                let reason = "documents.access_key_id needs it";
                return Err(unfit("documents.secret_access_key", "", reason));
            }
            (None, Some(_)) => {
                let reason = "documents.secret_access_key needs it";
                return Err(unfit("documents.access_key_id", "", reason));
            }
        };
        if let Some(seconds) = within("documents.seconds", self.seconds, 1..=120)? {
            options.patience = Duration::from_secs(seconds.into());
        }
        Ok(Some(options))
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
        delivery.ports = ports("delivery.ports", self.ports.unwrap_or_default())?;
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

impl RawSignatures {
    fn check(self, timestamps: &Timestamps) -> Result<Signatures, ConfigError> {
        let level = match self.level {
            None => None,
            Some(text) => {
                let level = text.parse::<Level>();
                let level =
                    level.map_err(|error| unfit("signatures.level", &text, error.to_string()))?;
                if level > Level::BB && timestamps.authorities.is_empty() {
                    let reason = "it needs timestamps.authorities";
                    return Err(unfit("signatures.level", &text, reason));
                }
                Some(level)
            }
        };
        Ok(Signatures {
            level,
            downgrade_after: within("signatures.downgrade_after", self.downgrade_after, 0..=100)?,
            renew_within: within("signatures.renew_days", self.renew_days, 0..=7300)?
                .map_or(Signatures::default().renew_within, days),
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
            accepted: self.accepted,
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

/// A list of ports.
fn ports(key: &'static str, listed: Vec<RawPort>) -> Result<Vec<u16>, ConfigError> {
    const MOST: usize = 100;
    if listed.len() > MOST {
        return Err(unfit(key, "that", "there may be at most 100"));
    }
    let one = |port| {
        let text = match port {
            RawPort::Number(number) => number.to_string(),
            RawPort::Text(text) => text,
        };
        match text.parse() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(unfit(key, &text, "each must be a port, from 1 to 65535")),
        }
    };
    listed.into_iter().map(one).collect()
}

pub(super) fn network(key: &'static str, text: &str) -> Result<IpRange, ConfigError> {
    text.parse().map_err(|_| {
        unfit(
            key,
            text,
            "it must be a network like 10.0.0.0/8 or an address",
        )
    })
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
