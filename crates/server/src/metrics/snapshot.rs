//! What is read for one scrape: from the store, the delivery engine, the keys and the place of documents.

use sealpost_contract::UtcMillis;
use sealpost_delivery::lanes::LaneReport;
use sealpost_store::DocumentTotals;

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
    /// By how many seconds this node's clock was last found to be ahead of the database server's; negative: behind.
    pub clock_ahead_seconds: f64,
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
