//! HTTP for the commands: a small server that can also hang up without an answer, and the ways out.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use sealpost_delivery::client::{Client, Failure, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_delivery::guard::{IpRange, Policy};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The most connections at one moment; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long what is under way may take once the command is told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// The answer to one request.
pub(crate) type Answer = Response<Full<Bytes>>;

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, on purpose")]
pub(crate) struct HangUp;

/// Opens the listening socket.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let address = listener
        .local_addr()
        .context("the listening socket has no address")?;
    Ok((listener, address))
}

/// Serves requests with `answer` until `stop` is cancelled, and then lets what is under way end.
pub(crate) async fn serve<F, R>(listener: TcpListener, answer: F, stop: CancellationToken)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Answer, HangUp>> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                let permit = Arc::clone(&connections).acquire_owned().await;
                (listener.accept().await, permit)
            } => accepted,
        };
        let (Ok((stream, _)), permit) = accepted else {
            // Out of file descriptors, most likely: give those in use a moment to be closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service_fn(answer.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that hangs up, and a hang-up of ours, are no news.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static(sealpost_contract::CONTENT_TYPE),
    );
    answer
}

/// The answer to another path than the one served.
pub(crate) fn not_found() -> Answer {
    json(StatusCode::NOT_FOUND, r#"{"response_code":"404"}"#)
}

/// A client that calls only what `policy` permits, and believes the system's certificates.
pub(crate) fn client(policy: Policy) -> anyhow::Result<Client> {
    let trust = Trust::load(None).context("cannot read the system's certificates")?;
    Client::new(Arc::new(policy), Resolver::System, &trust, None)
        .context("cannot set up the HTTP client")
}

/// What the operator types in may be anywhere: the guard is for addresses that come from outside.
pub(crate) fn anywhere() -> anyhow::Result<Policy> {
    let all: Result<Vec<IpRange>, _> = ["0.0.0.0/0", "::/0"]
        .iter()
        .map(|range| range.parse())
        .collect();
    Ok(Policy {
        allow: all?,
        allow_http: true,
        ports: Vec::new(),
    })
}

/// Why there was no answer, as one line.
pub(crate) fn explain(failure: &Failure) -> String {
    match failure {
        Failure::Theirs { reason, detail, .. } if detail.is_empty() => reason.code().to_owned(),
        Failure::Theirs { reason, detail, .. } => format!("{}: {detail}", reason.code()),
        Failure::Ours(detail) => detail.clone(),
    }
}
