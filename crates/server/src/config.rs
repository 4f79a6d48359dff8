//! The configuration: a TOML file, `SEALPOST_*` variables over it, flags over those. Unknown keys are errors.
//!
//! [`SETTINGS`] lists every key with what it means; a variable's name is the key in capitals with dots as underscores
//! (`delivery.allow_http` is `SEALPOST_DELIVERY_ALLOW_HTTP`). Nothing here reads the environment by itself: the command
//! line hands everything in, so that tests do not depend on the process they run in.
//!
//! A new setting is a line of `settings`, a member of `raw`, a check in `check` and a member of `types`.

mod check;
mod oidc;
mod public_url;
mod raw;
mod settings;
mod sources;
mod toml_text;
mod types;

use thiserror::Error;

pub use oidc::Oidc;
pub use public_url::{PUBLIC_URL_MAX, PublicUrl};
pub use settings::{SETTINGS, Setting, ValueKind};
pub use sources::{DEFAULT_FILE, Sources};
pub use toml_text::Wrong;
pub(crate) use toml_text::read as read_toml;
pub use types::{
    Config, Delivery, FlowLimits, Keys, Log, MailServer, Notify, Signatures, SmsGateway, Timestamps,
};

/// Why the configuration cannot be used. Every text names the key or where it was set, and none repeats what may be a secret.
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
    #[error("the configuration file {path} is wrong: {wrong}")]
    File {
        /// The file.
        path: String,
        /// Where and why.
        wrong: Wrong,
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
    #[error("{key} cannot be {value}: {reason}")]
    Unfit {
        /// The key.
        key: &'static str,
        /// The value in quotes, or words instead of one that may hold a secret.
        value: String,
        /// Why.
        reason: String,
    },
}

/// Settings whose values may hold a secret: a password in a URL, or a key in a request.
const HIDDEN: &[&str] = &[
    "public_url",
    "database.url",
    "documents.url",
    "documents.endpoint",
    "delivery.alert_url",
    "timestamps.authorities",
    "sms.url",
    "sms.body",
    "mail.server",
    "oidc.issuer",
];

fn unfit(key: &'static str, value: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Unfit {
        key,
        value: if HIDDEN.contains(&key) && !value.is_empty() {
            "what is given".to_owned()
        } else {
            format!("{value:?}")
        },
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn ports_are_numbers_in_the_file_and_in_the_environment() {
        let file = "[delivery]\nports = [443, 8443]\n";
        assert_eq!(load(file, &[], &[]).unwrap().delivery.ports, [443, 8443]);
        let variable = [("SEALPOST_DELIVERY_PORTS", "443, 9443")];
        let config = load(file, &variable, &[]).unwrap();
        assert_eq!(config.delivery.ports, [443, 9443]);
        for wrong in ["[0]", "[65536]", "[-1]", "['https']", "['']", "443"] {
            let error = load(&format!("[delivery]\nports = {wrong}\n"), &[], &[]).unwrap_err();
            assert!(error.contains("ports"), "{wrong}: {error}");
        }
        let many = vec!["443"; 101].join(",");
        let error = load("", &[("SEALPOST_DELIVERY_PORTS", &many)], &[]).unwrap_err();
        assert!(error.contains("at most 100"), "{error}");
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
            ("[documents]\nurl = 'bucket'", "documents.url"),
            (
                "[documents]\nurl = 's3://receipts'\nendpoint = 'http://127.0.0.1:9000'",
                "documents.allow_http",
            ),
            (
                "[documents]\nurl = 's3://receipts'\naccess_key_id = 'id'",
                "documents.secret_access_key",
            ),
            ("[keys]\norganizations = 'rsa-1024'", "keys.organizations"),
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
    fn no_error_repeats_a_secret() {
        for (file, says) in [
            ("[sms]\nauthorization = \"hush", "sms.authorization"),
            ("[sms]\nauthorization = hush", "line 2"),
            (
                "[documents]\nsecret_access_key = ['hush']",
                "documents.secret_access_key",
            ),
            ("[oidc]\nclient_secret = 'hush' hush", "oidc.client_secret"),
            ("[database]\nurl = \"postgres://a:hush@b/c", "database.url"),
            ("[database]\nurl = 'mysql://a:hush@b/c'", "database.url"),
            ("drain_seconds = 'hush'", "drain_seconds"),
            ("public_url = 'https://u:hush@x'", "public_url"),
            (
                "[mail]\nserver = 'imap://u:hush@x'\nfrom = 'a@b.example'",
                "mail.server",
            ),
            ("[sms]\nurl = 'hush'\nbody = '{\"to\":\"{to}\"}'", "sms.url"),
            (
                "[sms]\nurl = 'https://sms.example/'\nbody = 'hush'",
                "sms.body",
            ),
            ("[delivery]\nalert_url = 'hush'", "delivery.alert_url"),
            (
                "[timestamps]\nauthorities = ['hush']",
                "timestamps.authorities",
            ),
            (
                "[documents]\nurl = 's3://receipts'\nendpoint = 'ftp://hush'",
                "documents.endpoint",
            ),
            (
                "[documents]\nurl = 's3://key:hush@receipts'",
                "documents.url",
            ),
            ("[oidc]\nissuer = 'hush'\nclient_id = 'a'", "oidc.issuer"),
        ] {
            let error = load(file, &[], &[]).unwrap_err();
            assert!(error.contains(says), "{file}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
        for variable in [
            "SEALPOST_DRAIN_SECONDS",
            "SEALPOST_DATABASE_URL",
            "SEALPOST_SMS_BODY",
        ] {
            let error = load("", &[(variable, "hush")], &[]).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        }
        let error = load("", &[("SEALPOST_DRAIN_SECONDS", "-5")], &[]).unwrap_err();
        assert!(error.contains("0 to 4294967295"), "{error}");
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
}
