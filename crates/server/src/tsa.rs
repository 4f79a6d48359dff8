//! Timestamps over HTTP (RFC 3161 section 3.4): asking the authorities of the configuration, and being one (`sealpost tsa`).
//!
//! What is asked and answered is made and checked in [`sealpost_pdf::timestamp`]; here it is carried.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sealpost_delivery::client::{Client, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_delivery::guard::Policy;
use sealpost_pdf::{Responder, Timestamp, TimestampRequest};

use crate::app::App;
use crate::app::notify::everywhere;
use crate::config::Timestamps;
use crate::secrets::random;

/// How long one authority may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The largest question, in bytes.
const MAX_QUESTION: usize = 4096;

const QUERY: HeaderValue = HeaderValue::from_static("application/timestamp-query");
const REPLY: HeaderValue = HeaderValue::from_static("application/timestamp-reply");

/// The authorities that are asked, in order.
pub(crate) struct Authorities {
    urls: Vec<Uri>,
    client: Client,
    policy: Option<String>,
    roots: Vec<Vec<u8>>,
}

impl Authorities {
    /// Of the configuration. The certificates in `ca_file` are believed beside the system's when an authority is called over
    /// TLS.
    pub(crate) fn new(settings: &Timestamps, ca_file: Option<&Path>) -> Result<Self, String> {
        let roots = match &settings.roots {
            None => Vec::new(),
            Some(path) => {
                certificates(path).map_err(|reason| format!("timestamps.roots: {reason}"))?
            }
        };
        let urls = settings.authorities.iter().map(|url| {
            url.parse::<Uri>()
                .map_err(|error| format!("timestamps.authorities: one is no URL: {error}"))
        });
        let urls = urls.collect::<Result<_, _>>()?;
        // Plain http is the custom among authorities: what they say is signed. They may stand in the operator's network.
        let policy = Policy {
            allow: everywhere(),
            allow_http: true,
            ports: Vec::new(),
        };
        let failed = |error| format!("timestamps.authorities: {error}");
        let trust = Trust::load(ca_file).map_err(failed)?;
        let client =
            Client::new(Arc::new(policy), Resolver::System, &trust, None).map_err(failed)?;
        Ok(Self {
            urls,
            client,
            policy: settings.policy.clone(),
            roots,
        })
    }

    /// Whether signatures get no timestamps.
    pub(crate) fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    /// The roots that the authorities' certificates must lead to, beside the built-in authority's.
    pub(crate) fn roots(&self) -> &[Vec<u8>] {
        &self.roots
    }

    /// The policy that the authorities must keep to.
    pub(crate) fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// Asks one authority after the other until one answers as it should. The error is in words for the record, and names
    /// what went wrong with each.
    pub(crate) async fn stamp(&self, question: &TimestampRequest) -> Result<Timestamp, String> {
        let mut reasons = Vec::new();
        for url in &self.urls {
            match self.ask(url, question).await {
                Ok(timestamp) => return Ok(timestamp),
                Err(reason) => {
                    let authority = shown(url);
                    tracing::warn!(authority, reason, "a timestamp authority failed");
                    reasons.push(format!("{authority}: {reason}"));
                }
            }
        }
        Err(format!(
            "no timestamp authority answered: {}",
            reasons.join("; ")
        ))
    }

    async fn ask(&self, url: &Uri, question: &TimestampRequest) -> Result<Timestamp, String> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, QUERY)]);
        let body = Bytes::copy_from_slice(question.der());
        let reply = self.client.post(url.clone(), headers, body, DEADLINE).await;
        let reply = reply.map_err(|failure| format!("{failure:?}"))?;
        if reply.status != StatusCode::OK {
            return Err(format!("HTTP {}", reply.status.as_u16()));
        }
        question
            .accept(&reply.body)
            .map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(shown).collect();
        write!(f, "Authorities({urls:?})")
    }
}

/// What is shown of an authority's URL: the rest may hold a secret, as a password or as a key in its path or its query.
fn shown(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let host = url.host().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// The certificates of a PEM file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let failed =
        |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
    let found = found.map(|one| one.map(|der| der.to_vec()).map_err(|error| failed(&error)));
    let found = found.collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(found)
}

/// An authority's own routes: questions are POSTed to `/`.
pub(crate) fn router(app: App, responder: Responder) -> Router {
    Router::new()
        .route("/", post(answer))
        .layer(DefaultBodyLimit::max(MAX_QUESTION))
        .with_state(Arc::new((app, responder)))
}

async fn answer(
    State(authority): State<Arc<(App, Responder)>>,
    headers: HeaderMap,
    question: Bytes,
) -> Response {
    if headers.get(CONTENT_TYPE) != Some(&QUERY) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let answered = tokio::task::spawn_blocking(move || {
        let (app, responder) = authority.as_ref();
        let serial = random::<16>().map_err(|error| error.to_string())?;
        let answer = responder.respond(&question, app.now(), serial);
        answer.map_err(|error| crate::problem::Chain(&error).to_string())
    });
    match answered.await {
        Ok(Ok(answer)) => ([(CONTENT_TYPE, REPLY)], answer).into_response(),
        Ok(Err(reason)) => {
            tracing::error!(reason, "a timestamp could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_the_url_of_an_authority_are_not_shown() {
        for (url, says) in [
            (
                "https://name:hush@tsa.example.com/hush?key=hush",
                "https://tsa.example.com",
            ),
            (
                "http://tsa.example.com:8318/hush",
                "http://tsa.example.com:8318",
            ),
            ("http://[2001:db8::1]:80/", "http://[2001:db8::1]:80"),
        ] {
            assert_eq!(shown(&url.parse().unwrap()), says);
            let settings = Timestamps {
                authorities: vec![url.to_owned()],
                ..Timestamps::default()
            };
            let authorities = format!("{:?}", Authorities::new(&settings, None).unwrap());
            assert!(!authorities.contains("hush"), "{authorities}");
        }
    }
}
