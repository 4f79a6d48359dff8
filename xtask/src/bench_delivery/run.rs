//! One measurement: starts the processes, lets them work, reads their clocks and `/proc`, stops them.

use std::cell::Cell;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sealpost_store::{PostgresOptions, Store};
use serde_json::Value;
use tempfile::TempDir;

use super::processes::{Receiver, Server, Talking, children_cpu, family_cpu};
use super::roles::{self, Ledger};
use crate::postgres;

/// Who is called, and how.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    /// Servers over one database, among which the load is spread evenly; more than one only over PostgreSQL.
    pub(crate) nodes: usize,
    pub(crate) endpoints: usize,
    pub(crate) hanging: usize,
    pub(crate) load: Load,
}

#[derive(Debug, Clone)]
pub(crate) enum Load {
    /// Each connection sends the next as soon as the last is answered.
    Closed { callbacks: u64, connections: usize },
    /// So many a second, whatever happens.
    Open { rate: u64, seconds: u64 },
}

/// What one delivery run showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivered {
    /// From the first request to the last arrival.
    pub(crate) per_second: f64,
    /// From an answer to the loader to the arrival at the receiver, milliseconds; an arrival before the answer counts as 0.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// CPU seconds per 10,000 callbacks: of all servers, and those of loader and receiver together.
    pub(crate) server_cpu: f64,
    pub(crate) other_cpu: f64,
    /// PostgreSQL's, if it is the database.
    pub(crate) database_cpu: f64,
    /// The servers' peak memory, MB.
    pub(crate) memory: f64,
    pub(crate) lost: u64,
    pub(crate) again: u64,
}

/// What a backlog run showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drained {
    /// From the process's start to its listening, milliseconds.
    pub(crate) start_up: f64,
    /// The server's peak memory, MB.
    pub(crate) memory: f64,
    /// Callbacks of another channel a second, end to end, while all wait.
    pub(crate) per_second: f64,
    /// The server's CPU seconds per 10,000 of those.
    pub(crate) server_cpu: f64,
    /// Of those that waited, a second, once they may go.
    pub(crate) drained: f64,
}

/// What the measurements share.
pub(crate) struct World {
    sealpost: PathBuf,
    postgres: Option<postgres::Server>,
    databases: Cell<u32>,
}

/// Where the server of one measurement keeps what it keeps.
pub(crate) struct Place {
    folder: TempDir,
    /// PostgreSQL's URL; `None`: SQLite in the folder.
    database: Option<String>,
}

impl Place {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl World {
    /// Over SQLite.
    pub(crate) fn new(sealpost: PathBuf) -> Result<Self> {
        ensure!(sealpost.exists(), "there is no {}", sealpost.display());
        Ok(Self {
            sealpost,
            postgres: None,
            databases: Cell::default(),
        })
    }

    /// Over a PostgreSQL server that is started for it, and waits for the disk as it should.
    pub(crate) fn with_postgres(sealpost: PathBuf) -> Result<Self> {
        // As an operator would set it up for this; nothing that gives up durability.
        let settings = "-c shared_buffers=512MB -c max_wal_size=4GB -c checkpoint_timeout=15min";
        Ok(Self {
            postgres: Some(postgres::Server::start_with(settings)?),
            ..Self::new(sealpost)?
        })
    }

    /// An empty one.
    pub(crate) fn place(&self) -> Result<Place> {
        let database = match &self.postgres {
            None => None,
            Some(server) => {
                let number = self.databases.get() + 1;
                self.databases.set(number);
                Some(server.create_database(&format!("bench_{number}"))?)
            }
        };
        Ok(Place {
            folder: folder()?,
            database,
        })
    }

    /// How often a second so many sessions of PostgreSQL commit so many rows that each hold a callback's body, in a table with nothing but a key.
    pub(crate) fn commits(&self, sessions: usize, rows: u32, seconds: u64) -> Result<f64> {
        let server = self.postgres.as_ref().context("SQLite has no sessions")?;
        // Nothing there is no news.
        let prepare = "SET client_min_messages = warning; DROP TABLE IF EXISTS bare; CREATE TABLE bare (id BIGSERIAL PRIMARY KEY, body TEXT)";
        let body = roles::body(0);
        let insert =
            format!("INSERT INTO bare (body) SELECT '{body}' FROM generate_series(1, {rows})");
        server.commits(prepare, &insert, sessions, seconds)
    }

    pub(crate) fn database_cpu(&self) -> Result<f64> {
        match &self.postgres {
            None => Ok(0.0),
            Some(server) => family_cpu(server.process()?),
        }
    }

    /// Appends 4 KiB and syncs, `times` times: how many a second.
    pub(crate) fn fdatasync(&self, times: u64) -> Result<f64> {
        let folder = folder()?;
        let mut file = std::fs::File::create(folder.path().join("appended"))?;
        let began = Instant::now();
        for _ in 0..times {
            file.write_all(&[7; 4096])?;
            file.sync_data()?;
        }
        Ok(times as f64 / began.elapsed().as_secs_f64())
    }

    /// The engine's HTTP client against the receiver: POSTs a second.
    pub(crate) fn bare_posts(&self, posts: u64) -> Result<f64> {
        let folder = folder()?;
        let receiver = Receiver::start(folder.path(), 1, 0)?;
        let url = receiver.url(0);
        let output = role(&[
            "post",
            "--url",
            &url,
            "--posts",
            &posts.to_string(),
            "--concurrency",
            "64",
        ])
        .output()?;
        let seconds = seconds_in(&output)?;
        receiver.end()?;
        Ok(posts as f64 / seconds)
    }

    /// The loader, a relay that keeps nothing, the receiver: requests a second.
    pub(crate) fn relay(&self, callbacks: u64) -> Result<f64> {
        let folder = folder()?;
        let receiver = Receiver::start(folder.path(), 1, 0)?;
        let mut relay = Talking::start(&mut role(&["relay", "--url", &receiver.url(0)]))?;
        let server = relay.line()?;
        let keys = folder.path().join("keys");
        std::fs::write(&keys, "none\n")?;
        let load = Load::Closed {
            callbacks,
            connections: 64,
        };
        let (_, seconds) = loader(folder.path(), &[server], &keys, 0, &load)?;
        relay.end()?;
        receiver.end()?;
        Ok(callbacks as f64 / seconds)
    }

    /// The whole way, from the loader through the server to the receiver.
    pub(crate) fn deliver(&self, scene: &Scene) -> Result<Delivered> {
        let place = self.place()?;
        let folder = place.path();
        let mut receiver = Receiver::start(folder, scene.endpoints, scene.hanging)?;
        let keys = self.channels(&place, &receiver, scene.endpoints, 0)?;
        let hanging = self.channels(&place, &receiver, scene.hanging, scene.endpoints)?;
        let servers = self.nodes(&place, scene.nodes)?;
        let addresses = addresses(&servers);

        // The lanes that hang are filled first; their callbacks are numbered from high up, and never arrive.
        let mut arrived_before = 0;
        if scene.hanging > 0 {
            let callbacks = 20 * scene.hanging as u64;
            let load = Load::Closed {
                callbacks,
                connections: 8,
            };
            loader(folder, &addresses, &hanging, 1 << 22, &load)?;
        }
        // Connections, statements and caches are warm before anything is measured.
        let warm = (scene.endpoints as u64).max(500);
        loader(
            folder,
            &addresses,
            &keys,
            1 << 21,
            &Load::Closed {
                callbacks: warm,
                connections: 16,
            },
        )?;
        arrived_before += warm;
        receiver.until(arrived_before)?;

        let before = (cpu_of(&servers)?, receiver.cpu()?, self.database_cpu()?);
        let began = roles::now();
        let (answered, _) = loader(folder, &addresses, &keys, 0, &scene.load)?;
        let callbacks = scene.load.callbacks();
        receiver.until(arrived_before + callbacks)?;
        let after = (cpu_of(&servers)?, receiver.cpu()?, self.database_cpu()?);
        let mut memory = 0.0;
        for server in servers {
            memory += server.peak_memory()?;
            server.end()?;
        }
        let arrived = receiver.end()?;

        let mut waits: Vec<f64> = Vec::new();
        let (mut lost, mut last) = (0, began);
        for place in 0..usize::try_from(callbacks)? {
            let at = |ledger: &Ledger| ledger.times.get(place).copied().filter(|at| *at != 0);
            match (at(&answered.ledger), at(&arrived)) {
                (Some(answered), Some(arrived)) => {
                    waits.push(arrived.saturating_sub(answered) as f64 / 1e6);
                    last = last.max(arrived);
                }
                (Some(_), None) => lost += 1,
                (None, _) => bail!("callback {place} was not answered"),
            }
        }
        waits.sort_by(f64::total_cmp);
        let per_10_000 = 10_000.0 / callbacks as f64;
        Ok(Delivered {
            per_second: callbacks as f64 / ((last - began) as f64 / 1e9),
            p50: quantile(&waits, 0.50),
            p99: quantile(&waits, 0.99),
            server_cpu: (after.0 - before.0) * per_10_000,
            other_cpu: (after.1 - before.1 + answered.cpu) * per_10_000,
            database_cpu: (after.2 - before.2) * per_10_000,
            memory,
            lost,
            again: arrived.again,
        })
    }

    /// A server over a database in which `waiting` callbacks of a paused channel wait: what that costs another channel's
    /// deliveries, and, once the channel is resumed, how fast they leave.
    pub(crate) fn backlog(&self, waiting: u64, callbacks: u64) -> Result<Drained> {
        let place = self.place()?;
        let folder = place.path();
        let mut receiver = Receiver::start(folder, 2, 0)?;
        let keys = self.channels(&place, &receiver, 1, 0)?;
        let filled = self.add_channel(&place, "filled", &receiver.url(1))?;
        let channel = filled["id"].as_str().context("a channel has an id")?;
        fill(&place, channel, waiting)?;
        self.channel_command(&place, &["pause", "filled"])?;

        let began = Instant::now();
        let server = Server::start(self.sealpost(&place))?;
        let start_up = began.elapsed().as_secs_f64() * 1e3;
        let addresses = [server.address.clone()];
        let load = |callbacks| Load::Closed {
            callbacks,
            connections: 256,
        };
        loader(folder, &addresses, &keys, 1 << 21, &load(500))?;
        receiver.until(500)?;
        let before = server.cpu()?;
        let clock = roles::now();
        loader(folder, &addresses, &keys, 1 << 22, &load(callbacks))?;
        receiver.until(500 + callbacks)?;
        let per_second = callbacks as f64 / ((roles::now() - clock) as f64 / 1e9);
        let server_cpu = (server.cpu()? - before) * 10_000.0 / callbacks as f64;

        self.channel_command(&place, &["resume", "filled"])?;
        let first = receiver.came()?;
        receiver.until(first + 1)?;
        let clock = roles::now();
        receiver.until(500 + callbacks + waiting)?;
        let drained = waiting as f64 / ((roles::now() - clock) as f64 / 1e9);
        let memory = server.peak_memory()?;
        server.end()?;
        receiver.end()?;
        Ok(Drained {
            start_up,
            memory,
            per_second,
            server_cpu,
            drained,
        })
    }

    fn channel_command(&self, place: &Place, args: &[&str]) -> Result<()> {
        let output = self.sealpost(place).arg("channel").args(args).output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Adds channels for endpoints of the receiver, and writes their API keys into a file.
    fn channels(
        &self,
        place: &Place,
        receiver: &Receiver,
        count: usize,
        first: usize,
    ) -> Result<PathBuf> {
        let mut keys = String::new();
        for number in first..first + count {
            let name = format!("channel {number}");
            let channel = self.add_channel(place, &name, &receiver.url(number))?;
            keys += channel["api_key"]
                .as_str()
                .context("a channel has an API key")?;
            keys.push('\n');
        }
        let path = place.path().join(format!("keys-{first}"));
        std::fs::write(&path, keys)?;
        Ok(path)
    }

    pub(crate) fn add_channel(&self, place: &Place, name: &str, url: &str) -> Result<Value> {
        let output = self
            .sealpost(place)
            .args(["channel", "add", name, "--json", "--callback-url", url])
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// So many servers over the place's database, with one folder of documents and one master secret between them.
    pub(crate) fn nodes(&self, place: &Place, count: usize) -> Result<Vec<Server>> {
        (0..count)
            .map(|_| Server::start(self.sealpost(place)))
            .collect()
    }

    pub(crate) fn sealpost(&self, place: &Place) -> Command {
        let mut command = Command::new(&self.sealpost);
        command
            .current_dir(place.path())
            .arg("--data")
            .arg(place.path().join("data"))
            .env("SEALPOST_DELIVERY_ALLOW_HTTP", "true")
            .env("SEALPOST_DELIVERY_ALLOW_NETWORKS", "127.0.0.0/8")
            .env("SEALPOST_LOG_FORMAT", "json")
            .env("SEALPOST_LOG_FILTER", "info");
        if let Some(url) = &place.database {
            command.env("SEALPOST_DATABASE_URL", url);
        }
        command
    }
}

impl Load {
    fn callbacks(&self) -> u64 {
        match self {
            Load::Closed { callbacks, .. } => *callbacks,
            Load::Open { rate, seconds } => rate * seconds,
        }
    }
}

/// Lets callbacks of a channel wait in the database, without a server.
fn fill(place: &Place, channel: &str, waiting: u64) -> Result<()> {
    let data = place.path().join("data");
    let store = match &place.database {
        None => Store::open(&data)?,
        Some(url) => Store::open_postgres(PostgresOptions::new(url.clone()), &data)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let now = i64::try_from(roles::now() / 1_000_000)?;
    runtime.block_on(async {
        let mut adding = tokio::task::JoinSet::new();
        for number in 0..waiting {
            while adding.len() >= 2048 {
                adding.join_next().await;
            }
            let id = sealpost_store::CallbackId::new(now - 60_000, u32::try_from(number)?);
            let body = roles::body(number);
            let callback = sealpost_contract::Callback::parse(body.as_bytes())?;
            let new = sealpost_store::NewCallback {
                id,
                channel_id: channel.to_owned(),
                url: None,
                sign_flow_id: callback.sign_flow_id,
                body: body.into(),
                due_at: now,
                lease: None,
            };
            let store = store.clone();
            adding.spawn(async move { store.accept_callback(new).await });
        }
        for added in adding.join_all().await {
            added?;
        }
        anyhow::Ok(())
    })
}

/// Where all measurements have their folders: under target, so that the disk is the project's and not a file system in memory.
pub(crate) fn scratch() -> PathBuf {
    crate::target_dir().join("bench")
}

fn folder() -> Result<TempDir> {
    let parent = scratch();
    std::fs::create_dir_all(&parent)?;
    Ok(tempfile::tempdir_in(parent)?)
}

pub(crate) fn role(args: &[&str]) -> Command {
    let exe = std::env::current_exe().unwrap_or_else(|_| "xtask".into());
    let mut command = Command::new(exe);
    command.args(["bench", "delivery", "--"]).args(args);
    command
}

fn seconds_in(output: &std::process::Output) -> Result<f64> {
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let (from, to) = text
        .trim()
        .split_once(' ')
        .context("a role says when it began and ended")?;
    Ok((to.parse::<u64>()? - from.parse::<u64>()?) as f64 / 1e9)
}

pub(crate) fn addresses(servers: &[Server]) -> Vec<String> {
    let addresses = servers.iter().map(|server| server.address.clone());
    addresses.collect()
}

/// CPU seconds that all of them have used.
pub(crate) fn cpu_of(servers: &[Server]) -> Result<f64> {
    servers.iter().map(Server::cpu).sum()
}

struct Answered {
    ledger: Ledger,
    cpu: f64,
}

fn loader(
    folder: &Path,
    servers: &[String],
    keys: &Path,
    first: u64,
    load: &Load,
) -> Result<(Answered, f64)> {
    let ledger = folder.join(format!("answered-{first}"));
    let (connections, rate) = match load {
        Load::Closed { connections, .. } => (*connections, None),
        Load::Open { rate, .. } => (64.min(usize::try_from(*rate)?), Some(*rate)),
    };
    let mut command = role(&["load"]);
    for server in servers {
        command.args(["--server", server]);
    }
    command.arg("--keys").arg(keys).arg("--ledger").arg(&ledger);
    command.args([
        "--first",
        &first.to_string(),
        "--callbacks",
        &load.callbacks().to_string(),
    ]);
    command.args(["--connections", &connections.to_string()]);
    if let Some(rate) = rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let before = children_cpu()?;
    let seconds = seconds_in(&command.output()?)?;
    Ok((
        Answered {
            ledger: Ledger::read(&ledger)?,
            cpu: children_cpu()? - before,
        },
        seconds,
    ))
}

pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
