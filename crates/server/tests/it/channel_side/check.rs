//! `sealpost check`: it finds each of the broken endpoints, blames nothing else, and passes the good ones.

use std::collections::BTreeSet;

use sealpost_contract::webhook::Secret;

use super::actors::{Program, run, sealpost};
use super::broken::{Broken, endpoint};

/// The rules that `check` finds broken; a malformed body counts by its name.
async fn broken_rules(broken: Broken) -> BTreeSet<String> {
    let (url, task) = endpoint(broken).await;
    let secret = broken.secret();
    let report = tokio::task::spawn_blocking(move || {
        let mut command = sealpost();
        command.args(["check", &url, "--json", "--timeout", "2500ms"]);
        if let Some(secret) = secret {
            command.args(["--secret", &secret.expose()]);
        }
        let output = command.output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            output.status.success(),
            report["breaks"] == 0,
            "the exit code says the same"
        );
        report
    })
    .await
    .unwrap();
    task.abort();
    let cases = report["cases"].as_array().unwrap();
    let breaks = cases.iter().filter(|case| case["verdict"] == "breaks");
    breaks
        .map(|case| case["rule"].as_str().unwrap().to_owned())
        .collect()
}

macro_rules! finds {
    ($($name:ident: $broken:expr => [$($rule:literal),* $(,)?];)*) => {$(
        #[tokio::test]
        async fn $name() {
            let expected: BTreeSet<String> = [$($rule),*].iter().map(|rule: &&str| (*rule).to_owned()).collect();
            assert_eq!(broken_rules($broken).await, expected);
        }
    )*};
}

finds! {
    nothing_in_a_good_endpoint: Broken::Nothing => [];
    nothing_in_a_good_endpoint_that_checks_signatures: Broken::NothingSigned => [];
    a_number_as_code: Broken::NumberAsCode => [
        "status-2", "status-3", "status-5", "status-7", "sample", "unknown-members", "member-order", "escapes",
        "white-space", "url-128", "url-128-wide", "short-id", "leap-day", "slow-client", "repeat", "repeat-form",
        "at-once", "after-conflict",
    ];
    only_completed_flows: Broken::OnlyCompleted => ["status-3", "status-5", "status-7"];
    a_schema_without_further_members: Broken::RefusesUnknownMembers => ["unknown-members", "repeat-form"];
    a_url_that_must_have_a_host: Broken::WantsRealUrl => ["sample"];
    an_error_for_a_repeat: Broken::RefusesRepeats => ["repeat", "repeat-form", "at-once", "after-conflict"];
    a_race_between_two_copies: Broken::RacesOnInsert => ["at-once"];
    the_last_end_wins: Broken::LastEndWins => ["conflict", "after-conflict"];
    the_last_member_wins: Broken::LastMemberWins => [
        "malformed: a member twice", "malformed: a member twice, once escaped",
        "malformed: a member twice in an ignored member", "malformed: an ignored member twice",
    ];
    bytes_counted_as_characters: Broken::CountsBytes => ["url-128-wide"];
    no_limits: Broken::NoLimits => [
        "malformed: a URL of 129 characters", "malformed: an id of 33",
        "malformed: 129 characters beyond the basic plane",
    ];
    days_that_do_not_exist: Broken::AnyDate => [
        "malformed: time '2021-02-30 18:24:29'", "malformed: 29 February 1900", "malformed: the year 0000",
        "malformed: time '2021-03-22 24:00:00'", "malformed: time '2021-03-22 18:24:60'",
    ];
    a_byte_order_mark: Broken::SkipsByteOrderMark => ["malformed: a byte order mark"];
    get_is_acknowledged: Broken::AcknowledgesGet => ["method"];
    one_client_at_a_time: Broken::OneAtATime => ["stalled-clients"];
    slow_clients_cut_off: Broken::Impatient => ["slow-client", "slow-malformed"];
    signatures_ignored: Broken::IgnoresSignature => [
        "signature-missing", "signature-wrong", "signature-body", "signature-old",
    ];
    old_signatures: Broken::IgnoresAge => ["signature-old"];
    one_signature_only: Broken::FirstSignatureOnly => ["signature-rotation"];
    a_crash_on_bad_json: Broken::HangsUpOnBadJson => ["malformed: no JSON", "malformed: empty body"];
    an_oversized_body_taken: Broken::TakesAnySize => ["too-large"];
}

/// Everything is answered 000: every rule about refusing is broken, and none about acknowledging.
#[tokio::test]
async fn yes_to_everything() {
    let broken = broken_rules(Broken::YesToEverything).await;
    assert!(
        broken.contains("conflict") && broken.contains("method") && broken.contains("too-large")
    );
    let malformed = broken
        .iter()
        .filter(|rule| rule.starts_with("malformed: "))
        .count();
    let refused = sealpost_contract::vectors::requests()
        .iter()
        .filter(|case| case.answer != "000")
        .count();
    assert_eq!(malformed, refused);
    assert!(
        !broken
            .iter()
            .any(|rule| rule.starts_with("status") || rule.starts_with("repeat"))
    );
}

#[tokio::test]
async fn sealpost_receive_passes_and_read_only_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let secret = Secret::from_bytes([1; 32]).unwrap().expose();
    let receive = Program::receive(folder.path(), &["--no-fetch", "--secret", &secret]);

    let output = run(&["check", &receive.url, "--read-only", "--secret", &secret]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}");
    assert!(table.contains("the endpoint keeps the contract"), "{table}");
    assert_eq!(super::actors::status(folder.path())["counts"]["kept"], 0);

    let junit = folder.path().join("junit.xml");
    let path = junit.to_str().unwrap();
    let output = run(&[
        "check",
        &receive.url,
        "--secret",
        &secret,
        "--json",
        "--junit",
        path,
    ]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report:#}");
    assert_eq!(
        (&report["breaks"], &report["may"]),
        (&0.into(), &0.into()),
        "{report:#}"
    );
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(
        xml.contains("failures=\"0\"") && xml.contains("status-2"),
        "{xml}"
    );

    // What was made up can be told from real flows.
    for entry in super::actors::status(folder.path())["callbacks"]
        .as_array()
        .unwrap()
    {
        let callback = &entry["callback"];
        let id = callback["sign_flow_id"].as_str().unwrap();
        let marked = id.starts_with("5ea1c4ec") || id.starts_with("check");
        let sample =
            id == "587a2f4738d44391835198df570b6ee6" && callback["sign_file_url"] == "http://";
        assert!(marked || sample, "{callback}");
    }
}

#[test]
fn another_machine_is_left_alone_without_yes() {
    // TEST-NET-1 (RFC 5737): nobody is there, and nobody is asked.
    let output = run(&["check", "http://192.0.2.1/callback"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--yes"));
}

#[test]
fn nobody_at_home() {
    let output = run(&["check", "http://127.0.0.1:2/callback"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing answers"));
}
