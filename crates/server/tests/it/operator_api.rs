//! The operators' API: what the console does, by a program with a key, and as `openapi.json` says.

use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, header};
use sealpost_server::http_client::Answer;
use serde_json::{Value, json};

use crate::openapi::Document;
use crate::support::{Channel, PATIENCE, TestApp, receipt, receipt_for};

/// A program with an operator key, made with the command line beside the running server.
struct Program<'a> {
    app: &'a TestApp,
    key: String,
    document: Document,
}

impl<'a> Program<'a> {
    async fn start(app: &'a TestApp, role: &str) -> Self {
        let made = Command::new(env!("CARGO_BIN_EXE_sealpost"))
            .args(["operator", "add-key", "监控", "--json", "--role", role])
            .arg("--data")
            .arg(app.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        Self {
            app,
            key: made["operator_key"].as_str().unwrap().to_owned(),
            document: Document::of(app).await,
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        once: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let mut headers = vec![(header::AUTHORIZATION, format!("Bearer {}", self.key))];
        if body.is_some() {
            headers.push((header::CONTENT_TYPE, "application/json".to_owned()));
        }
        if let Some(once) = once {
            headers.push(("idempotency-key".parse().unwrap(), once.to_owned()));
        }
        let url = format!("{}/v1/operator{path}", self.app.base());
        let body = body.map(Value::to_string).unwrap_or_default();
        self.app
            .http
            .send(method, &url, &headers, body)
            .await
            .unwrap()
    }

    /// The answer to a GET, which must be what the document says it is.
    async fn get(&self, path: &str, schema: &str) -> Value {
        let answer = self.send(Method::GET, path, None, None).await;
        self.checked(path, &answer, 200, schema)
    }

    async fn post(&self, path: &str, body: Value, status: u16, schema: &str) -> Value {
        let answer = self.send(Method::POST, path, None, Some(&body)).await;
        self.checked(path, &answer, status, schema)
    }

    fn checked(&self, path: &str, answer: &Answer, status: u16, schema: &str) -> Value {
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, status, "{path}: {text}");
        let value = answer.json();
        self.document.check(path, schema, &value);
        value
    }

    async fn refused(&self, method: Method, path: &str, body: Value) -> (u16, String) {
        let answer = self.send(method, path, None, Some(&body)).await;
        let code = answer.json()["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (answer.status.as_u16(), code)
    }
}

/// A flow that completed, one that was rejected and whose callback failed, and one that waits.
async fn history(app: &TestApp) -> Channel {
    let channel = app.channel("链家").await;
    let completed = channel.create_flow(receipt()).await;
    app.signer("张三").signs().await;
    channel.callback_in(&completed, "acknowledged").await;
    let rejected = channel.create_flow(receipt_for(&["李四"])).await;
    for _ in 0..4 {
        channel.will_answer(500, "{\"response_code\":\"500\"}");
    }
    app.signer("李四").rejects("房号不对").await;
    channel.callback_in(&rejected, "failed").await;
    channel.create_flow(receipt_for(&["王五"])).await;
    channel
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_and_callbacks_of_every_channel() {
    let app = TestApp::start().await;
    let channel = history(&app).await;
    app.channel("我爱我家").await.create_flow(receipt()).await;
    let program = Program::start(&app, "operator").await;

    let overview = program.get("/overview", "Overview").await;
    assert_eq!(overview["callbacks"]["failed"], 1);
    assert_eq!(overview["channels"].as_array().unwrap().len(), 2);

    let page = program
        .get("/sign-flows?limit=3", "OperatorSignFlowPage")
        .await;
    let next = page["next_cursor"].as_str().unwrap();
    let rest = program
        .get(
            &format!("/sign-flows?limit=3&cursor={next}"),
            "OperatorSignFlowPage",
        )
        .await;
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    let of_channel = format!("/sign-flows?channel_id={}", channel.id);
    let page = program.get(&of_channel, "OperatorSignFlowPage").await;
    assert_eq!(page["data"].as_array().unwrap().len(), 3);
    let page = program
        .get(
            "/sign-flows?text=%E6%9D%8E*&status=rejected",
            "OperatorSignFlowPage",
        )
        .await;
    let found = page["data"].as_array().unwrap();
    assert!(found.len() <= 1, "{page}");

    let waiting = &program
        .get("/sign-flows?status=signing", "OperatorSignFlowPage")
        .await["data"][1];
    let id = waiting["sign_flow_id"].as_str().unwrap();
    let shown = program
        .get(&format!("/sign-flows/{id}"), "OperatorSignFlow")
        .await;
    assert!(shown["signers"][0]["sign_url"].is_string(), "{shown}");
    for (path, kind) in [
        ("file", "application/pdf"),
        ("pages/1.png", "image/png"),
        ("evidence?format=pdf&language=en", "application/pdf"),
    ] {
        let path = format!("/sign-flows/{id}/{path}");
        let answer = program.send(Method::GET, &path, None, None).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, kind)
        );
    }
    program
        .get(&format!("/sign-flows/{id}/evidence"), "Evidence")
        .await;
    let path = format!("/sign-flows/{id}/evidence?format=word");
    let answer = program.send(Method::GET, &path, None, None).await;
    assert_eq!(answer.status, 422);

    // Revoking is done once for each idempotency key, however often it is asked for.
    let revoke = async || {
        let path = format!("/sign-flows/{id}/revoke");
        let body = json!({ "reason": "客户更换了房源" });
        let answer = program
            .send(Method::POST, &path, Some("r1"), Some(&body))
            .await;
        program.checked(&path, &answer, 200, "OperatorSignFlow");
        answer.header("idempotency-replayed").to_owned()
    };
    assert_eq!([revoke().await, revoke().await], ["", "true"]);
    assert_eq!(
        program
            .refused(Method::POST, &format!("/sign-flows/{id}/remind"), json!({}))
            .await
            .0,
        409
    );

    // Callbacks: shown with attempts, sent again one by one, and all that failed.
    let failed = program
        .get("/callbacks?state=failed", "OperatorCallbackPage")
        .await["data"][0]["id"]
        .clone();
    let path = format!("/callbacks/{}", failed.as_str().unwrap());
    let callback = program.get(&path, "OperatorCallback").await;
    assert_eq!(callback["attempts"].as_array().unwrap().len(), 4);
    let redelivery = program
        .post(
            "/redeliveries",
            json!({ "since": "2020-01-01T00:00:00Z", "channel_id": channel.id }),
            202,
            "OperatorRedelivery",
        )
        .await;
    assert_eq!(
        (&redelivery["total"], &redelivery["redelivered"]),
        (&json!(1), &json!(1))
    );
    let path_of_it = format!("/redeliveries/{}", redelivery["id"].as_str().unwrap());
    let shown = program.get(&path_of_it, "OperatorRedelivery").await;
    assert_eq!(shown["state"], "finished");
    let listed = program.get("/redeliveries", "OperatorRedeliveryList").await;
    assert_eq!(listed["data"][0]["id"], redelivery["id"]);
    wait_for(async || program.get(&path, "OperatorCallback").await["state"] == "acknowledged")
        .await;
    let again = program
        .post(
            &format!("{path}/redeliver"),
            json!({}),
            202,
            "OperatorCallback",
        )
        .await;
    assert_eq!(again["round"], 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_keys_secrets_certificates_and_trials() {
    let app = TestApp::start().await;
    let other = app.channel("链家").await;
    let program = Program::start(&app, "administrator").await;
    let url = program
        .get(&format!("/channels/{}", other.id), "Channel")
        .await["callback_url"]
        .clone();

    let new = program
        .post(
            "/channels",
            json!({ "name": "贝壳", "schedule": "1m,2m,3m" }),
            201,
            "NewChannel",
        )
        .await;
    let path = format!("/channels/{}", new["id"].as_str().unwrap());
    assert_eq!(
        program
            .refused(Method::POST, "/channels", json!({ "name": "贝壳" }))
            .await
            .0,
        409
    );
    let no_url = program
        .refused(Method::POST, &format!("{path}/test"), json!({}))
        .await;
    assert_eq!(no_url, (409, "no_callback_url".to_owned()));
    let change = async |body: Value| {
        let answer = program.send(Method::PATCH, &path, None, Some(&body)).await;
        program.checked(&path, &answer, 200, "Channel")
    };
    let changed = change(json!({ "callback_url": url })).await;
    assert_eq!(
        (&changed["callback_url"], &changed["schedule"]),
        (&url, &json!("1m,2m,3m"))
    );
    assert_eq!(
        change(json!({ "callback_url": "" })).await["callback_url"],
        Value::Null
    );
    let metadata = json!({ "callback_url": "http://169.254.169.254/" });
    assert_eq!(program.refused(Method::PATCH, &path, metadata).await.0, 422);
    let paused = program
        .post(
            &format!("{path}/pause"),
            json!({ "reason": "维护" }),
            200,
            "Channel",
        )
        .await;
    assert_eq!(paused["paused"]["reason"], "维护");
    let resumed = program
        .post(&format!("{path}/resume"), json!({}), 200, "Channel")
        .await;
    assert_eq!(resumed["paused"], Value::Null);
    assert_eq!(
        program.get("/channels", "ChannelList").await["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    // Secrets are told once; a repetition names what was made and does not make another.
    for (at, schema, told, status) in [
        ("keys", "NewChannelKey", "api_key", 201),
        ("rotate-secret", "NewWebhookSecret", "webhook_secret", 200),
    ] {
        let path = format!("{path}/{at}");
        let ask = async || {
            let answer = program
                .send(Method::POST, &path, Some(at), Some(&json!({})))
                .await;
            program.checked(&path, &answer, status, schema)
        };
        let (first, second) = (ask().await, ask().await);
        assert!(
            first[told].is_string() && second[told].is_null(),
            "{first} {second}"
        );
        assert_eq!(first["id"], second["id"]);
    }
    let keys = program.get(&format!("{path}/keys"), "ChannelKeyList").await;
    assert_eq!(keys["data"].as_array().unwrap().len(), 2);
    let key = keys["data"][1]["id"].as_str().unwrap();
    for (owner, status) in [
        (format!("/channels/{}", other.id), 404),
        (path.clone(), 204),
    ] {
        let revoke = format!("{owner}/keys/{key}/revoke");
        assert_eq!(
            program.send(Method::POST, &revoke, None, None).await.status,
            status
        );
    }

    // A client certificate, as PEM and as PKCS#12.
    let (certificate, key) = certificate("sealpost at beike");
    let at = format!("{path}/client-certificate");
    let put = async |body: Value| program.send(Method::PUT, &at, None, Some(&body)).await;
    assert_eq!(program.send(Method::GET, &at, None, None).await.status, 404);
    assert_eq!(
        put(json!({ "certificate": certificate })).await.status,
        422,
        "no key"
    );
    let answer = put(json!({ "certificate": certificate, "key": key })).await;
    let shown = program.checked(&at, &answer, 200, "ClientCertificate");
    assert_eq!(shown["subject"], "CN=sealpost at beike");
    let (stranger, _) = self::certificate("another");
    let answer = put(json!({ "certificate": stranger, "key": key })).await;
    assert_eq!(answer.status, 422, "the key is of another certificate");
    assert_eq!(program.get(&at, "ClientCertificate").await, shown);
    let (other_certificate, other_key) = self::certificate("sealpost in a PKCS#12 file");
    let file = |iterations| STANDARD.encode(pkcs12(&other_certificate, &other_key, iterations));
    for (file, password, says) in [
        (file(2048), "open", None),
        (file(2048), "close", Some("the password is wrong")),
        (file(1_000_001), "open", Some("beyond its limit of 1000000")),
        (STANDARD.encode(vec![0x30; 65_537]), "open", Some("65536")),
    ] {
        let answer = put(json!({ "pkcs12_base64": file, "password": password })).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        match says {
            None => {
                let shown = program.checked(&at, &answer, 200, "ClientCertificate");
                assert_eq!(shown["subject"], "CN=sealpost in a PKCS#12 file");
            }
            Some(says) => assert!(answer.status == 422 && text.contains(says), "{text}"),
        }
    }
    assert_eq!(
        program.send(Method::DELETE, &at, None, None).await.status,
        204
    );
    assert_eq!(program.send(Method::GET, &at, None, None).await.status, 404);

    // A test callback, and the contract check, which this receiver passes.
    let path = format!("/channels/{}", other.id);
    let sent = program
        .post(&format!("{path}/test"), json!({}), 200, "TestCallback")
        .await;
    assert_eq!(sent["acknowledged"], true, "{sent}");
    let check = format!("{path}/check");
    assert_eq!(
        program.send(Method::GET, &check, None, None).await.status,
        404
    );
    program.post(&check, json!({}), 202, "ContractCheck").await;
    let under_way = program.refused(Method::POST, &check, json!({})).await;
    assert_eq!(under_way, (409, "check_under_way".to_owned()));
    wait_for(async || program.get(&check, "ContractCheck").await["state"] == "finished").await;
    let checked = program.get(&check, "ContractCheck").await;
    assert_eq!(
        (&checked["breaks"], &checked["read_only"]),
        (&json!(0), &json!(true)),
        "{checked:#}"
    );
    assert!(checked["keeps"].as_u64().unwrap() > 30, "{checked:#}");
    // Nothing of what was to be refused was received; the test callback was.
    assert_eq!(other.all_received().len(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guard_applies_to_checks() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let program = Program::start(&app, "operator").await;
    let path = format!("/channels/{}/check", channel.id);
    // An address that was permitted when it was kept, and no longer is.
    app.app()
        .set_channel_delivery(
            &channel.id,
            Some("http://localhost:2/"),
            "1m,1m,1m".parse().unwrap(),
        )
        .await
        .unwrap();
    program.post(&path, json!({}), 202, "ContractCheck").await;
    wait_for(async || program.get(&path, "ContractCheck").await["state"] == "finished").await;
    let checked = program.get(&path, "ContractCheck").await;
    assert!(checked["failure"].is_string(), "{checked}");
    assert_eq!(checked["cases"], json!([]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_keys_and_the_audit_log() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let flow = channel.create_flow(receipt_for(&["王五"])).await;
    let viewer = Program::start(&app, "viewer").await;
    let operator = Program::start(&app, "operator").await;
    let boss = Program::start(&app, "administrator").await;

    // Who may only look gets no signer's link and changes nothing; operators do not see who else there is.
    let shown = viewer
        .get(&format!("/sign-flows/{}", flow.id), "OperatorSignFlow")
        .await;
    assert!(shown["signers"][0]["sign_url"].is_null(), "{shown}");
    let too_low = (403, "role_too_low".to_owned());
    let path = format!("/sign-flows/{}/revoke", flow.id);
    assert_eq!(
        viewer
            .refused(Method::POST, &path, json!({ "reason": "不" }))
            .await,
        too_low
    );
    let pause = format!("/channels/{}/pause", channel.id);
    assert_eq!(
        viewer
            .refused(Method::POST, &pause, json!({ "reason": "不" }))
            .await,
        too_low
    );
    for path in ["/operators", "/keys", "/audit"] {
        assert_eq!(
            operator.refused(Method::GET, path, json!({})).await,
            too_low
        );
    }
    let add = json!({ "name": "新渠道" });
    assert_eq!(
        operator.refused(Method::POST, "/channels", add).await,
        too_low
    );
    // Keys of channels and keys of operators open nothing of each other's.
    assert_eq!(channel.get("/v1/operator/overview").await.status, 401);
    let answer = app
        .http
        .get(&format!("{}/v1/sign-flows", app.base()), Some(&boss.key))
        .await;
    assert_eq!(answer.unwrap().status, 401);

    // Operators.
    let body = json!({ "name": "小王", "role": "viewer", "password": "correct horse" });
    boss.post("/operators", body.clone(), 201, "Operator").await;
    assert_eq!(
        boss.refused(Method::POST, "/operators", body).await,
        (409, "name_taken".to_owned())
    );
    let short = json!({ "name": "小李", "role": "viewer", "password": "short" });
    assert_eq!(boss.refused(Method::POST, "/operators", short).await.0, 422);
    let path = "/operators/%E5%B0%8F%E7%8E%8B";
    let role = json!({ "role": "operator" });
    assert_eq!(
        boss.send(Method::PATCH, path, None, Some(&role))
            .await
            .status,
        204
    );
    let disable = format!("{path}/disable");
    assert_eq!(
        boss.send(Method::POST, &disable, None, None).await.status,
        204
    );
    let listed = boss.get("/operators", "OperatorList").await;
    assert_eq!(listed["data"][0]["role"], "operator");
    assert!(listed["data"][0]["disabled_at"].is_string());

    // Keys: told once, revoked at once.
    let body = json!({ "name": "备份", "role": "viewer" });
    let ask = async || {
        let answer = boss
            .send(Method::POST, "/keys", Some("k"), Some(&body))
            .await;
        boss.checked("/keys", &answer, 201, "NewOperatorKey")
    };
    let (made, repeated) = (ask().await, ask().await);
    assert_eq!(made["id"], repeated["id"]);
    assert!(repeated["operator_key"].is_null());
    let backup = Program {
        app: &app,
        key: made["operator_key"].as_str().unwrap().to_owned(),
        document: Document::of(&app).await,
    };
    backup.get("/channels", "ChannelList").await;
    let revoke = format!("/keys/{}/revoke", made["id"].as_str().unwrap());
    assert_eq!(
        boss.send(Method::POST, &revoke, None, None).await.status,
        204
    );
    assert_eq!(
        backup
            .send(Method::GET, "/channels", None, None)
            .await
            .status,
        401
    );
    assert_eq!(
        boss.get("/keys", "OperatorKeyList").await["data"]
            .as_array()
            .unwrap()
            .len(),
        4
    );

    // Everything that changed something is in the log, with the key's name, and no key is; a repetition is not, nor what was
    // meant for a channel that there is not.
    for (path, body) in [
        ("/channels/ch_none/pause", json!({ "reason": "维护" })),
        ("/channels/ch_none/resume", json!({})),
    ] {
        assert_eq!(boss.refused(Method::POST, path, body).await.0, 404);
    }
    let rotate = format!("/channels/{}/rotate-secret", channel.id);
    for _ in 0..2 {
        let answer = boss.send(Method::POST, &rotate, Some("r"), None).await;
        assert_eq!(answer.status, 200);
    }
    let log = boss.get("/audit?limit=4", "AuditPage").await;
    let older = format!("/audit?cursor={}", log["next_cursor"].as_str().unwrap());
    let entries = format!("{log} {}", boss.get(&older, "AuditPage").await);
    for word in [
        "operator.add",
        "operator.role",
        "operator.disable",
        "operator_key.add",
        "operator_key.revoke",
        "监控 (opk_",
    ] {
        assert!(entries.contains(word), "{word}: {entries}");
    }
    assert_eq!(entries.matches("channel.rotate_secret").count(), 1);
    assert!(!entries.contains("channel.pause") && !entries.contains("channel.resume"));
    assert!(!entries.contains(made["operator_key"].as_str().unwrap()));
    app.stop().await;
}

/// A method that a path does not take is refused with those that it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_methods_are_told_the_right_ones() {
    let app = TestApp::start().await;
    for (path, methods) in [
        ("/v1/operator/channels", "GET,HEAD,POST"),
        ("/v1/callbacks/redeliver", "POST"),
        ("/console/channels/x/pause", "POST"),
    ] {
        let url = format!("{}{path}", app.base());
        let answer = app.http.send(Method::DELETE, &url, &[], "").await.unwrap();
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.header("allow"), methods);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        for method in methods.split(',') {
            assert!(detail.contains(method), "{detail}");
        }
    }
    app.stop().await;
}

async fn wait_for(is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "it does not come");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// A certificate and its key as a PKCS#12 file with the password `open`, made by OpenSSL.
pub(crate) fn pkcs12(certificate: &str, key: &str, iterations: u32) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("both.pem");
    let out = folder.path().join("both.p12");
    std::fs::write(&input, format!("{certificate}\n{key}")).unwrap();
    let made = Command::new("openssl")
        .args(["pkcs12", "-export", "-passout", "pass:open", "-iter"])
        .arg(iterations.to_string())
        .arg("-in")
        .arg(&input)
        .arg("-out")
        .arg(&out)
        .output()
        .unwrap_or_else(|error| panic!("openssl: {error}; `apt-get install openssl` installs it"));
    assert!(made.status.success(), "{made:?}");
    std::fs::read(out).unwrap()
}

fn certificate(name: &str) -> (String, String) {
    let mut wanted = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    wanted.distinguished_name = rcgen::DistinguishedName::new();
    wanted
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = wanted.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}
