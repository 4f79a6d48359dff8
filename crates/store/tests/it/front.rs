//! An HTTP server before the S3 server for tests, which has a mind of its own. Also part of the tests of the crates above.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// What S3 answers to a header that it does not know.
const NOT_IMPLEMENTED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>NotImplemented</Code>\
     <Message>A header you provided implies functionality that is not implemented.</Message></Error>";

/// What it does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mind {
    /// Passes them on, but those with `If-None-Match` are not implemented.
    Unconditional,
    /// Passes them on, but of what is not there it says that access is denied, as S3 does to a key that may not list the bucket.
    Unlisted,
    /// Answers each with this status and code.
    Refusing(u16, &'static str),
    /// Passes them on until so many objects have been put; after that it answers none.
    Tiring(usize),
}

/// A running one. Every object that is put through it is counted.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    put: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Front {
    /// Before the server at `address:port`.
    pub(crate) async fn before(server: &str, mind: Mind) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Front {
            address: listener.local_addr().unwrap(),
            put: Arc::default(),
            refused: Arc::default(),
        };
        let (put, refused) = (Arc::clone(&front.put), Arc::clone(&front.refused));
        let server = server.to_owned();
        tokio::spawn(async move {
            loop {
                let (inbound, _) = listener.accept().await.unwrap();
                let (server, put, refused) =
                    (server.clone(), Arc::clone(&put), Arc::clone(&refused));
                let answer = service_fn(move |request| {
                    answer(
                        request,
                        server.clone(),
                        mind,
                        Arc::clone(&put),
                        Arc::clone(&refused),
                    )
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(inbound), answer),
                );
            }
        });
        front
    }

    /// Objects that were put.
    pub(crate) fn put(&self) -> usize {
        self.put.load(Ordering::SeqCst)
    }

    /// Requests that were not implemented.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

async fn answer(
    request: Request<Incoming>,
    server: String,
    mind: Mind,
    put: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let puts = request.method() == Method::PUT;
    let sent = request.headers().clone();
    match mind {
        Mind::Unconditional if request.headers().contains_key("if-none-match") => {
            refused.fetch_add(1, Ordering::SeqCst);
            let mut answer = Response::new(Full::from(NOT_IMPLEMENTED));
            *answer.status_mut() = StatusCode::NOT_IMPLEMENTED;
            return Ok(answer);
        }
        Mind::Tiring(limit) if put.load(Ordering::SeqCst) >= limit => std::future::pending().await,
        Mind::Refusing(status, code) => return Ok(refusal(status, code, &sent)),
        Mind::Unconditional | Mind::Unlisted | Mind::Tiring(_) => {}
    }
    let answered = pass_on(request, &server).await;
    if mind == Mind::Unlisted && answered.status() == StatusCode::NOT_FOUND {
        return Ok(refusal(403, "AccessDenied", &sent));
    }
    if puts && answered.status().is_success() {
        put.fetch_add(1, Ordering::SeqCst);
    }
    Ok(answered)
}

/// As S3 refuses: it repeats what was signed, and with it the session token.
fn refusal(status: u16, code: &str, sent: &HeaderMap) -> Response<Full<Bytes>> {
    let token = sent.get("x-amz-security-token");
    let token = token.map_or("", |token| token.to_str().unwrap());
    let mut answer = Response::new(Full::from(format!(
        "<Error><Code>{code}</Code><Message>No.</Message>\
         <CanonicalRequest>x-amz-security-token:{token}</CanonicalRequest><Token-0>{token}</Token-0></Error>"
    )));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

async fn pass_on(request: Request<Incoming>, server: &str) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = Full::new(body.collect().await.unwrap().to_bytes());
    let outbound = TcpStream::connect(server).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(outbound))
        .await
        .unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(Request::from_parts(head, body)).await;
    let (mut head, body) = answer.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    // It was for the connection between us.
    head.headers.remove("connection");
    head.headers.remove("transfer-encoding");
    Response::from_parts(head, Full::new(body))
}
