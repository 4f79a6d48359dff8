//! What was asked of the place of documents.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use sealpost_store::DocumentTotals;

use super::Label;

/// What was asked of the place of documents: a folder or a bucket. The store counts; here it is only copied.
#[derive(Default)]
pub(super) struct DocumentMetrics {
    operations: Family<Label, Counter>,
    failed: Family<Label, Counter>,
    seconds: Family<Label, Counter<f64, AtomicU64>>,
}

impl DocumentMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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

    pub(super) fn copy(&self, totals: &DocumentTotals) {
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
