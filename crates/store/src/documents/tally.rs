//! What this process has asked of the place of documents.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;

/// Totals of one kind of operation since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OperationTotals {
    /// Operations that have ended, with all that was tried again as one.
    pub operations: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// The time that they took together.
    pub took: Duration,
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DocumentTotals {
    /// Keeping a document.
    pub put: OperationTotals,
    /// Reading one.
    pub read: OperationTotals,
}

/// Counts one kind of operation.
#[derive(Debug, Default)]
pub(super) struct Tally {
    operations: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
}

impl Tally {
    /// Counts an operation when it has ended. One whose caller has gone is not counted.
    pub(super) async fn count<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let result = operation.await;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.failed
            .fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
        self.operations.fetch_add(1, Ordering::Relaxed);
        result
    }

    pub(super) fn totals(&self) -> OperationTotals {
        OperationTotals {
            operations: self.operations.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            took: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
        }
    }
}
