//! What the delivery engine says of itself.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sealpost_delivery::Health;

use super::{Label, gauge};

/// What the delivery engine says of itself. Its totals are its own; here they are only copied.
#[derive(Default)]
pub(super) struct EngineMetrics {
    acknowledged: Counter,
    failed: Family<Label, Counter>,
    given_up: Counter,
    fenced: Counter,
    not_made: Counter,
    refused: Counter,
    store_errors: Counter,
    lanes: Gauge,
    breakers_open: Gauge,
    resting: Gauge,
    window: Gauge,
    held: Gauge,
    running: Gauge,
}

impl EngineMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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
            "attempts_not_made",
            "Attempts that a fault of our own prevented, such as too few file descriptors; they are not counted as attempts",
            own.not_made.clone(),
        );
        registry.register(
            "outcomes_refused",
            "Outcomes that the database refuses although it takes others",
            own.refused.clone(),
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

    pub(super) fn copy(&self, health: &Health) {
        let totals = &health.totals;
        let set = |counter: &Counter, total| counter.inner().store(total, Ordering::Relaxed);
        set(&self.acknowledged, totals.acknowledged);
        set(&self.given_up, totals.given_up);
        set(&self.fenced, totals.fenced);
        set(&self.not_made, totals.not_made);
        set(&self.refused, totals.refused);
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
