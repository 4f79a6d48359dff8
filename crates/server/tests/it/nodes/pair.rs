//! A PostgreSQL primary and a hot standby that has what the primary acknowledges, both real and both ours.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::faults::network::Place;
use crate::postgresql::{give, program, succeeds};

/// The most time until the nodes have left the old primary, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Pair {
    folder: TempDir,
    pub(crate) primary: SocketAddr,
    pub(crate) standby: SocketAddr,
    /// Where they are, if not here.
    places: Option<[Place; 2]>,
}

impl Pair {
    /// Makes the primary, copies it, and starts the copy as a synchronous standby.
    pub(crate) fn start() -> Pair {
        Self::start_at(free_address(), free_address(), None)
    }

    /// As [`Pair::start`], with the primary in the first of these places and the standby in the other.
    pub(crate) fn start_in(places: [Place; 2]) -> Pair {
        let [primary, standby] = places.each_ref().map(|place| (place.address, 5432).into());
        Self::start_at(primary, standby, Some(places))
    }

    fn start_at(primary: SocketAddr, standby: SocketAddr, places: Option<[Place; 2]>) -> Pair {
        let folder = tempfile::tempdir().unwrap();
        give(folder.path());
        let pair = Pair {
            folder,
            primary,
            standby,
            places,
        };
        let made = ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=trust"];
        let made = [
            &made[..],
            &["--username=sealpost", "--no-sync", "-D", "primary"],
        ]
        .concat();
        pair.run("primary", "initdb", &made);
        if pair.places.is_some() {
            let path = pair.folder.path().join("primary/pg_hba.conf");
            let mut trusted = std::fs::File::options().append(true).open(path).unwrap();
            // Nobody else can be there.
            trusted
                .write_all(b"host all,replication all 10.89.0.0/16 trust\n")
                .unwrap();
        }
        pair.control("primary", pair.primary, "-c wal_keep_size=256MB");
        let source = format!(
            "host={} port={} user=sealpost application_name=standby",
            pair.primary.ip(),
            pair.primary.port()
        );
        let copied = ["-d", &source, "-D", "standby", "-R", "-X", "stream"];
        let copied = [&copied[..], &["--no-sync", "-c", "fast"]].concat();
        pair.run("standby", "pg_basebackup", &copied);
        pair.control("standby", pair.standby, "");
        // From now on nothing is acknowledged that the standby does not have.
        pair.ask_primary("ALTER SYSTEM SET synchronous_standby_names = '*'");
        pair.ask_primary("SELECT pg_reload_conf()");
        pair
    }

    /// Kills the primary with all of its processes, as when its machine loses power.
    pub(crate) fn kill_primary(&self) {
        self.signal_primary("-KILL");
        std::fs::remove_file(self.postmaster_file()).unwrap();
    }

    /// Makes all processes of the primary stand still, as when its machine is suspended. Their connections stay.
    pub(crate) fn stop_primary(&self) {
        self.signal_primary("-STOP");
    }

    /// Lets them go on.
    pub(crate) fn wake_primary(&self) {
        self.signal_primary("-CONT");
    }

    fn signal_primary(&self, signal: &str) {
        let file = std::fs::read_to_string(self.postmaster_file()).unwrap();
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
                .args([signal, process])
                .stderr(Stdio::null())
                .status();
        }
    }

    fn postmaster_file(&self) -> std::path::PathBuf {
        self.folder.path().join("primary/postmaster.pid")
    }

    /// Makes the standby the primary. It has no standby of its own then, and waits for none.
    pub(crate) fn promote(&self) {
        let promote = ["--silent", "--wait", "-D", "standby", "promote"];
        self.run("standby", "pg_ctl", &promote);
    }

    /// Waits until the nodes have left the old primary, which is there again, and proves that none comes back to it.
    pub(crate) async fn nobody_uses_the_old_primary(&self) {
        let begun = Instant::now();
        while self.asked_of_primary_within(Duration::from_secs(1)).await != "0" {
            assert!(begun.elapsed() < PATIENCE, "nodes stay at the old primary");
        }
        let asked = self.asked_of_primary_within(Duration::from_secs(2)).await;
        assert_eq!(asked, "0", "a node came back to the old primary");
    }

    /// How many sessions of nodes begin a statement within this time. What they ask of a server before they use it does not count.
    async fn asked_of_primary_within(&self, time: Duration) -> String {
        let now = self.ask_primary("SELECT clock_timestamp()");
        tokio::time::sleep(time).await;
        self.ask_primary(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sealpost' AND query_start > '{now}'
                AND query NOT LIKE 'SHOW %' AND query NOT LIKE '%system_identifier%'"
        ))
    }

    fn ask_primary(&self, statement: &str) -> String {
        let (host, port) = (
            self.primary.ip().to_string(),
            self.primary.port().to_string(),
        );
        let mut psql = self.program("primary", "psql");
        psql.args(["-qAt", "-h", &host, "-p", &port, "-U", "sealpost"]);
        psql.args(["-c", statement, "postgres"]);
        let output = psql.stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{statement}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn control(&self, data: &str, address: SocketAddr, more: &str) {
        let settings = format!(
            "-c listen_addresses={} -c port={} -c unix_socket_directories='' -c max_connections=200 -c fsync=off {more}",
            address.ip(),
            address.port()
        );
        let log = format!("{data}.log");
        let start = [
            "--silent", "--wait", "-D", data, "-l", &log, "-o", &settings,
        ];
        self.run(data, "pg_ctl", &[&start[..], &["start"]].concat());
    }

    fn run(&self, of: &str, name: &str, arguments: &[&str]) {
        succeeds(self.program(of, name).args(arguments));
    }

    /// A program, to be run where the primary or the standby is.
    fn program(&self, of: &str, name: &str) -> Command {
        let command = program(name, self.folder.path());
        let Some(places) = &self.places else {
            return command;
        };
        let place = &places[usize::from(of == "standby")];
        let mut within = place.within(&command);
        within.stdin(Stdio::null()).stdout(Stdio::null());
        within
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for data in ["primary", "standby"] {
            let file = self.folder.path().join(data).join("postmaster.pid");
            if !file.exists() {
                continue;
            }
            if data == "primary" {
                // It may be standing still, and would not hear that it is to stop.
                self.wake_primary();
            }
            let stop = ["--silent", "-D", data, "--mode", "immediate", "stop"];
            // Not asserted: this may be while a test fails.
            let _ = self.program(data, "pg_ctl").args(stop).status();
        }
    }
}

/// An address that nobody listens on at this moment.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
