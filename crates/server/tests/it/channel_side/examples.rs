//! The receivers in `examples/`: every vector, and `sealpost check` with a signature, finds nothing to blame.

use std::path::PathBuf;
use std::process::Command;

use sealpost_contract::vectors;
use sealpost_contract::webhook::Secret;

use super::actors::{Platform, Program, every_vector_holds_at, sealpost};

fn example(program: &str, file: &str) -> Command {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut command = Command::new(program);
    command
        .arg(folder.join(file))
        .env("PORT", "0")
        .env_remove("SECRET");
    command
}

async fn keeps_the_contract(program: &str, file: &str) {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Program::start(example(program, file).env("DATA", folder.path().join("1")));
    every_vector_holds_at(&receiver.url).await;
    drop(receiver);

    // What it has kept, it knows after a restart as well.
    let receiver = Program::start(example(program, file).env("DATA", folder.path().join("1")));
    let platform = Platform::new();
    let sample = vectors::requests().remove(0);
    assert_eq!(
        platform.post(&receiver.url, sample.body.clone()).await,
        Some((200, "000".to_owned()))
    );
    let other = sample.body.replace(r#""2""#, r#""3""#);
    assert_eq!(
        platform.post(&receiver.url, other).await,
        Some((409, "409".to_owned()))
    );
    drop(receiver);

    let secret = Secret::from_bytes([1; 32]).unwrap().expose();
    let mut command = example(program, file);
    let receiver = Program::start(
        command
            .env("DATA", folder.path().join("2"))
            .env("SECRET", &secret),
    );
    let check = sealpost()
        .args(["check", &receiver.url, "--json"])
        .env("WEBHOOK_SECRET", &secret)
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert!(check.status.success(), "{report:#}");
    assert_eq!(report["may"], 0, "{report:#}");
}

#[tokio::test]
async fn python() {
    keeps_the_contract("python3", "python/receiver.py").await;
}

#[tokio::test]
async fn node() {
    keeps_the_contract("node", "node/receiver.mjs").await;
}

#[tokio::test]
async fn java() {
    keeps_the_contract("java", "java/Receiver.java").await;
}
