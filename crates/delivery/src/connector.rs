//! Opens the TCP connections of the HTTP client: resolve, let the guard judge **every** address, connect.
//!
//! The guard sits here because here is the only place that sees the address a connection really goes to. TLS is laid over
//! what this file opens; deadlines are the caller's.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::guard::{Policy, Refused};

type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// A function that resolves a host name.
pub type Resolve = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Turns host names into addresses.
#[derive(Clone, Default)]
pub enum Resolver {
    /// The operating system's resolver.
    #[default]
    System,
    /// A function in its place; the tests play a name server that changes its mind with it.
    Custom(Resolve),
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Resolver::System => "System",
            Resolver::Custom(_) => "Custom",
        })
    }
}

impl Resolver {
    fn resolve(&self, host: &str) -> Resolving {
        let name = host.to_owned();
        match self {
            Resolver::System => Box::pin(async move {
                let addresses = tokio::net::lookup_host((name, 0)).await?;
                Ok(addresses.map(|address| address.ip()).collect())
            }),
            Resolver::Custom(answer) => {
                let answer = answer(&name);
                Box::pin(async move { answer })
            }
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The guard refuses.
    #[error("refused by the address guard: {0}")]
    Refused(Refused),
    /// The name does not resolve.
    #[error("the host name does not resolve")]
    Dns(#[source] io::Error),
    /// No address could be connected to; the last one's error.
    #[error("cannot connect to {address}")]
    Tcp {
        /// Where to.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The request names no host; the guard's URL check rules this out.
    #[error("the URL names no host")]
    NoHost,
}

/// How many connections are open, in use or kept, and up to how many they are kept after use.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    count: Arc<AtomicUsize>,
    keep: usize,
}

impl Open {
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            count: Arc::default(),
            keep,
        }
    }

    /// Whether there are more than are to be kept.
    pub(crate) fn too_many(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.keep
    }
}

/// A TCP connection that is counted as long as it is open.
#[derive(Debug)]
pub struct CountedStream {
    stream: TcpStream,
    open: Open,
}

impl CountedStream {
    fn new(stream: TcpStream, open: &Open) -> Self {
        open.count.fetch_add(1, Ordering::Relaxed);
        Self {
            stream,
            open: open.clone(),
        }
    }
}

impl Drop for CountedStream {
    fn drop(&mut self) {
        self.open.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection for CountedStream {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The connector under the HTTP client.
#[derive(Debug, Clone)]
pub struct GuardedConnector {
    policy: Arc<Policy>,
    resolver: Resolver,
    open: Open,
}

impl GuardedConnector {
    /// Connects where `policy` permits, and counts what is open in `open`.
    pub(crate) fn new(policy: Arc<Policy>, resolver: Resolver, open: Open) -> Self {
        Self {
            policy,
            resolver,
            open,
        }
    }

    async fn connect(self, uri: Uri) -> Result<CountedStream, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let port = uri
            .port_u16()
            .unwrap_or(if uri.scheme_str() == Some("http") {
                80
            } else {
                443
            });
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        let addresses = match literal {
            Ok(address) => vec![address],
            Err(_) => self
                .resolver
                .resolve(host)
                .await
                .map_err(ConnectError::Dns)?,
        };
        self.policy
            .check_addresses(&addresses)
            .map_err(ConnectError::Refused)?;

        let mut last = ConnectError::NoHost;
        for address in addresses {
            let address = SocketAddr::new(address, port);
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // A callback is one small write; waiting to fill a segment would only delay it.
                    let _ = stream.set_nodelay(true);
                    return Ok(CountedStream::new(stream, &self.open));
                }
                Err(source) => last = ConnectError::Tcp { address, source },
            }
        }
        Err(last)
    }
}

impl tower::Service<Uri> for GuardedConnector {
    type Response = TokioIo<CountedStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(uri).await.map(TokioIo::new) })
    }
}
