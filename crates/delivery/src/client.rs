//! The HTTP client that every attempt goes through: guarded, without redirects, with one deadline for everything and a cap
//! on what is read back.
//!
//! It says what came back or why nothing did; what an answer means is decided by [`attempt`](crate::attempt).

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as _;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::connector::{ConnectError, GuardedConnector, Open, Resolver};
use crate::error::Error;
use crate::guard::Policy;
use crate::reason::Reason;

/// The most that is read of an answer, in bytes. The contract's answer has 23.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The most that is buffered of an answer at once, its head among it, in bytes: many endpoints may send long ones together.
const MAX_BUFFERED: usize = 64 * 1024;

/// How long an unused connection is kept. Node.js closes after 5 s, most others after 60 s or more; the side that closes
/// first never meets a request that crosses with the close.
const IDLE: Duration = Duration::from_secs(4);

/// A deadline that is noticed so much too late has passed while this process stood still.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// The time to read what came while it did.
const TO_READ: Duration = Duration::from_secs(1);

/// How long a connection may take that no request has begun.
const LONGEST_CONNECT: Duration = Duration::from_secs(30);

/// Unused connections kept for one endpoint.
const IDLE_PER_HOST: usize = 128;

/// Connections open at once, over all endpoints, up to which they are kept after use. While there are more, a request asks that
/// its connection be closed after the answer. Each takes a file descriptor and some 25 kB.
pub(crate) const KEPT: usize = 1024;

type BoxError = Box<dyn StdError + Send + Sync>;

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("sealpost/", env!("CARGO_PKG_VERSION")));

/// Which certificates are believed.
#[derive(Debug, Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
}

impl Trust {
    /// The system's roots, and those of an operator's own PEM file beside them.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate. A system without roots is no error: every https endpoint will then
    /// fail with `tls`, which [`Trust::is_empty`] lets `doctor` say beforehand.
    pub fn load(own: Option<&Path>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "cannot read some of the system's certificates");
        }
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = own {
            let file = |reason: String| Error::CaFile {
                path: path.to_owned(),
                reason,
            };
            let pem = std::fs::read(path).map_err(|error| file(error.to_string()))?;
            add_pem(&mut roots, &pem).map_err(file)?;
        }
        Ok(Self {
            roots: Arc::new(roots),
        })
    }

    /// Only the certificates in a PEM text.
    ///
    /// # Errors
    /// The text holds no certificate, or one that cannot be a root.
    pub fn only(pem: &[u8]) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        add_pem(&mut roots, pem).map_err(Error::Certificate)?;
        Ok(Self {
            roots: Arc::new(roots),
        })
    }

    /// Whether nothing at all is believed.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }
}

fn add_pem(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.len() == before {
        Err("no certificate in it".to_owned())
    } else {
        Ok(())
    }
}

/// A certificate with which we show a channel who we are (mTLS). `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and its chain, PEM.
    pub certificates_pem: Vec<u8>,
    /// The private key, PEM.
    pub key_pem: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// TLS as a client that believes what `trust` says, and shows `identity` where one is given.
///
/// # Errors
/// The identity's PEM texts hold no certificate or key, or the two do not belong together.
pub fn tls_config(trust: &Trust, identity: Option<&Identity>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Certificate(error.to_string()))?
        .with_root_certificates(Arc::clone(&trust.roots));
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(&identity.certificates_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::Certificate(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key_pem)
        .map_err(|error| Error::Certificate(error.to_string()))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| Error::Certificate(error.to_string()))
}

/// What came back in time and within the cap.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no [`Reply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The other side's doing, or the network's: a failed attempt. `status` is known when the head of an answer came.
    Theirs {
        /// What it failed of.
        reason: Reason,
        /// What can be said beyond the reason, for a person.
        detail: String,
        /// The answer's status, if its head came.
        status: Option<u16>,
    },
    /// Our own: no file descriptor, no memory, no local port. Nothing was sent, so it does not count as an attempt.
    Ours(String),
}

impl Failure {
    fn theirs(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Theirs {
            reason,
            detail: detail.into(),
            status: None,
        }
    }
}

/// The client; cheap to clone, the clones share the kept-alive connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: legacy::Client<InTime<HttpsConnector<GuardedConnector>>, Full<Bytes>>,
    policy: Arc<Policy>,
    open: Open,
}

impl Client {
    /// A client that calls what `policy` permits and believes what `trust` says, showing `identity` where one is given.
    ///
    /// # Errors
    /// The identity's PEM texts hold no certificate or key, or the two do not belong together.
    pub fn new(
        policy: Arc<Policy>,
        resolver: Resolver,
        trust: &Trust,
        identity: Option<&Identity>,
    ) -> Result<Self, Error> {
        Self::counting(policy, resolver, trust, identity, Open::new(KEPT))
    }

    /// As [`Client::new`], sharing the bound of open connections with others that count in `open`.
    pub(crate) fn counting(
        policy: Arc<Policy>,
        resolver: Resolver,
        trust: &Trust,
        identity: Option<&Identity>,
        open: Open,
    ) -> Result<Self, Error> {
        let tls = tls_config(trust, identity)?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(GuardedConnector::new(
                Arc::clone(&policy),
                resolver,
                open.clone(),
            ));
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .http1_max_buf_size(MAX_BUFFERED)
            .build(InTime(connector));
        Ok(Self {
            inner,
            policy,
            open,
        })
    }

    /// What the client may call.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// POSTs `body` and reads the whole answer. `deadline` covers everything: DNS, connect, TLS, headers and body.
    ///
    /// `url` must have passed [`Policy::check_url`]; the addresses behind it are checked here, at each connection.
    ///
    /// # Errors
    /// [`Failure`] says whose fault it was.
    pub async fn post(
        &self,
        url: Uri,
        headers: HeaderMap,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Reply, Failure> {
        self.send(Method::POST, url, headers, body, MAX_ANSWER_BYTES, deadline)
            .await
    }

    /// GETs a file of at most `cap` bytes, under the same guard and deadline.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn fetch(&self, url: Uri, cap: usize, deadline: Duration) -> Result<Reply, Failure> {
        self.send(
            Method::GET,
            url,
            HeaderMap::new(),
            Bytes::new(),
            cap,
            deadline,
        )
        .await
    }

    async fn send(
        &self,
        method: Method,
        url: Uri,
        headers: HeaderMap,
        body: Bytes,
        cap: usize,
        deadline: Duration,
    ) -> Result<Reply, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url;
        *request.headers_mut() = headers;
        request
            .headers_mut()
            .entry(header::USER_AGENT)
            .or_insert(USER_AGENT);
        if self.open.too_many() {
            let close = HeaderValue::from_static("close");
            request.headers_mut().insert(header::CONNECTION, close);
        }

        let mut status = None;
        let exchange = async {
            let response = self
                .inner
                .request(request)
                .await
                .map_err(|error| judge_error(&error))?;
            status = Some(response.status());
            let (head, body) = response.into_parts();
            Ok(Reply {
                status: head.status,
                headers: head.headers,
                body: read_capped(body, cap).await?,
            })
        };
        let exchange = DEADLINE.scope(deadline, exchange);
        let result = within(deadline, exchange).await.unwrap_or_else(|| {
            let detail = format!("not over after {} ms", deadline.as_millis());
            Err(Failure::theirs(Reason::Timeout, detail))
        });
        result.map_err(|failure| match failure {
            Failure::Theirs { reason, detail, .. } => Failure::Theirs {
                reason,
                detail,
                status: status.map(|status| status.as_u16()),
            },
            ours @ Failure::Ours(_) => ours,
        })
    }
}

tokio::task_local! {
    /// The deadline of the request that is being sent.
    static DEADLINE: Duration;
}

/// A connector, TCP and TLS, that gives up when the deadline of the request that began it has passed.
///
/// The request's own deadline is not enough: when a kept connection becomes free while a new one is being made, the client uses
/// that one and finishes the other behind the request's back, and an endpoint that never finishes TLS would keep it for ever.
#[derive(Debug, Clone)]
struct InTime<C>(C);

impl<C> tower::Service<Uri> for InTime<C>
where
    C: tower::Service<Uri>,
    C::Response: 'static,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // Connecting is begun by the request, even where it is finished elsewhere.
        let deadline = DEADLINE.try_get().unwrap_or(LONGEST_CONNECT);
        let connecting = self.0.call(uri);
        Box::pin(async move {
            match within(deadline, connecting).await {
                Some(connected) => connected.map_err(Into::into),
                None => Err(ConnectError::Late(deadline).into()),
            }
        })
    }
}

/// What comes of `exchange` within the deadline.
///
/// Where it is noticed much too late that the deadline has passed, it was this process that stood still (stopped, suspended,
/// without a processor), and the answer may have been waiting in the system's buffers since long: then there is time to read it.
async fn within<T>(deadline: Duration, exchange: impl Future<Output = T>) -> Option<T> {
    let began = Instant::now();
    let mut exchange = std::pin::pin!(exchange);
    if let Ok(result) = tokio::time::timeout(deadline, &mut exchange).await {
        return Some(result);
    }
    if began.elapsed() < deadline + STOOD_STILL {
        return None;
    }
    tokio::time::timeout(TO_READ, exchange).await.ok()
}

/// Reads a body of at most `cap` bytes; a longer one is given up as soon as it shows.
async fn read_capped(mut body: hyper::body::Incoming, cap: usize) -> Result<Bytes, Failure> {
    let too_large = || Failure::theirs(Reason::AnswerTooLarge, format!("more than {cap} bytes"));
    if body.size_hint().lower() > cap as u64 {
        return Err(too_large());
    }
    let mut first: Option<Bytes> = None;
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| judge_error(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let so_far = first.as_ref().map_or(0, Bytes::len) + more.len();
        if so_far + data.len() > cap {
            return Err(too_large());
        }
        match &first {
            None => first = Some(data),
            Some(_) => more.extend_from_slice(&data),
        }
    }
    let first = first.unwrap_or_default();
    if more.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + more.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&more);
    Ok(whole.freeze())
}

/// Finds in a chain of errors the one that says what happened.
fn judge_error(error: &(dyn StdError + 'static)) -> Failure {
    let mut detail = error.to_string();
    let mut next = Some(error);
    while let Some(error) = next {
        detail = error.to_string();
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return judge_connect_error(error);
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Failure::theirs(Reason::Tls, error.to_string());
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_parse_too_large() {
                return Failure::theirs(Reason::AnswerTooLarge, error.to_string());
            }
            if error.is_parse() {
                return Failure::theirs(Reason::BadHttp, error.to_string());
            }
            if error.is_incomplete_message() || error.is_canceled() {
                return Failure::theirs(Reason::ConnectionClosed, error.to_string());
            }
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            // An error wrapped in an `io::Error` is not its source but its inner error.
            if let Some(inner) = error.get_ref() {
                if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
                    return Failure::theirs(Reason::Tls, tls.to_string());
                }
                if inner.downcast_ref::<ConnectError>().is_some()
                    || inner.downcast_ref::<io::Error>().is_some()
                {
                    next = Some(inner);
                    continue;
                }
            }
            return match error.kind() {
                io::ErrorKind::InvalidData => Failure::theirs(Reason::Tls, error.to_string()),
                _ => Failure::theirs(Reason::ConnectionClosed, error.to_string()),
            };
        }
        next = error.source();
    }
    Failure::theirs(Reason::ConnectionClosed, detail)
}

fn judge_connect_error(error: &ConnectError) -> Failure {
    match error {
        ConnectError::Refused(refused) => {
            Failure::theirs(Reason::BlockedAddress, refused.to_string())
        }
        ConnectError::Late(_) => Failure::theirs(Reason::Timeout, error.to_string()),
        ConnectError::NoHost => Failure::theirs(Reason::BlockedUrl, error.to_string()),
        ConnectError::Dns(source) if is_ours(source) => Failure::Ours(source.to_string()),
        ConnectError::Dns(source) => Failure::theirs(Reason::Dns, source.to_string()),
        ConnectError::Tcp { source, .. } if is_ours(source) => Failure::Ours(source.to_string()),
        ConnectError::Tcp { address, source } => {
            let reason = match source.kind() {
                io::ErrorKind::ConnectionRefused => Reason::ConnectRefused,
                io::ErrorKind::TimedOut => Reason::Timeout,
                _ => Reason::ConnectFailed,
            };
            Failure::theirs(reason, format!("{address}: {source}"))
        }
    }
}

/// Whether the system refused us something of our own: EMFILE 24, ENFILE 23, ENOMEM 12, ENOBUFS 105, EADDRNOTAVAIL 99.
fn is_ours(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 99 | 105))
        || error.kind() == io::ErrorKind::OutOfMemory
}
