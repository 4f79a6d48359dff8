//! Every setting: its key, its type, its default and what it is for.

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

/// Every setting. A test proves that the file knows exactly these.
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
        "documents.url",
        Text,
        "a folder in the data folder",
        "S3 instead: s3://bucket or s3://bucket/prefix",
    ),
    setting(
        "documents.endpoint",
        Text,
        "Amazon's",
        "URL of another storage that speaks S3, without the bucket",
    ),
    setting(
        "documents.region",
        Text,
        "us-east-1",
        "region that requests are signed for",
    ),
    setting(
        "documents.access_key_id",
        Text,
        "what AWS_… variables or the machine say",
        "key to the bucket",
    ),
    setting(
        "documents.secret_access_key",
        Text,
        "what AWS_… variables or the machine say",
        "its secret",
    ),
    setting(
        "documents.session_token",
        Text,
        "none",
        "what comes with a key that is good for some hours only",
    ),
    setting(
        "documents.virtual_host",
        Switch,
        "false",
        "whether the bucket is a part of the host's name and not of the path",
    ),
    setting(
        "documents.allow_http",
        Switch,
        "false",
        "whether the endpoint may be plain http",
    ),
    setting(
        "documents.ca_file",
        Text,
        "none",
        "further root certificates (PEM) for the endpoint",
    ),
    setting(
        "documents.seconds",
        Integer,
        "15",
        "how long keeping or reading one document in a bucket may take, with all that is tried again",
    ),
    setting(
        "drain_seconds",
        Integer,
        "0",
        "how long, once told to stop, /readyz says so before connections are refused",
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
        "keys.authority",
        Text,
        "p-256",
        "key of the built-in authority: rsa-2048, rsa-3072, rsa-4096, p-256, p-384 or sm2",
    ),
    setting(
        "keys.organizations",
        Text,
        "rsa-2048",
        "keys that it issues to organizations, likewise",
    ),
    setting(
        "keys.persons",
        Text,
        "p-256",
        "keys that it issues to persons for one flow, likewise",
    ),
    setting(
        "keys.seals",
        Text,
        "none",
        "list (TOML) of your own seal keys: PKCS#12, PKCS#11 or a signing service",
    ),
    setting(
        "keys.roots",
        Text,
        "none",
        "further root certificates (PEM) of signers that verification trusts",
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
        "delivery.ports",
        List,
        "every port but the Fetch Standard's bad ports",
        "the only ports that callbacks may go to",
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
        "signatures.level",
        Text,
        "b-t with timestamps.authorities, else b-b",
        "level of signatures: b-b, b-t, b-lt or b-lta",
    ),
    setting(
        "signatures.downgrade_after",
        Integer,
        "none: it waits",
        "failed attempts after which a lower level is made and recorded",
    ),
    setting(
        "signatures.renew_days",
        Integer,
        "180",
        "days before a timestamp over a completed document ends that it is renewed, with level b-lta; 0: only by sealpost archive",
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
        "sms.accepted",
        Text,
        "none",
        "what the gateway's answer holds when it took a message, such as \"Code\":\"OK\"",
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
    setting(
        "oidc.issuer",
        Text,
        "none",
        "OpenID provider where operators sign in to the console, exactly as it writes its issuer",
    ),
    setting(
        "oidc.client_id",
        Text,
        "none",
        "who Sealpost is at the provider",
    ),
    setting(
        "oidc.client_secret",
        Text,
        "none",
        "what proves it; none for a public client",
    ),
    setting(
        "oidc.label",
        Text,
        "SSO",
        "what the button on the sign-in page says",
    ),
    setting(
        "oidc.scopes",
        List,
        "openid,profile,email",
        "what is asked of the provider",
    ),
    setting(
        "oidc.name_claim",
        Text,
        "preferred_username",
        "claim of the ID token that is an operator's name",
    ),
    setting(
        "oidc.role_claim",
        Text,
        "none",
        "claim that gives the role at every sign-in, a text or a list; without it an administrator does",
    ),
    setting(
        "oidc.viewers",
        List,
        "none",
        "values of the role claim that make a viewer",
    ),
    setting(
        "oidc.operators",
        List,
        "none",
        "values of the role claim that make an operator",
    ),
    setting(
        "oidc.administrators",
        List,
        "none",
        "values of the role claim that make an administrator",
    ),
    setting(
        "oidc.first_sign_in",
        Text,
        "invitation",
        "invitation: only whom an administrator has added; create: whoever signs in becomes an operator",
    ),
    setting(
        "oidc.allow_networks",
        List,
        "none",
        "networks that the provider may be in although they are not public",
    ),
    setting(
        "oidc.allow_http",
        Switch,
        "false",
        "whether the provider may be reached over plain http: for trying out only",
    ),
];
