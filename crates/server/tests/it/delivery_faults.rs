//! Delivery while the system refuses the server something (file descriptors, room in a file, room on the disk), and while
//! endpoints do their worst.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sealpost_contract::Callback;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::delivery_process::{
    add_channel, add_channel_by, get, get_whatever, hand_over, post_callback, read_message,
    sealpost, shell, start_command, start_server_by,
};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the callback of each flow arrived.
type Ledger = Arc<Mutex<HashMap<String, u32>>>;

/// A channel's endpoint that takes its time, so that there are always attempts under way.
async fn start_receiver(takes: Duration) -> (SocketAddr, Ledger) {
    let ledger = Ledger::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let log = Arc::clone(&ledger);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some((_, body)) = read_message(&mut stream).await {
                    let flow = Callback::parse(&body).unwrap().sign_flow_id.to_string();
                    *log.lock().unwrap().entry(flow).or_default() += 1;
                    tokio::time::sleep(takes).await;
                    let answer =
                        "HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{\"response_code\":\"000\"}";
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, ledger)
}

async fn until(what: &str, mut met: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !met().await {
        assert!(began.elapsed() < PATIENCE, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until nothing waits any more; then each of `accepted` must have arrived once, by its first attempt.
async fn each_arrives_once(address: SocketAddr, key: &str, accepted: &[String], ledger: &Ledger) {
    let page = async |path: &str| get(address, key, path).await;
    until("all callbacks are delivered", async || {
        let waiting = page("/v1/callbacks?state=waiting&limit=1").await;
        waiting.is_some_and(|waiting| waiting["data"] == json!([]))
    })
    .await;
    let arrived = ledger.lock().unwrap().clone();
    for flow in accepted {
        assert_eq!(arrived.get(flow), Some(&1), "{flow}");
    }
    let acknowledged = page("/v1/callbacks?state=acknowledged&limit=100").await;
    for callback in acknowledged.unwrap()["data"].as_array().unwrap() {
        assert_eq!(
            callback["attempts_in_round"], 1,
            "what was never sent is no attempt: {callback}"
        );
    }
}

/// A running server and four clients at work, each of which sends again what is refused.
struct World {
    folder: TempDir,
    server: Child,
    address: SocketAddr,
    key: String,
    ledger: Ledger,
    clients: JoinSet<Vec<String>>,
}

impl World {
    /// Each client hands over this many callbacks.
    async fn start(wrapper: impl FnOnce(&TempDir) -> Command, each: u64) -> World {
        let (receiver, ledger) = start_receiver(Duration::from_millis(100)).await;
        let folder = tempfile::tempdir().unwrap();
        let key = add_channel(&folder, receiver);
        let (server, address) = start_server_by(wrapper(&folder), folder.path()).await;
        let mut clients = JoinSet::new();
        for client in 0..4 {
            clients.spawn(hand_over(address, key.clone(), client, each));
        }
        World {
            folder,
            server,
            address,
            key,
            ledger,
            clients,
        }
    }

    async fn until_arrived(&self, callbacks: usize) {
        until("callbacks arrive", async || {
            self.ledger.lock().unwrap().len() >= callbacks
        })
        .await;
    }

    /// Waits until a new callback is refused, and gives back the problem.
    async fn until_refused(&self) -> Value {
        let began = Instant::now();
        let mut stream = BufReader::new(TcpStream::connect(self.address).await.unwrap());
        for number in 0.. {
            let flow = format!("{:016x}{number:016x}", u64::MAX);
            let (head, body) = post_callback(&mut stream, &self.key, &flow).await.unwrap();
            if !head.starts_with("HTTP/1.1 202") {
                return serde_json::from_slice(&body).unwrap();
            }
            assert!(began.elapsed() < PATIENCE, "nothing is refused");
        }
        unreachable!("numbers do not end")
    }

    async fn is_ready(&self) -> bool {
        let (head, _) = get_whatever(self.address, &self.key, "/readyz")
            .await
            .unwrap();
        head.starts_with("HTTP/1.1 200")
    }

    /// Lets the clients come to their end; then each callback must have arrived once.
    async fn end(mut self) {
        let clients = std::mem::take(&mut self.clients).join_all();
        let accepted = tokio::time::timeout(PATIENCE, clients).await;
        let accepted: Vec<String> = accepted.unwrap().into_iter().flatten().collect();
        until("it says that it is ready", async || self.is_ready().await).await;
        each_arrives_once(self.address, &self.key, &accepted, &self.ledger).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_callbacks_wait_and_lose_no_attempt() {
    // A slow channel, so that there are soon more attempts at once than descriptors.
    World::start(|_| shell("ulimit -n 40;"), 60)
        .await
        .end()
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_file_may_grow_new_callbacks_are_refused_and_none_is_lost() {
    // Writing beyond the limit then answers EFBIG, and does not kill.
    let world = World::start(|_| shell("trap '' XFSZ;"), 100).await;
    let limit = |soft: &str| {
        let process = world.server.id().to_string();
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &process, &format!("--fsize={soft}:")]);
        assert!(prlimit.status().unwrap().success());
    };
    world.until_arrived(50).await;
    limit("8192");
    let problem = world.until_refused().await;
    assert!(
        problem["status"] == 503 || problem["status"] == 507,
        "{problem}"
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("Nothing of this request was kept"),
        "{problem}"
    );
    until("it says that it is not ready", async || {
        !world.is_ready().await
    })
    .await;
    limit("unlimited");
    world.end().await;
}

/// A small disk of the server's own, and a way to fill it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it where the server keeps its data; only the server sees it.
    fn mount() -> Command {
        let mut unshare = namespace();
        let script = "mkdir disk && mount -t tmpfs -o size=16m tmpfs disk && cp -a data/. disk \
                      && mount --bind disk data && exec \"$0\" \"$@\"";
        unshare.args(["sh", "-c", script]);
        unshare
    }

    /// As seen from outside.
    fn of(world: &World) -> SmallDisk {
        let process = world.server.id();
        let data = world.folder.path().join("data");
        SmallDisk(PathBuf::from(format!(
            "/proc/{process}/root{}",
            data.display()
        )))
    }

    fn fill(&self) {
        use std::io::Write as _;
        let mut ballast = std::fs::File::create(self.0.join("ballast")).unwrap();
        while ballast.write_all(&[7; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

/// What runs a program with mounts of its own: as root, or as the root of a user namespace.
fn namespace() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--map-root-user"]);
    unshare
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_new_callbacks_are_refused_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut mount = namespace();
    mount
        .args(["mount", "-t", "tmpfs", "tmpfs"])
        .arg(folder.path());
    if !mount
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        println!(
            "this machine permits no mount; the test of files that may not grow stands for this one"
        );
        return;
    }
    let world = World::start(|_| SmallDisk::mount(), 100).await;
    world.until_arrived(50).await;
    let disk = SmallDisk::of(&world);
    disk.fill();
    let problem = world.until_refused().await;
    assert_eq!(
        (&problem["status"], &problem["code"]),
        (&json!(507), &json!("storage_full")),
        "{problem}"
    );
    until("it says that it is not ready", async || {
        !world.is_ready().await
    })
    .await;
    disk.free();
    world.end().await;
}

/// What an endpoint does with whoever connects.
#[derive(Clone, Copy)]
enum Worst {
    /// Promises an answer and sends a byte of it each second.
    Drips,
    /// Accepts, and neither reads nor writes.
    NeverReads,
    /// Answers with gigabytes.
    Floods,
}

/// Starts an endpoint that does its worst; counts the most bytes of answer that one connection took.
async fn start_worst(worst: Worst, taken: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let taken = Arc::clone(&taken);
            tokio::spawn(async move {
                let (head, piece, pause): (&[u8], Vec<u8>, _) = match worst {
                    Worst::NeverReads => return std::future::pending().await,
                    Worst::Drips => (
                        b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n",
                        b" ".to_vec(),
                        Duration::from_secs(1),
                    ),
                    Worst::Floods => (
                        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                        [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat(),
                        Duration::ZERO,
                    ),
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let mut sent = 0;
                let mut next = stream.write_all(head).await;
                while next.is_ok() {
                    tokio::time::sleep(pause).await;
                    next = stream.write_all(&piece).await;
                    sent += piece.len() as u64;
                    taken.fetch_max(sent, Ordering::Relaxed);
                }
            });
        }
    });
    address
}

/// The most memory that a process has had at once, in bytes.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
    1024 * kilobytes.parse::<u64>().unwrap()
}

fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_at_their_worst_cost_neither_memory_nor_the_others_their_turn() {
    /// For each of the bad endpoints.
    const BACKLOG: u64 = 500;
    let folder = tempfile::tempdir().unwrap();
    let (receiver, ledger) = start_receiver(Duration::ZERO).await;
    let healthy = add_channel(&folder, receiver);
    let mut bad = Vec::new();
    for (name, worst, reason) in [
        ("drips", Worst::Drips, "timeout"),
        ("never reads", Worst::NeverReads, "timeout"),
        ("floods", Worst::Floods, "answer_too_large"),
    ] {
        let taken = Arc::default();
        let address = start_worst(worst, Arc::clone(&taken)).await;
        let key = add_channel_by(sealpost(folder.path()), name, address, &[]);
        bad.push((key, reason, taken));
    }
    let mut program = sealpost(folder.path());
    program.env("SEALPOST_DELIVERY_ATTEMPT_SECONDS", "8");
    let (server, address) = start_command(program).await;
    let server = Dying(server);
    let process = server.0.id();
    let (memory, files) = (peak_memory(process), open_files(process));
    let mut firsts = Vec::new();
    for (client, (key, _, _)) in bad.iter().enumerate() {
        let client = 1000 + client as u64;
        let accepted = hand_over(address, key.clone(), client, BACKLOG).await;
        assert_eq!(accepted.len() as u64, BACKLOG);
        firsts.push(accepted[0].clone());
    }

    // One after the other, until each bad endpoint has been found out.
    let mut slowest = Duration::ZERO;
    let mut number = 0;
    let began = Instant::now();
    loop {
        let accepted = hand_over(address, healthy.clone(), number, 1).await;
        let accepted_at = Instant::now();
        until("a healthy channel's callback arrives", async || {
            ledger.lock().unwrap().contains_key(&accepted[0])
        })
        .await;
        slowest = slowest.max(accepted_at.elapsed());
        number += 1;
        let mut found_out = 0;
        for ((key, reason, _), first) in bad.iter().zip(&firsts) {
            let found = first_reason(address, key, first).await;
            found_out += usize::from(found.is_some());
            assert!(
                found.as_deref().is_none_or(|found| found == *reason),
                "{found:?}"
            );
        }
        if found_out == bad.len() && number >= 50 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "only {found_out} are found out");
    }
    // A turn that had to wait for a bad endpoint's would take its 8 seconds.
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    let grown = peak_memory(process) - memory;
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
    // At most 8 attempts at once where nothing is known of an endpoint, and fewer once it has failed.
    let more_files = open_files(process).saturating_sub(files);
    assert!(more_files < 100, "{more_files} more descriptors");
    let most = bad
        .iter()
        .map(|(_, _, taken)| taken.load(Ordering::Relaxed));
    let most = most.max().unwrap();
    // What the system buffers on the way, and no more.
    assert!(
        most < 32 << 20,
        "{} MiB of an answer were taken",
        most >> 20
    );
    for (key, _, _) in &bad {
        for state in ["acknowledged", "failed"] {
            let page = get(
                address,
                key,
                &format!("/v1/callbacks?state={state}&limit=1"),
            )
            .await;
            assert_eq!(page.unwrap()["data"], json!([]), "{state}");
        }
    }
    println!(
        "{number} callbacks of the healthy channel, the slowest after {slowest:?}; {} KiB more memory, {more_files} more \
         descriptors, {} KiB taken of an answer",
        grown >> 10,
        most >> 10
    );
}

/// What the first attempt for a flow has failed of, if it has.
async fn first_reason(address: SocketAddr, key: &str, flow: &str) -> Option<String> {
    let path = format!("/v1/callbacks?sign_flow_id={flow}");
    let page = get(address, key, &path).await.unwrap();
    let path = format!("/v1/callbacks/{}", page["data"][0]["id"].as_str().unwrap());
    let callback = get(address, key, &path).await.unwrap();
    callback["attempts"][0]["reason"]
        .as_str()
        .map(str::to_owned)
}

/// A server that does not outlive its test.
struct Dying(Child);

impl Drop for Dying {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
