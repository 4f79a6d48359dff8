//! What `/metrics` shows (OpenMetrics text): counters that this process keeps, and gauges read when they are asked for.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters and gauges.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<Label, Histogram>,
    operations: Family<Label, Counter>,
    ended: Family<Label, Counter>,
    sealing_seconds: Histogram,
    sealing_failures: Counter,
    flows: Family<Label, Gauge>,
    deliveries: Family<Label, Gauge>,
    oldest_due: Gauge<f64, AtomicU64>,
    oldest_sealing: Gauge<f64, AtomicU64>,
    sealing_failing: Gauge,
    dispatcher: Gauge<i64, AtomicI64>,
    engine: EngineMetrics,
}

/// What the delivery engine says of itself. Its totals are its own; here they are only copied.
#[derive(Default)]
struct EngineMetrics {
    acknowledged: Counter,
    failed: Family<Label, Counter>,
    given_up: Counter,
    fenced: Counter,
    store_errors: Counter,
    lanes: Gauge,
    breakers_open: Gauge,
    resting: Gauge,
    held: Gauge,
    running: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: String,
    status: u16,
}

/// One label, whose name and value are given where it is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Label(&'static str, String);

impl EncodeLabelSet for Label {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        (self.0, self.1.as_str()).encode(encoder.encode_label())
    }
}

/// What is read from the store and the delivery engine for one scrape.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Flows by state.
    pub flows: Vec<(&'static str, u64)>,
    /// Callbacks by state.
    pub deliveries: Vec<(&'static str, u64)>,
    /// Seconds since the oldest callback that is due has been due.
    pub oldest_due_seconds: f64,
    /// Seconds since the oldest signature waits to be applied.
    pub oldest_sealing_seconds: f64,
    /// Flows whose last attempt to seal failed.
    pub sealing_failing: u64,
    /// Whether the dispatcher works.
    pub dispatcher_alive: bool,
    /// What the delivery engine says of itself.
    pub engine: Option<sealpost_delivery::Health>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sealpost");
        let requests = Family::default();
        registry.register("http_requests", "HTTP requests answered", requests.clone());
        let request_seconds = Family::new_with_constructor(seconds as fn() -> Histogram);
        registry.register(
            "http_request_seconds",
            "Time until an HTTP request was answered",
            request_seconds.clone(),
        );
        let operations = Family::default();
        registry.register(
            "flow_operations",
            "Operations on sign flows, refused ones by their code",
            operations.clone(),
        );
        let ended = Family::default();
        registry.register(
            "flows_ended",
            "Sign flows that ended, by the contract's status",
            ended.clone(),
        );
        let sealing_seconds = seconds();
        registry.register(
            "sealing_seconds",
            "Time to apply one signature or to verify the whole",
            sealing_seconds.clone(),
        );
        let sealing_failures = Counter::default();
        registry.register(
            "sealing_failures",
            "Attempts to apply or verify that failed",
            sealing_failures.clone(),
        );
        let flows = Family::default();
        registry.register("flows", "Sign flows by state", flows.clone());
        let deliveries = Family::default();
        registry.register("callbacks", "Callbacks by state", deliveries.clone());
        let oldest_due = Gauge::default();
        registry.register(
            "callback_oldest_due_seconds",
            "Age of the oldest callback that is due",
            oldest_due.clone(),
        );
        let oldest_sealing = Gauge::default();
        registry.register(
            "sealing_oldest_due_seconds",
            "Age of the oldest signature that waits to be applied",
            oldest_sealing.clone(),
        );
        let dispatcher = Gauge::default();
        registry.register(
            "dispatcher_alive",
            "1 while callbacks are being delivered",
            dispatcher.clone(),
        );
        let sealing_failing = Gauge::default();
        registry.register(
            "sealing_failing",
            "Sign flows whose last attempt to seal failed",
            sealing_failing.clone(),
        );
        let engine = EngineMetrics::register(&mut registry);
        Self {
            registry,
            requests,
            request_seconds,
            operations,
            ended,
            sealing_seconds,
            sealing_failures,
            flows,
            deliveries,
            oldest_due,
            oldest_sealing,
            sealing_failing,
            dispatcher,
            engine,
        }
    }

    /// An HTTP request was answered.
    pub fn observe_request(&self, route: &str, method: &str, status: u16, took: Duration) {
        let labels = RequestLabels {
            route: route.to_owned(),
            method: method.to_owned(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds
            .get_or_create(&Label("route", route.to_owned()))
            .observe(took.as_secs_f64());
    }

    /// An operation on a flow was done (`outcome` is its name) or refused (`outcome` is the refusal's code).
    pub fn count_operation(&self, outcome: &str) {
        self.operations
            .get_or_create(&Label("outcome", outcome.to_owned()))
            .inc();
    }

    /// A flow ended.
    pub fn count_end(&self, status: &str) {
        self.ended
            .get_or_create(&Label("status", status.to_owned()))
            .inc();
    }

    /// A step of sealing was done.
    pub fn observe_sealing(&self, took: Duration) {
        self.sealing_seconds.observe(took.as_secs_f64());
    }

    /// A step of sealing failed.
    pub fn count_sealing_failure(&self) {
        self.sealing_failures.inc();
    }

    /// Everything as OpenMetrics text.
    pub fn encode(&self, snapshot: &Snapshot) -> Result<String, fmt::Error> {
        for (state, count) in &snapshot.flows {
            self.flows
                .get_or_create(&Label("state", (*state).to_owned()))
                .set(gauge(*count));
        }
        for (state, count) in &snapshot.deliveries {
            self.deliveries
                .get_or_create(&Label("state", (*state).to_owned()))
                .set(gauge(*count));
        }
        self.oldest_due.set(snapshot.oldest_due_seconds);
        self.oldest_sealing.set(snapshot.oldest_sealing_seconds);
        self.sealing_failing.set(gauge(snapshot.sealing_failing));
        self.dispatcher.set(snapshot.dispatcher_alive.into());
        if let Some(health) = &snapshot.engine {
            self.engine.copy(health);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl EngineMetrics {
    fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        registry.register(
            "attempts_acknowledged",
            "Attempts that acknowledged",
            own.acknowledged.clone(),
        );
        registry.register(
            "attempts_failed",
            "Attempts that failed, by reason",
            own.failed.clone(),
        );
        registry.register(
            "callbacks_given_up",
            "Callbacks given up after the last attempt",
            own.given_up.clone(),
        );
        registry.register(
            "outcomes_fenced",
            "Outcomes that did not count because the lease was lost",
            own.fenced.clone(),
        );
        registry.register(
            "delivery_store_errors",
            "Errors of the store that delivery met",
            own.store_errors.clone(),
        );
        registry.register(
            "lanes",
            "Endpoints with something to deliver or to remember",
            own.lanes.clone(),
        );
        registry.register(
            "breakers_open",
            "Endpoints that are left alone because they only fail",
            own.breakers_open.clone(),
        );
        registry.register(
            "lanes_resting",
            "Endpoints whose channel is paused",
            own.resting.clone(),
        );
        registry.register("callbacks_held", "Callbacks in memory", own.held.clone());
        registry.register(
            "attempts_running",
            "Attempts being made",
            own.running.clone(),
        );
        own
    }

    fn copy(&self, health: &sealpost_delivery::Health) {
        let totals = &health.totals;
        let set = |counter: &Counter, total| counter.inner().store(total, Ordering::Relaxed);
        set(&self.acknowledged, totals.acknowledged);
        set(&self.given_up, totals.given_up);
        set(&self.fenced, totals.fenced);
        set(&self.store_errors, totals.store_errors);
        for (reason, total) in &totals.failed {
            set(
                &self
                    .failed
                    .get_or_create(&Label("reason", (*reason).to_owned())),
                *total,
            );
        }
        self.lanes.set(gauge(health.lanes as u64));
        self.breakers_open.set(gauge(health.breakers_open as u64));
        self.resting.set(gauge(health.resting as u64));
        self.held.set(gauge(health.held as u64));
        self.running.set(gauge(health.running as u64));
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(…)")
    }
}

/// From a millisecond to ten seconds.
fn seconds() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.observe_request("/v1/sign-flows", "POST", 201, Duration::from_millis(3));
        metrics.count_end("2");
        let text = metrics
            .encode(&Snapshot {
                flows: vec![("signing", 4)],
                ..Snapshot::default()
            })
            .unwrap();
        for line in [
            r#"sealpost_http_requests_total{route="/v1/sign-flows",method="POST",status="201"} 1"#,
            r#"sealpost_flows_ended_total{status="2"} 1"#,
            r#"sealpost_flows{state="signing"} 4"#,
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
