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
    /// Whether the endpoint has asked for it.
    asked: bool,
}

impl Breaker {
    /// Whether everything is sent.
    pub fn is_closed(&self) -> bool {
        self.rest.is_none()
    }

    /// Whether the endpoint only fails: so many attempts in a row that it is rested for that.
    pub fn is_tripped(&self) -> bool {
        self.failures >= FAILURES
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

    /// The endpoint acknowledged something at `now`: it lives. A rest that it asked for goes on, since what is acknowledged in it
    /// was sent before.
    pub fn acknowledged(&mut self, now: UtcMillis) {
        self.failures = 0;
        self.rest = self.rest.filter(|rest| rest.asked && now < rest.until);
    }

    /// An attempt failed at `now`.
    pub fn failed(&mut self, now: UtcMillis) {
        self.failures = self.failures.saturating_add(1);
        self.rest = match self.rest {
            None if self.failures < FAILURES => None,
            None => Some(Rest {
                until: now.saturating_add(FIRST_REST),
                length: FIRST_REST,
                asked: false,
            }),
            // One that was under way when the rest began says nothing new.
            Some(rest) if now < rest.until => Some(rest),
            Some(rest) => {
                let length = (2 * rest.length).min(LONGEST_REST);
                Some(Rest {
                    until: now.saturating_add(length),
                    length,
                    asked: false,
                })
            }
        };
    }

    /// Ends a rest: one attempt decides. If it fails, the rests begin anew with the first.
    pub fn probe_now(&mut self) {
        if let Some(rest) = &mut self.rest {
            *rest = Rest {
                until: UtcMillis::MIN,
                length: FIRST_REST / 2,
                asked: false,
            };
        }
    }

    /// The endpoint has asked at `now` to be left alone for `wait` milliseconds: it rests for that long at least, though never
    /// longer than after its own failures.
    pub fn asked_to_wait(&mut self, wait: i64, now: UtcMillis) {
        let wait = wait.min(LONGEST_REST);
        let until = now.saturating_add(wait);
        if wait > 0 && self.rest.is_none_or(|rest| rest.until < until) {
            // If the probe after it fails, the rests begin with the first.
            let length = self.rest.map_or(FIRST_REST / 2, |rest| rest.length);
            self.rest = Some(Rest {
                until,
                length,
                asked: true,
            });
        }
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
            breaker.acknowledged(0);
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
        breaker.acknowledged(now);
        assert!(breaker.is_closed() && breaker.permits(99, now));
    }

    #[test]
    fn a_rest_that_is_ended_is_followed_by_a_probe_and_the_first_rest() {
        let mut breaker = Breaker::default();
        breaker.probe_now();
        assert!(breaker.is_closed());
        for _ in 0..FAILURES {
            breaker.failed(0);
        }
        breaker.failed(FIRST_REST);
        breaker.probe_now();
        let now = FIRST_REST + 1;
        assert_eq!(breaker.state(now), BreakerState::Probing);
        assert!(breaker.permits(0, now) && !breaker.permits(1, now));
        breaker.failed(now);
        assert_eq!(breaker.state(now), BreakerState::Open(now + FIRST_REST));
        assert!(breaker.is_tripped());
    }

    #[test]
    fn rests_for_as_long_as_the_endpoint_asks_within_the_longest() {
        let mut breaker = Breaker::default();
        breaker.failed(0);
        breaker.asked_to_wait(0, 0);
        assert!(breaker.is_closed(), "zero is no wait");
        breaker.asked_to_wait(5000, 0);
        assert_eq!(breaker.state(0), BreakerState::Open(5000));
        assert!(!breaker.is_tripped(), "it does not only fail");
        breaker.asked_to_wait(2000, 0);
        assert_eq!(
            breaker.state(0),
            BreakerState::Open(5000),
            "never shortened"
        );
        assert_eq!(breaker.state(5000), BreakerState::Probing);
        breaker.asked_to_wait(i64::MAX, 5000);
        assert_eq!(breaker.state(5000), BreakerState::Open(5000 + LONGEST_REST));
        // What was sent before it asked is no reason to go on at once.
        breaker.acknowledged(5000 + LONGEST_REST - 1);
        assert_eq!(breaker.state(5000), BreakerState::Open(5000 + LONGEST_REST));
        breaker.acknowledged(5000 + LONGEST_REST);
        assert!(breaker.is_closed());
    }

    #[test]
    fn a_probe_that_fails_after_an_asked_for_rest_is_followed_by_the_first() {
        let mut breaker = Breaker::default();
        breaker.failed(0);
        breaker.asked_to_wait(5000, 0);
        breaker.failed(5000);
        assert_eq!(breaker.state(5000), BreakerState::Open(5000 + FIRST_REST));
    }
}
