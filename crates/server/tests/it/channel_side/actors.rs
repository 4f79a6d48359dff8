//! Who takes part: the program under test, the platform that POSTs to it, and an endpoint played by the test.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use sealpost_contract::vectors;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The `sealpost` binary.
pub(crate) fn sealpost() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost"));
    command.env_remove("WEBHOOK_SECRET").stdin(Stdio::null());
    command
}

/// Runs `sealpost` to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    sealpost().args(arguments).output().unwrap()
}

/// A program that runs until the test is over.
pub(crate) struct Program {
    child: Child,
    /// Where it listens, as it said.
    pub(crate) url: String,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Program {
    /// Starts a command and waits until it says `listening on http://…`.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
            panic!("{command:?} cannot be started ({error}); `cargo xtask test` installs what the tests need")
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let url = loop {
            line.clear();
            assert_ne!(
                stdout.read_line(&mut line).unwrap(),
                0,
                "{command:?} ended: {:?}",
                child.wait()
            );
            if let Some(rest) = line.strip_prefix("listening on ") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        Self { child, url, stdout }
    }

    /// `sealpost receive` on any free port, with a folder of its own.
    pub(crate) fn receive(data: &std::path::Path, arguments: &[&str]) -> Self {
        let mut command = sealpost();
        command
            .args([
                "--log",
                "error",
                "receive",
                "--listen",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(data)
            .args(arguments);
        Self::start(&mut command)
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The rest of what it printed, after it has been killed.
    pub(crate) fn output(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut output = String::new();
        self.stdout.read_to_string(&mut output).unwrap();
        output
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The platform's side of the wire.
#[derive(Clone)]
pub(crate) struct Platform {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Platform {
    pub(crate) fn new() -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// POSTs a body; gives the HTTP status and the `response_code`, or `None` if no answer came.
    pub(crate) async fn post(&self, url: &str, body: impl Into<Bytes>) -> Option<(u16, String)> {
        self.post_with(url, body, &[]).await
    }

    pub(crate) async fn post_with(
        &self,
        url: &str,
        body: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Option<(u16, String)> {
        let mut request =
            Request::post(url).header("content-type", "application/json; charset=utf-8");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self
            .client
            .request(request.body(Full::new(body.into())).unwrap())
            .await
            .ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        Some((status, json["response_code"].as_str().unwrap().to_owned()))
    }
}

/// A callback's body for the flow `id`.
pub(crate) fn callback(id: &str, status: &str, url: &str) -> String {
    format!(
        r#"{{"sign_end_time":"2021-03-22 18:24:29","sign_flow_status":"{status}","sign_flow_id":"{id}","sign_file_url":"{url}"}}"#
    )
}

/// Sends every case of the contract's `requests.json`, twice: the second time each accepted callback is a repeat.
pub(crate) async fn every_vector_holds_at(url: &str) {
    let platform = Platform::new();
    for round in 1..=2 {
        for case in vectors::requests() {
            let status = if case.answer == "000" {
                200
            } else {
                case.answer.parse().unwrap()
            };
            let answer = platform.post(url, case.body).await;
            assert_eq!(
                answer,
                Some((status, case.answer)),
                "{} (round {round})",
                case.name
            );
        }
    }
}

/// What an endpoint of the test was sent.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// An endpoint played by the test: answers its n-th request (from 0) as `answer` says, and remembers what came.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Endpoint {
    pub(crate) async fn start(
        answer: impl Fn(usize) -> (u16, Bytes) + Send + Sync + 'static,
    ) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let remember = Arc::clone(&received);
        let answer = Arc::new(answer);
        let (url, task) = serve(move |request: Request<Body>| {
            let (remember, answer) = (Arc::clone(&remember), Arc::clone(&answer));
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap();
                let number = {
                    let mut received = remember.lock().unwrap();
                    received.push(Received {
                        headers: parts.headers,
                        body,
                    });
                    received.len() - 1
                };
                let (status, body) = answer(number);
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                response
            }
        })
        .await;
        Self {
            url,
            received,
            task,
        }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves every path on any free port of loopback; gives a URL there.
pub(crate) async fn serve<F, R>(answer: F) -> (String, tokio::task::JoinHandle<()>)
where
    F: Fn(Request<Body>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let url = format!("http://{}/callback", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(move |request: Request<Body>| answer(request));
    (
        url,
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
    )
}

/// Waits until `ready` gives something; it is asked every 20 ms.
pub(crate) async fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{what} did not happen within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `sealpost receive --status --json` of a folder.
pub(crate) fn status(data: &std::path::Path) -> serde_json::Value {
    let output = sealpost()
        .args(["receive", "--status", "--json", "--data"])
        .arg(data)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
