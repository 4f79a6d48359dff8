//! Keys behind a signing service of the operator's: what is to be signed is POSTed there, and the signature comes back.
//!
//! ```json
//! → { "algorithm": "rsa-2048", "message_base64": "…", "digest_base64": "…" }
//! ← { "signature_base64": "…" }
//! ```
//!
//! The service signs the digest, or digests the message itself; SM2 has no digest of the message alone, so there the message is all.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, InvalidHeaderValue};
use http::uri::{InvalidUri, Uri};
use sealpost_delivery::client::{Client, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_delivery::guard::Policy;
use sealpost_pdf::{ExternalKey, ExternalKeyError, KeyAlgorithm};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use tokio::runtime::Handle;

use crate::app::notify::everywhere;

/// How long the service may take for one signature.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why a signing service cannot be used.
#[derive(Debug, Error)]
pub(crate) enum RemoteError {
    #[error("remote is no URL")]
    Url(#[from] InvalidUri),
    #[error("remote must be https, or http to this machine")]
    Plain,
    #[error("the authorization is no header's value")]
    Authorization(#[from] InvalidHeaderValue),
    #[error("no connection can be made from here")]
    Client(#[from] sealpost_delivery::Error),
    #[error("the signing service was not reached: {0}")]
    Unreachable(String),
    #[error("the signing service answered HTTP {0}")]
    Status(u16),
    #[error("the signing service answered something else than a signature")]
    Answer,
}

/// A key behind a service.
pub(crate) struct RemoteKey {
    url: Uri,
    headers: HeaderMap,
    client: Client,
    runtime: Handle,
}

#[derive(Deserialize)]
struct Answer {
    signature_base64: String,
}

impl RemoteKey {
    /// The key behind `url`, with an `authorization` header where the service wants one. The certificates in `ca_file` are
    /// believed beside the system's. Within the async runtime.
    pub(crate) fn new(
        url: &str,
        authorization: Option<String>,
        ca_file: Option<&Path>,
    ) -> Result<Self, RemoteError> {
        let url: Uri = url.parse()?;
        let here = matches!(url.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme_str() {
            Some("https") => {}
            Some("http") if here => {}
            _ => return Err(RemoteError::Plain),
        }
        let mut headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(authorization) = authorization {
            let mut value = HeaderValue::try_from(authorization)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // It is the operator's own, and may stand in the operator's network.
        let policy = Policy {
            allow: everywhere(),
            allow_http: true,
            ports: Vec::new(),
        };
        let trust = Trust::load(ca_file)?;
        Ok(Self {
            url,
            headers,
            client: Client::new(Arc::new(policy), Resolver::System, &trust, None)?,
            runtime: Handle::current(),
        })
    }

    async fn ask(&self, algorithm: KeyAlgorithm, message: &[u8]) -> Result<Vec<u8>, RemoteError> {
        let mut question = json!({
            "algorithm": algorithm.name(),
            "message_base64": STANDARD.encode(message),
        });
        let hash = match algorithm {
            KeyAlgorithm::P384 => Some(&SHA384),
            KeyAlgorithm::Sm2 => None,
            _ => Some(&SHA256),
        };
        if let Some(hash) = hash {
            question["digest_base64"] = STANDARD.encode(digest(hash, message)).into();
        }
        let body = Bytes::from(question.to_string());
        let reply = self
            .client
            .post(self.url.clone(), self.headers.clone(), body, DEADLINE)
            .await
            .map_err(|failure| RemoteError::Unreachable(format!("{failure:?}")))?;
        if reply.status != StatusCode::OK {
            return Err(RemoteError::Status(reply.status.as_u16()));
        }
        let answer: Answer =
            serde_json::from_slice(&reply.body).map_err(|_| RemoteError::Answer)?;
        STANDARD
            .decode(answer.signature_base64)
            .map_err(|_| RemoteError::Answer)
    }
}

impl ExternalKey for RemoteKey {
    fn sign(&self, algorithm: KeyAlgorithm, message: &[u8]) -> Result<Vec<u8>, ExternalKeyError> {
        // Keys sign on threads that may block.
        Ok(self.runtime.block_on(self.ask(algorithm, message))?)
    }
}
