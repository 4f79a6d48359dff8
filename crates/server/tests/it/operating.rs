//! Operating it: health, metrics, documentation; starts that are refused; a disk that is full or read-only.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{TestApp, receipt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_readiness_metrics_and_documentation_answer() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    app.signer("张三").signs_last().await;
    channel.callback_in(&flow, "acknowledged").await;
    assert_eq!(app.get("/healthz").await.body, "ok\n");
    let ready = app.get("/readyz").await;
    let said = ready.json();
    assert_eq!((ready.status.as_u16(), &said["ready"]), (200, &json!(true)));
    assert_eq!(
        said["checks"],
        json!({ "database": "ok", "dispatcher": "ok", "oldest_due": "ok", "serving": "ok" })
    );
    let metrics = app.get("/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        r#"sealpost_http_requests_total{route="/v1/sign-flows",method="POST",status="201"} 1"#,
        r#"sealpost_flows_ended_total{status="2"} 1"#,
        r#"sealpost_flows{state="completed"} 1"#,
        "sealpost_dispatcher_alive 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(
        !metrics.contains(app.signer("张三").url.rsplit('/').next().unwrap()),
        "no token in a label"
    );
    assert_eq!(app.get("/openapi.json").await.json()["openapi"], "3.1.0");
    let docs = app.get("/docs").await;
    assert!(docs.header("content-type").starts_with("text/html"));
    assert!(
        !String::from_utf8_lossy(&docs.body).contains("//cdn"),
        "nothing from other hosts"
    );
    assert!(
        String::from_utf8_lossy(&app.get("/ca.pem").await.body)
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    let (url, id) = (
        format!("{}/healthz", app.base()),
        [("x-request-id".parse().unwrap(), "trace-7".to_owned())],
    );
    let own = app
        .http
        .send(http::Method::GET, &url, &id, "")
        .await
        .unwrap();
    assert_eq!(own.header("x-request-id"), "trace-7");
    app.stop().await;
}

#[test]
fn a_configuration_that_cannot_work_refuses_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("https://{}.example.com", "a".repeat(100));
    std::fs::write(folder.path().join("wrong.toml"), "lisen = '127.0.0.1:0'\n").unwrap();
    std::fs::create_dir_all(folder.path().join("bad")).unwrap();
    std::fs::write(folder.path().join("bad/secret.key"), "short").unwrap();
    let cases: [(&[&str], &[&str]); 5] = [
        (
            &["serve", "--public-url", &long],
            &["public_url", "128", "sign_file_url"],
        ),
        (
            &["serve", "--config", "wrong.toml"],
            &["wrong.toml", "lisen"],
        ),
        (&["serve", "--config", "none.toml"], &["none.toml"]),
        (&["serve", "--listen", "nowhere"], &["listen"]),
        (
            &["serve", "--listen", "127.0.0.1:0", "--data", "bad"],
            &["secret.key", "32 bytes"],
        ),
    ];
    for (arguments, says) in cases {
        let ended = Command::new(env!("CARGO_BIN_EXE_sealpost"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success(), "{arguments:?}: {error}");
        for part in says {
            assert!(
                error.contains(part),
                "{arguments:?}: {part} is not in {error}"
            );
        }
    }
}

#[test]
fn the_command_line_is_sound_and_works_beside_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Serving::start(folder.path(), &[]);
    let added = sealpost(folder.path(), &["channel", "add", "lianjia", "--json"]);
    let key = added["api_key"].as_str().unwrap().to_owned();
    assert_eq!(
        sealpost(folder.path(), &["channel", "list", "--json"])[0]["name"],
        "lianjia"
    );
    let answer = server.post(&key, "/v1/sign-flows", &receipt());
    assert_eq!(answer.0, 201, "{}", answer.1);
    let id = answer.1["sign_flow_id"].as_str().unwrap().to_owned();
    assert_eq!(
        sealpost(folder.path(), &["flow", "list", "--json"])["data"][0]["sign_flow_id"],
        id
    );
    let shown = sealpost(folder.path(), &["flow", "show", &id, "--json"]);
    assert_eq!(
        (
            &shown["sign_flow"]["state"],
            &shown["events"][0]["what"]["kind"]
        ),
        (&json!("signing"), &json!("created"))
    );
    assert_eq!(
        sealpost(folder.path(), &["callbacks", "list", "--json"])["data"],
        json!([])
    );
    let rotated = sealpost(
        folder.path(),
        &["channel", "rotate-secret", "lianjia", "--json"],
    );
    assert!(
        rotated["webhook_secret"]
            .as_str()
            .unwrap()
            .starts_with("whsec_")
    );
    // SIGTERM ends it in good order.
    server.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_evidence_is_recomputed_offline() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    app.signer("张三").signs_last().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("ca.pem", &app.get("/ca.pem").await.body);
    write(
        "signed.pdf",
        &channel
            .get(&format!("/v1/sign-flows/{}/file", flow.id))
            .await
            .body,
    );
    let evidence = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await
        .json();
    app.stop().await;

    let verdict = |evidence: &Value| {
        write("evidence.json", evidence.to_string().as_bytes());
        let arguments = [
            "verify",
            "signed.pdf",
            "--trust",
            "ca.pem",
            "--evidence",
            "evidence.json",
            "--json",
        ];
        let ended = Command::new(env!("CARGO_BIN_EXE_sealpost"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let shown: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(shown["verdict"], "valid");
        assert_eq!(ended.status.success(), shown["evidence"]["holds"] == true);
        shown["evidence"]["reason"]
            .as_str()
            .unwrap_or("it holds")
            .to_owned()
    };
    assert_eq!(verdict(&evidence), "it holds");
    let forged = |change: &dyn Fn(&mut Value)| {
        let mut forged = evidence.clone();
        change(&mut forged);
        verdict(&forged)
    };
    assert!(
        forged(&|e| e["events"][3]["event"]["at"] = 1.into()).contains("shown as something else")
    );
    assert!(
        forged(&|e| {
            let json = e["events"][3]["canonical_json"]
                .as_str()
                .unwrap()
                .replace("\"signer\":1", "\"signer\":2");
            e["events"][3]["event"] = serde_json::from_str(&json).unwrap();
            e["events"][3]["canonical_json"] = json.into();
        })
        .contains("breaks at event 4")
    );
    assert!(
        forged(&|e| drop(e["events"].as_array_mut().unwrap().pop())).contains("missing at the end")
    );
    assert!(
        forged(&|e| drop(e["events"].as_array_mut().unwrap().remove(2))).contains("numbered 4")
    );
    assert!(
        forged(&|e| e["sign_flow"]["sign_flow_id"] = "0".repeat(32).into())
            .contains("another flow's")
    );
}

#[test]
fn the_doctor_says_what_is_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let found = |verdict: &'static str, arguments: &[&str], settings: &[(&str, &str)]| {
        let all = ["doctor", "--json", "--listen", "127.0.0.1:0"]
            .iter()
            .chain(arguments);
        let ended = Command::new(env!("CARGO_BIN_EXE_sealpost"))
            .args(all)
            .envs(settings.iter().copied())
            .current_dir(folder.path())
            .output()
            .unwrap();
        let shown: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(ended.status.success(), shown["fit"] == true, "{shown}");
        let found = shown["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["verdict"] == verdict);
        found
            .map(|finding| finding["what"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let doctor = |arguments: &[&str]| found("bad", arguments, &[]);
    assert_eq!(
        doctor(&["--public-url", "https://sign.example.com"]),
        Vec::<String>::new()
    );
    // Who has a public URL has a proxy, on this machine perhaps, and is told to name it.
    let url = ["--public-url", "https://sign.example.com"];
    let named = [("SEALPOST_TRUSTED_PROXIES", "127.0.0.1")];
    let minds = |arguments: &[&str], settings: &[(&str, &str)]| {
        let found = found("mind", arguments, settings);
        found.contains(&"proxies".to_owned())
    };
    assert!(minds(&url, &[]) && !minds(&url, &named) && !minds(&[], &[]));
    assert_eq!(
        doctor(&["--public-url", "sign.example.com"]),
        ["configuration"]
    );
    std::fs::write(folder.path().join("sealpost-data/secret.key"), "short").unwrap();
    assert_eq!(doctor(&[]), ["data"]);
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(doctor(&["--data", "file/inside"]), ["folder", "data"]);
}

/// A full disk: a small file system of its own for the data folder. Needs the right to mount one, as root and in CI's
/// container; where that is missing, the test says so instead of passing silently.
#[test]
fn a_full_disk_is_an_error_that_leaves_nothing_half_written_and_heals() {
    if !can_mount() {
        eprintln!(
            "skipped: this user may not mount a tmpfs (try as root, or: sysctl kernel.unprivileged_userns_clone=1)"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1500k tmpfs {0} && exec \"$@\"",
        mount.display()
    );
    let mut server =
        Serving::start_under(&["unshare", "-m", "sh", "-c", &script, "sh"], &mount, &[]);
    let data = server.data.clone();
    let added = server.beside(&[
        "channel",
        "add",
        "lianjia",
        "--json",
        "--data",
        &data.display().to_string(),
    ]);
    let key = added["api_key"].as_str().unwrap().to_owned();

    let (mut made, mut refused) = (0, 0);
    for _ in 0..60 {
        match server.post(&key, "/v1/sign-flows", &receipt()) {
            (201, _) => made += 1,
            (507, problem) => {
                assert_eq!(problem["code"], "storage_full", "{problem}");
                refused += 1;
            }
            (status, problem) => panic!("{status}: {problem}"),
        }
    }
    assert!(made > 0 && refused > 0, "{made} made, {refused} refused");
    let (status, listed) = server.get(&key, "/v1/sign-flows?limit=200");
    assert_eq!(
        (status, listed["data"].as_array().map(Vec::len)),
        (200, Some(made)),
        "what was refused was not kept"
    );
    let leftovers = server.sh(&format!("find {} -name '*.tmp*' | wc -l", data.display()));
    assert_eq!(leftovers.trim(), "0", "no temporary file is left");

    server.sh(&format!("mount -o remount,size=8m {}", mount.display()));
    let begun = Instant::now();
    while server.post(&key, "/v1/sign-flows", &receipt()).0 != 201 {
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "it does not heal when there is room again"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    server.terminate();
}

#[test]
fn a_read_only_folder_refuses_to_start() {
    if !can_mount() {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display();
    let script = format!(
        "mount -t tmpfs -o ro tmpfs {data} && exec \"$0\" serve --listen 127.0.0.1:0 --data {data}/data"
    );
    let ended = Command::new("unshare")
        .args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_sealpost")])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{error}");
    assert!(error.contains("Read-only"), "{error}");
}

fn can_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"])
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_brings_the_schema_up_to_date_or_waits_for_it_stops_at_once() {
    let url = crate::postgres::database("stopped").await.url;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    // One step takes longer than this test.
    client
        .batch_execute(
            "CREATE FUNCTION take_long() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.flows') THEN
                     PERFORM pg_sleep(3600);
                 END IF;
             END $$;
             CREATE EVENT TRIGGER take_long ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION take_long()",
        )
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let start = |says| Serving::start_until(says, &[], folder.path(), &["--database", &url]);
    let mut migrating = start("up to date takes a while");
    let mut waiting = start("this one waits for it");
    for server in [&mut waiting, &mut migrating] {
        server.terminate();
    }
    // What it was doing ends with it, so that the next to start need not wait for nobody.
    let others = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let begun = Instant::now();
    while client
        .query_one(others, &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        > 0
    {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "its session is still at it"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn an_installation_moves_to_postgresql() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let url = runtime.block_on(crate::postgres::database("moved")).url;
    let folder = tempfile::tempdir().unwrap();
    let migrate = |arguments: &[&str]| {
        let ended = Command::new(env!("CARGO_BIN_EXE_sealpost"))
            .args(["migrate", "--from", "sqlite://sealpost-data", "--to", &url])
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        ended.status.success().then_some(()).ok_or(error)
    };
    let mut server = Serving::start(folder.path(), &[]);
    let added = sealpost(folder.path(), &["channel", "add", "lianjia", "--json"]);
    let key = added["api_key"].as_str().unwrap().to_owned();
    let flow = |server: &Serving| {
        let (status, made) = server.post(&key, "/v1/sign-flows", &receipt());
        assert_eq!(status, 201, "{made}");
        made["sign_flow_id"].as_str().unwrap().to_owned()
    };
    let early = flow(&server);
    let refused = migrate(&[]).unwrap_err();
    assert!(refused.contains("another server is running"), "{refused}");
    migrate(&["--running"]).unwrap();

    // What comes in meanwhile is not there yet, and nobody takes the copy for the whole.
    let late = flow(&server);
    let ended = Command::new(env!("CARGO_BIN_EXE_sealpost"))
        .args(["flow", "list", "--database", &url])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let error = String::from_utf8(ended.stderr).unwrap();
    assert!(
        !ended.status.success() && error.contains("not finished"),
        "{error}"
    );

    let states: Vec<_> = [&early, &late]
        .map(|id| server.get(&key, &format!("/v1/sign-flows/{id}/evidence")))
        .into();
    server.terminate();
    migrate(&[]).unwrap();
    let server = Serving::start(folder.path(), &["--database", &url]);
    for (id, before) in [early, late].iter().zip(states) {
        let (status, evidence) = server.get(&key, &format!("/v1/sign-flows/{id}/evidence"));
        assert_eq!(status, 200, "{evidence}");
        let (after, before) = (&evidence["events"], &before.1["events"]);
        let (after, before) = (after.as_array().unwrap(), before.as_array().unwrap());
        assert!(before.len() > 1 && after.starts_with(before), "{after:?}");
    }
    flow(&server);
    let refused = migrate(&[]).unwrap_err();
    assert!(refused.contains("may be in use"), "{refused}");
}

/// Runs a command that prints JSON, on the data folder of a server.
fn sealpost(folder: &Path, arguments: &[&str]) -> Value {
    let ended = Command::new(env!("CARGO_BIN_EXE_sealpost"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    serde_json::from_slice(&ended.stdout).unwrap()
}

/// `sealpost serve` as a process.
struct Serving {
    process: Child,
    address: String,
    data: std::path::PathBuf,
}

impl Serving {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_under(&[], folder, arguments)
    }

    /// Under another command, such as one that makes a file system first.
    fn start_under(command: &[&str], folder: &Path, arguments: &[&str]) -> Self {
        Self::start_until("address=", command, folder, arguments)
    }

    /// Until its log says this; what comes after it, up to a space, is kept as its address.
    fn start_until(says: &str, command: &[&str], folder: &Path, arguments: &[&str]) -> Self {
        let data = folder.join("sealpost-data");
        let all: Vec<&str> = command
            .iter()
            .copied()
            .chain([
                env!("CARGO_BIN_EXE_sealpost"),
                "serve",
                "--listen",
                "127.0.0.1:0",
            ])
            .collect();
        let mut process = Command::new(all[0])
            .args(&all[1..])
            .args(["--data", &data.display().to_string()])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(
                log.read_line(&mut line).unwrap() > 0,
                "the server ended before it said {says:?}"
            );
            if let Some((_, rest)) = line.split_once(says) {
                break rest.split_whitespace().next().unwrap_or("").to_owned();
            }
        };
        // Its log must go somewhere, or it would stop when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self {
            process,
            address,
            data,
        }
    }

    fn post(&self, key: &str, path: &str, body: &Value) -> (u16, Value) {
        self.ask(key, path, Some(body))
    }

    fn get(&self, key: &str, path: &str) -> (u16, Value) {
        self.ask(key, path, None)
    }

    fn ask(&self, key: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = sealpost_server::http_client::HttpClient::default();
        let url = format!("http://{}{path}", self.address);
        let answer = runtime.block_on(async {
            match body {
                Some(body) => client.post(&url, Some(key), body).await.unwrap(),
                None => client.get(&url, Some(key)).await.unwrap(),
            }
        });
        (answer.status.as_u16(), answer.json())
    }

    /// Runs the program in the server's own mount namespace.
    fn beside(&self, arguments: &[&str]) -> Value {
        let mut all = vec![env!("CARGO_BIN_EXE_sealpost")];
        all.extend(arguments);
        serde_json::from_slice(&self.enter(&all)).unwrap()
    }

    fn sh(&self, script: &str) -> String {
        String::from_utf8(self.enter(&["sh", "-c", script])).unwrap()
    }

    fn enter(&self, command: &[&str]) -> Vec<u8> {
        let target = self.process.id().to_string();
        let ended = Command::new("nsenter")
            .args(["-t", &target, "-m"])
            .args(command)
            .output()
            .unwrap();
        assert!(
            ended.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
        ended.stdout
    }

    /// SIGTERM; it must end by itself, with 0.
    fn terminate(&mut self) {
        Command::new("kill")
            .arg(self.process.id().to_string())
            .status()
            .unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it does not stop"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
