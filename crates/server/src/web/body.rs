//! Reading bodies and query strings within limits; what cannot be read is a problem like any other.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::Fields;
use crate::problem::{Kind, Problem};

/// The most bytes of a JSON body that carries no document.
pub(crate) const MIB: usize = 1024 * 1024;

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

/// Reads a body of at most `limit` bytes. A longer one is refused before it is read when it says its length, and after
/// `limit` bytes when it does not.
pub(crate) async fn bounded(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(Problem::too_large(limit));
    }
    match Limited::new(request.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            Err(Problem::too_large(limit))
        }
        Err(_) => Err(Problem::new(
            Kind::MalformedRequest,
            "The body ended before it was complete.",
        )),
    }
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

/// The query string as text fields; a name that stands twice is refused.
pub(crate) struct Query(pub(crate) Fields);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut fields = Map::new();
        for (name, value) in
            url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        {
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
