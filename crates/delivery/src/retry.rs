//! When a callback is tried again: a pure function of the schedule, the attempt and the callback's id.
//!
//! The waits and the cap on `Retry-After` are the contract's ([`Schedule`]); this file adds the jitter, which spreads what
//! failed together so that it does not come back together.

use sealpost_contract::{Schedule, UtcMillis};
use sealpost_store::{CallbackId, Next};

/// The most that jitter adds to a wait: a tenth of it, and never more than this, in milliseconds.
const MAX_JITTER: i64 = 60_000;

/// What happens after an attempt that ended at `now` without an acknowledgement, the `attempts`-th of its round.
///
/// `retry_after` is what the answer asked for, in milliseconds; it lengthens a wait within the contract's cap and never
/// shortens one.
pub fn after_failure(
    schedule: &Schedule,
    id: CallbackId,
    attempts: u32,
    retry_after: Option<i64>,
    now: UtcMillis,
) -> Next {
    match schedule.next_attempt_at(attempts, now, retry_after) {
        None => Next::Failed(now),
        Some(at) => {
            let wait = at.saturating_sub(now);
            Next::Due(at.saturating_add(jitter(id, attempts, wait)))
        }
    }
}

/// Between nothing and a tenth of the wait; the same for the same callback and attempt, whoever computes it.
fn jitter(id: CallbackId, attempts: u32, wait: i64) -> i64 {
    let widest = (wait / 10).clamp(0, MAX_JITTER);
    let spread = mix(id.number().cast_unsigned() ^ u64::from(attempts).rotate_left(56));
    // The remainder of a 64-bit number by one below 2^16 favours no value noticeably.
    i64::try_from(spread % (widest.unsigned_abs() + 1)).unwrap_or(0)
}

/// The finisher of SplitMix64: every bit of the input changes half of the output's.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UtcMillis = 1_800_000_000_000;

    fn due(attempts: u32, retry_after: Option<i64>) -> Option<i64> {
        match after_failure(
            &Schedule::default(),
            CallbackId::new(NOW, 7),
            attempts,
            retry_after,
            NOW,
        ) {
            Next::Due(at) => Some(at - NOW),
            Next::Failed(at) => {
                assert_eq!(at, NOW);
                None
            }
            Next::Acknowledged(_) => unreachable!("a failure acknowledges nothing"),
        }
    }

    #[test]
    fn three_retries_follow_the_schedule_within_a_tenth() {
        for (attempts, wait) in [(1, 180_000), (2, 1_800_000), (3, 28_800_000)] {
            let due = due(attempts, None).expect("a retry");
            assert!(
                (wait..=wait + (wait / 10).min(MAX_JITTER)).contains(&due),
                "{attempts}: {due}"
            );
        }
        assert_eq!(due(4, None), None);
        assert_eq!(
            due(4, Some(1000)),
            None,
            "Retry-After grants no fifth attempt"
        );
    }

    #[test]
    fn retry_after_lengthens_up_to_a_day_and_never_shortens() {
        assert_eq!(due(1, Some(0)), due(1, None));
        assert!(due(1, Some(600_000)).expect("a retry") >= 600_000);
        assert!(due(1, Some(i64::MAX)).expect("a retry") <= 24 * 3_600_000 + MAX_JITTER);
    }

    #[test]
    fn jitter_is_reproducible_and_spreads() {
        assert_eq!(due(2, None), due(2, None));
        let waits: std::collections::HashSet<i64> = (0..1000)
            .map(|random| jitter(CallbackId::new(NOW, random), 1, 180_000))
            .collect();
        assert!(
            waits.len() > 900,
            "{} different waits of 1,000",
            waits.len()
        );
    }
}
