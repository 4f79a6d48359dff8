//! A plain HTTP client for loopback: the demo plays the initiator, the buyer and the channel with it, and so do the tests.
//! Callbacks never go this way; theirs is the guarded client of `sealpost_delivery`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use thiserror::Error;

/// The most bytes of an answer.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why no answer came.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request could not be made.
    #[error("the request to {0} could not be made")]
    Request(String, #[source] http::Error),
    /// Nobody answered, or the connection broke.
    #[error("{0} did not answer")]
    Connection(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer took longer than 30 seconds.
    #[error("{0} did not answer in time")]
    Timeout(String),
}

/// The client.
#[derive(Debug, Clone)]
pub struct HttpClient(Client<HttpConnector, Full<Bytes>>);

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl HttpClient {
    /// Sends a request and reads the whole answer.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, String)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body.into()))
            .map_err(|error| ClientError::Request(url.to_owned(), error))?;
        let exchange = async {
            let response = self
                .0
                .request(request)
                .await
                .map_err(|error| ClientError::Connection(url.to_owned(), error.into()))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await;
            let body = body.map_err(|error| ClientError::Connection(url.to_owned(), error))?;
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            })
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| ClientError::Timeout(url.to_owned()))?
    }

    /// `GET`, with an API key where one is given.
    pub async fn get(&self, url: &str, key: Option<&str>) -> Result<Answer, ClientError> {
        self.send(Method::GET, url, &authorization(key), Bytes::new())
            .await
    }

    /// `POST` of JSON, with an API key where one is given.
    pub async fn post(
        &self,
        url: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Result<Answer, ClientError> {
        let mut headers = authorization(key);
        headers.push((CONTENT_TYPE, "application/json".to_owned()));
        self.send(Method::POST, url, &headers, body.to_string())
            .await
    }
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

fn authorization(key: Option<&str>) -> Vec<(HeaderName, String)> {
    key.map(|key| (AUTHORIZATION, format!("Bearer {key}")))
        .into_iter()
        .collect()
}
