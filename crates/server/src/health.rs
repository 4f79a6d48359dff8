//! `/healthz`, `/readyz` and `/metrics`: what an operator's monitoring asks.

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::metrics::{self, Snapshot};
use crate::problem::Problem;

/// A callback that is due for longer than this, or a signature that waits for longer, means that something has stopped.
const LATE_SECONDS: f64 = 300.0;

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database takes writes, callbacks are being delivered, nothing has been left lying.
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let readiness = app.readiness().await;
    let ready = readiness.iter().all(|(_, state)| state.is_ok());
    let checks: Map<String, Value> = readiness
        .into_iter()
        .map(|(check, state)| {
            (
                check.to_owned(),
                state.map_or_else(Value::from, |()| "ok".into()),
            )
        })
        .collect();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        [(CACHE_CONTROL, "no-store")],
        JsonAnswer(json!({ "ready": ready, "checks": checks })),
    )
        .into_response()
}

/// `GET /metrics`
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let snapshot = app.snapshot().await?;
    let text = app
        .metrics()
        .encode(&snapshot)
        .map_err(|error| Problem::internal("metrics cannot be written", &error))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

impl App {
    /// Each part with `Ok` or what is wrong with it.
    pub(crate) async fn readiness(&self) -> Vec<(&'static str, Result<(), String>)> {
        let writable = self.store().forget_idempotency_keys(self.now()).await;
        let writable = writable.map(drop).map_err(|error| error.to_string());
        let dispatcher = match self.delivery().map(sealpost_delivery::Engine::health) {
            None => Err("not started".to_owned()),
            Some(health) if !health.alive => Err(health
                .store_error
                .unwrap_or_else(|| "it has not looked for work lately".to_owned())),
            Some(_) => Ok(()),
        };
        let late = match self.snapshot().await {
            Err(problem) => Err(problem.detail().to_owned()),
            Ok(snapshot) => not_late("callback", snapshot.oldest_due_seconds).and_then(|()| {
                not_late("signature to be applied", snapshot.oldest_sealing_seconds)
            }),
        };
        vec![
            ("database", writable),
            ("dispatcher", dispatcher),
            ("oldest_due", late),
        ]
    }

    /// What is read for one scrape.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Problem> {
        let now = self.now();
        let seconds = |at: Option<i64>| at.map_or(0.0, |at| (now - at).max(0) as f64 / 1000.0);
        let flows = self.store().flow_counts().await?;
        let sealing = self.store().sealing_backlog().await?;
        let health = self.delivery().map(sealpost_delivery::Engine::health);
        let backlog = health
            .as_ref()
            .map(|health| health.backlog)
            .unwrap_or_default();
        Ok(Snapshot {
            flows: flows
                .into_iter()
                .map(|(status, count)| (status.as_str(), count))
                .collect(),
            deliveries: vec![("waiting", backlog.waiting), ("failed", backlog.failed)],
            oldest_due_seconds: seconds(health.as_ref().and_then(|health| health.oldest_due_at)),
            oldest_sealing_seconds: seconds(sealing.oldest_at),
            sealing_failing: sealing.failing,
            dispatcher_alive: health.is_some_and(|health| health.alive),
            engine: self.delivery().map(sealpost_delivery::Engine::health),
        })
    }
}

fn not_late(what: &str, seconds: f64) -> Result<(), String> {
    if seconds > LATE_SECONDS {
        Err(format!("a {what} has been due for {seconds:.0} s"))
    } else {
        Ok(())
    }
}
