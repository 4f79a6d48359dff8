//! The demo's channel: a real receiver (`sealpost_receiver`) behind a real socket, as a channel would run it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use sealpost_contract::{Callback, EndStatus, Schedule, SignFlowId};
use sealpost_receiver::{MemoryInbox, Receiver, handler_fn};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::App;
use crate::web;

/// How long the demo waits for a callback.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// The demo does not wait minutes for a retry.
const WAITS: [i64; 3] = [300, 600, 1200];

/// A channel with its receiver.
pub(super) struct DemoChannel {
    pub(super) name: String,
    pub(super) api_key: String,
    pub(super) callback_url: String,
    received: Arc<Received>,
    _stop: DropGuard,
}

/// What the receiver has taken in.
#[derive(Default)]
struct Received {
    callbacks: Mutex<Vec<(Callback, Instant)>>,
    news: Notify,
}

impl DemoChannel {
    /// Starts a receiver that answers `999` to the first `refusals` callbacks, and registers it with Sealpost.
    pub(super) async fn start(app: &App, name: &str, refusals: u32) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let callback_url = format!("http://{}/callback", listener.local_addr()?);
        let schedule = Schedule::new(WAITS)?;
        let registered = app.add_channel(name, Some(&callback_url), schedule).await?;
        let received = Arc::new(Received::default());
        let keep = Arc::clone(&received);
        let handler = handler_fn(move |callback: Callback| {
            let keep = Arc::clone(&keep);
            async move {
                keep.callbacks
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((callback, Instant::now()));
                keep.news.notify_waiters();
                Ok(())
            }
        });
        let receiver = Receiver::new(MemoryInbox::new(), handler)
            .require_signature(vec![registered.webhook_secret.parse()?]);
        let left = Arc::new(AtomicU32::new(refusals));
        let router = receiver
            .router("/callback")
            .layer(from_fn_with_state(left, refuse_first));
        let stop = CancellationToken::new();
        tokio::spawn(web::serve::serve(listener, router, stop.clone()));
        Ok(Self {
            name: name.to_owned(),
            api_key: registered.api_key,
            callback_url,
            received,
            _stop: stop.drop_guard(),
        })
    }

    /// Waits until the channel has been told of a flow's end.
    pub(super) async fn told_of(&self, flow: &SignFlowId) -> anyhow::Result<(Callback, Instant)> {
        let waiting = async {
            loop {
                let news = self.received.news.notified();
                if let Some(found) = self.find(flow) {
                    return found;
                }
                // A callback that came between the look and the wait is found at the next look.
                let _ = tokio::time::timeout(Duration::from_millis(50), news).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .with_context(|| format!("no callback for {flow} within {} s", PATIENCE.as_secs()))
    }

    /// The channel must have been told of this end of the flow.
    pub(super) async fn told(
        &self,
        flow: &SignFlowId,
        end: EndStatus,
    ) -> anyhow::Result<(Callback, Instant)> {
        let (callback, at) = self.told_of(flow).await?;
        let told = callback.sign_flow_status;
        anyhow::ensure!(
            told == end,
            "the channel was told {} instead of {}",
            told.code(),
            end.code()
        );
        Ok((callback, at))
    }

    fn find(&self, flow: &SignFlowId) -> Option<(Callback, Instant)> {
        let callbacks = self
            .received
            .callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        callbacks
            .iter()
            .find(|(callback, _)| callback.sign_flow_id == *flow)
            .cloned()
    }
}

/// Answers `999` as long as there are refusals left.
async fn refuse_first(
    State(left): State<Arc<AtomicU32>>,
    request: Request,
    next: Next,
) -> Response {
    let refused = left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
        .is_ok();
    if refused {
        return (
            [(CONTENT_TYPE, sealpost_contract::CONTENT_TYPE)],
            r#"{"response_code":"999"}"#,
        )
            .into_response();
    }
    next.run(request).await
}
