//! The only clock of the program. What is to be tested takes `now` as an argument.

use std::sync::atomic::{AtomicI64, Ordering};

use sealpost_contract::UtcMillis;

/// Now, by the system's clock, in UTC milliseconds.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn system_now() -> UtcMillis {
    jiff::Timestamp::now().as_millisecond()
}

/// The clock of a server. Tests move it by hand.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead: AtomicI64,
}

impl Clock {
    /// Now, in UTC milliseconds.
    pub(crate) fn now(&self) -> UtcMillis {
        system_now() + self.ahead.load(Ordering::Relaxed)
    }

    /// Moves it ahead.
    pub(crate) fn advance(&self, millis: i64) {
        self.ahead.fetch_add(millis, Ordering::Relaxed);
    }
}
