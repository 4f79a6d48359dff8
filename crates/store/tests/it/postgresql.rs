//! Runs the programs of the PostgreSQL that Debian has installed. Also part of the tests of the crates above.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One of PostgreSQL's programs, to be run in `folder`. They refuse to be run by root, so for root it is the user `postgres` who
/// runs them.
pub(crate) fn program(name: &str, folder: &Path) -> Command {
    let program = newest().join(name);
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder).stdin(Stdio::null());
    command.stdout(Stdio::null());
    command
}

/// Gives `path` and all that is in it to whoever runs the programs.
pub(crate) fn give(path: &Path) {
    if is_root() {
        succeeds(Command::new("chown").args(["-R", "postgres"]).arg(path));
    }
}

pub(crate) fn succeeds(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// Where the programs of the newest version are.
fn newest() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    versions
        .filter_map(|version| {
            let folder = version.ok()?.path();
            let number: u32 = folder.file_name()?.to_str()?.parse().ok()?;
            let programs = folder.join("bin");
            programs
                .join("initdb")
                .is_file()
                .then_some((number, programs))
        })
        .max()
        .expect("no PostgreSQL; install it: apt-get install postgresql")
        .1
}
