//! Reading bodies and query strings within limits; what cannot be read is a problem like any other.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};

use super::Fields;
use crate::problem::{Kind, Problem};

/// The most bytes of a JSON body that carries no document.
pub(crate) const MIB: usize = 1024 * 1024;

/// The most bytes of a body that are read at all, be it only to answer that they are too many.
const THROWN_AWAY: usize = 64 * MIB;

/// A JSON object of at most `LIMIT` bytes, and the bytes themselves (idempotency keys hash them).
pub(crate) struct Json<const LIMIT: usize = MIB> {
    pub(crate) fields: Fields,
    pub(crate) bytes: Bytes,
}

impl<S: Sync, const LIMIT: usize> FromRequest<S> for Json<LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(content_type(&request)) {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                "The body must be JSON, with the header `content-type: application/json`.",
            ));
        }
        let bytes = bounded(request, LIMIT).await?;
        let fields = Fields::parse(&bytes)?;
        Ok(Self { fields, bytes })
    }
}

/// The request's content type; empty when it has none.
pub(crate) fn content_type(request: &Request) -> &str {
    request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Reads a body of at most `limit` bytes. What is beyond is read too, up to a point, and thrown away: a client that is still
/// sending when the connection closes sees a broken connection instead of the answer.
pub(crate) async fn bounded(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let announced = announced_length(&request);
    if announced.is_some_and(|length| length > THROWN_AWAY as u64) {
        return Err(Problem::too_large(limit));
    }
    let mut body = request.into_body();
    let mut read =
        BytesMut::with_capacity(announced.map_or(0, |length| limit.min(length as usize)));
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::new(
                Kind::MalformedRequest,
                "The body ended before it was complete.",
            )
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        total += data.len();
        if total <= limit {
            read.extend_from_slice(data);
        } else if total > THROWN_AWAY {
            break;
        }
    }
    if total > limit {
        Err(Problem::too_large(limit))
    } else {
        Ok(read.freeze())
    }
}

fn announced_length(request: &Request) -> Option<u64> {
    request
        .headers()
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// An optional JSON body: none at all reads as an empty object.
pub(crate) async fn optional_json(body: Body) -> Result<(Fields, Bytes), Problem> {
    let bytes = bounded(Request::new(body), MIB).await?;
    let fields = if bytes.iter().all(u8::is_ascii_whitespace) {
        Fields::of(Map::new())
    } else {
        Fields::parse(&bytes)?
    };
    Ok((fields, bytes))
}

/// The body of a call that takes no members: nothing, or an empty object; its bytes.
pub(crate) async fn no_members(body: Body) -> Result<Bytes, Problem> {
    let (fields, bytes) = optional_json(body).await?;
    fields.finish()?;
    Ok(bytes)
}

/// The query string as text fields; a name that stands twice is refused.
pub(crate) struct Query(pub(crate) Fields);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut fields = Map::new();
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if value.contains(char::REPLACEMENT_CHARACTER) {
                let message = "it is not UTF-8, percent-encoded";
                return Err(Problem::field(name, "bad_format", message));
            }
            if fields
                .insert(name.to_string(), Value::String(value.into_owned()))
                .is_some()
            {
                return Err(Problem::field(
                    name,
                    "duplicate",
                    "it stands twice in the query",
                ));
            }
        }
        Ok(Self(Fields::of(fields)))
    }
}
