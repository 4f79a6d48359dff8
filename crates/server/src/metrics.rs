//! What `/metrics` shows (OpenMetrics text): counters that this process keeps, and gauges read when they are asked for.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use sealpost_contract::UtcMillis;
use sealpost_delivery::breaker::BreakerState;
use sealpost_delivery::lanes::LaneReport;
use sealpost_store::DocumentTotals;

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
    documents: DocumentMetrics,
    engine: EngineMetrics,
    lanes: LaneMetrics,
    certificates: Family<Label, Gauge>,
    encoding: Mutex<()>,
}

/// What was asked of the place of documents: a folder or a bucket. The store counts; here it is only copied.
#[derive(Default)]
struct DocumentMetrics {
    operations: Family<Label, Counter>,
    failed: Family<Label, Counter>,
    seconds: Family<Label, Counter<f64, AtomicU64>>,
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
    window: Gauge,
    held: Gauge,
    running: Gauge,
}

/// What the lanes in the worst state say of themselves; which these are may be others at each scrape.
#[derive(Default)]
struct LaneMetrics {
    breaker: Family<LaneLabels, Gauge>,
    overdue: Family<LaneLabels, Gauge<f64, AtomicU64>>,
    window: Family<LaneLabels, Gauge>,
    queued: Family<LaneLabels, Gauge>,
    running: Family<LaneLabels, Gauge>,
    paused: Family<LaneLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    lane: i64,
    channel: String,
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
    /// What the store says; `None`: it does not answer, and its gauges stay as they were.
    pub stored: Option<Stored>,
    /// Callbacks by state.
    pub deliveries: Vec<(&'static str, u64)>,
    /// Seconds since the oldest callback that is due has been due.
    pub oldest_due_seconds: f64,
    /// What was asked of the place of documents.
    pub documents: DocumentTotals,
    /// Whether this node is about to stop.
    pub draining: bool,
    /// Whether the dispatcher works.
    pub dispatcher_alive: bool,
    /// What the delivery engine says of itself.
    pub engine: Option<sealpost_delivery::Health>,
    /// Its lanes in the worst state, some twenty.
    pub lanes: Vec<LaneReport>,
    /// Whose certificates there are that somebody has to renew, and for how many days they are still valid.
    pub certificates: Vec<(String, i64)>,
    /// When that was.
    pub at: UtcMillis,
}

/// What the store says.
#[derive(Debug, Default)]
pub struct Stored {
    /// Flows by state.
    pub flows: Vec<(&'static str, u64)>,
    /// Seconds since the oldest signature waits to be applied.
    pub oldest_sealing_seconds: f64,
    /// Flows whose last attempt to seal failed.
    pub sealing_failing: u64,
    /// Documents whose newest timestamp ends within the time in which it is renewed, up to some thousands.
    pub to_renew: u64,
    /// Nodes that are there, this one included.
    pub nodes: u64,
    /// Redeliveries of many that are not finished.
    pub redeliveries: u64,
    /// Callbacks that they have not come to yet.
    pub redeliveries_remaining: u64,
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

impl DocumentMetrics {
    fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        registry.register(
            "document_operations",
            "Documents put or read, whether it succeeded or failed",
            own.operations.clone(),
        );
        registry.register(
            "document_failures",
            "Documents that could not be put or read",
            own.failed.clone(),
        );
        registry.register(
            "document_seconds",
            "Time that putting or reading documents took in all",
            own.seconds.clone(),
        );
        own
    }

    fn copy(&self, totals: &DocumentTotals) {
        for (operation, totals) in [("put", totals.put), ("read", totals.read)] {
            let label = Label("operation", operation.to_owned());
            let set = |family: &Family<Label, Counter>, total| {
                let counter = family.get_or_create(&label);
                counter.inner().store(total, Ordering::Relaxed);
            };
            set(&self.operations, totals.operations);
            set(&self.failed, totals.failed);
            let seconds = self.seconds.get_or_create(&label);
            let took = totals.took.as_secs_f64().to_bits();
            seconds.inner().store(took, Ordering::Relaxed);
        }
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
        registry.register(
            "attempts_window",
            "Attempts that all endpoints together may be sent at once, as they have shown to keep up with",
            own.window.clone(),
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
        self.window.set(gauge(health.window as u64));
        self.held.set(gauge(health.held as u64));
        self.running.set(gauge(health.running as u64));
    }
}

impl LaneMetrics {
    fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        registry.register(
            "lane_breaker",
            "Of the endpoints in the worst state: 0 everything is sent, 1 one attempt decides, 2 nothing is sent for a while",
            own.breaker.clone(),
        );
        registry.register(
            "lane_overdue_seconds",
            "Of the endpoints in the worst state: how long the first callback on disk has been due",
            own.overdue.clone(),
        );
        registry.register(
            "lane_window",
            "Of the endpoints in the worst state: attempts that may be made at once",
            own.window.clone(),
        );
        registry.register(
            "lane_queued",
            "Of the endpoints in the worst state: callbacks in memory that are not being sent",
            own.queued.clone(),
        );
        registry.register(
            "lane_running",
            "Of the endpoints in the worst state: attempts being made",
            own.running.clone(),
        );
        registry.register(
            "lane_paused",
            "Of the endpoints in the worst state: 1 if the channel is paused or has no address",
            own.paused.clone(),
        );
        own
    }

    fn copy(&self, lanes: &[LaneReport], now: UtcMillis) {
        self.overdue.clear();
        for family in [
            &self.breaker,
            &self.window,
            &self.queued,
            &self.running,
            &self.paused,
        ] {
            family.clear();
        }
        for lane in lanes {
            let labels = LaneLabels {
                lane: lane.lane.0,
                channel: lane.channel_id.as_deref().unwrap_or_default().to_owned(),
            };
            let set = |family: &Family<LaneLabels, Gauge>, value| {
                family.get_or_create(&labels).set(gauge(value));
            };
            let breaker = match lane.breaker {
                BreakerState::Closed => 0,
                BreakerState::Probing => 1,
                BreakerState::Open(_) => 2,
            };
            set(&self.breaker, breaker);
            set(&self.window, lane.window as u64);
            set(&self.queued, lane.queued as u64);
            set(&self.running, lane.running as u64);
            set(&self.paused, lane.paused.into());
            let overdue = lane.due_at.map_or(0, |due_at| (now - due_at).max(0));
            self.overdue
                .get_or_create(&labels)
                .set(overdue as f64 / 1000.0);
        }
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
