//! The circuit breaker of one lane: an endpoint that only fails is rested, and probed again by single attempts.
//!
//! A rest costs no attempts, since nothing is sent in it; a probe is an attempt like any other.

use sealpost_contract::UtcMillis;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 20;
/// The first rest, in milliseconds; each failed probe doubles it.
const FIRST_REST: i64 = 30_000;
/// The longest rest, in milliseconds.
const LONGEST_REST: i64 = 600_000;

/// What a breaker shows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything is sent.
    Closed,
    /// Nothing is sent until this time.
    Open(UtcMillis),
    /// The rest is over; one attempt decides.
    Probing,
}

impl BreakerState {
    /// The state's name in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::Probing => "probing",
        }
    }
}

/// The breaker.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    failures: u32,
    rest: Option<Rest>,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    until: UtcMillis,
    length: i64,
}

impl Breaker {
    /// Whether everything is sent.
    pub fn is_closed(&self) -> bool {
        self.rest.is_none()
    }

    /// Whether the last attempt did not fail.
    pub fn is_clean(&self) -> bool {
        self.failures == 0
    }

    /// The time before which nothing may be sent, if there is one.
    pub fn earliest(&self) -> Option<UtcMillis> {
        self.rest.map(|rest| rest.until)
    }

    /// Whether an attempt may start at `now` while `running` are under way.
    pub fn permits(&self, running: usize, now: UtcMillis) -> bool {
        self.rest
            .is_none_or(|rest| now >= rest.until && running == 0)
    }

    /// The endpoint acknowledged something: it lives.
    pub fn acknowledged(&mut self) {
        *self = Self::default();
    }

    /// An attempt failed at `now`.
    pub fn failed(&mut self, now: UtcMillis) {
        self.failures = self.failures.saturating_add(1);
        self.rest = match self.rest {
            None if self.failures < FAILURES => None,
            None => Some(Rest {
                until: now.saturating_add(FIRST_REST),
                length: FIRST_REST,
            }),
            // One that was under way when the rest began says nothing new.
            Some(rest) if now < rest.until => Some(rest),
            Some(rest) => {
                let length = (2 * rest.length).min(LONGEST_REST);
                Some(Rest {
                    until: now.saturating_add(length),
                    length,
                })
            }
        };
    }

    /// What the breaker shows at `now`.
    pub fn state(&self, now: UtcMillis) -> BreakerState {
        match self.rest {
            None => BreakerState::Closed,
            Some(rest) if now < rest.until => BreakerState::Open(rest.until),
            Some(_) => BreakerState::Probing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..FAILURES {
                breaker.failed(0);
            }
            breaker.acknowledged();
        }
        assert!(breaker.is_closed());
        for _ in 0..FAILURES {
            breaker.failed(1000);
        }
        assert_eq!(breaker.state(1000), BreakerState::Open(1000 + FIRST_REST));
        assert!(!breaker.permits(0, 1000));
    }

    #[test]
    fn probes_one_at_a_time_and_rests_longer_after_each_failure() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.failed(0);
        }
        let mut now = FIRST_REST;
        assert!(breaker.permits(0, now) && !breaker.permits(1, now));
        let mut length = FIRST_REST;
        for _ in 0..10 {
            breaker.failed(now);
            length = (2 * length).min(LONGEST_REST);
            assert_eq!(breaker.state(now), BreakerState::Open(now + length));
            now += length;
        }
        breaker.acknowledged();
        assert!(breaker.is_closed() && breaker.permits(99, now));
    }
}
