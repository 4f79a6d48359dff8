//! What only a process of its own can show: it is killed at a bad moment, its disk is full, its folder read-only.
//!
//! The test starts itself again for it; [`child`] is what runs there. A full or read-only disk is a small file system of
//! the child's own, in a mount namespace (`unshare` of util-linux), so that nothing of the machine is touched.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use sealpost_flow::Digest;
use sealpost_store::{Error, Store};

use crate::world::{CHANNEL, NOW, World, api_key, change, channel, flow_id, keep, new_flow};

const ROLE: &str = "SEALPOST_TEST_ROLE";
const FOLDER: &str = "SEALPOST_TEST_FOLDER";

/// Runs in a process of its own, or does nothing.
#[tokio::test]
async fn child() {
    let (Ok(role), Ok(folder)) = (std::env::var(ROLE), std::env::var(FOLDER)) else {
        return;
    };
    let folder = Path::new(&folder);
    match role.as_str() {
        "writer" => write_until_killed(folder).await,
        "copier" => crate::copies::copy_until_killed(folder).await,
        "full disk" => fill_the_disk(folder).await,
        "read-only folder" => open_read_only(folder),
        other => panic!("no such role: {other}"),
    }
}

pub(crate) fn child_command(launcher: &[&str], role: &str, folder: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let arguments = [
        "processes::child",
        "--exact",
        "--nocapture",
        "--test-threads=1",
    ];
    let mut command = match launcher {
        [] => Command::new(program),
        [launcher, rest @ ..] => {
            let mut command = Command::new(launcher);
            command.args(rest).arg(program);
            command
        }
    };
    command.args(arguments).env(ROLE, role).env(FOLDER, folder);
    command
}

/// Runs the child on a file system of its own, mounted at `folder`.
fn run_in_namespace(mount: &str, role: &str, folder: &Path) {
    let script = format!("{mount} && exec \"$0\" \"$@\"");
    let output = child_command(
        &["unshare", "--map-root-user", "--mount", "sh", "-c", &script],
        role,
        folder,
    )
    .output()
    .unwrap_or_else(|error| panic!("cannot run unshare ({error}); apt-get install util-linux"));
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("child survived"),
        "{text}{errors}"
    );
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let world = World::sqlite().await;
    for _ in 0..8 {
        let mut child = child_command(&[], "writer", world.folder())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut kept = Vec::new();
        while kept.len() < 40 {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, number)) = line.split_once("kept ") {
                kept.push(number.parse::<u32>().unwrap());
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Some more lines may have been on their way: they count, too.
        let rest = lines
            .map_while(Result::ok)
            .filter_map(|line| line.split_once("kept ").map(|(_, n)| n.parse::<u32>()));
        kept.extend(rest.map_while(Result::ok));

        let store = world.another();
        for number in kept {
            let found = store.find_flow(&flow_id(number)).await.unwrap().unwrap();
            assert_eq!(found.flow, change(number, NOW).flow);
            assert_eq!(
                store.events(&flow_id(number)).await.unwrap().len() as u64,
                found.flow.events
            );
            assert_eq!(
                store.document(&document(number)).await.unwrap(),
                document_bytes(number)
            );
        }
    }
}

async fn write_until_killed(folder: &Path) {
    let store = Store::open(folder).unwrap();
    let base = std::process::id() % 100_000 * 4000;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..500 {
                    let number = base + writer * 500 + number;
                    store.put_document(document_bytes(number)).await.unwrap();
                    keep(&store, new_flow(number, NOW)).await;
                    println!("kept {number}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

fn document_bytes(number: u32) -> Vec<u8> {
    format!("document {number}").into_bytes()
}

fn document(number: u32) -> Digest {
    Digest::of(&document_bytes(number))
}

#[test]
fn a_full_disk_is_an_error_and_nothing_is_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=4m tmpfs '{}'",
        folder.path().display()
    );
    run_in_namespace(&mount, "full disk", folder.path());
}

async fn fill_the_disk(folder: &Path) {
    let store = Store::open(folder).unwrap();
    assert!(
        store
            .create_channel(channel(CHANNEL, "链家"), api_key("k1", CHANNEL))
            .await
            .unwrap()
    );
    let mut documents = Vec::new();
    let full = loop {
        let bytes = vec![documents.len() as u8; 100_000];
        match store.put_document(bytes).await {
            Ok(digest) => documents.push(digest),
            Err(error) => break error,
        }
    };
    let Error::File { source, .. } = &full else {
        panic!("{full:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull, "{full}");
    let left: Vec<_> = std::fs::read_dir(folder.join("documents"))
        .unwrap()
        .collect();
    let torn = left.iter().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("tmp-")
    });
    assert_eq!(torn.count(), 0, "no torn file is left to take up room");

    // The last of the room goes to flows.
    let mut number = 0;
    let full = loop {
        match store.create_flow(new_flow(number, NOW)).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full(_)), "{full:?}");
    let (kept, refused) = (flow_id(number.saturating_sub(1)), flow_id(number));
    assert_eq!(store.find_flow(&refused).await.unwrap(), None);
    assert_eq!(store.events(&refused).await.unwrap(), []);
    assert!(store.find_flow(&kept).await.unwrap().is_some());

    // With room again everything works, without a restart.
    let victim = documents.pop().unwrap().to_string();
    std::fs::remove_file(
        folder
            .join("documents")
            .join(&victim[..2])
            .join(&victim[2..]),
    )
    .unwrap();
    keep(&store, new_flow(number, NOW)).await;
    println!("child survived after {number} flows");
}

#[test]
fn a_read_only_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let path = folder.path().display();
    let mount = format!("mount --bind '{path}' '{path}' && mount -o remount,ro,bind '{path}'");
    run_in_namespace(&mount, "read-only folder", folder.path());
}

fn open_read_only(folder: &Path) {
    let error = Store::open(folder).unwrap_err();
    let Error::File { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        source.kind(),
        std::io::ErrorKind::ReadOnlyFilesystem,
        "{error}"
    );
    println!("child survived");
}
