//! A PostgreSQL cluster of a test's own. Also part of the tests of the crates above.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::postgresql::{give, program, succeeds};

/// A cluster in a temporary folder. Whoever owns it says how its server is started; it is stopped when this goes.
pub(crate) struct Cluster {
    folder: TempDir,
}

impl Cluster {
    /// Makes a cluster whose superuser is `sealpost`, trusted without a password.
    pub(crate) fn make() -> Self {
        let cluster = Self {
            // Under /tmp itself: a socket's path has 107 bytes at most.
            folder: tempfile::tempdir_in("/tmp").unwrap(),
        };
        give(cluster.path());
        let mut initdb = program("initdb", cluster.path());
        initdb.args(["--encoding=UTF8", "--locale=C.UTF-8", "--auth=trust"]);
        initdb.args(["--username=sealpost", "--no-sync", "--pgdata"]);
        succeeds(initdb.arg(cluster.data()));
        cluster
    }

    /// Starts its server with these settings, its socket in [`Self::path`]; what was written there before belongs to it.
    pub(crate) fn start(&self, settings: &str) {
        give(self.path());
        let folder = self.path().display();
        let settings = format!("-c unix_socket_directories='{folder}' -c fsync=off {settings}");
        let mut start = self.control();
        start.args(["--wait", "--timeout=50", "-o", &settings, "--log"]);
        succeeds(start.arg(self.path().join("log")).arg("start"));
    }

    /// `pg_ctl` over this cluster.
    pub(crate) fn control(&self) -> Command {
        let mut command = program("pg_ctl", self.path());
        command.arg("--silent").arg("--pgdata").arg(self.data());
        command
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
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
