//! Delivery while the system refuses the server something: file descriptors, room in a file, room on the disk.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sealpost_contract::Callback;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::delivery_process::{
    add_channel, get, get_whatever, hand_over, post_callback, read_message, shell, start_server_by,
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
