//! `kill -9` at any moment loses nothing: `sealpost serve` is killed again and again under load, against a receiver with a
//! ledger, and after each kill the database is read by another program before the server starts again. Every callback that
//! was answered 202 must be kept and must arrive; one arrives twice only if at the kill in between it was in flight: under a
//! lease, its outcome not yet kept.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sealpost_contract::Callback;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::delivery_process::{
    add_channel_by, get, hand_over, read_message, sealpost, start_command,
};
use crate::postgres::database;

/// Clients that hand over callbacks at once.
const CLIENTS: usize = 8;

/// The most time that the end may take, the leases of all the dead included.
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_kill_9() {
    kill_again_and_again(Kept::InFile, 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_kill_9_over_postgresql() {
    let options = database("kill").await;
    kill_again_and_again(Kept::InPostgres(options.url), 8).await;
}

async fn kill_again_and_again(kept: Kept, kills: usize) {
    let began = Instant::now();
    let receiver = Receiver::start().await;
    let world = World {
        kept,
        folder: tempfile::tempdir().unwrap(),
    };
    let key = add_channel_by(world.program(), "链家", receiver.address, &[]);

    let mut accepted = Vec::new();
    let mut looks = Vec::new();
    for life in 0..kills {
        let (server, address) = start_command(world.program()).await;
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let client = (life * CLIENTS + client) as u64;
            clients.spawn(hand_over(address, key.clone(), client, u64::MAX));
        }
        // From just started to well under way; the spread is fixed, what it meets is not.
        tokio::time::sleep(Duration::from_millis(15 + life as u64 * 67 % 400)).await;
        let look = world.kill_and_look(server, &receiver).await;
        for flow in clients.join_all().await.into_iter().flatten() {
            assert!(
                look.all.contains(&flow),
                "{flow} was answered 202 and is not kept"
            );
            accepted.push(flow);
        }
        looks.push(look);
    }
    assert!(
        accepted.len() > 10 * kills,
        "only {} were accepted; the test tested nothing",
        accepted.len()
    );

    let (server, address) = start_command(world.program()).await;
    let ended = Instant::now();
    loop {
        let missing = receiver.missing(&accepted);
        let waiting = get(address, &key, "/v1/callbacks?state=waiting&limit=1").await;
        if missing == 0 && waiting.is_some_and(|waiting| waiting["data"] == json!([])) {
            break;
        }
        assert!(
            ended.elapsed() < LIMIT,
            "{missing} of {} are lost, or still under way",
            accepted.len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = world.kill_and_look(server, &receiver).await;
    assert!(last.in_flight.is_empty(), "{:?}", last.in_flight);
    assert_eq!(
        last.not_by_one_attempt, 0,
        "each is acknowledged by one attempt; a kill is none that failed"
    );

    let ledger = receiver.ledger.lock().unwrap();
    for flow in &last.all {
        assert!(
            ledger.contains_key(flow),
            "{flow} is kept and never arrived"
        );
    }
    let mut again = 0;
    for (flow, lives) in ledger.iter() {
        assert!(last.all.contains(flow), "{flow} arrived and is not kept");
        for pair in lives.windows(2) {
            again += 1;
            assert!(pair[0] < pair[1], "{flow} arrived twice in one life");
            assert!(
                looks[pair[0]].in_flight.contains(flow),
                "{flow} arrived in lives {} and {}, and was not in flight at the kill after the first",
                pair[0],
                pair[1]
            );
        }
    }
    let in_flight: usize = looks.iter().map(|look| look.in_flight.len()).sum();
    assert!(in_flight > 0, "no kill met anything under way");
    println!(
        "{} accepted, {} arrived; {in_flight} in flight at {kills} kills, {again} of them arrived again; {:?}",
        accepted.len(),
        ledger.len(),
        began.elapsed()
    );
}

/// Where the server keeps its callbacks.
enum Kept {
    InFile,
    InPostgres(String),
}

struct World {
    kept: Kept,
    folder: TempDir,
}

/// What was kept at a kill.
struct Look {
    /// The flows of all callbacks.
    all: HashSet<String>,
    /// The flows of those that were under a lease.
    in_flight: HashSet<String>,
    /// How many are other than acknowledged after one counted attempt.
    not_by_one_attempt: usize,
}

/// A callback's flow, whether it is in flight, and whether one attempt has acknowledged it.
const ROWS: &str = "SELECT sign_flow_id, state = 0 AND holder IS NOT NULL, state = 1 AND attempts = 1 FROM callbacks";

type Row = (String, bool, bool);

impl World {
    /// The program, over this database.
    fn program(&self) -> Command {
        let mut program = sealpost(self.folder.path());
        if let Kept::InPostgres(url) = &self.kept {
            program
                .env("SEALPOST_DATABASE_URL", url)
                .env("SEALPOST_DATABASE_SESSIONS", "4")
                // Nobody there takes leases away from the dead, so they must run out: some seconds after this.
                .env("SEALPOST_DELIVERY_ATTEMPT_SECONDS", "5");
        }
        program
    }

    /// Kills the server, waits until all that it has sent has been received, and reads what it has kept.
    async fn kill_and_look(&self, mut server: Child, receiver: &Receiver) -> Look {
        server.kill().unwrap();
        server.wait().unwrap();
        receiver.end_life().await;
        let rows = match &self.kept {
            Kept::InFile => rows_of_file(&self.folder.path().join("data")),
            Kept::InPostgres(url) => rows_of_postgres(url).await,
        };
        let mut look = Look {
            all: HashSet::new(),
            in_flight: HashSet::new(),
            not_by_one_attempt: 0,
        };
        for (flow, in_flight, acknowledged) in rows {
            if in_flight {
                look.in_flight.insert(flow.clone());
            }
            look.not_by_one_attempt += usize::from(!acknowledged);
            look.all.insert(flow);
        }
        look
    }
}

/// Reads a copy of the database and of its log as the kill left them, so that what the next life has to recover stays for it.
fn rows_of_file(data: &Path) -> Vec<Row> {
    let copy = tempfile::tempdir().unwrap();
    for name in ["sealpost.sqlite", "sealpost.sqlite-wal"] {
        std::fs::copy(data.join(name), copy.path().join(name)).unwrap();
    }
    let database = rusqlite::Connection::open(copy.path().join("sealpost.sqlite")).unwrap();
    let mut statement = database.prepare(ROWS).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// Reads the database once the sessions of the dead have ended: what they were told, they still do.
async fn rows_of_postgres(url: &str) -> Vec<Row> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let began = Instant::now();
    let others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend'";
    while !client.query(others, &[]).await.unwrap().is_empty() {
        assert!(began.elapsed() < LIMIT, "a dead server's session goes on");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let rows = client.query(ROWS, &[]).await.unwrap();
    drop(client);
    driver.await.unwrap().unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

/// A channel's endpoint that writes down every arrival before it acknowledges.
struct Receiver {
    address: SocketAddr,
    /// For each flow the lives of the server in which its callback arrived.
    ledger: Arc<Mutex<HashMap<String, Vec<usize>>>>,
    life: Arc<AtomicUsize>,
}

/// What asks whether all of a life's connections have ended.
const ENDED: &str = "GET /ended HTTP/1.1\r\n\r\n";

impl Receiver {
    async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Receiver {
            address: listener.local_addr().unwrap(),
            ledger: Arc::default(),
            life: Arc::default(),
        };
        let (ledger, life) = (Arc::clone(&receiver.ledger), Arc::clone(&receiver.life));
        tokio::spawn(async move {
            let open = Arc::new(());
            while let Ok((stream, _)) = listener.accept().await {
                let (ledger, life) = (Arc::clone(&ledger), Arc::clone(&life));
                let open = Arc::clone(&open);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some((head, body)) = read_message(&mut stream).await {
                        let answer = if head == ENDED {
                            // The listener's own, and that of this connection.
                            while Arc::strong_count(&open) > 2 {
                                tokio::time::sleep(Duration::from_millis(1)).await;
                            }
                            ""
                        } else {
                            let flow = Callback::parse(&body).unwrap().sign_flow_id.to_string();
                            let life = life.load(Ordering::SeqCst);
                            ledger.lock().unwrap().entry(flow).or_default().push(life);
                            "{\"response_code\":\"000\"}"
                        };
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}",
                            answer.len()
                        );
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        receiver
    }

    /// Waits until everything that the server had sent before it died has been read; what comes then comes from its next life.
    async fn end_life(&self) {
        // This connection is accepted after all of the dead server's, for they were made before it.
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(ENDED.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(LIMIT, read_message(&mut stream)).await;
        assert!(answer.is_ok_and(|answer| answer.is_some()));
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// How many of these have not arrived.
    fn missing(&self, flows: &[String]) -> usize {
        let ledger = self.ledger.lock().unwrap();
        let missing = flows.iter().filter(|flow| !ledger.contains_key(*flow));
        missing.count()
    }
}
