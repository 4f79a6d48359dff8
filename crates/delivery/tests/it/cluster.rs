//! A PostgreSQL server of a test's own, to be stopped and started again as the test likes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A cluster in a temporary folder, reached by a Unix socket in it.
pub(crate) struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    is_root: bool,
}

impl Cluster {
    /// Makes a cluster and starts a server over it.
    pub(crate) fn start() -> Self {
        let programs = programs().expect("no PostgreSQL; install it: apt-get install postgresql");
        let id = Command::new("id").arg("-u").output().unwrap();
        let cluster = Self {
            // Under /tmp itself: a socket's path has 107 bytes at most.
            folder: tempfile::tempdir_in("/tmp").unwrap(),
            programs,
            is_root: id.stdout.trim_ascii() == b"0",
        };
        if cluster.is_root {
            succeeds(Command::new("chown").arg("postgres").arg(cluster.path()));
        }
        let mut initdb = cluster.program("initdb");
        initdb.args(["--encoding=UTF8", "--locale=C.UTF-8", "--auth=trust"]);
        initdb.args(["--username=sealpost", "--no-sync", "--pgdata"]);
        succeeds(initdb.arg(cluster.data()));
        cluster.start_again();
        cluster
    }

    pub(crate) fn start_again(&self) {
        let settings = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off",
            self.path().display()
        );
        let mut start = self.control();
        start.args(["--wait", "--timeout=50", "-o", &settings, "--log"]);
        succeeds(start.arg(self.path().join("log")).arg("start"));
    }

    /// Ends every process of the server at once, as a crash would; it has to recover when it is started again.
    pub(crate) fn stop_at_once(&self) {
        succeeds(self.control().args(["--mode", "immediate", "stop"]));
    }

    pub(crate) fn url(&self) -> String {
        let folder = self.path().display().to_string().replace('/', "%2F");
        format!("postgres://sealpost@{folder}/postgres")
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn control(&self) -> Command {
        let mut command = self.program("pg_ctl");
        command.arg("--silent").arg("--pgdata").arg(self.data());
        command
    }

    /// One of PostgreSQL's programs, which refuse to be run by root.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = if self.is_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.path()).stdout(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may be stopped already; the folder goes with `folder`.
        let mut stop = self.control();
        let _ = stop
            .args(["--mode", "immediate", "stop"])
            .stderr(Stdio::null())
            .status();
    }
}

fn succeeds(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Where Debian keeps the programs of a PostgreSQL server.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    programs
        .filter(|folder| folder.join("initdb").is_file())
        .max()
}
