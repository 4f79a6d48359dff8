//! The HTTP API of channels, `/v1`: reads requests, calls `App`, writes answers. A channel sees only what is its own.

pub(crate) mod callbacks;
pub(crate) mod evidence;
pub(crate) mod files;
pub(crate) mod operator;
mod request;
pub(crate) mod seals;
pub(crate) mod sign_flows;
pub(crate) mod verify;

use axum::Json as JsonAnswer;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use sealpost_contract::UtcMillis;
use sealpost_flow::{Actor, Digest};
use sealpost_store::IdempotencyKey;
use serde_json::Value;

use crate::app::App;
use crate::app::flows::Caller;
use crate::app::view::Origin;
use crate::problem::{FieldError, Kind, Problem};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The most elements of one page of a list.
const PAGE_MOST: i64 = 200;

/// The elements of a page unless another number is asked for.
const PAGE_USUAL: i64 = 50;

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        app.find_caller(bearer(&parts.headers)).await?.ok_or_else(|| {
            Problem::new(Kind::Unauthorized, "Send a channel's API key as `authorization: Bearer KEY`. This one is missing, unknown or revoked.")
        })
    }
}

/// The key that a request shows. What is no key at all is looked up like one that is, and found as little.
fn bearer(headers: &HeaderMap) -> &str {
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let (scheme, key) = header.split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") {
        key.trim()
    } else {
        ""
    }
}

impl Caller {
    /// The channel as the initiator of flows, coming from where the request came from.
    fn actor(&self, origin: &Origin) -> Actor {
        Actor::initiator(&self.key_id).from_client(origin.address, origin.user_agent.as_deref())
    }

    /// The request's idempotency key; each channel has its own.
    fn idempotency(
        &self,
        call: &Call,
        body: &[u8],
        now: UtcMillis,
    ) -> Result<Option<IdempotencyKey>, Problem> {
        call.idempotency(&self.channel_id, body, now)
    }
}

/// What a request is beside its body.
pub(crate) struct Call {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Call {
    /// The request's idempotency key among those of this caller, bound to what is asked for: the method, the path and the
    /// body.
    fn idempotency(
        &self,
        caller_id: &str,
        body: &[u8],
        now: UtcMillis,
    ) -> Result<Option<IdempotencyKey>, Problem> {
        let mut values = self.headers.get_all(IDEMPOTENCY_KEY).into_iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            let message = "the header stands twice; a request has one key";
            return Err(Problem::field("idempotency-key", "duplicate", message));
        }
        let key = value
            .to_str()
            .ok()
            .filter(|key| (1..=255).contains(&key.len()));
        let key = key.ok_or_else(|| {
            let message = "it must have 1 to 255 visible ASCII characters";
            Problem::fields(vec![
                FieldError::new("idempotency-key", "bad_format", message).limit(255),
            ])
        })?;
        let request = Digest::of_parts(&[
            self.method.as_str().as_bytes(),
            b"\0",
            self.uri.path().as_bytes(),
            b"\0",
            body,
        ]);
        Ok(Some(IdempotencyKey {
            caller_id: caller_id.to_owned(),
            key: key.to_owned(),
            request,
            at: now,
        }))
    }
}

/// The header that says that the same request was done before under its idempotency key.
fn idempotency_replayed(replayed: bool) -> HeaderMap {
    let headers = replayed.then(|| (IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true")));
    HeaderMap::from_iter(headers)
}

/// A JSON answer, and whether the same request was done before under its key.
fn answer(status: StatusCode, replayed: bool, shown: Value) -> Response {
    (status, idempotency_replayed(replayed), JsonAnswer(shown)).into_response()
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
        })
    }
}

/// A moment as the API writes it: RFC 3339 in UTC with milliseconds.
pub(crate) fn time(at: UtcMillis) -> String {
    jiff::Timestamp::from_millisecond(at)
        .map(|time| format!("{time:.3}"))
        .unwrap_or_default()
}
