//! Sends requests to the endpoint under test: each on a connection of its own, always to the one address that was
//! found, without following redirects, with one deadline for everything.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sealpost_contract::webhook::{self, Secret};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Endpoint;
use super::verdict::Came;
use crate::channel_side::values;

/// As much of an answer as a platform reads.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// One request, as far as it differs from the usual POST.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) method: Method,
    pub(super) content_type: &'static str,
    pub(super) signature: Signature,
    pub(super) body: Bytes,
    pub(super) pace: Pace,
}

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// With the secret, if there is one.
    Usual,
    /// Not at all.
    None,
    /// With another secret.
    Wrong,
    /// Over other bytes.
    OfAnotherBody,
    /// An hour ago.
    Old,
    /// With another secret and the right one, as while a secret is rotated.
    Rotating,
}

/// How fast a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    AtOnce,
    /// In this many pieces, with this pause before each.
    Pieces(usize, Duration),
    /// The first half, and then nothing until the deadline.
    Stall,
}

impl Sent {
    /// The usual POST of `body`.
    pub(super) fn post(body: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            content_type: sealpost_contract::CONTENT_TYPE,
            signature: Signature::Usual,
            body: body.into(),
            pace: Pace::AtOnce,
        }
    }
}

/// The platform's end of the wire.
pub(super) struct Probe {
    url: Uri,
    pub(super) deadline: Duration,
    secret: Option<Secret>,
    client: Client<Connector, Paced>,
    address: SocketAddr,
}

type Connector = hyper_rustls::HttpsConnector<OneAddress>;

impl Probe {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(endpoint.tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(OneAddress(endpoint.address));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build(connector);
        Self {
            url: endpoint.url,
            deadline: endpoint.deadline,
            secret: endpoint.secret,
            client,
            address: endpoint.address,
        }
    }

    /// Whether anything listens there at all.
    pub(super) async fn reach(&self) -> Result<(), String> {
        match tokio::time::timeout(self.deadline, TcpStream::connect(self.address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no connection in time".to_owned()),
        }
    }

    /// Whether requests are signed.
    pub(super) fn signs(&self) -> bool {
        self.secret.is_some()
    }

    /// Sends one request and waits for the answer as long as a platform does.
    pub(super) async fn send(&self, sent: &Sent) -> Came {
        self.send_within(sent, self.deadline).await
    }

    pub(super) async fn send_within(&self, sent: &Sent, deadline: Duration) -> Came {
        let begun = Instant::now();
        let exchange = async {
            let response = self
                .client
                .request(self.request(sent))
                .await
                .map_err(|error| chain(&error))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await;
            let body =
                body.map_err(|error| format!("the answer broke off or is too long: {error}"))?;
            Ok(Came::Answer {
                status,
                body: body.to_bytes().to_vec(),
                took: begun.elapsed(),
            })
        };
        match tokio::time::timeout(deadline, exchange).await {
            Ok(came) => came.unwrap_or_else(Came::Nothing),
            Err(_) => Came::Nothing(format!("not within {} s", deadline.as_secs_f32())),
        }
    }

    fn request(&self, sent: &Sent) -> Request<Paced> {
        let mut request = Request::new(Paced::new(sent.body.clone(), sent.pace));
        *request.method_mut() = sent.method.clone();
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("sealpost-check/", env!("CARGO_PKG_VERSION"))),
        );
        if sent.method != Method::GET {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(sent.content_type));
            // Spelled out, since a body that comes in pieces would otherwise be chunked, which is another test.
            headers.insert(CONTENT_LENGTH, HeaderValue::from(sent.body.len()));
        }
        for (name, value) in self.sign(sent) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        request
    }

    fn sign(&self, sent: &Sent) -> Vec<(&'static str, String)> {
        let other = Secret::from_bytes([0x5e; 32]);
        let now = values::now() / 1000;
        let id = format!("msg_{}", super::cases::random_hex(12));
        let mut sent_at = now;
        let signature = match (sent.signature, &self.secret, &other) {
            (Signature::None, ..) | (Signature::Usual, None, _) => return Vec::new(),
            (Signature::Usual, Some(secret), _) => webhook::sign(secret, &id, now, &sent.body),
            (Signature::OfAnotherBody, Some(secret), _) => webhook::sign(secret, &id, now, b"{}"),
            (Signature::Old, Some(secret), _) => {
                sent_at = now - 3600;
                webhook::sign(secret, &id, sent_at, &sent.body)
            }
            (Signature::Rotating, Some(secret), Ok(other)) => {
                webhook::sign_all(&[other.clone(), secret.clone()], &id, now, &sent.body)
            }
            (_, _, Ok(other)) => webhook::sign(other, &id, now, &sent.body),
            (_, _, Err(_)) => return Vec::new(),
        };
        vec![
            (webhook::ID_HEADER, id),
            (webhook::TIMESTAMP_HEADER, sent_at.to_string()),
            (webhook::SIGNATURE_HEADER, signature),
        ]
    }
}

/// An error with its sources: hyper's own text says little.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Connects to the address that was found, whatever the URL's host says.
#[derive(Debug, Clone)]
struct OneAddress(SocketAddr);

impl tower::Service<Uri> for OneAddress {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// A body that takes its time.
struct Paced {
    pieces: VecDeque<Bytes>,
    pause: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    stalls: bool,
}

impl Paced {
    fn new(body: Bytes, pace: Pace) -> Self {
        let (pieces, pause, stalls) = match pace {
            Pace::AtOnce => (1, None, false),
            Pace::Pieces(pieces, pause) => (pieces.max(1), Some(pause), false),
            Pace::Stall => (2, None, true),
        };
        let length = body.len().div_ceil(pieces).max(1);
        let mut pieces: VecDeque<Bytes> = (0..body.len())
            .step_by(length)
            .map(|at| body.slice(at..body.len().min(at + length)))
            .collect();
        if stalls {
            pieces.truncate(1);
        }
        Self {
            pieces,
            pause,
            sleep: None,
            stalls,
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pieces.is_empty() {
            return if self.stalls {
                Poll::Pending
            } else {
                Poll::Ready(None)
            };
        }
        if let Some(pause) = self.pause {
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && !self.stalls
    }
}
