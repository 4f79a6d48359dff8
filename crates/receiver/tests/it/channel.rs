//! A channel under test: a receiver that listens on loopback, and the platform's side of the wire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use sealpost_receiver::contract::{SignEndTime, SignFileUrl, SignFlowId};
use sealpost_receiver::{Callback, Handler, HandlerError, Inbox, Receiver, handler_fn};

pub(crate) struct Channel {
    pub(crate) address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    server: tokio::task::JoinHandle<()>,
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) code: String,
}

pub(crate) fn reply(code: &str) -> Reply {
    Reply {
        status: if code == "000" {
            200
        } else {
            code.parse().unwrap()
        },
        code: code.to_owned(),
    }
}

impl Channel {
    pub(crate) async fn open<I: Inbox, H: Handler>(receiver: Receiver<I, H>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = receiver.router("/callback");
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            client: Client::builder(TokioExecutor::new()).build_http(),
            server,
        }
    }

    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Reply {
        self.post_with(body, &[("content-type", "application/json; charset=utf-8")])
            .await
    }

    pub(crate) async fn post_with(
        &self,
        body: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Reply {
        self.send("POST", body, headers).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        body: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = ::http::Request::builder()
            .method(method)
            .uri(format!("http://{}/callback", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self
            .client
            .request(request.body(Full::new(body.into())).unwrap())
            .await
            .unwrap();
        assert_eq!(
            answer.headers()["content-type"],
            "application/json; charset=utf-8"
        );
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 1, "only response_code");
        Reply {
            status,
            code: json["response_code"].as_str().unwrap().to_owned(),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The flow numbered `number`, ended as `status`.
pub(crate) fn callback(number: u8, status: &str) -> Callback {
    Callback {
        sign_end_time: "2021-03-22 18:24:29".parse::<SignEndTime>().unwrap(),
        sign_flow_status: status.parse().unwrap(),
        sign_flow_id: SignFlowId::from_bytes([number; 16]),
        sign_file_url: "http://127.0.0.1/f/abc".parse::<SignFileUrl>().unwrap(),
    }
}

/// How often the handler ran, and how often it is to fail first.
#[derive(Clone, Default)]
pub(crate) struct Runs {
    started: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    failures_left: Arc<AtomicUsize>,
}

impl Runs {
    pub(crate) fn failing_first(failures: usize) -> Self {
        let runs = Self::default();
        runs.failures_left.store(failures, Ordering::SeqCst);
        runs
    }

    pub(crate) fn count(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// A handler that takes its time, and notices when it is not alone.
    pub(crate) fn handler(&self) -> impl Handler {
        let runs = self.clone();
        handler_fn(move |_| {
            let runs = runs.clone();
            async move {
                assert_eq!(
                    runs.running.fetch_add(1, Ordering::SeqCst),
                    0,
                    "two handlers at once for one flow"
                );
                runs.started.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                runs.running.fetch_sub(1, Ordering::SeqCst);
                let fails = runs
                    .failures_left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok();
                if fails {
                    Err(HandlerError::from("not today"))
                } else {
                    Ok(())
                }
            }
        })
    }
}
