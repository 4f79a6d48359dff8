//! What happens around every request: it gets an id, a span and one log line; a panic and a handler that takes too long
//! become problems. Paths carry secret tokens, so only the route's pattern is logged, never the path.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    CONNECTION, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use tracing::Instrument as _;

use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::secrets::random;

/// The header that carries a request's id, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a handler may take, its body's arrival included.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(60);

/// Names the request, runs it within its time, logs it and counts it.
pub(crate) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "-".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", id = %id, %method, route);
    let begun = Instant::now();

    async move {
        // What axum's `Path` would refuse with a plain text.
        let is_text = is_text(request.uri().path());
        let handled = async {
            match is_text {
                true => next.run(request).await,
                false => Problem::not_found("path").into_response(),
            }
        };
        let mut response = match tokio::time::timeout(HANDLER_TIMEOUT, handled).await {
            Ok(response) => response,
            Err(_) => Problem::new(
                Kind::Timeout,
                "The request was not complete within its time.",
            )
            .into_response(),
        };
        let (status, took) = (response.status(), begun.elapsed());
        app.metrics()
            .observe_request(&route, method.as_str(), status.as_u16(), took);
        let took_ms = took.as_millis() as u64;
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), took_ms, "answered");
        } else {
            tracing::debug!(status = status.as_u16(), took_ms, "answered");
        }
        let headers = response.headers_mut();
        if app.is_stopping() {
            // So that a proxy keeps no connection open that it might use in the moment in which we close it.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, value);
        }
        headers
            .entry(X_CONTENT_TYPE_OPTIONS)
            .or_insert(HeaderValue::from_static("nosniff"));
        headers
            .entry(X_FRAME_OPTIONS)
            .or_insert(HeaderValue::from_static("DENY"));
        headers
            .entry(REFERRER_POLICY)
            .or_insert(HeaderValue::from_static("no-referrer"));
        headers
            .entry(CONTENT_SECURITY_POLICY)
            .or_insert(HeaderValue::from_static(
                "default-src 'none'; frame-ancestors 'none'",
            ));
        response
    }
    .instrument(span)
    .await
}

/// Whether a path is UTF-8 once its percent signs are read, without the one character that not every database keeps and that no id
/// of ours has.
fn is_text(path: &str) -> bool {
    // The path's `&`, `=` and `+` are no separators; of what comes out only its bytes count, which they do not touch.
    !path.contains('%')
        || url::form_urlencoded::parse(path.as_bytes()).all(|(name, value)| {
            ![name, value]
                .iter()
                .any(|part| part.contains(['\u{fffd}', '\0']))
        })
}

/// A panic in a handler is a fault of ours: logged, answered as a problem, and the server goes on.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = text, "a handler panicked");
    Problem::new(
        Kind::Internal,
        "Something failed on our side. It is in our log under this request's id.",
    )
    .into_response()
}

/// The client's own id when it is harmless, else a new one.
fn request_id(request: &Request) -> String {
    let harmless = |text: &&str| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let own = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(harmless);
    match own {
        Some(id) => id.to_owned(),
        None => hex::encode(random::<8>().unwrap_or_default()),
    }
}
