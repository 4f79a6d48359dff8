//! A server under test and those who deal with it: channels with their receivers, signers with their links.
//!
//! Everything is real: sockets on loopback, SQLite in a folder of its own, the receiver that channels run. Only the server's
//! clock is moved by hand.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, Method};
use sealpost_contract::{Callback, Schedule};
use sealpost_receiver::{MemoryInbox, Receiver, handler_fn};
use sealpost_server::app::App;
use sealpost_server::config::Config;
use sealpost_server::http_client::{Answer, HttpClient};
use sealpost_server::server::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The seller of [`receipt`].
pub(crate) const SELLER: &str = "上海云锦置业有限公司";

/// A server in a folder of its own.
pub(crate) struct TestApp {
    server: Option<Server>,
    folder: TempDir,
    pub(crate) http: HttpClient,
    /// The newest link of each signer, by name.
    links: Arc<Mutex<HashMap<String, String>>>,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// With settings of the test's own.
    pub(crate) async fn start_with(set: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(None, set).await
    }

    /// With settings of the test's own, and this master secret.
    pub(crate) async fn start_as(secret: Option<&str>, set: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            data: folder.path().join("data"),
            listen: ([127, 0, 0, 1], 0).into(),
            ..Config::default()
        };
        config.delivery.allow_http = true;
        config.delivery.allow_networks = vec!["127.0.0.1".parse().unwrap()];
        set(&mut config);
        let server = Server::start(config, secret).await.unwrap();
        Self {
            server: Some(server),
            folder,
            http: HttpClient::default(),
            links: Arc::default(),
        }
    }

    /// Stops the server and starts another one in the same folder, with other settings.
    pub(crate) async fn restart_with(mut self, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.app().config().clone();
        set(&mut config);
        self.server.take().unwrap().stop().await;
        self.server = Some(Server::start(config, None).await.unwrap());
        self
    }

    pub(crate) fn app(&self) -> &App {
        self.server.as_ref().unwrap().app()
    }

    pub(crate) fn base(&self) -> String {
        self.app().public_url().to_string()
    }

    /// The data folder.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// A channel of this name, with a receiver that answers `000`.
    pub(crate) async fn channel(&self, name: &str) -> Channel {
        Channel::start(self, name, Schedule::new([50, 50, 50]).unwrap()).await
    }

    /// As [`TestApp::channel`], with other waits before the retries.
    pub(crate) async fn channel_with(&self, name: &str, schedule: Schedule) -> Channel {
        Channel::start(self, name, schedule).await
    }

    /// The signer of this name, with the link of the newest flow.
    pub(crate) fn signer(&self, name: &str) -> Signer {
        let links = self.links.lock().unwrap();
        let url = links
            .get(name)
            .unwrap_or_else(|| panic!("no flow has given {name} a link"));
        Signer {
            url: url.clone(),
            http: self.http.clone(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.http
            .get(&format!("{}{path}", self.base()), None)
            .await
            .unwrap()
    }

    /// Stops the server as an operator would.
    pub(crate) async fn stop(mut self) {
        self.server.take().unwrap().stop().await;
    }
}

/// What a receiver answers to its next callbacks: HTTP status and body.
type Script = Arc<Mutex<VecDeque<(u16, String)>>>;

/// A channel participant and its receiver.
#[derive(Clone)]
pub(crate) struct Channel {
    pub(crate) id: String,
    pub(crate) api_key: String,
    base: String,
    http: HttpClient,
    received: Arc<Mutex<Vec<Callback>>>,
    answers: Script,
    links: Arc<Mutex<HashMap<String, String>>>,
}

impl Channel {
    async fn start(app: &TestApp, name: &str, schedule: Schedule) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/callback", listener.local_addr().unwrap());
        let registered = app
            .app()
            .add_channel(name, Some(&url), schedule)
            .await
            .unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&received);
        let handler = handler_fn(move |callback: Callback| {
            keep.lock().unwrap().push(callback);
            std::future::ready(Ok(()))
        });
        let secret = registered.webhook_secret.parse().unwrap();
        // Both sides tell the same time, also when a test has moved it.
        let clock = app.app().clone();
        let receiver = Receiver::new(MemoryInbox::new(), handler)
            .require_signature(vec![secret])
            .clock(move || clock.now());
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let router: Router = receiver
            .router("/callback")
            .layer(from_fn_with_state(Arc::clone(&answers), answer_first));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            id: registered.channel.id,
            api_key: registered.api_key,
            base: app.base(),
            http: app.http.clone(),
            received,
            answers,
            links: Arc::clone(&app.links),
        }
    }

    /// The same channel, which asks another node.
    pub(crate) fn through(&self, app: &TestApp) -> Self {
        Self {
            base: app.base(),
            ..self.clone()
        }
    }

    /// Makes the receiver answer this to its next callback, instead of receiving it.
    pub(crate) fn will_answer(&self, status: u16, body: &str) {
        self.answers
            .lock()
            .unwrap()
            .push_back((status, body.to_owned()));
    }

    /// Creates a flow; it must be created.
    pub(crate) async fn create_flow(&self, request: Value) -> Flow {
        let answer = self.post("/v1/sign-flows", &request).await;
        assert_eq!(
            answer.status,
            201,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        let mut flow = self.flow(answer.json());
        // On a busy machine an automatic seal takes longer than the request waits for it.
        let begun = Instant::now();
        while flow.shown["signers"]
            .as_array()
            .unwrap()
            .iter()
            .any(|signer| signer["step"] == "signed")
        {
            assert!(
                begun.elapsed() < PATIENCE,
                "the seal is not applied: {}",
                flow.shown
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
            flow.shown = self.show(&flow).await;
        }
        flow
    }

    /// A flow from an answer; its signers' links are remembered.
    pub(crate) fn flow(&self, shown: Value) -> Flow {
        for signer in shown["signers"].as_array().unwrap() {
            if let Some(url) = signer["sign_url"].as_str() {
                self.links
                    .lock()
                    .unwrap()
                    .insert(signer["name"].as_str().unwrap().to_owned(), url.to_owned());
            }
        }
        Flow {
            id: shown["sign_flow_id"].as_str().unwrap().to_owned(),
            shown,
        }
    }

    /// The flow as it is now.
    pub(crate) async fn show(&self, flow: &Flow) -> Value {
        let answer = self.get(&format!("/v1/sign-flows/{}", flow.id)).await;
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }

    /// The flow once it is in this state.
    pub(crate) async fn show_in(&self, flow: &Flow, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let shown = self.show(flow).await;
            if shown["state"] == state {
                return shown;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "the flow is not {state}: {shown}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The callback of a flow, once it has come.
    pub(crate) async fn received(&self, flow: &Flow) -> Callback {
        let begun = Instant::now();
        loop {
            let found = self
                .all_received()
                .into_iter()
                .find(|callback| callback.sign_flow_id.as_str() == flow.id);
            if let Some(callback) = found {
                return callback;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "no callback came for {}",
                flow.id
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything that has come.
    pub(crate) fn all_received(&self) -> Vec<Callback> {
        self.received.lock().unwrap().clone()
    }

    /// The record of a flow's callback once it is in this state, with its attempts.
    pub(crate) async fn callback_in(&self, flow: &Flow, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let found = self
                .get(&format!("/v1/callbacks?sign_flow_id={}", flow.id))
                .await
                .json()["data"][0]
                .clone();
            if found["state"] == state {
                return self
                    .get(&format!("/v1/callbacks/{}", found["id"].as_str().unwrap()))
                    .await
                    .json();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "the callback is not {state}: {found}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.http
            .get(&format!("{}{path}", self.base), Some(&self.api_key))
            .await
            .unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.http
            .post(&format!("{}{path}", self.base), Some(&self.api_key), body)
            .await
            .unwrap()
    }

    /// A POST with an idempotency key.
    pub(crate) async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(
            Method::POST,
            path,
            &[
                ("content-type", "application/json"),
                ("idempotency-key", key),
            ],
            body.to_string(),
        )
        .await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Answer {
        let mut all = vec![(
            http::header::AUTHORIZATION,
            format!("Bearer {}", self.api_key),
        )];
        all.extend(
            headers
                .iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), (*value).to_owned())),
        );
        self.http
            .send(method, &format!("{}{path}", self.base), &all, body)
            .await
            .unwrap()
    }
}

async fn answer_first(State(answers): State<Script>, request: Request, next: Next) -> Response {
    let scripted = answers.lock().unwrap().pop_front();
    match scripted {
        Some((status, body)) => (
            http::StatusCode::from_u16(status).unwrap(),
            [("content-type", "application/json")],
            body,
        )
            .into_response(),
        None => next.run(request).await,
    }
}

/// A flow as it was answered.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) id: String,
    pub(crate) shown: Value,
}

/// The holder of a signing link.
pub(crate) struct Signer {
    pub(crate) url: String,
    http: HttpClient,
}

impl Signer {
    /// The same signer, who comes to another node.
    pub(crate) fn through(&self, app: &TestApp) -> Self {
        let (_, token) = self.url.rsplit_once("/s/").unwrap();
        Self {
            url: format!("{}/s/{token}", app.base()),
            http: self.http.clone(),
        }
    }

    /// Signs; it must be accepted.
    pub(crate) async fn signs(&self) -> Value {
        let answer = self.tries_to_sign(&signature()).await;
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }

    /// Signs as the last one; the flow must complete.
    pub(crate) async fn signs_last(&self) -> Value {
        let mut answer = self.signs().await;
        let begun = Instant::now();
        while answer["sign_flow_status"] == "1" && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
            answer = self.get("/stage").await.json();
        }
        answer
    }

    pub(crate) async fn tries_to_sign(&self, png: &[u8]) -> Answer {
        let body = json!({ "signature_png_base64": STANDARD.encode(png) });
        self.http
            .post(&format!("{}/sign", self.url), None, &body)
            .await
            .unwrap()
    }

    pub(crate) async fn tries_to_reject(&self, reason: &str) -> Answer {
        self.http
            .post(
                &format!("{}/reject", self.url),
                None,
                &json!({ "reason": reason }),
            )
            .await
            .unwrap()
    }

    /// Rejects; it must be accepted.
    pub(crate) async fn rejects(&self, reason: &str) -> Value {
        let answer = self.tries_to_reject(reason).await;
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.http
            .post(&format!("{}{path}", self.url), None, body)
            .await
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.http
            .get(&format!("{}{path}", self.url), None)
            .await
            .unwrap()
    }
}

/// A request for a receipt that the seller seals by itself and 张三 signs.
pub(crate) fn receipt() -> Value {
    json!({
        "reference": "R-1",
        "document": { "receipt": {
            "number": "XS-2026-0001",
            "issued_on": "2026-11-24",
            "project": "云锦东方花园",
            "building": "3幢",
            "unit": "1单元",
            "room": "1802室",
            "payer": { "name": "张三", "id_number": "110105199003072316" },
            "item": "首付款",
            "amount_fen": 140_950,
            "payment_method": "银行转账",
            "payee": SELLER,
        } },
        "signers": [
            { "type": "organization", "name": SELLER, "automatic": true, "order": 1 },
            { "type": "person", "name": "张三", "order": 2 },
        ],
    })
}

/// The same with these persons as the signers, in one order.
pub(crate) fn receipt_for(persons: &[&str]) -> Value {
    let mut request = receipt();
    request["signers"] = persons
        .iter()
        .map(|name| json!({ "type": "person", "name": name }))
        .collect();
    request
}

/// A drawn signature: a wave of ink on a transparent ground.
pub(crate) fn signature() -> Vec<u8> {
    let (width, height) = (300_u32, 120_u32);
    let mut pixels = vec![0; (width * height * 4) as usize];
    for step in 0..2600_u32 {
        let x = 15 + step / 10;
        let y = 60 + ((f64::from(step) / 160.0).sin() * 40.0) as i32;
        for dy in -2..=2 {
            let at = ((y + dy) as u32 * width + x) as usize * 4;
            pixels[at..at + 4].copy_from_slice(&[20, 24, 60, 255]);
        }
    }
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&pixels)
        .unwrap();
    png
}
