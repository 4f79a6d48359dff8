//! Documents from the outside: moving them to a bucket and back, a bucket that refuses us, what the metrics say of it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use sealpost_flow::Digest;
use sealpost_server::config::Config;

use crate::front::{Front, Mind};
use crate::nodes::Shared;
use crate::storage::Storage;
use crate::strict_storage::StrictStorage;
use crate::support::{PATIENCE, TestApp, receipt};

/// The program over a data folder, with a bucket at `endpoint` as far as one is named.
fn sealpost(data: &Path, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost"));
    command
        .current_dir(data.parent().unwrap())
        .arg("--data")
        .arg(data)
        .args(arguments)
        .env("SEALPOST_DOCUMENTS_ENDPOINT", endpoint)
        .env("SEALPOST_DOCUMENTS_ALLOW_HTTP", "true")
        .env("SEALPOST_DOCUMENTS_ACCESS_KEY_ID", "test")
        .env("SEALPOST_DOCUMENTS_SECRET_ACCESS_KEY", "test")
        .stdin(Stdio::null());
    command
}

/// What it printed, errors last.
fn printed(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[&out[..], &err[..]].concat()).into_owned()
}

/// The documents in a folder, by their digests.
fn kept(folder: &Path) -> Vec<Digest> {
    let mut found = Vec::new();
    for part in std::fs::read_dir(folder).unwrap() {
        let part = part.unwrap();
        if !part.file_type().unwrap().is_dir() {
            continue;
        }
        for file in std::fs::read_dir(part.path()).unwrap() {
            let file = file.unwrap();
            let digest = Digest::of(&std::fs::read(file.path()).unwrap());
            let named =
                [part.file_name(), file.file_name()].map(|name| name.into_string().unwrap());
            assert_eq!(named.concat(), digest.to_string());
            found.push(digest);
        }
    }
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_killed_is_run_again() {
    let storage = Storage::start("moved").await;
    let front = Front::before(storage.server(), Mind::Tiring(3)).await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let app = TestApp::start_with(|config| config.data.clone_from(&data)).await;
    let channel = app.channel("lianjia").await;
    for _ in 0..3 {
        let flow = channel.create_flow(receipt()).await;
        app.signer("张三").signs_last().await;
        channel.received(&flow).await;
    }
    let (clear, tiring) = (
        storage.options().endpoint.unwrap(),
        format!("http://{}", front.address),
    );
    let place = storage.options().to_string();
    let (from, to) = (data.join("documents"), data.join("back"));
    let to_bucket = |endpoint: &str| {
        let mut command = sealpost(&data, endpoint, &["migrate", "--documents-from"]);
        command.arg(&from).args(["--documents-to", &place]);
        command
    };
    // A server has the data folder.
    let refused = to_bucket(&clear).output().unwrap();
    assert!(!refused.status.success());
    assert!(
        printed(&refused).contains("another server is running"),
        "{}",
        printed(&refused)
    );
    let running = to_bucket(&tiring)
        .arg("--running")
        .stdout(Stdio::null())
        .spawn();
    let mut running = running.unwrap();
    let begun = Instant::now();
    while front.put() < 3 {
        assert!(begun.elapsed() < PATIENCE, "nothing is put");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        running.try_wait().unwrap().is_none(),
        "it waits for the bucket"
    );
    running.kill().unwrap();
    running.wait().unwrap();

    app.stop().await;
    let all = kept(&from);
    assert!(all.len() >= 9, "{}", all.len());
    let ended = to_bucket(&clear).output().unwrap();
    let told = printed(&ended);
    assert!(ended.status.success(), "{told}");
    let progress: Vec<&str> = told.lines().next().unwrap().split_whitespace().collect();
    let number = |place: usize| progress[place].parse::<usize>().unwrap();
    let (flows, copied, there) = (number(0), number(2), number(7));
    assert_eq!(progress[8..], ["were", "there"], "{told}");
    assert_eq!((flows, copied + there), (3, all.len()), "{told}");
    // What was under way at the kill may have arrived, too.
    assert!((3..all.len()).contains(&there), "{told}");
    assert!(told.contains("was compared with its digest"), "{told}");

    // Back into another folder.
    let ended = sealpost(
        &data,
        &clear,
        &["migrate", "--documents-from", &place, "--documents-to"],
    )
    .arg(&to)
    .output()
    .unwrap();
    assert!(ended.status.success(), "{}", printed(&ended));
    let back = kept(&to);
    for digest in &back {
        assert_eq!(Digest::of(&storage.object(digest).await.unwrap()), *digest);
    }
    assert_eq!(back, all, "all that is kept is named");

    // What is missing is told, and the rest goes on.
    let lost = all[0].to_string();
    std::fs::remove_file(from.join(&lost[..2]).join(&lost[2..])).unwrap();
    let elsewhere = data.join("elsewhere");
    let ended = sealpost(&data, &clear, &["migrate", "--documents-from"])
        .arg(&from)
        .arg("--documents-to")
        .arg(&elsewhere)
        .output()
        .unwrap();
    assert!(!ended.status.success());
    let told = printed(&ended);
    assert!(
        told.contains(&format!("lost: document {lost} is missing")),
        "{told}"
    );
    assert_eq!(kept(&elsewhere).len(), all.len() - 1);
}

#[test]
fn what_cannot_be_moved_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for (arguments, says) in [
        (vec!["migrate"], "--documents-from"),
        (vec!["migrate", "--documents-from", "a"], "--documents-to"),
        (vec!["migrate", "--from", "sqlite://a"], "--to"),
        (
            vec![
                "migrate",
                "--documents-from",
                "nowhere",
                "--documents-to",
                "s3://receipts",
            ],
            "there is no folder nowhere",
        ),
        (
            vec![
                "migrate",
                "--documents-from",
                "s3://a b",
                "--documents-to",
                "x",
            ],
            "s3://bucket",
        ),
        (
            vec![
                "migrate",
                "--documents-from",
                "https://x",
                "--documents-to",
                "x",
            ],
            "a folder or in s3://",
        ),
    ] {
        let ended = sealpost(&data, "https://storage.example", &arguments)
            .output()
            .unwrap();
        assert!(!ended.status.success());
        assert!(
            printed(&ended).contains(says),
            "{arguments:?}: {}",
            printed(&ended)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_refuses_the_key_is_told_at_the_start() {
    let storage = StrictStorage::start().await;
    let key = storage.options().credentials.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let run = |command: &str, id: &str, secret: &str| {
        let arguments = [
            command,
            "--documents",
            "s3://receipts/a",
            "--listen",
            "127.0.0.1:0",
        ];
        let ended = sealpost(&data, &storage.endpoint(), &arguments)
            .env("SEALPOST_DOCUMENTS_ACCESS_KEY_ID", id)
            .env("SEALPOST_DOCUMENTS_SECRET_ACCESS_KEY", secret)
            .output()
            .unwrap();
        (ended.status.success(), printed(&ended))
    };
    let (id, secret) = (&*key.access_key_id, &*key.secret_access_key);
    for (id, secret, says) in [
        (id, "hush", "documents.secret_access_key is not the secret"),
        ("nobody", secret, "does not know documents.access_key_id"),
    ] {
        for command in ["serve", "doctor"] {
            let (fit, told) = run(command, id, secret);
            assert!(!fit && told.contains(says), "{command}: {told}");
            assert!(!told.contains("hush"), "{told}");
        }
    }
    let (_, told) = run("doctor", id, secret);
    assert!(told.contains("s3://receipts/a keeps and gives"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_has_ended_is_told_and_its_token_is_not() {
    let storage = Storage::start("session").await;
    let folder = tempfile::tempdir().unwrap();
    let place = storage.options().to_string();
    let run = async |command: &str, mind| {
        let front = Front::before(storage.server(), mind).await;
        let endpoint = format!("http://{}", front.address);
        let arguments = [command, "--documents", &place, "--listen", "127.0.0.1:0"];
        let ended = sealpost(&folder.path().join("data"), &endpoint, &arguments)
            .env("SEALPOST_DOCUMENTS_SESSION_TOKEN", "hush")
            .output()
            .unwrap();
        let told = printed(&ended);
        assert!(!told.contains("hush"), "{told}");
        told
    };
    for command in ["serve", "doctor"] {
        let told = run(command, Mind::Refusing(400, "ExpiredToken")).await;
        assert!(
            told.contains("documents.session_token is good no longer"),
            "{command}: {told}"
        );
    }
    // Nothing is listed, so the key need not be allowed to.
    let told = run("doctor", Mind::Unlisted).await;
    assert!(told.contains("keeps and gives"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_without_conditions_is_told_by_the_doctor() {
    let storage = Storage::start("doctor").await;
    let front = Front::before(storage.server(), Mind::Unconditional).await;
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("http://{}", front.address);
    let place = storage.options().to_string();
    let arguments = ["doctor", "--documents", &place, "--listen", "127.0.0.1:0"];
    let ended = sealpost(&folder.path().join("data"), &endpoint, &arguments)
        .output()
        .unwrap();
    let told = printed(&ended);
    assert!(
        told.contains("keeps and gives, but knows no If-None-Match"),
        "{told}"
    );
    assert_eq!(front.refused(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_of_the_bucket_and_of_the_nodes() {
    let shared = Shared::start("metrics").await;
    let brief = |config: &mut Config| {
        if let Some(documents) = &mut config.documents {
            documents.patience = Duration::from_secs(1);
        }
    };
    let node = shared.node_with(brief).await;
    let other = shared.node().await;
    let metric = async |name: &str| -> f64 {
        let text = String::from_utf8(node.get("/metrics").await.body.to_vec()).unwrap();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found
            .unwrap_or_else(|| panic!("{name}:\n{text}"))
            .parse()
            .unwrap()
    };
    assert_eq!(metric("sealpost_nodes").await, 2.0);
    assert_eq!(metric("sealpost_draining").await, 0.0);
    let put = r#"sealpost_document_operations_total{operation="put"}"#;
    let failed = r#"sealpost_document_failures_total{operation="put"}"#;
    let seconds = r#"sealpost_document_seconds_total{operation="put"}"#;
    let before = metric(put).await;
    let channel = node.channel("lianjia").await;
    channel.create_flow(receipt()).await;
    assert!(metric(put).await > before);
    assert_eq!(metric(failed).await, 0.0);
    let took = metric(seconds).await;
    assert!(took > 0.0);

    shared.storage.set_way(crate::storage::Way::Silent);
    let refused = channel.post("/v1/sign-flows", &receipt()).await;
    assert_eq!(refused.status, 503);
    assert_eq!(metric(failed).await, 1.0);
    assert!(metric(seconds).await > took + 0.9);
    shared.storage.set_way(crate::storage::Way::Clear);

    other.stop().await;
    assert_eq!(metric("sealpost_nodes").await, 1.0);
    node.stop().await;
}
