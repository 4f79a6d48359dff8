//! Opens the TCP connections of the HTTP client: resolve, let the guard judge **every** address, connect.
//!
//! The guard sits here because here is the only place that sees the address a connection really goes to. TLS is laid over
//! what this file opens; deadlines are the caller's.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::guard::{Policy, Refused};

/// How long one address may take to answer before the next is tried beside it (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Addresses of a name that are tried at most.
const ADDRESSES: usize = 8;

/// Look-ups under way at once, over all clients that share a bound. Each may hold one of the runtime's 512 threads for blocking
/// work for as long as its name servers say nothing; the others are the database's.
const LOOKUPS: usize = 128;

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
                let answer = Arc::clone(answer);
                Box::pin(async move {
                    let answer = tokio::task::spawn_blocking(move || answer(&name)).await;
                    answer.map_err(io::Error::other)?
                })
            }
        }
    }
}

/// What a look-up answered.
type Found = Result<Arc<[IpAddr]>, Arc<io::Error>>;

/// Look-ups under way, by host. The system's resolver holds a thread for as long as its servers say nothing, which may be long
/// after the attempt that asked was given up: attempts at one host share one look-up, so that a name server that hangs takes
/// one thread and not one for each attempt, and leaves the others theirs. Nothing is kept once it has answered.
#[derive(Debug, Clone)]
struct Lookups {
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<Option<Found>>>>>,
    /// One for each that may hold a thread.
    turns: Arc<Semaphore>,
}

impl Lookups {
    async fn resolve(&self, resolver: &Resolver, host: &str) -> Found {
        let mut found = self.join(resolver, host);
        match found.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(found)) => found.clone(),
            Ok(None) | Err(_) => Err(Arc::new(io::Error::other("the look-up was broken off"))),
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<Found>>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, resolver: &Resolver, host: &str) -> watch::Receiver<Option<Found>> {
        let mut under_way = self.under_way();
        // One whose task is gone without an answer is none.
        if let Some(found) = under_way.get(host)
            && found.has_changed().is_ok()
        {
            return found.clone();
        }
        let (answer, found) = watch::channel(None);
        under_way.insert(host.to_owned(), found.clone());
        let (lookups, resolver, host) = (self.clone(), resolver.clone(), host.to_owned());
        tokio::spawn(async move {
            let _turn = lookups.turns.acquire().await;
            {
                let mut under_way = lookups.under_way();
                // All who asked have given up while it waited for its turn; the receiver that is left is the map's.
                if answer.receiver_count() == 1 {
                    under_way.remove(&host);
                    return;
                }
            }
            let found = resolver.resolve(&host).await;
            let found = found.map(Arc::from).map_err(Arc::new);
            lookups.under_way().remove(&host);
            answer.send_replace(Some(found));
        });
        found
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
    Dns(#[source] Arc<io::Error>),
    /// No address could be connected to; the last one's error.
    #[error("cannot connect to {address}")]
    Tcp {
        /// Where to.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It has taken longer than the whole attempt may.
    #[error("no connection after {} ms", .0.as_millis())]
    Late(Duration),
    /// The request names no host; the guard's URL check rules this out.
    #[error("the URL names no host")]
    NoHost,
}

/// What clients share: how many connections are open, in use or kept, up to how many they are kept after use, and the turns of
/// look-ups.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    count: Arc<AtomicUsize>,
    keep: usize,
    lookups: Arc<Semaphore>,
}

impl Open {
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            count: Arc::default(),
            keep,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
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
    lookups: Lookups,
    open: Open,
}

impl GuardedConnector {
    /// Connects where `policy` permits, and counts what is open in `open`.
    pub(crate) fn new(policy: Arc<Policy>, resolver: Resolver, open: Open) -> Self {
        Self {
            policy,
            resolver,
            lookups: Lookups {
                under_way: Arc::default(),
                turns: Arc::clone(&open.lookups),
            },
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
        let addresses: Arc<[IpAddr]> = match literal {
            Ok(address) => Arc::new([address]),
            Err(_) => self
                .lookups
                .resolve(&self.resolver, host)
                .await
                .map_err(ConnectError::Dns)?,
        };
        self.policy
            .check_addresses(&addresses)
            .map_err(ConnectError::Refused)?;

        let stream = match &*addresses {
            [address] => connect_to(SocketAddr::new(*address, port)).await?,
            several => connect_to_any(several, port).await?,
        };
        // A callback is one small write; waiting to fill a segment would only delay it.
        let _ = stream.set_nodelay(true);
        Ok(CountedStream::new(stream, &self.open))
    }
}

async fn connect_to(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let connected = TcpStream::connect(address).await;
    connected.map_err(|source| ConnectError::Tcp { address, source })
}

/// Connects to whichever address answers first. They are tried in the resolver's order, by turns of the two families; the next
/// one as soon as one has failed or has said nothing for a moment, so that one that swallows packets costs a moment and not the
/// attempt.
async fn connect_to_any(addresses: &[IpAddr], port: u16) -> Result<TcpStream, ConnectError> {
    let mut waiting = by_turns(addresses).into_iter().take(ADDRESSES);
    let mut trying = JoinSet::new();
    let mut last = ConnectError::NoHost;
    loop {
        match waiting.next() {
            Some(address) => {
                trying.spawn(connect_to(SocketAddr::new(address, port)));
            }
            None if trying.is_empty() => return Err(last),
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            tried = trying.join_next() => match tried {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => last = error,
                Some(Err(_)) | None => {}
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if more => {}
        }
    }
}

/// The addresses in their order, but one of each family after the other.
fn by_turns(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut one, mut other): (Vec<IpAddr>, Vec<IpAddr>) = addresses
        .iter()
        .rev()
        .partition(|address| address.is_ipv6() == first);
    let mut turns = Vec::with_capacity(addresses.len());
    while !one.is_empty() || !other.is_empty() {
        turns.extend(one.pop());
        turns.extend(other.pop());
    }
    turns
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_beginning_with_the_resolvers_first() {
        let addresses = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let order = addresses(&["2001:db8::1", "2001:db8::2", "192.0.2.1", "2001:db8::3"]);
        let turns = addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"]);
        assert_eq!(by_turns(&order), turns);
        let order = addresses(&["192.0.2.1", "192.0.2.2"]);
        assert_eq!(by_turns(&order), order);
    }
}
