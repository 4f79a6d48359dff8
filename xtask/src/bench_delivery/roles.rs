//! What stands around the server in a measurement: the loader, the receiver with its ledger, the bare relay. Each runs as a
//! process of its own, on one thread, and speaks just as much HTTP as it takes, so that most of the machine is the server's.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::HeaderMap;
use sealpost_delivery::client::{Client, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_delivery::guard::Policy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(crate) const ACKNOWLEDGED: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 23\r\n\r\n{\"response_code\":\"000\"}";

/// The part that a process plays.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Role {
    /// Acknowledge everything, and write when each callback came (used by the bench itself)
    #[command(hide = true)]
    Receive {
        /// Endpoints that answer
        #[arg(long)]
        endpoints: usize,
        /// Endpoints that take a request and never answer
        #[arg(long)]
        hanging: usize,
        /// Where the ledger goes when standard input ends
        #[arg(long)]
        ledger: PathBuf,
    },
    /// Hand over callbacks, and write when each was answered (used by the bench itself)
    #[command(hide = true)]
    Load {
        #[command(flatten)]
        load: LoadArgs,
    },
    /// POST the same bytes in a bare loop (used by the bench itself)
    #[command(hide = true)]
    Post {
        #[arg(long)]
        url: String,
        #[arg(long)]
        posts: u64,
        #[arg(long)]
        concurrency: usize,
    },
    /// For each request that comes in, POST it on (used by the bench itself)
    #[command(hide = true)]
    Relay {
        #[arg(long)]
        url: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// Host and port of the server; of several nodes each gets as many
    #[arg(long, required = true)]
    server: Vec<String>,
    /// A file of API keys, one a line; they are used in turn
    #[arg(long)]
    keys: PathBuf,
    /// Number of the first callback
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many callbacks
    #[arg(long)]
    callbacks: u64,
    /// Connections at once
    #[arg(long)]
    connections: usize,
    /// Callbacks a second; without it each connection sends the next as soon as the last is answered
    #[arg(long)]
    rate: Option<u64>,
    /// Where the times go
    #[arg(long)]
    ledger: PathBuf,
}

pub(crate) fn play(role: Role) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match role {
            Role::Receive {
                endpoints,
                hanging,
                ledger,
            } => receive(endpoints, hanging, &ledger).await,
            Role::Load { load } => self::load(load).await,
            Role::Post {
                url,
                posts,
                concurrency,
            } => post(&url, posts, concurrency).await,
            Role::Relay { url } => relay(&url).await,
        }
    })
}

/// When each callback came or was answered, by its number, in nanoseconds since 1970; 0: never. And how many came again.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) times: Vec<u64>,
    pub(crate) again: u64,
    came: usize,
}

impl Ledger {
    fn note(&mut self, number: u64) {
        let Ok(place) = usize::try_from(number) else {
            return;
        };
        if place >= self.times.len() {
            self.times.resize((place + 1).next_power_of_two(), 0);
        }
        if self.times[place] == 0 {
            self.times[place] = now();
            self.came += 1;
        } else {
            self.again += 1;
        }
    }

    fn write(&self, path: &Path) -> Result<()> {
        let bytes: Vec<u8> = std::iter::once(self.again)
            .chain(self.times.iter().copied())
            .flat_map(u64::to_le_bytes)
            .collect();
        Ok(std::fs::write(path, bytes)?)
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("no ledger at {}", path.display()))?;
        let (numbers, rest) = bytes.as_chunks::<8>();
        ensure!(rest.is_empty() && !numbers.is_empty(), "half a ledger");
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        let again = numbers.next().unwrap_or(0);
        let times: Vec<u64> = numbers.collect();
        Ok(Self {
            came: times.iter().filter(|at| **at != 0).count(),
            times,
            again,
        })
    }
}

/// Nanoseconds since 1970: the one clock that processes of a machine share.
#[expect(
    clippy::disallowed_methods,
    reason = "measures between processes; decides nothing"
)]
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The body of a callback with this number, of which its flow's id is made.
pub(crate) fn body(number: u64) -> String {
    format!(
        r#"{{"sign_end_time":"2021-03-22 18:24:29","sign_flow_status":"2","sign_flow_id":"{number:032x}","sign_file_url":"https://sealpost.example/f/0123456789abcdefghijklmn"}}"#
    )
}

fn number_in(body: &[u8]) -> Option<u64> {
    let start = body
        .windows(16)
        .position(|window| window == b"\"sign_flow_id\":\"")?
        + 16;
    let digits = std::str::from_utf8(body.get(start + 16..start + 32)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

async fn receive(endpoints: usize, hanging: usize, path: &Path) -> Result<()> {
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut ports = Vec::new();
    for place in 0..endpoints + hanging {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        ports.push(listener.local_addr()?.port().to_string());
        let answers = place < endpoints;
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let ledger = Arc::clone(&ledger);
                tokio::spawn(async move {
                    let mut peer = Peer::new(stream);
                    while let Some((_, body)) = peer.read().await {
                        if !answers {
                            std::future::pending::<()>().await;
                        }
                        if let (Some(number), Ok(mut ledger)) = (number_in(body), ledger.lock()) {
                            ledger.note(number);
                        }
                        if peer.write(ACKNOWLEDGED).await.is_none() {
                            break;
                        }
                    }
                });
            }
        });
    }
    say(&ports.join(" "))?;
    // Each line on standard input asks how many have come; its end asks for the ledger.
    let asked = Arc::clone(&ledger);
    tokio::task::spawn_blocking(move || -> Result<()> {
        for line in std::io::stdin().lines() {
            line?;
            let came = asked.lock().map_or(0, |ledger| ledger.came);
            say(&came.to_string())?;
        }
        Ok(())
    })
    .await??;
    match ledger.lock() {
        Ok(ledger) => ledger.write(path),
        Err(_) => bail!("a connection's task panicked"),
    }
}

async fn load(args: LoadArgs) -> Result<()> {
    let keys = std::fs::read_to_string(&args.keys)?;
    let keys: Arc<Vec<String>> = Arc::new(keys.lines().map(str::to_owned).collect());
    // Each node's next callback: the first node's are numbered 0, n, 2n and so on.
    let nodes = args.server.len() as u64;
    let next: Vec<Arc<AtomicU64>> = (0..nodes).map(|node| Arc::new(node.into())).collect();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let began = tokio::time::Instant::now();
    let started = now();
    let mut connections = JoinSet::new();
    for connection in 0..args.connections {
        let node = connection % args.server.len();
        let (keys, next, ledger, server) = (
            Arc::clone(&keys),
            Arc::clone(&next[node]),
            Arc::clone(&ledger),
            args.server[node].clone(),
        );
        let (first, callbacks, rate) = (args.first, args.callbacks, args.rate);
        connections.spawn(async move {
            let mut peer = Peer::connect(&server).await?;
            loop {
                let place = next.fetch_add(nodes, Ordering::Relaxed);
                if place >= callbacks {
                    return Ok(());
                }
                if let Some(rate) = rate {
                    tokio::time::sleep_until(began + Duration::from_nanos(place * 1_000_000_000 / rate)).await;
                }
                let number = first + place;
                let body = body(number);
                let key = &keys[usize::try_from(number)? % keys.len()];
                let request = format!(
                    "POST /v1/callbacks HTTP/1.1\r\nhost: {server}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                peer.write(request.as_bytes()).await.context("the server hung up")?;
                let (head, answer) = peer.read().await.context("the server hung up")?;
                ensure!(head.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(answer));
                if let Ok(mut ledger) = ledger.lock() {
                    ledger.note(number);
                }
            }
        });
    }
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    if let Ok(ledger) = ledger.lock() {
        ledger.write(&args.ledger)?;
    }
    say(&format!("{started} {}", now()))
}

fn client() -> Result<Client> {
    let policy = Policy {
        allow: vec!["127.0.0.0/8".parse()?],
        allow_http: true,
        ports: Vec::new(),
    };
    Ok(Client::new(
        Arc::new(policy),
        Resolver::System,
        &Trust::load(None)?,
        None,
    )?)
}

async fn post_one(client: &Client, url: &http::Uri, body: Bytes) -> Result<()> {
    let reply = client
        .post(url.clone(), HeaderMap::new(), body, Duration::from_secs(10))
        .await;
    match reply {
        Ok(reply) if reply.status.is_success() => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn post(url: &str, posts: u64, concurrency: usize) -> Result<()> {
    let (client, url) = (client()?, url.parse::<http::Uri>()?);
    let next = Arc::new(AtomicU64::new(0));
    let began = now();
    let mut loops = JoinSet::new();
    for _ in 0..concurrency {
        let (client, url, next) = (client.clone(), url.clone(), Arc::clone(&next));
        loops.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= posts {
                    return anyhow::Ok(());
                }
                post_one(&client, &url, body(number).into()).await?;
            }
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    say(&format!("{began} {}", now()))
}

async fn relay(url: &str) -> Result<()> {
    let (client, url) = (client()?, url.parse::<http::Uri>()?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&listener.local_addr()?.to_string())?;
    let serving = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (client, url) = (client.clone(), url.clone());
            let service =
                hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (client, url) = (client.clone(), url.clone());
                    async move {
                        let body = http_body_util::BodyExt::collect(request.into_body())
                            .await?
                            .to_bytes();
                        post_one(&client, &url, body).await?;
                        anyhow::Ok(
                            http::Response::builder()
                                .status(202)
                                .body(http_body_util::Full::new(Bytes::from_static(b"{}")))?,
                        )
                    }
                });
            stream.set_nodelay(true)?;
            let stream = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(stream, service),
            );
        }
        anyhow::Ok(())
    };
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        served = serving => served,
        _ = ended => Ok(()),
    }
}

/// One side of a connection that speaks HTTP with content-length.
pub(crate) struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer belongs to the last message read.
    used: usize,
}

impl Peer {
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        Ok(Self::new(TcpStream::connect(address).await?))
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            buffer: Vec::with_capacity(4096),
            used: 0,
        }
    }

    /// The next message's head and body.
    pub(crate) async fn read(&mut self) -> Option<(&[u8], &[u8])> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let mut searched: usize = 0;
        let head = loop {
            let from = searched.saturating_sub(3);
            if let Some(at) = self.buffer[from..]
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break from + at + 4;
            }
            searched = self.buffer.len();
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        };
        let length = content_length(&self.buffer[..head]);
        while self.buffer.len() < head + length {
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
        self.used = head + length;
        Some((&self.buffer[..head], &self.buffer[head..head + length]))
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()
    }
}

fn content_length(head: &[u8]) -> usize {
    let text = std::str::from_utf8(head).unwrap_or_default();
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    value.unwrap_or(0)
}

/// Tells the bench something, on standard output.
pub(crate) fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
