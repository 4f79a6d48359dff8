//! The file's shape: every key optional, none unknown.

use serde::Deserialize;

use super::oidc::RawOidc;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) listen: Option<String>,
    pub(super) public_url: Option<String>,
    pub(super) data: Option<String>,
    pub(super) database: RawDatabase,
    pub(super) documents: RawDocuments,
    pub(super) drain_seconds: Option<u32>,
    pub(super) time_zone: Option<String>,
    pub(super) trusted_proxies: Option<Vec<String>>,
    pub(super) log: RawLog,
    pub(super) flow: RawFlow,
    pub(super) keys: RawKeys,
    pub(super) sealing: RawSealing,
    pub(super) delivery: RawDelivery,
    pub(super) timestamps: RawTimestamps,
    pub(super) signatures: RawSignatures,
    pub(super) sms: RawSms,
    pub(super) mail: RawMail,
    pub(super) codes: RawCodes,
    pub(super) oidc: RawOidc,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDatabase {
    pub(super) url: Option<String>,
    pub(super) ca_file: Option<String>,
    pub(super) sessions: Option<u32>,
    pub(super) statement_seconds: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDocuments {
    pub(super) url: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) access_key_id: Option<String>,
    pub(super) secret_access_key: Option<String>,
    pub(super) session_token: Option<String>,
    pub(super) virtual_host: Option<bool>,
    pub(super) allow_http: Option<bool>,
    pub(super) ca_file: Option<String>,
    pub(super) seconds: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    pub(super) filter: Option<String>,
    pub(super) format: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawFlow {
    pub(super) default_days: Option<u32>,
    pub(super) max_days: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawKeys {
    pub(super) authority: Option<String>,
    pub(super) organizations: Option<String>,
    pub(super) persons: Option<String>,
    pub(super) seals: Option<String>,
    pub(super) roots: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSealing {
    pub(super) parallel: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDelivery {
    pub(super) allow_http: Option<bool>,
    pub(super) allow_networks: Option<Vec<String>>,
    pub(super) ports: Option<Vec<RawPort>>,
    pub(super) attempt_seconds: Option<u32>,
    pub(super) ca_file: Option<String>,
    pub(super) alert_url: Option<String>,
}

/// A port: a number in the file, a text in the environment.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum RawPort {
    Number(i64),
    Text(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTimestamps {
    pub(super) authorities: Option<Vec<String>>,
    pub(super) policy: Option<String>,
    pub(super) roots: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSignatures {
    pub(super) level: Option<String>,
    pub(super) downgrade_after: Option<u32>,
    pub(super) renew_days: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSms {
    pub(super) url: Option<String>,
    pub(super) body: Option<String>,
    pub(super) authorization: Option<String>,
    pub(super) accepted: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMail {
    pub(super) server: Option<String>,
    pub(super) from: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCodes {
    pub(super) to_log: Option<bool>,
}

/// Without the key.
impl std::fmt::Debug for RawDocuments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawDocuments")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Without the URL, which may hold a password.
impl std::fmt::Debug for RawDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawDatabase").finish_non_exhaustive()
    }
}
