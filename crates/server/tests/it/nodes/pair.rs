//! A PostgreSQL primary and a hot standby that has what the primary acknowledges, both real and both ours.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::postgresql::{give, program, succeeds};

pub(crate) struct Pair {
    folder: TempDir,
    pub(crate) primary: SocketAddr,
    pub(crate) standby: SocketAddr,
}

impl Pair {
    /// Makes the primary, copies it, and starts the copy as a synchronous standby.
    pub(crate) fn start() -> Pair {
        let folder = tempfile::tempdir().unwrap();
        give(folder.path());
        let pair = Pair {
            folder,
            primary: free_address(),
            standby: free_address(),
        };
        let made = [
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth=trust",
            "--username=sealpost",
            "--no-sync",
            "-D",
            "primary",
        ];
        pair.run("initdb", &made);
        pair.control("primary", pair.primary, "-c wal_keep_size=256MB");
        let source = format!(
            "host=127.0.0.1 port={} user=sealpost application_name=standby",
            pair.primary.port()
        );
        pair.run(
            "pg_basebackup",
            &[
                "-d",
                &source,
                "-D",
                "standby",
                "-R",
                "-X",
                "stream",
                "--no-sync",
                "-c",
                "fast",
            ],
        );
        pair.control("standby", pair.standby, "");
        // From now on nothing is acknowledged that the standby does not have.
        for statement in [
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
            "SELECT pg_reload_conf()",
        ] {
            let port = pair.primary.port().to_string();
            pair.run(
                "psql",
                &[
                    "-q",
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &port,
                    "-U",
                    "sealpost",
                    "-c",
                    statement,
                    "postgres",
                ],
            );
        }
        pair
    }

    /// Kills the primary with all of its processes, as when its machine loses power.
    pub(crate) fn kill_primary(&self) {
        let path = self.folder.path().join("primary/postmaster.pid");
        let file = std::fs::read_to_string(&path).unwrap();
        let postmaster = file.lines().next().unwrap().to_owned();
        let children = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &postmaster])
            .output()
            .unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        let all = std::iter::once(postmaster.as_str()).chain(children.split_whitespace());
        for process in all {
            // A child may have ended with its parent.
            let _ = Command::new("kill")
                .args(["-9", process])
                .stderr(Stdio::null())
                .status();
        }
        std::fs::remove_file(path).unwrap();
    }

    /// Makes the standby the primary. It has no standby of its own then, and waits for none.
    pub(crate) fn promote(&self) {
        self.run(
            "pg_ctl",
            &["--silent", "--wait", "-D", "standby", "promote"],
        );
    }

    fn control(&self, data: &str, address: SocketAddr, more: &str) {
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories='' -c max_connections=200 -c fsync=off {more}",
            address.port()
        );
        let log = format!("{data}.log");
        self.run(
            "pg_ctl",
            &[
                "--silent", "--wait", "-D", data, "-l", &log, "-o", &settings, "start",
            ],
        );
    }

    fn run(&self, name: &str, arguments: &[&str]) {
        succeeds(program(name, self.folder.path()).args(arguments));
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for data in ["primary", "standby"] {
            if self
                .folder
                .path()
                .join(data)
                .join("postmaster.pid")
                .exists()
            {
                self.run(
                    "pg_ctl",
                    &["--silent", "-D", data, "--mode", "immediate", "stop"],
                );
            }
        }
    }
}

/// An address that nobody listens on at this moment.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
