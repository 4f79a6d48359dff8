//! `sealpost receive`: the vectors, the file, handing on, restarts, and failing on purpose.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealpost_contract::vectors;
use sealpost_contract::webhook::{self, Secret};

use super::actors::{
    Endpoint, Platform, Program, callback, eventually, every_vector_holds_at, run, sealpost, status,
};

const ID: &str = "587a2f4738d44391835198df570b6ee6";
const LOOPBACK: [&str; 2] = ["--allow", "127.0.0.0/8"];

fn acknowledged() -> Option<(u16, String)> {
    Some((200, "000".to_owned()))
}

/// The record of the flow `ID`, once its file is in this state.
async fn record_in_state(data: &Path, state: &str) -> serde_json::Value {
    eventually(&format!("the file became {state}"), || {
        let bytes = std::fs::read(data.join("files").join(format!("{ID}.json"))).ok()?;
        let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        (record["file"]["state"] == state).then_some(record)
    })
    .await
}

#[tokio::test]
async fn every_vector_holds() {
    let folder = tempfile::tempdir().unwrap();
    let receive = Program::receive(folder.path(), &["--no-fetch"]);
    every_vector_holds_at(&receive.url).await;
    let accepted = vectors::requests()
        .iter()
        .filter(|case| case.answer == "000")
        .count();
    assert_eq!(status(folder.path())["counts"]["kept"], accepted);
}

#[tokio::test]
async fn the_file_is_fetched_until_it_comes_and_handed_on_until_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let taken = folder.path().join("taken.json");
    let file = Endpoint::start(|number| match number {
        0 => (503, Bytes::new()),
        _ => (200, Bytes::from_static(b"%PDF-1.7 but not really")),
    })
    .await;
    let forward =
        Endpoint::start(|number| (if number == 0 { 500 } else { 204 }, Bytes::new())).await;
    let exec = format!("cat > {}", taken.display());
    let arguments = [&LOOPBACK[..], &["--forward", &forward.url, "--exec", &exec]].concat();
    let receive = Program::receive(&data, &arguments);

    let body = callback(ID, "2", &file.url);
    assert_eq!(
        Platform::new().post(&receive.url, body).await,
        acknowledged()
    );
    let record = record_in_state(&data, "fetched").await;
    assert_eq!(record["file"]["name"], format!("{ID}.pdf"));
    assert_eq!(record["file"]["signatures"]["verdict"], "unreadable");
    assert_eq!(
        std::fs::read(data.join("files").join(format!("{ID}.pdf"))).unwrap(),
        b"%PDF-1.7 but not really"
    );

    let done = || (status(&data)["counts"]["done"] == 1).then_some(());
    eventually("the result was handed on", done).await;
    let forwarded = forward.received();
    assert_eq!(forwarded.len(), 2, "one refused, one taken");
    assert_eq!(forwarded[0].body, forwarded[1].body);
    assert_eq!(forwarded[0].headers["idempotency-key"], ID);
    let result: serde_json::Value = serde_json::from_slice(&forwarded[1].body).unwrap();
    assert_eq!(result["callback"]["sign_flow_status"], "2");
    assert_eq!(result["file"]["sha256"], record["file"]["sha256"]);
    assert_eq!(result["file"]["signatures"]["verdict"], "unreadable");
    assert_eq!(std::fs::read(&taken).unwrap(), forwarded[1].body);
    assert_eq!(file.received().len(), 2);
}

#[tokio::test]
async fn a_file_that_is_not_to_be_had_is_given_up_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = Endpoint::start(|_| (404, Bytes::new())).await;
    let forward = Endpoint::start(|_| (200, Bytes::new())).await;
    let arguments = [
        &LOOPBACK[..],
        &["--fetch-attempts", "2", "--forward", &forward.url],
    ]
    .concat();
    let receive = Program::receive(folder.path(), &arguments);
    let body = callback(ID, "2", &file.url);
    assert_eq!(
        Platform::new().post(&receive.url, body).await,
        acknowledged()
    );
    let record = record_in_state(folder.path(), "given_up").await;
    assert_eq!(
        (
            record["file"]["attempts"].as_u64(),
            record["file"]["failure"].as_str()
        ),
        (Some(2), Some("HTTP status 404"))
    );
    let result = eventually("the result was forwarded", || forward.received().pop()).await;
    let result: serde_json::Value = serde_json::from_slice(&result.body).unwrap();
    assert!(result["file"].is_null());
    assert_eq!(result["file_failure"], "HTTP status 404");

    let table = sealpost()
        .args(["receive", "--status", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("1 with a failure") && table.contains("HTTP status 404"),
        "{table}"
    );

    // Once the file is there, a person asks for it again.
    receive.kill();
    let file = Endpoint::start(|_| (200, Bytes::from_static(b"%PDF"))).await;
    let path = folder.path().join("files").join(format!("{ID}.json"));
    let moved = std::fs::read_to_string(&path).unwrap().replace(
        record["callback"]["sign_file_url"].as_str().unwrap(),
        &file.url,
    );
    std::fs::write(&path, moved).unwrap();
    let _receive = Program::receive(
        folder.path(),
        &[&LOOPBACK[..], &["--retry-failed"]].concat(),
    );
    record_in_state(folder.path(), "fetched").await;
}

#[tokio::test]
async fn what_the_guard_or_the_cap_refuses_is_not_fetched() {
    let file = Endpoint::start(|_| (200, Bytes::from(vec![b'x'; 1024 * 1024 + 1]))).await;
    for (arguments, reason) in [
        (&[][..], "not permitted"),
        (
            &["--allow", "127.0.0.0/8", "--max-file", "1"],
            "answer_too_large",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let receive = Program::receive(folder.path(), arguments);
        let body = callback(ID, "2", &file.url);
        assert_eq!(
            Platform::new().post(&receive.url, body).await,
            acknowledged()
        );
        let record = record_in_state(folder.path(), "given_up").await;
        let failure = record["file"]["failure"].as_str().unwrap();
        assert!(failure.contains(reason), "{failure}");
    }
    assert_eq!(file.received().len(), 1, "the guard let nothing through");
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    // Not answered in time: the first life ends while it fetches.
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let (url, task) = super::actors::serve(move |_| {
        asked.send(()).unwrap();
        std::future::pending()
    })
    .await;
    let receive = Program::receive(folder.path(), &LOOPBACK);
    assert_eq!(
        Platform::new()
            .post(&receive.url, callback(ID, "2", &url))
            .await,
        acknowledged()
    );
    was_asked.recv().await.unwrap();
    receive.kill();
    let counts = &status(folder.path())["counts"];
    assert_eq!(
        (counts["waiting"].as_u64(), counts["done"].as_u64()),
        (Some(1), Some(0))
    );
    // The claim of the first life does not hold up the second.
    let _receive = Program::receive(folder.path(), &LOOPBACK);
    was_asked.recv().await.unwrap();
    task.abort();
}

#[tokio::test]
async fn a_folder_has_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let _receive = Program::receive(folder.path(), &["--no-fetch"]);
    let data = folder.path().to_str().unwrap();
    let second = run(&["receive", "--listen", "127.0.0.1:0", "--data", data]);
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"));
}

#[tokio::test]
async fn only_signed_callbacks_when_a_secret_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let secret = Secret::from_bytes([1; 32]).unwrap();
    let mut command = sealpost();
    command
        .args(["receive", "--listen", "127.0.0.1:0", "--no-fetch", "--data"])
        .arg(folder.path());
    let receive = Program::start(command.env("WEBHOOK_SECRET", secret.expose()));
    let platform = Platform::new();
    let body = callback(ID, "2", "http://");
    assert_eq!(
        platform.post(&receive.url, body.clone()).await,
        Some((401, "401".to_owned()))
    );
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let signature = webhook::sign(
        &secret,
        "msg_1",
        i64::try_from(now).unwrap(),
        body.as_bytes(),
    );
    let headers = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", &*now.to_string()),
        ("webhook-signature", &*signature),
    ];
    assert_eq!(
        platform.post_with(&receive.url, body, &headers).await,
        acknowledged()
    );
}

#[tokio::test]
async fn a_full_disk_is_answered_500_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // No file may grow beyond 256 KiB, which is to the program what a full disk is.
    let limited = "trap '' XFSZ; ulimit -f 512; exec \"$0\" --log off receive --no-fetch --listen 127.0.0.1:0 --data \"$1\"";
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", limited, env!("CARGO_BIN_EXE_sealpost")])
        .arg(folder.path());
    let receive = Program::start(&mut command);
    let platform = Platform::new();
    let mut kept = 0;
    let refused = loop {
        assert!(kept < 5_000, "the disk did not fill");
        let body = callback(&kept.to_string(), "2", "http://");
        match platform.post(&receive.url, body.clone()).await {
            Some((200, _)) => kept += 1,
            Some((500, _)) => break body,
            other => panic!("{other:?}"),
        }
    };
    receive.kill();
    assert!(kept > 0);

    let receive = Program::receive(folder.path(), &["--no-fetch"]);
    assert_eq!(
        status(folder.path())["counts"]["kept"],
        kept,
        "neither more nor less than was acknowledged"
    );
    assert_eq!(platform.post(&receive.url, refused).await, acknowledged());
}

#[test]
fn a_secret_that_is_none_is_not_taken_for_going_without() {
    for nothing in ["", " ", "secret", "whsec_AAAA"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = sealpost();
        command
            .args(["receive", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path());
        let output = command.env("WEBHOOK_SECRET", nothing).output().unwrap();
        assert!(!output.status.success(), "{nothing:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("WEBHOOK_SECRET"));
    }
}

#[tokio::test]
async fn failing_on_purpose() {
    let platform = Platform::new();
    let body = callback(ID, "2", "http://");
    let folder = tempfile::tempdir().unwrap();
    let receive = |arguments: &[&str]| {
        Program::receive(folder.path(), &[&["--no-fetch"], arguments].concat())
    };

    let program = receive(&["--fail-first", "2"]);
    for code in ["999", "999", "000"] {
        assert_eq!(
            platform.post(&program.url, body.clone()).await,
            Some((200, code.to_owned()))
        );
    }
    program.kill();

    let program = receive(&["--answer", "busy", "--answer-status", "503"]);
    for _ in 0..2 {
        assert_eq!(
            platform.post(&program.url, body.clone()).await,
            Some((503, "busy".to_owned()))
        );
    }
    program.kill();

    let program = receive(&["--drop", "--fail-first", "1"]);
    assert_eq!(platform.post(&program.url, body.clone()).await, None);
    assert_eq!(
        platform.post(&program.url, body.clone()).await,
        acknowledged()
    );
    program.kill();

    let program = receive(&["--delay", "300ms"]);
    let begun = Instant::now();
    assert_eq!(platform.post(&program.url, body).await, acknowledged());
    assert!(begun.elapsed() >= Duration::from_millis(300));

    let refused = run(&["receive", "--answer", "000"]);
    assert!(!refused.status.success(), "000 for what is not kept");
}
