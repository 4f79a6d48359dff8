//! How object_store speaks HTTP here: by hyper and rustls, as all of this program does, and not by a client of its own.
//!
//! A call has a deadline of its own, and its answer is read whole within it, up to a limit. Nothing follows a redirect. What
//! went wrong is reported as worth repeating, since every request of ours is, but for what the storage has not got at all.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpRequestBody, HttpResponse, HttpService,
};
use rustls::ClientConfig;

use crate::error::Result;

/// The longest answer that is read, in bytes: more than the largest document that is taken.
pub(super) const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Makes clients.
#[derive(Debug)]
pub(super) struct Transport {
    tls: ClientConfig,
    call: Duration,
}

impl Transport {
    /// Trusts the system's roots and those in `ca_file`; a call may take as long as `call`.
    pub(super) fn new(ca_file: Option<&Path>, call: Duration) -> Result<Transport> {
        Ok(Transport {
            tls: sealpost_tls::client_config(ca_file)?,
            call,
        })
    }
}

impl HttpConnector for Transport {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // The machine's own metadata service is asked in plain http, whatever the bucket's endpoint is.
        let allow_http = options
            .get_config_value(&ClientConfigKey::AllowHttp)
            .as_deref()
            == Some("true");
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let builder = HttpsConnectorBuilder::new().with_tls_config(self.tls.clone());
        let builder = if allow_http {
            builder.https_or_http()
        } else {
            builder.https_only()
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(builder.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(Calls {
            client,
            within: self.call,
        }))
    }
}

/// A client, whose calls take no longer than this.
#[derive(Debug)]
struct Calls {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
    within: Duration,
}

#[async_trait::async_trait]
impl HttpService for Calls {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let answer = async {
            let answer = self.client.request(request).await;
            let (head, body) = answer
                .map_err(|error| HttpError::new(HttpErrorKind::Request, error))?
                .into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| HttpError::new_boxed(HttpErrorKind::Request, error))?;
            let body = body.to_bytes();
            if head.status == StatusCode::NOT_IMPLEMENTED {
                return Err(HttpError::new(HttpErrorKind::Unknown, NotImplemented));
            }
            Ok(HttpResponse::from_parts(head, body.into()))
        };
        within(self.within, answer).await
    }
}

/// The storage answers 501: it will never do what was asked. object_store would ask again, as with every other 5xx.
#[derive(Debug, thiserror::Error)]
#[error("the storage has not implemented this (501)")]
pub(super) struct NotImplemented;

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = std::result::Result<T, HttpError>>,
) -> std::result::Result<T, HttpError> {
    let late = |elapsed| Err(HttpError::new(HttpErrorKind::Request, elapsed));
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(late)
}
