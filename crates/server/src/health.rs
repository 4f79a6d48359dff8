//! `/healthz`, `/readyz` and `/metrics`: what an operator's monitoring asks.

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sealpost_contract::UtcMillis;
use sealpost_delivery::Health;
use sealpost_delivery::breaker::BreakerState;
use sealpost_delivery::lanes::{LaneReport, worst};
use serde_json::{Map, Value, json};

use crate::api::time;
use crate::app::App;
use crate::app::renewal::COUNTED;
use crate::metrics::{self, Snapshot, Stored};
use crate::problem::Problem;

/// A callback that is due for longer than this, or a signature that waits for longer, means that something has stopped.
const LATE_SECONDS: f64 = 300.0;

/// Lanes that are shown one by one; the others only in sums.
const WORST: usize = 20;

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database takes writes, callbacks are being delivered, nothing has been left lying, and the server is not
/// about to stop.
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let mut readiness = app.readiness().await;
    let serving = match app.is_stopping() {
        true => Err("this server is about to stop".to_owned()),
        false => Ok(()),
    };
    readiness.push(("serving", serving));
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
    let mut body = json!({ "ready": ready, "checks": checks });
    if let Some(node) = app.node_id() {
        body["node"] = node.into();
    }
    if let Some(engine) = app.delivery() {
        let lanes = worst(engine.lanes(), WORST, app.now());
        body["delivery"] = shown_delivery(&engine.health(), &lanes);
    }
    (status, [(CACHE_CONTROL, "no-store")], JsonAnswer(body)).into_response()
}

fn shown_delivery(health: &Health, worst: &[LaneReport]) -> Value {
    json!({
        "lanes": health.lanes,
        "breakers_open": health.breakers_open,
        "resting": health.resting,
        "window": health.window,
        "held": health.held,
        "running": health.running,
        "worst": worst.iter().map(shown_lane).collect::<Vec<Value>>(),
    })
}

fn shown_lane(lane: &LaneReport) -> Value {
    let mut shown = json!({
        "lane": lane.lane.0,
        "breaker": lane.breaker.name(),
        "window": lane.window,
        "queued": lane.queued,
        "running": lane.running,
        "paused": lane.paused,
    });
    if let Some(channel) = &lane.channel_id {
        shown["channel"] = (**channel).into();
    }
    if let BreakerState::Open(until) = lane.breaker {
        shown["open_until"] = time(until).into();
    }
    if let Some(due_at) = lane.due_at {
        shown["due_at"] = time(due_at).into();
    }
    shown
}

/// `GET /metrics`: also while the database is away, for that is when they are looked at.
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let text = app
        .metrics()
        .encode(&app.snapshot().await)
        .map_err(|error| Problem::internal("metrics cannot be written", &error))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

impl App {
    /// Each part with `Ok` or what is wrong with it.
    pub(crate) async fn readiness(&self) -> Vec<(&'static str, Result<(), String>)> {
        let writable = self.store().prove_writable(self.now()).await;
        let writable = writable.map_err(|error| error.to_string());
        let dispatcher = match self.delivery().map(sealpost_delivery::Engine::health) {
            None => Err("not started".to_owned()),
            Some(health) if !health.alive => Err(health
                .store_error
                .unwrap_or_else(|| "it has not looked for work lately".to_owned())),
            // It looks for work, but cannot keep what came of it: a full disk, for one.
            Some(health) => health.store_error.map_or(Ok(()), Err),
        };
        // How old the oldest is does not count here: an endpoint that is down or slow has old ones, and no node is the better for
        // being taken out of service for it. What nobody comes to does.
        let left_since = self
            .delivery()
            .and_then(|engine| engine.health().left_since);
        let snapshot = self.snapshot().await;
        let waiting = snapshot
            .stored
            .map_or(0.0, |stored| stored.oldest_sealing_seconds);
        let late = not_late("callback", seconds(left_since, self.now()))
            .and_then(|()| not_late("signature to be applied", waiting));
        vec![
            ("database", writable),
            ("dispatcher", dispatcher),
            ("oldest_due", late),
        ]
    }

    /// What is read for one scrape.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let engine = self.delivery();
        let health = engine.map(sealpost_delivery::Engine::health);
        let backlog = health
            .as_ref()
            .map(|health| health.backlog)
            .unwrap_or_default();
        Snapshot {
            stored: self.stored(now).await.ok(),
            deliveries: vec![("waiting", backlog.waiting), ("failed", backlog.failed)],
            oldest_due_seconds: seconds(
                health.as_ref().and_then(|health| health.oldest_due_at),
                now,
            ),
            documents: self.store().document_totals(),
            draining: self.is_stopping(),
            clock_ahead_seconds: self.clock_was_ahead() as f64 / 1000.0,
            dispatcher_alive: health.as_ref().is_some_and(|health| health.alive),
            engine: health,
            lanes: engine
                .map(|engine| worst(engine.lanes(), WORST, now))
                .unwrap_or_default(),
            certificates: self
                .watched_certificates()
                .into_iter()
                .map(|watched| (watched.whose.clone(), watched.days_left(now)))
                .collect(),
            at: now,
        }
    }

    async fn stored(&self, now: UtcMillis) -> sealpost_store::Result<Stored> {
        let flows = self.store().flow_counts().await?;
        let sealing = self.store().sealing_backlog().await?;
        let to_renew = match self.renewal_window() {
            None => 0,
            Some(window) => {
                self.store()
                    .count_flows_to_renew(now + window, COUNTED)
                    .await?
            }
        };
        // Over SQLite there is one.
        let nodes = match self.node_id() {
            None => 1,
            Some(_) => self.store().nodes(now).await?.len() as u64,
        };
        let unfinished = self.store().unfinished_redeliveries().await?;
        Ok(Stored {
            flows: flows
                .into_iter()
                .map(|(status, count)| (status.as_str(), count))
                .collect(),
            oldest_sealing_seconds: seconds(sealing.oldest_at, now),
            sealing_failing: sealing.failing,
            to_renew: to_renew.into(),
            nodes,
            redeliveries: unfinished.len() as u64,
            redeliveries_remaining: unfinished
                .iter()
                .map(|redelivery| redelivery.total.saturating_sub(redelivery.redelivered))
                .sum(),
        })
    }
}

/// Seconds from then to now.
fn seconds(at: Option<UtcMillis>, now: UtcMillis) -> f64 {
    at.map_or(0.0, |at| (now - at).max(0) as f64 / 1000.0)
}

fn not_late(what: &str, seconds: f64) -> Result<(), String> {
    if seconds > LATE_SECONDS {
        Err(format!("a {what} has been due for {seconds:.0} s"))
    } else {
        Ok(())
    }
}
