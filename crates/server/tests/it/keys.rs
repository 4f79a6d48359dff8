//! What signs: the suites of the built-in authority, and an operator's own keys in a PKCS#12 file, in a hardware module (SoftHSM)
//! and behind a signing service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealpost_pdf::{Authority, Credential, KeyAlgorithm, Subject, Validity};
use sealpost_server::http_client::HttpClient;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::delivery_process::{add_channel, sealpost, start_server_by};
use crate::support::{Channel, PATIENCE, SELLER, TestApp, receipt};

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are to be valid for a server that is a process of its own"
)]
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// An operator's own authority, a key that it certified, and the folder where these are.
struct Operator {
    folder: TempDir,
    authority: Authority,
    credential: Credential,
}

impl Operator {
    fn new(algorithm: KeyAlgorithm) -> Self {
        let day = 24 * 60 * 60 * 1000;
        let now = now();
        let validity = |days: i64| Validity {
            not_before: now - day,
            not_after: now + days * day,
        };
        let authority = Authority::generate("of an operator", algorithm, validity(900)).unwrap();
        let subject = Subject::Organization {
            name: SELLER,
            credit_code: Some("91310000MA1FL00X0X"),
        };
        let credential = authority.issue(subject, algorithm, validity(30)).unwrap();
        let operator = Self {
            folder: tempfile::tempdir().unwrap(),
            authority,
            credential,
        };
        let chain = operator.credential.chain().iter();
        let pem: String = chain.map(|der| pem("CERTIFICATE", der)).collect();
        operator.put("chain.pem", pem);
        let key = operator.credential.to_pkcs8().unwrap();
        operator.put("key.pem", pem_of_key(&key));
        operator
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The list of seal keys with one entry.
    fn list(&self, entry: &str) -> PathBuf {
        self.put("seals.toml", format!("[[seal]]\n{entry}\n"))
    }

    /// The key in a PKCS#12 file, `seal.p12`, and its password, in `password`.
    fn make_pkcs12(&self) {
        self.make_pkcs12_with("seal.p12", "2048");
    }

    fn make_pkcs12_with(&self, name: &str, iterations: &str) {
        let text = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let (key, chain, out) = (text("key.pem"), text("chain.pem"), text(name));
        let arguments = [
            "pkcs12",
            "-export",
            "-inkey",
            &key,
            "-in",
            &chain,
            "-out",
            &out,
            "-passout",
            "pass:开门",
            "-iter",
            iterations,
        ];
        tool("openssl", &arguments, "openssl", &[]);
        self.put("password", "开门\n");
    }

    /// The signature of the seller in a verified report is by this operator's key.
    fn is_signer_of(&self, report: &Value) {
        assert_eq!(report["verdict"], "valid", "{report:#}");
        let signer = &report["signatures"][0]["signer"];
        assert_eq!(signer["serial"], self.credential.serial_hex().as_str());
        assert_eq!(signer["issuer"], self.authority.subject().as_str());
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn pem_of_key(pkcs8: &[u8]) -> String {
    pem("PRIVATE KEY", pkcs8)
}

/// Runs somebody else's tool; it must succeed.
fn tool(name: &str, arguments: &[&str], package: &str, variables: &[(&str, &Path)]) -> Output {
    let output = Command::new(name)
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap_or_else(|error| {
            panic!("{name}: {error}; `apt-get install -y {package}` installs it")
        });
    assert!(
        output.status.success(),
        "{name} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A receipt that the seller's automatic seal completes.
fn sealed_receipt() -> Value {
    let mut request = receipt();
    let signers = request["signers"].as_array_mut().unwrap();
    signers.truncate(1);
    request
}

/// Seals a receipt and gives the verification of its file.
async fn seal(channel: &Channel) -> Value {
    let flow = channel.create_flow(sealed_receipt()).await;
    channel.show_in(&flow, "completed").await;
    let file = channel
        .get(&format!("/v1/sign-flows/{}/file", flow.id))
        .await;
    let headers = [("content-type", "application/pdf")];
    let answer = channel
        .send(
            http::Method::POST,
            "/v1/verify",
            &headers,
            file.body.to_vec(),
        )
        .await;
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_of_sm2_signs_with_sm2_and_trusts_what_it_signed_before() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(sealed_receipt()).await;
    channel.show_in(&flow, "completed").await;
    let before = channel
        .get(&format!("/v1/sign-flows/{}/file", flow.id))
        .await;
    let app = app
        .restart_with(|config| {
            config.keys.authority = KeyAlgorithm::Sm2;
            config.keys.organizations = KeyAlgorithm::Sm2;
            config.keys.persons = KeyAlgorithm::Sm2;
        })
        .await;
    let channel = app.channel("beike").await;
    let flow = channel.create_flow(receipt()).await;
    app.signer("张三").signs_last().await;
    channel.show_in(&flow, "completed").await;
    let file = channel
        .get(&format!("/v1/sign-flows/{}/file", flow.id))
        .await;
    let headers = [("content-type", "application/pdf")];
    for (body, algorithms) in [
        (file.body, &["sm2", "sm2"][..]),
        (before.body, &["rsa"][..]),
    ] {
        let answer = channel
            .send(http::Method::POST, "/v1/verify", &headers, body.to_vec())
            .await;
        let report = answer.json();
        assert_eq!(report["verdict"], "valid", "{report:#}");
        let signatures = report["signatures"].as_array().unwrap().iter();
        let found: Vec<_> = signatures
            .map(|signature| signature["signature_algorithm"].as_str().unwrap())
            .collect();
        assert_eq!(found, algorithms);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pkcs12_file_of_the_operator_seals() {
    let operator = Operator::new(KeyAlgorithm::P256);
    operator.make_pkcs12();
    let list = operator.list(&format!(
        "organization = '{SELLER}'\npkcs12 = 'seal.p12'\npassword_file = 'password'"
    ));
    let app = TestApp::start_with(|config| config.keys.seals = Some(list)).await;
    let channel = app.channel("lianjia").await;
    operator.is_signer_of(&seal(&channel).await);
    // Its certificate ends in a month, which shows.
    let metrics = app.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = format!("sealpost_certificate_days_left{{certificate=\"{SELLER}\"}} 29");
    assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signing_service_of_the_operator_seals_and_may_fail_for_a_while() {
    let operator = Operator::new(KeyAlgorithm::P256);
    let pkcs8 = operator.credential.to_pkcs8().unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    let sign = move |headers: HeaderMap, Json(question): Json<Value>| {
        let mut asked = record.lock().unwrap();
        asked.push(question.clone());
        let message = STANDARD.decode(question["message_base64"].as_str().unwrap());
        let signature = key.sign(&SystemRandom::new(), &message.unwrap()).unwrap();
        let answer = json!({ "signature_base64": STANDARD.encode(signature.as_ref()) });
        // Of the first two questions one proves the key at the start; the other is left unanswered.
        let fine = headers["authorization"] == "Bearer 芝麻" && asked.len() != 2;
        std::future::ready(match fine {
            true => (StatusCode::OK, Json(answer)),
            false => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({}))),
        })
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/sign", post(sign));
    tokio::spawn(async move { axum::serve(listener, router).await });
    operator.put("authorization", "Bearer 芝麻");
    let list = operator.list(&format!(
        "remote = 'http://{address}/sign'\nauthorization_file = 'authorization'\ncertificates = 'chain.pem'"
    ));
    let app = TestApp::start_with(|config| config.keys.seals = Some(list)).await;
    let channel = app.channel("lianjia").await;
    let created = channel.post("/v1/sign-flows", &sealed_receipt()).await;
    let flow = channel.flow(created.json());
    let begun = Instant::now();
    while !channel.show(&flow).await.to_string().contains("HTTP 503") {
        assert!(begun.elapsed() < PATIENCE, "no failure is shown");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    app.app().move_clock(60_000);
    channel.show_in(&flow, "completed").await;
    operator.is_signer_of(&seal(&channel).await);
    assert_eq!(asked.lock().unwrap()[1]["algorithm"], "p-256");
    app.stop().await;
}

/// A token of SoftHSM with the operator's key in it, labelled `seal`, and its certificate beside it.
struct Token {
    configuration: PathBuf,
}

impl Token {
    fn new(operator: &Operator) -> Self {
        assert!(
            Path::new(SOFTHSM).exists(),
            "{SOFTHSM} is missing; `apt-get install -y softhsm2` installs it"
        );
        let tokens = operator.path("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let text = format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            tokens.display()
        );
        let token = Self {
            configuration: operator.put("softhsm2.conf", text),
        };
        let leaf = operator.put("leaf.der", &operator.credential.chain()[0]);
        token.utility(&[
            "--init-token",
            "--free",
            "--label",
            "sealpost",
            "--so-pin",
            "87654321",
            "--pin",
            "123456",
        ]);
        token.import(operator, "123456");
        token.tool(&[
            "--login",
            "--pin",
            "123456",
            "--write-object",
            leaf.to_str().unwrap(),
            "--type",
            "cert",
            "--id",
            "0a01",
            "--label",
            "seal",
        ]);
        operator.put("pin", "123456\n");
        token
    }

    /// Puts the operator's key into the token.
    fn import(&self, operator: &Operator, pin: &str) {
        let key = operator.path("key.pem");
        self.utility(&[
            "--import",
            key.to_str().unwrap(),
            "--token",
            "sealpost",
            "--label",
            "seal",
            "--id",
            "0a01",
            "--pin",
            pin,
        ]);
    }

    fn utility(&self, arguments: &[&str]) {
        tool("softhsm2-util", arguments, "softhsm2", &self.variables());
    }

    /// What `pkcs11-tool` says of the token, or when it does something with it.
    fn tool(&self, arguments: &[&str]) -> String {
        let of_token = ["--module", SOFTHSM, "--token-label", "sealpost"];
        let arguments = [&of_token[..], arguments].concat();
        let output = tool("pkcs11-tool", &arguments, "opensc", &self.variables());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn variables(&self) -> [(&'static str, &Path); 1] {
        [("SOFTHSM2_CONF", &self.configuration)]
    }
}

/// What `doctor` says of the operator's keys with this list: the verdicts and texts.
fn doctor(folder: &Path, list: &Path, token: &Token) -> Vec<(String, String)> {
    let output = sealpost(folder)
        .args(["--listen", "127.0.0.1:0", "doctor", "--json"])
        .env("SEALPOST_KEYS_SEALS", list)
        .env("PIN", "123456")
        .envs(token.variables())
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = said["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["what"] == "seal keys" || finding["what"] == "data")
        .map(|finding| {
            let text = |member: &str| finding[member].as_str().unwrap().to_owned();
            (text("verdict"), text("says"))
        })
        .collect()
}

/// A server that seals with the key in the token, over this folder, with a channel's API key.
async fn start_with_token(
    operator: &Operator,
    token: &Token,
    folder: &TempDir,
) -> (String, Child, SocketAddr) {
    let list = operator.list(&format!(
        "pkcs11 = '{SOFTHSM}'\ntoken = 'sealpost'\nkey = 'seal'\npin_file = 'pin'\ncertificates = 'chain.pem'"
    ));
    let key = add_channel(folder, ([127, 0, 0, 1], 2).into());
    let mut wrapper = Command::new("env");
    wrapper.arg(format!("SOFTHSM2_CONF={}", token.configuration.display()));
    wrapper.arg(format!("SEALPOST_KEYS_SEALS={}", list.display()));
    let (server, address) = start_server_by(wrapper, folder.path()).await;
    (key, server, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_a_hardware_module_seals() {
    let operator = Operator::new(KeyAlgorithm::Rsa2048);
    let token = Token::new(&operator);
    let folder = tempfile::tempdir().unwrap();
    let (key, mut server, address) = start_with_token(&operator, &token, &folder).await;
    let http = HttpClient::default();
    let url = |path: &str| format!("http://{address}{path}");
    let created = http
        .post(&url("/v1/sign-flows"), Some(&key), &sealed_receipt())
        .await
        .unwrap();
    assert_eq!(created.status, 201, "{}", created.json());
    let flow = created.json()["sign_flow_id"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    loop {
        let path = url(&format!("/v1/sign-flows/{flow}"));
        let shown = http.get(&path, Some(&key)).await.unwrap().json();
        if shown["state"] == "completed" {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{shown:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let path = url(&format!("/v1/sign-flows/{flow}/file"));
    let file = http.get(&path, Some(&key)).await.unwrap().body;
    server.kill().unwrap();
    server.wait().unwrap();
    let trust = sealpost_pdf::Trust::roots([operator.authority.certificate().to_vec()]);
    let now = now();
    let report = sealpost_pdf::verify(&file, &trust, now).unwrap();
    operator.is_signer_of(&serde_json::to_value(&report).unwrap());
}

/// A token is not locked by a server whose PIN is wrong from some time on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_that_a_token_refused_is_tried_once() {
    let operator = Operator::new(KeyAlgorithm::P256);
    let token = Token::new(&operator);
    let folder = tempfile::tempdir().unwrap();
    let (key, mut server, address) = start_with_token(&operator, &token, &folder).await;
    let http = HttpClient::default();
    // A new flow, once it is shown as `says`.
    let flow = async |says: &str| {
        let url = format!("http://{address}/v1/sign-flows");
        let created = http.post(&url, Some(&key), &sealed_receipt()).await;
        let flow = created.unwrap().json()["sign_flow_id"].clone();
        let url = format!("{url}/{}", flow.as_str().unwrap());
        let begun = Instant::now();
        loop {
            let shown = http.get(&url, Some(&key)).await.unwrap().json();
            if shown.to_string().contains(says) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{shown:#}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    flow("completed").await;

    // The session breaks, for its key is gone, and the PIN that it is made anew with is wrong.
    operator.put("pin", "000000\n");
    let login = ["--login", "--pin", "123456"];
    let delete = ["--delete-object", "--type", "privkey", "--id", "0a01"];
    token.tool(&[&login[..], &delete].concat());
    flow("refused the PIN").await;
    let is_counting = || {
        let said = token.tool(&["--list-token-slots"]);
        assert!(said.contains("token initialized"), "{said}");
        said.contains("user PIN count low")
    };
    assert!(is_counting(), "the wrong PIN was tried");

    // The right one, given by somebody else, has the token count anew; it sees no wrong one any more.
    token.tool(&[&login[..], &["--list-objects"]].concat());
    assert!(!is_counting());
    flow("refused the PIN").await;
    flow("refused the PIN").await;
    assert!(!is_counting(), "the wrong PIN was tried again");

    // Nor is the first again after another that was wrong, too.
    operator.put("pin", "111111\n");
    flow("refused the PIN").await;
    assert!(is_counting(), "the other wrong PIN was tried");
    token.tool(&[&login[..], &["--list-objects"]].concat());
    for pin in ["000000\n", "111111\n"] {
        operator.put("pin", pin);
        flow("refused the PIN").await;
        assert!(!is_counting(), "{pin:?} was tried again");
    }

    // What is put right works without a new start.
    token.import(&operator, "123456");
    operator.put("pin", "123456\n");
    flow("completed").await;
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_key_that_cannot_be_opened_stops_the_start() {
    let operator = Operator::new(KeyAlgorithm::P256);
    operator.make_pkcs12();
    operator.put("wrong", "芝麻开门");
    let list = operator.list("pkcs12 = 'seal.p12'\npassword_file = 'wrong'");
    let folder = tempfile::tempdir().unwrap();
    let ended = sealpost(folder.path())
        .args(["--listen", "127.0.0.1:0", "serve"])
        .env("SEALPOST_KEYS_SEALS", &list)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success(), "{error}");
    assert!(
        error.contains("the seal key of all organizations cannot be used")
            && error.contains("password is wrong"),
        "{error}"
    );
    assert!(!error.contains("芝麻开门"));
    // What seals nothing works without the key.
    let listed = sealpost(folder.path())
        .args(["channel", "list"])
        .env("SEALPOST_KEYS_SEALS", &list)
        .status()
        .unwrap();
    assert!(listed.success());
}

#[test]
fn doctor_says_what_is_wrong_with_a_key_and_when_it_ends() {
    let operator = Operator::new(KeyAlgorithm::P256);
    let token = Token::new(&operator);
    operator.make_pkcs12();
    operator.make_pkcs12_with("slow.p12", "1000001");
    operator.put("wrong", "000000");
    let folder = tempfile::tempdir().unwrap();
    let module = format!("pkcs11 = '{SOFTHSM}'\ntoken = 'sealpost'\n");
    // The certificate beside the key; and it ends in a month, which is soon.
    let fine = [
        format!("{module}key = 'seal'\nkey_id = '0a01'\npin_env = 'PIN'"),
        "organization = '某某公司'\npkcs12 = 'seal.p12'\npassword_file = 'password'".to_owned(),
    ];
    for entry in fine {
        let said = doctor(folder.path(), &operator.list(&entry), &token);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].1.contains("expires on"), "{said:?}");
    }
    for (entry, says) in [
        ("", "one of pkcs12, pkcs11 and remote"),
        ("pkcs13 = 'x'", "unknown field"),
        ("pkcs12 = 'seal.p12'", "password_file or password_env"),
        (
            "pkcs12 = 'none.p12'\npassword_file = 'password'",
            "none.p12",
        ),
        (
            "pkcs12 = 'seal.p12'\npassword_file = 'wrong'",
            "password is wrong",
        ),
        (
            "pkcs12 = 'slow.p12'\npassword_file = 'password'",
            "beyond its limit of 1000000",
        ),
        ("pkcs12 = 'seal.p12'\npassword_env = 'NO_SUCH'", "NO_SUCH"),
        (
            "remote = 'http://signer.example/'\ncertificates = 'chain.pem'",
            "https",
        ),
        (
            "pkcs12 = 'seal.p12'\npassword_file = 'password'\n[[seal]]\npkcs12 = 'b'\npassword_env = 'B'",
            "another one",
        ),
    ] {
        let said = doctor(folder.path(), &operator.list(entry), &token);
        assert!(
            said[0].0 == "bad" && said[0].1.contains(says),
            "{entry}: {said:?}"
        );
        assert!(!format!("{said:?}").contains("开门"));
    }
    for (rest, says) in [
        ("key = 'seal'\npin_file = 'wrong'", "PIN"),
        ("key = 'other'\npin_file = 'pin'", "0 private keys"),
        ("pin_file = 'pin'", "key_id"),
    ] {
        let said = doctor(
            folder.path(),
            &operator.list(&format!("{module}{rest}")),
            &token,
        );
        assert!(
            said[0].0 == "bad" && said[0].1.contains(says),
            "{rest}: {said:?}"
        );
        assert!(!format!("{said:?}").contains("123456"));
    }
    let other = Operator::new(KeyAlgorithm::P256);
    let chain = other.path("chain.pem");
    let entry = format!(
        "{module}key = 'seal'\npin_file = 'pin'\ncertificates = '{}'",
        chain.display()
    );
    let said = doctor(folder.path(), &operator.list(&entry), &token);
    assert!(said[0].1.contains("certifies another key"), "{said:?}");
}
