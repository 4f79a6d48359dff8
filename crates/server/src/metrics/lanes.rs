//! What the lanes in the worst state say of themselves.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sealpost_contract::UtcMillis;
use sealpost_delivery::breaker::BreakerState;
use sealpost_delivery::lanes::LaneReport;

use super::gauge;

/// What the lanes in the worst state say of themselves; which these are may be others at each scrape.
#[derive(Default)]
pub(super) struct LaneMetrics {
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

impl LaneMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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

    pub(super) fn copy(&self, lanes: &[LaneReport], now: UtcMillis) {
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
