//! HTTP around the receiver: the method, the capped body, the answer's bytes. A tower service that never fails.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use sealpost_contract::{Answer, CONTENT_TYPE as JSON};
use tokio::time::timeout;

use crate::{Handler, Inbox, Receiver, Refused};

/// The body of every answer.
pub type Body = Full<Bytes>;

/// How much of an oversized body is read and thrown away, so that a sender that first writes everything gets to read
/// its 413 instead of a reset connection.
const DISCARD_BYTES: usize = 1024 * 1024;

#[cfg(feature = "axum")]
impl<I: Inbox, H: Handler> Receiver<I, H> {
    /// An axum router with this one route. Other methods than POST are answered 405.
    pub fn router(&self, path: &str) -> axum::Router {
        axum::Router::new().route_service(path, self.clone())
    }
}

impl<I, H, B> tower::Service<Request<B>> for Receiver<I, H>
where
    I: Inbox,
    H: Handler,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let receiver = self.clone();
        Box::pin(async move { Ok(answer(receiver, request).await) })
    }
}

async fn answer<I, H, B>(receiver: Receiver<I, H>, request: Request<B>) -> Response<Body>
where
    I: Inbox,
    H: Handler,
    B: http_body::Body,
{
    if request.method() != Method::POST {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, r#"{"response_code":"405"}"#);
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let (parts, body) = request.into_parts();
    let (max_bytes, limit) = receiver.body_rules();
    let mut read = BytesMut::new();
    let body = match timeout(
        limit,
        read_capped(&parts.headers, body, max_bytes, &mut read),
    )
    .await
    {
        Ok(Ok(())) => Ok(read.freeze()),
        Ok(Err(refused)) => Err((refused, read.freeze())),
        Err(_) => Err((Refused::Incomplete, read.freeze())),
    };
    let incomplete = body.is_err();

    // A task of its own: a sender that hangs up must not stop the handler half-way.
    let headers = parts.headers;
    let answer = tokio::spawn(async move { receiver.receive(headers, body).await });
    let answer = answer.await.unwrap_or(Answer::Internal);
    let status =
        StatusCode::from_u16(answer.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(status, answer.body());
    if incomplete {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads the body into `read`, as far as it is wanted.
async fn read_capped<B: http_body::Body>(
    headers: &HeaderMap,
    body: B,
    max_bytes: usize,
    read: &mut BytesMut,
) -> Result<(), Refused> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let too_large = announced.is_some_and(|length| length > max_bytes);
    if announced.is_some_and(|length| length > DISCARD_BYTES.max(max_bytes)) {
        return Err(Refused::TooLarge);
    }
    let mut body = pin!(body);
    let mut total = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refused::Incomplete)?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        total = total.saturating_add(data.remaining());
        if total > DISCARD_BYTES.max(max_bytes) {
            return Err(Refused::TooLarge);
        }
        let room = max_bytes.saturating_sub(read.len()).min(data.remaining());
        read.extend_from_slice(&data.copy_to_bytes(room));
    }
    if too_large || total > max_bytes {
        Err(Refused::TooLarge)
    } else {
        Ok(())
    }
}

fn respond(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}
