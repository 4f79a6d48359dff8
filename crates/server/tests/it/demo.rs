//! `sealpost demo` as a stranger runs it.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in `folder`, with its temporary files in `folder/tmp`.
fn sealpost(folder: &Path, arguments: &[&str]) -> Output {
    std::fs::create_dir_all(folder.join("tmp")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_sealpost"))
        .args(arguments)
        .current_dir(folder)
        .env("TMPDIR", folder.join("tmp"))
        .env_remove("SEALPOST_SECRET")
        .output()
        .unwrap()
}

#[test]
fn the_demo_tells_the_whole_story_and_leaves_only_the_pdf() {
    let folder = tempfile::tempdir().unwrap();
    let told = sealpost(folder.path(), &["demo", "--lang", "zh"]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&told.stderr)
    );
    for part in [
        "静默签",
        "sign_flow_status  2",
        "两个电子签名均有效",
        "3 已撤销",
        "5 已过期",
        "7 已拒签",
        "999",
        "全部步骤符合预期",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let left: Vec<String> = std::fs::read_dir(folder.path().join("sealpost-demo"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let pdf = left.iter().find(|name| name.ends_with(".pdf")).unwrap();
    assert!(
        left.len() == 2 && left.contains(&"ca.pem".to_owned()),
        "{left:?}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path().join("tmp"))
            .unwrap()
            .count(),
        0,
        "nothing is left behind"
    );

    // The variables of README's and the examples' own are no misspelt settings.
    let settings = Command::new(env!("CARGO_BIN_EXE_sealpost"))
        .args(["channel", "list"])
        .current_dir(folder.path())
        .env("SEALPOST_KEY", "sp_x")
        .env("SEALPOST_URL", "http://127.0.0.1:8080")
        .output()
        .unwrap();
    assert!(
        settings.status.success(),
        "{}",
        String::from_utf8_lossy(&settings.stderr)
    );

    let pdf = format!("sealpost-demo/{pdf}");
    let verified = sealpost(
        folder.path(),
        &["verify", &pdf, "--trust", "sealpost-demo/ca.pem", "--json"],
    );
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    let untrusted = sealpost(folder.path(), &["verify", &pdf]);
    assert!(
        !untrusted.status.success(),
        "without the root, nobody vouches for the signers"
    );
}

#[test]
fn the_demo_says_why_it_failed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("taken"),
        "a file where the folder should be",
    )
    .unwrap();
    let told = sealpost(folder.path(), &["demo", "--lang", "en", "--out", "taken"]);
    assert_eq!(told.status.code(), Some(1));
    let error = String::from_utf8(told.stderr).unwrap();
    assert!(
        error.contains("The demo failed") && error.contains("taken"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path().join("tmp"))
            .unwrap()
            .count(),
        0,
        "nothing is left behind"
    );
}
