//! What the tests share: a store with a channel, endpoints that behave well or badly, an engine between them.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sealpost_contract::webhook::Secret;
use sealpost_contract::{Callback, EndStatus, SignEndTime, SignFileUrl, SignFlowId, UtcMillis};
use sealpost_delivery::client::Trust;
use sealpost_delivery::guard::Policy;
use sealpost_delivery::{Config, Engine};
use sealpost_store::{
    Accepted, ApiKey, CallbackId, CallbackState, Channel, NewCallback, SealedSecret, Store,
    StoredCallback,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The secret of every channel here.
pub(crate) fn secret() -> Secret {
    Secret::from_bytes([7; 32]).unwrap()
}

/// A callback of the flow with this number.
pub(crate) fn callback(flow: u64) -> Callback {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&flow.to_be_bytes());
    Callback {
        sign_end_time: SignEndTime::from_str("2021-03-22 18:24:29").unwrap(),
        sign_flow_status: EndStatus::Completed,
        sign_flow_id: SignFlowId::from_bytes(id),
        sign_file_url: SignFileUrl::from_str("https://sealpost.example/f/0123456789abcdefghijklmn")
            .unwrap(),
    }
}

/// A store in a folder of its own.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    folder: TempDir,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        Self::opened(|folder| Store::open(folder).unwrap())
    }

    /// A store that `open` opens.
    pub(crate) fn opened(open: impl FnOnce(&std::path::Path) -> Store) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: open(folder.path()),
            folder,
        }
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Adds a channel that is called at `url`, with these waits before the retries.
    pub(crate) async fn channel(&self, name: &str, url: Option<&str>, schedule: &str) -> String {
        let channel = Channel {
            id: format!("ch_{name}"),
            name: name.to_owned(),
            callback_url: url.map(str::to_owned),
            schedule: schedule.parse().unwrap(),
            created_at: 0,
            paused: None,
            secrets: vec![SealedSecret {
                created_at: 0,
                retires_at: None,
                ciphertext: secret().as_bytes().to_vec(),
            }],
        };
        let id = channel.id.clone();
        let mut hash = [0; 32];
        hash[..name.len().min(32)].copy_from_slice(&name.as_bytes()[..name.len().min(32)]);
        let key = ApiKey {
            id: format!("key_{name}"),
            channel_id: id.clone(),
            hash: sealpost_flow::Digest::of(&hash),
            created_at: 0,
            revoked_at: None,
        };
        assert!(self.store.create_channel(channel, key).await.unwrap());
        id
    }

    /// Starts an engine over this store.
    pub(crate) async fn engine(&self, change: impl FnOnce(&mut Config)) -> Engine {
        let mut config = Config::new(Trust::load(None).unwrap());
        config.policy = local();
        // No answer here takes so long, however busy the machine is.
        config.deadline = Duration::from_secs(30);
        config.poll = Duration::from_millis(200);
        change(&mut config);
        Engine::start(
            self.store.clone(),
            config,
            Arc::new(now),
            Arc::new(open),
            now().unsigned_abs(),
        )
        .await
        .unwrap()
    }

    pub(crate) async fn find(&self, id: CallbackId) -> StoredCallback {
        self.store
            .find_callback(id)
            .await
            .unwrap()
            .expect("the callback is kept")
    }

    /// Waits until the callback is in this state.
    pub(crate) async fn until(&self, id: CallbackId, state: CallbackState) -> StoredCallback {
        eventually("the callback's state", async || {
            let found = self.find(id).await;
            (found.state == state).then_some(found)
        })
        .await
    }

    /// The reasons of a callback's attempts, `ok` for an acknowledgement.
    pub(crate) async fn reasons(&self, id: CallbackId) -> Vec<String> {
        let attempts = self.store.attempts(id).await.unwrap();
        attempts
            .into_iter()
            .map(|attempt| attempt.reason.unwrap_or_else(|| "ok".to_owned()))
            .collect()
    }
}

/// A policy for endpoints on this machine.
pub(crate) fn local() -> Policy {
    Policy {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        allow_http: true,
        ports: Vec::new(),
    }
}

pub(crate) fn open(_: &str, ciphertext: &[u8]) -> Option<Secret> {
    Secret::from_bytes(ciphertext.to_vec()).ok()
}

/// A clock that starts at a fixed moment and moves like a real one; no test here depends on the date.
pub(crate) fn now() -> UtcMillis {
    static STARTED: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let started = STARTED.get_or_init(Instant::now);
    static SHIFT: AtomicI64 = AtomicI64::new(1_800_000_000_000);
    SHIFT.load(Ordering::Relaxed) + started.elapsed().as_millis() as i64
}

pub(crate) fn new_id(accepted: Accepted) -> CallbackId {
    match accepted {
        Accepted::New(placed) => placed.id,
        other => panic!("not new: {other:?}"),
    }
}

/// A callback that is leased to the engine as it is made. Where the lane's earlier callbacks were found by a poll before they were
/// handed over, the engine believes for a moment that more of them wait, and leases nothing.
pub(crate) async fn leased(engine: &Engine, channel: &str, flow: u64) -> NewCallback {
    eventually("the lane has room", async || {
        let new = engine.new_callback(channel, None, &callback(flow));
        new.lease.is_some().then_some(new)
    })
    .await
}

/// Asks until there is an answer; a generous limit turns a hang into a failure.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}: not within 60 s");
}

/// What an endpoint received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// An HTTP endpoint on loopback whose every answer is the test's: raw bytes, or a way to misbehave.
pub(crate) struct TestEndpoint {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TestEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an endpoint does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// Answers with these bytes and keeps the connection.
    Answer(String),
    /// Answers with these bytes and closes.
    AnswerAndClose(String),
    /// Answers after a while.
    Late(Duration, String),
    /// Answers once this is set.
    When(Arc<AtomicBool>, String),
    /// Sends a head, then one byte now and then, for ever.
    Drip(Duration),
    /// Sends bytes for ever.
    Flood,
    /// Says nothing.
    Hang,
    /// Closes without a word.
    Close,
}

pub(crate) fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn ok() -> Does {
    Does::Answer(http("200 OK", r#"{"response_code":"000"}"#))
}

pub(crate) fn code(code: &str) -> Does {
    Does::Answer(http("200 OK", &format!(r#"{{"response_code":"{code}"}}"#)))
}

impl TestEndpoint {
    /// An endpoint that answers its n-th request, counted from 0, as `behave` says.
    pub(crate) async fn start(behave: impl Fn(usize) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, behave)
    }

    pub(crate) fn on(
        listener: TcpListener,
        behave: impl Fn(usize) -> Does + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (log, behave) = (Arc::clone(&received), Arc::new(behave));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&log), Arc::clone(&behave)));
            }
        });
        Self {
            address,
            received,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/callback", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<Received>>>,
    behave: Arc<impl Fn(usize) -> Does>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let number = {
            let mut log = log.lock().unwrap();
            log.push(request);
            log.len() - 1
        };
        match behave(number) {
            Does::Answer(bytes) => {
                if stream.write_all(bytes.as_bytes()).await.is_err() {
                    return;
                }
            }
            Does::AnswerAndClose(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                return;
            }
            Does::Late(wait, bytes) => {
                tokio::time::sleep(wait).await;
                if stream.write_all(bytes.as_bytes()).await.is_err() {
                    return;
                }
            }
            Does::When(released, bytes) => {
                while !released.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                if stream.write_all(bytes.as_bytes()).await.is_err() {
                    return;
                }
            }
            Does::Drip(pause) => {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
                    .await;
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                return;
            }
            Does::Flood => {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await;
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
                return;
            }
            Does::Hang => std::future::pending().await,
            Does::Close => return,
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let request = Received {
                at: Instant::now(),
                head,
                body: String::new(),
            };
            let length: usize = request
                .header("content-length")
                .map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&buffer[end + 4..end + 4 + length]).into_owned();
                buffer.drain(..end + 4 + length);
                return Some(Received { body, ..request });
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}
