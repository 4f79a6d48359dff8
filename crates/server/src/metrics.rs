//! What `/metrics` shows (OpenMetrics text): counters that this process keeps, and gauges read when they are asked for.

mod documents;
mod engine;
mod lanes;
mod snapshot;

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::documents::DocumentMetrics;
use self::engine::EngineMetrics;
use self::lanes::LaneMetrics;
pub use self::snapshot::{Snapshot, Stored};

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
    downgrades: Family<Label, Counter>,
    renewals: Family<Label, Counter>,
    flows: Family<Label, Gauge>,
    deliveries: Family<Label, Gauge>,
    oldest_due: Gauge<f64, AtomicU64>,
    oldest_sealing: Gauge<f64, AtomicU64>,
    sealing_failing: Gauge,
    to_renew: Gauge,
    dispatcher: Gauge<i64, AtomicI64>,
    database: Gauge,
    redeliveries_running: Gauge,
    redeliveries_remaining: Gauge,
    nodes: Gauge,
    draining: Gauge,
    clock_ahead: Gauge<f64, AtomicU64>,
    documents: DocumentMetrics,
    engine: EngineMetrics,
    lanes: LaneMetrics,
    certificates: Family<Label, Gauge>,
    encoding: Mutex<()>,
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
        let downgrades = Family::default();
        registry.register(
            "signature_downgrades",
            "Signatures that got a lower level than was wanted, by the level reached",
            downgrades.clone(),
        );
        let renewals = Family::default();
        registry.register(
            "archive_renewals",
            "Completed documents whose timestamp was to be renewed by itself, by outcome: renewed or failed",
            renewals.clone(),
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
        let to_renew = Gauge::default();
        registry.register(
            "archive_to_renew",
            "Completed documents whose newest timestamp ends within signatures.renew_days, 10000 at most",
            to_renew.clone(),
        );
        let database = Gauge::default();
        registry.register(
            "database_up",
            "1 while the database answers; otherwise what is read from it is as it was last",
            database.clone(),
        );
        let redeliveries_running = Gauge::default();
        registry.register(
            "redeliveries_running",
            "Redeliveries of many callbacks that are not finished",
            redeliveries_running.clone(),
        );
        let redeliveries_remaining = Gauge::default();
        registry.register(
            "redeliveries_remaining",
            "Callbacks that the running redeliveries have not come to yet",
            redeliveries_remaining.clone(),
        );
        let certificates = Family::default();
        registry.register(
            "certificate_days_left",
            "Days until a certificate that signs expires; negative when it has",
            certificates.clone(),
        );
        let nodes = Gauge::default();
        registry.register(
            "nodes",
            "Nodes that serve the database and were heard of lately, this one included",
            nodes.clone(),
        );
        let draining = Gauge::default();
        registry.register(
            "draining",
            "1 once this node is told to stop",
            draining.clone(),
        );
        let clock_ahead = Gauge::default();
        registry.register(
            "clock_ahead_seconds",
            "How far this node's clock is ahead of the database server's; negative: behind",
            clock_ahead.clone(),
        );
        let documents = DocumentMetrics::register(&mut registry);
        let engine = EngineMetrics::register(&mut registry);
        let lanes = LaneMetrics::register(&mut registry);
        Self {
            registry,
            requests,
            request_seconds,
            operations,
            ended,
            sealing_seconds,
            sealing_failures,
            downgrades,
            renewals,
            flows,
            deliveries,
            oldest_due,
            oldest_sealing,
            sealing_failing,
            to_renew,
            dispatcher,
            database,
            redeliveries_running,
            redeliveries_remaining,
            nodes,
            draining,
            clock_ahead,
            documents,
            engine,
            lanes,
            certificates,
            encoding: Mutex::default(),
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

    /// A signature got a lower level than was wanted: this one.
    pub fn count_downgrade(&self, level: &'static str) {
        self.downgrades
            .get_or_create(&Label("level", level.to_owned()))
            .inc();
    }

    /// The timestamp over a document was to be renewed by itself: `renewed` or `failed`.
    pub fn count_renewal(&self, outcome: &'static str) {
        self.renewals
            .get_or_create(&Label("outcome", outcome.to_owned()))
            .inc();
    }

    /// Everything as OpenMetrics text.
    pub fn encode(&self, snapshot: &Snapshot) -> Result<String, fmt::Error> {
        // A scrape shows its own lanes, not those of another that is under way.
        let _alone = self.encoding.lock().unwrap_or_else(PoisonError::into_inner);
        self.database.set(snapshot.stored.is_some().into());
        if let Some(stored) = &snapshot.stored {
            self.copy(stored);
        }
        for (state, count) in &snapshot.deliveries {
            self.deliveries
                .get_or_create(&Label("state", (*state).to_owned()))
                .set(gauge(*count));
        }
        self.oldest_due.set(snapshot.oldest_due_seconds);
        self.dispatcher.set(snapshot.dispatcher_alive.into());
        self.draining.set(snapshot.draining.into());
        self.clock_ahead.set(snapshot.clock_ahead_seconds);
        self.documents.copy(&snapshot.documents);
        if let Some(health) = &snapshot.engine {
            self.engine.copy(health);
        }
        self.lanes.copy(&snapshot.lanes, snapshot.at);
        for (whose, days) in &snapshot.certificates {
            self.certificates
                .get_or_create(&Label("certificate", whose.clone()))
                .set(*days);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn copy(&self, stored: &Stored) {
        for (state, count) in &stored.flows {
            self.flows
                .get_or_create(&Label("state", (*state).to_owned()))
                .set(gauge(*count));
        }
        self.oldest_sealing.set(stored.oldest_sealing_seconds);
        self.sealing_failing.set(gauge(stored.sealing_failing));
        self.to_renew.set(gauge(stored.to_renew));
        self.nodes.set(gauge(stored.nodes));
        self.redeliveries_running.set(gauge(stored.redeliveries));
        self.redeliveries_remaining
            .set(gauge(stored.redeliveries_remaining));
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
                stored: Some(Stored {
                    flows: vec![("signing", 4)],
                    ..Stored::default()
                }),
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
