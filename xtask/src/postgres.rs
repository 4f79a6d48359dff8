//! A PostgreSQL server of our own for the tests and the bench: a fresh cluster in a temporary folder, reached by a Unix socket in it, without
//! a port, and gone afterwards. The machine's own clusters are left alone.

use std::fs::DirBuilder;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::{run, setup};

/// A running server; dropping it stops it and removes all that it wrote, and so does the end of this process, even a violent one.
pub(crate) struct Server {
    folder: PathBuf,
    programs: PathBuf,
    /// Who sees to that.
    keeper: Option<Child>,
}

/// Waits for its standard input to end, and no signal keeps it from what is to be done then.
const KEEPER: &str = r#"trap '' HUP INT TERM; cat > /dev/null; "$@"; rm -rf "$0""#;

impl Server {
    /// Makes a cluster and starts a server over it. It keeps nothing beyond the run, so it does not wait for the disk.
    pub(crate) fn start() -> Result<Server> {
        Server::start_with("-c max_connections=300 -c fsync=off")
    }

    /// As [`Server::start`], with these settings.
    pub(crate) fn start_with(settings: &str) -> Result<Server> {
        let programs = programs().context("the Debian package postgresql did not bring initdb")?;
        let folder = std::env::temp_dir().join(format!("sealpost-postgres-{}", std::process::id()));
        // Who can reach the socket is the server's master, so nobody else may.
        std::os::unix::fs::DirBuilderExt::mode(&mut DirBuilder::new(), 0o700)
            .create(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let mut server = Server {
            folder,
            programs,
            keeper: None,
        };
        server.keeper = Some(server.keeper()?);
        if setup::is_root() {
            run(Command::new("chown").arg("postgres").arg(&server.folder))?;
        }
        let encoding = [
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth=trust",
            "--username=sealpost",
            "--no-sync",
        ];
        run(server
            .program("initdb")
            .args(encoding)
            .arg("--pgdata")
            .arg(server.data()))?;
        let settings = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' {settings}",
            server.folder.display()
        );
        run(server
            .control()
            .args(["--wait", "--log"])
            .arg(server.folder.join("log"))
            .args(["-o", &settings, "start"]))?;
        Ok(server)
    }

    /// Where the tests find it.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://sealpost@{folder}/{database}")
    }

    /// Makes a database; its URL.
    #[cfg(feature = "bench")]
    pub(crate) fn create_database(&self, name: &str) -> Result<String> {
        let mut create = self.program("createdb");
        create.arg("--host").arg(&self.folder);
        run(create.args(["--username", "sealpost", name]))?;
        Ok(self.url_of(name))
    }

    /// How often a second so many sessions commit the statement `sql`, as pgbench counts it; `prepare` comes before, once.
    #[cfg(feature = "bench")]
    pub(crate) fn commits(
        &self,
        prepare: &str,
        sql: &str,
        sessions: usize,
        seconds: u64,
    ) -> Result<f64> {
        let mut psql = self.program("psql");
        psql.args(["--quiet", "--username", "sealpost", "--host"]);
        run(psql
            .arg(&self.folder)
            .args(["--command", prepare, "postgres"]))?;
        let script = self.folder.join("commits.sql");
        std::fs::write(&script, sql)?;
        let mut pgbench = self.program("pgbench");
        pgbench
            .args(["--no-vacuum", "--protocol=prepared", "--username=sealpost"])
            .arg(format!("--client={sessions}"))
            .arg(format!("--time={seconds}"))
            .arg("--host")
            .arg(&self.folder)
            .arg("--file")
            .arg(&script)
            .arg("postgres")
            .stdout(Stdio::piped());
        let output = pgbench.output().context("pgbench does not start")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate = rate.and_then(|rate| rate.split(' ').next()?.parse().ok());
        rate.with_context(|| format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The process that is the parent of all of the server's.
    #[cfg(feature = "bench")]
    pub(crate) fn process(&self) -> Result<u32> {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid"))?;
        let first = file.lines().next().context("an empty postmaster.pid")?;
        Ok(first.parse()?)
    }

    fn keeper(&self) -> Result<Child> {
        let mut stop = self.control();
        stop.args(["--mode", "immediate", "stop"]);
        Command::new("sh")
            .args(["-c", KEEPER])
            .arg(&self.folder)
            .arg(stop.get_program())
            .args(stop.get_args())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ctrl-C is not for it.
            .process_group(0)
            .spawn()
            .context("sh does not start")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn control(&self) -> Command {
        let mut command = self.program("pg_ctl");
        command.arg("--silent").arg("--pgdata").arg(self.data());
        command
    }

    /// One of PostgreSQL's programs, which refuse to be run by root.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = if setup::is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.folder).stdout(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut keeper) = self.keeper.take() else {
            // Nothing was started; an empty folder is all there is.
            let _ = std::fs::remove_dir(&self.folder);
            return;
        };
        drop(keeper.stdin.take());
        // Whoever sees it fail finds the folder by its name; the tests' verdict stands.
        let _ = keeper.wait();
    }
}

/// Where Debian keeps the programs of the newest PostgreSQL on this machine.
pub(crate) fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let complete = |folder: &PathBuf| folder.join("initdb").is_file();
    programs
        .filter(complete)
        .max_by_key(|folder| version_of(folder))
}

fn version_of(programs: &Path) -> u32 {
    let version = programs
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}
