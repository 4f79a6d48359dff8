//! Messages to signers: codes and reminders, by SMS through an HTTP gateway, by mail, or to the log for trying out.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Uri};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use sealpost_delivery::client::{Client, Failure, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_delivery::guard::Policy;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::config::{self, SmsGateway};
use crate::problem::Chain;

/// How long a message may take to be handed over.
const DEADLINE: Duration = Duration::from_secs(10);

/// How a signer is reached.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Contact {
    /// A mobile number, digits with an optional `+` in front.
    Mobile(String),
    /// A mail address.
    Email(String),
}

/// What is sent.
pub(crate) struct Notice<'a> {
    pub(crate) subject: &'a str,
    pub(crate) text: String,
    /// The code in the text, for gateways whose templates want it by itself.
    pub(crate) code: Option<&'a str>,
}

/// Why a message was not sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum NotifyError {
    #[error("no way is configured to reach this contact")]
    NoWay,
    #[error("the SMS gateway did not take the message: {0}")]
    Gateway(String),
    #[error("the address or the text cannot be sent as mail")]
    Mail(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Without the server's own words, which often repeat the address.
    #[error("the mail server did not take the message: {0}")]
    Server(String),
}

/// The ways that are configured.
pub(crate) struct Notifier {
    sms: Option<(SmsGateway, Uri, Client)>,
    mail: Option<(Mailbox, AsyncSmtpTransport<Tokio1Executor>)>,
    to_log: bool,
}

impl Notifier {
    /// Of the configuration. The certificates in `ca_file` are believed beside the system's, by the gateway and the mail server.
    pub(crate) fn new(notify: &config::Notify, ca_file: Option<&Path>) -> Result<Self, String> {
        let sms = match &notify.sms {
            None => None,
            Some(gateway) => {
                let url: Uri = gateway
                    .url
                    .parse()
                    .map_err(|error| format!("sms.url: {error}"))?;
                // The operator's own gateway may stand in the operator's own network.
                let policy = Policy {
                    allow: everywhere(),
                    allow_http: true,
                    ports: Vec::new(),
                };
                let trust = Trust::load(ca_file).map_err(|error| format!("sms.url: {error}"))?;
                let client = Client::new(Arc::new(policy), Resolver::System, &trust, None);
                let client = client.map_err(|error| format!("sms.url: {error}"))?;
                Some((gateway.clone(), url, client))
            }
        };
        let mail = match &notify.mail {
            None => None,
            Some(server) => {
                let from = server
                    .from
                    .parse()
                    .map_err(|error| format!("mail.from: {error}"))?;
                let transport = mail_transport(&server.url, ca_file)
                    .map_err(|error| format!("mail.server: {error}"))?;
                Some((from, transport))
            }
        };
        Ok(Self {
            sms,
            mail,
            to_log: notify.to_log,
        })
    }

    /// Whether there is a way to this contact.
    pub(crate) fn reaches(&self, contact: &Contact) -> bool {
        self.to_log
            || match contact {
                Contact::Mobile(_) => self.sms.is_some(),
                Contact::Email(_) => self.mail.is_some(),
            }
    }

    /// Hands a message over. The text is never logged, except where the operator has asked for just that.
    pub(crate) async fn send(
        &self,
        contact: &Contact,
        notice: &Notice<'_>,
    ) -> Result<(), NotifyError> {
        match (contact, &self.sms, &self.mail) {
            (Contact::Mobile(number), Some((gateway, url, client)), _) => {
                let reply = client
                    .post(
                        url.clone(),
                        gateway.headers(),
                        gateway.message(number, notice),
                        DEADLINE,
                    )
                    .await;
                match reply {
                    Ok(reply) if !reply.status.is_success() => Err(NotifyError::Gateway(format!(
                        "it answered HTTP {}",
                        reply.status.as_u16()
                    ))),
                    // Many gateways say in a body with status 200 that they did not take a message.
                    Ok(reply) if !gateway.has_taken(&reply.body) => Err(NotifyError::Gateway(
                        "its answer lacks the words of sms.accepted".to_owned(),
                    )),
                    Ok(_) => Ok(()),
                    Err(Failure::Theirs { reason, .. }) => {
                        Err(NotifyError::Gateway(reason.to_string()))
                    }
                    Err(Failure::Ours(detail)) => Err(NotifyError::Gateway(detail)),
                }
            }
            (Contact::Email(address), _, Some((from, transport))) => {
                let to: Mailbox = address
                    .parse()
                    .map_err(|error| NotifyError::Mail(Box::new(error)))?;
                let message = Message::builder()
                    .from(from.clone())
                    .to(to)
                    .subject(notice.subject)
                    .header(ContentType::TEXT_PLAIN)
                    .body(notice.text.clone())
                    .map_err(|error| NotifyError::Mail(Box::new(error)))?;
                // The transport's own deadline is for connecting only.
                match tokio::time::timeout(DEADLINE, transport.send(message)).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(NotifyError::Server(shown(&error))),
                    Err(_) => Err(NotifyError::Server("it did not answer in time".to_owned())),
                }
            }
            _ if self.to_log => {
                tracing::warn!(
                    to = contact.masked(),
                    text = notice.text,
                    "codes.to_log: a message that would be sent"
                );
                Ok(())
            }
            _ => Err(NotifyError::NoWay),
        }
    }
}

impl SmsGateway {
    fn has_taken(&self, answer: &[u8]) -> bool {
        let answer = String::from_utf8_lossy(answer);
        self.accepted
            .as_deref()
            .is_none_or(|words| answer.contains(words))
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        if let Some(mut value) = self
            .authorization
            .as_deref()
            .and_then(|value| HeaderValue::from_str(value).ok())
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        headers
    }

    /// The body with its placeholders replaced inside the JSON's strings, so that no text can break out of them.
    fn message(&self, number: &str, notice: &Notice<'_>) -> Bytes {
        let replace = |text: &str| {
            text.replace("{to}", number)
                .replace("{text}", &notice.text)
                .replace("{code}", notice.code.unwrap_or_default())
        };
        let body = serde_json::from_str::<Value>(&self.body).unwrap_or_default();
        Bytes::from(filled(body, &replace).to_string())
    }
}

/// The way to the mail server. A password never goes there unencrypted, but on this machine.
fn mail_transport(
    server: &str,
    ca_file: Option<&Path>,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let url = url::Url::parse(server).map_err(|error| error.to_string())?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let mut tls = TlsParameters::builder(host.clone());
    if let Some(file) = ca_file {
        let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let roots = Certificate::from_pem(&pem).map_err(|error| error.to_string())?;
        tls = tls.add_root_certificate(roots);
    }
    let tls = tls.build().map_err(|error| error.to_string())?;
    let wanted = url.query_pairs().find(|(name, _)| name == "tls");
    let tls = match (url.scheme(), wanted.as_ref().map(|(_, value)| &**value)) {
        ("smtps", _) => Tls::Wrapper(tls),
        (_, Some("required")) => Tls::Required(tls),
        (_, Some("opportunistic")) => Tls::Opportunistic(tls),
        _ => Tls::None,
    };
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if matches!(tls, Tls::None | Tls::Opportunistic(_)) && url.password().is_some() && !is_here {
        return Err(
            "a password would go unencrypted: use smtps://, or smtp:// with ?tls=required".into(),
        );
    }
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(server)
        .map_err(|error| error.to_string())?;
    Ok(transport.tls(tls).timeout(Some(DEADLINE)).build())
}

fn shown(error: &lettre::transport::smtp::Error) -> String {
    match error.status() {
        Some(code) if code.to_string() == "535" => "it refused the user or the password".to_owned(),
        Some(code) => format!("it answered {code}"),
        None if error.is_timeout() => "it did not answer in time".to_owned(),
        None if Chain(error).to_string().contains("certificate") => {
            "its certificate is not believed".to_owned()
        }
        None if error.is_tls() => "no encrypted connection to it can be made".to_owned(),
        None => "it could not be talked to".to_owned(),
    }
}

fn filled(value: Value, replace: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => replace(&text).into(),
        Value::Array(list) => list
            .into_iter()
            .map(|element| filled(element, replace))
            .collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(name, member)| (name, filled(member, replace)))
            .collect(),
        other => other,
    }
}

pub(crate) fn everywhere() -> Vec<sealpost_delivery::guard::IpRange> {
    ["0.0.0.0/0", "::/0"]
        .iter()
        .filter_map(|range| range.parse().ok())
        .collect()
}

impl Contact {
    /// A mobile number: 5 to 15 digits with an optional `+` in front; spaces and hyphens are dropped.
    pub(crate) fn mobile(text: &str) -> Option<Self> {
        let number: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        let digits = number.strip_prefix('+').unwrap_or(&number);
        let sound =
            (5..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        sound.then_some(Self::Mobile(number))
    }

    /// A mail address.
    pub(crate) fn email(text: &str) -> Option<Self> {
        text.parse::<lettre::Address>()
            .ok()
            .map(|_| Self::Email(text.to_owned()))
    }

    /// The number or address itself. Never for people or logs.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Mobile(text) | Self::Email(text) => text,
        }
    }

    /// For people: `138****5678`, `z***@example.com`.
    pub(crate) fn masked(&self) -> String {
        match self {
            Self::Mobile(number) => {
                let keep = if number.len() >= 10 {
                    (number.len() - 8, 4)
                } else {
                    (0, 2)
                };
                format!(
                    "{}****{}",
                    &number[..keep.0.min(3)],
                    &number[number.len() - keep.1..]
                )
            }
            Self::Email(address) => {
                let (name, domain) = address.split_once('@').unwrap_or_default();
                format!(
                    "{}***@{domain}",
                    name.chars().next().map(String::from).unwrap_or_default()
                )
            }
        }
    }
}

/// Never the whole contact.
impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_checked_and_masked() {
        assert_eq!(
            Contact::mobile("138 1234-5678").unwrap().masked(),
            "138****5678"
        );
        assert_eq!(
            Contact::mobile("+8613812345678").unwrap().masked(),
            "+86****5678"
        );
        assert_eq!(Contact::mobile("12345").unwrap().masked(), "****45");
        assert_eq!(
            Contact::email("zhang@example.com").unwrap().masked(),
            "z***@example.com"
        );
        for wrong in ["", "138x", "1234", "+", "1234567890123456"] {
            assert!(Contact::mobile(wrong).is_none(), "{wrong}");
        }
        assert!(Contact::email("nobody").is_none());
    }

    #[test]
    fn a_password_never_goes_out_unencrypted() {
        for (server, sound) in [
            ("smtp://mail.example.com", true),
            ("smtp://u:p@mail.example.com", false),
            ("smtp://u:p@mail.example.com?tls=opportunistic", false),
            ("smtp://u:p@mail.example.com?tls=required", true),
            ("smtps://u:p@mail.example.com", true),
            ("smtp://u:p@127.0.0.1:2525", true),
        ] {
            assert_eq!(mail_transport(server, None).is_ok(), sound, "{server}");
        }
    }

    #[test]
    fn a_gateways_template_cannot_be_broken_out_of() {
        let gateway = SmsGateway {
            url: "https://sms.example/".to_owned(),
            body: r#"{"phone":"{to}","params":["{code}"],"message":"{text}"}"#.to_owned(),
            authorization: None,
            accepted: None,
        };
        let notice = Notice {
            subject: "",
            text: "你好\",\"x\":\"{to}".to_owned(),
            code: Some("123456"),
        };
        let body: Value = serde_json::from_slice(&gateway.message("138", &notice)).unwrap();
        assert_eq!(body["params"][0], "123456");
        assert_eq!(body.as_object().map(|members| members.len()), Some(3));
    }
}
