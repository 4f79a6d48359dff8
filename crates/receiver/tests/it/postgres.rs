//! The PostgreSQL inbox: the same stories, against a server that the test starts for itself.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use sealpost_receiver::{Inbox as _, Kept, PostgresInbox, Receiver};

use crate::channel::{Channel, Runs, callback, reply};
use crate::once;

#[tokio::test]
async fn the_stories_hold_in_postgresql() {
    let server = Server::start();
    macro_rules! tell {
        ($($story:path),* $(,)?) => {$(
            println!("{}", stringify!($story));
            $story(server.inbox(stringify!($story)).await).await;
        )*};
    }
    tell!(
        once::a_repeat_is_acknowledged_and_not_handled_again,
        once::copies_at_once_are_handled_once,
        once::another_end_is_refused_and_nothing_changes,
        once::a_failed_handler_runs_again_when_the_callback_comes_again,
        once::a_panicking_handler_is_a_failed_one,
        once::a_sender_that_hangs_up_does_not_stop_the_handler,
        once::what_a_crash_left_kept_is_handled_later,
        once::what_failed_is_tried_again_without_the_sender,
        once::answered_once_kept_and_handled_afterwards,
        crate::vectors::every_vector_holds,
    );
    crate::sqlite::a_claim_runs_out(&server.inbox("claims").await).await;
    nodes_share_one_inbox(&server).await;
    odd_characters_are_kept_as_they_came(&server).await;
    a_broken_connection_is_opened_anew(&server).await;
}

async fn nodes_share_one_inbox(server: &Server) {
    let runs = Runs::default();
    // Both make the table, at the same moment.
    let (one, two) = tokio::join!(server.inbox("nodes"), server.inbox("nodes"));
    let one = Channel::open(Receiver::new(one, runs.handler())).await;
    let two = Channel::open(Receiver::new(two, runs.handler())).await;
    for number in 1..=5 {
        let body = callback(number, "2").to_json();
        let answers = tokio::join!(
            one.post(body.clone()),
            two.post(body.clone()),
            one.post(body.clone())
        );
        assert_eq!(answers, (reply("000"), reply("000"), reply("000")));
        assert_eq!(runs.count(), usize::from(number));
    }
}

async fn odd_characters_are_kept_as_they_came(server: &Server) {
    let inbox = server.inbox("odd").await;
    let mut odd = callback(1, "2");
    odd.sign_flow_id = "../收'\0\u{feff}".parse().unwrap();
    odd.sign_file_url = "\0".parse().unwrap();
    assert_eq!(
        inbox.keep(&odd, 0).await.unwrap(),
        Kept::New { handled: false }
    );
    assert_eq!(inbox.due(0, 1).await.unwrap(), [odd]);
}

async fn a_broken_connection_is_opened_anew(server: &Server) {
    let inbox = server.inbox("broken").await;
    inbox.keep(&callback(1, "2"), 0).await.unwrap();
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
    );
    // The operation that finds the connection broken may fail: then the sender is answered 500, and tries again.
    let _ = inbox.keep(&callback(1, "2"), 0).await;
    assert_eq!(
        inbox.keep(&callback(1, "2"), 0).await.unwrap(),
        Kept::Again { handled: false }
    );
}

/// A PostgreSQL server of our own, on a socket in a folder of its own.
struct Server {
    bin: PathBuf,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let bin =
            bin().expect("PostgreSQL is not there; to install it: apt-get install postgresql");
        let folder = tempfile::tempdir().unwrap();
        // The server refuses to be run by root, and gets another user's folder.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let server = Self { bin, folder };
        let data = server.data();
        server.run(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "channel",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
            ],
        );
        let options = format!("-k {} -h '' -c fsync=off", server.folder.path().display());
        server.run(
            "pg_ctl",
            &[
                "-D",
                &data,
                "-w",
                "-s",
                "-l",
                &format!("{data}.log"),
                "-o",
                &options,
                "start",
            ],
        );
        server
    }

    /// An inbox in a schema of its own.
    async fn inbox(&self, name: &str) -> PostgresInbox {
        let schema = name.replace(':', "_").to_lowercase();
        self.sql(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        let host = self.folder.path().display();
        let config =
            format!("host={host} user=channel dbname=postgres options='-c search_path={schema}'");
        PostgresInbox::connect(&config).await.unwrap()
    }

    fn sql(&self, statement: &str) {
        let host = self.folder.path().display().to_string();
        self.run(
            "psql",
            &[
                "-q", "-h", &host, "-U", "channel", "-d", "postgres", "-c", statement,
            ],
        );
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.bin.join(program);
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut command = if is_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let output = command
            .args(arguments)
            .current_dir("/")
            .stdout(std::process::Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() || Path::new(&self.data()).exists() {
            self.run(
                "pg_ctl",
                &["-D", &self.data(), "-s", "-m", "immediate", "stop"],
            );
            // What another user has written, that user removes.
            let _ = Command::new("rm").arg("-rf").arg(self.data()).status();
        }
    }
}

/// Where the newest installed server's programs are; Debian does not put them on the PATH.
fn bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut bins: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    bins.retain(|bin| bin.join("initdb").exists());
    bins.sort();
    bins.pop()
}
