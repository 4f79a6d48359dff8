//! The waits before the retries.

use sealpost_contract::Schedule;
use sealpost_contract::schedule::{MAX_ATTEMPTS, MAX_RETRY_AFTER, retry_after};

const MINUTE: i64 = 60_000;

#[test]
fn three_retries_and_then_no_more() {
    let schedule = Schedule::default();
    let next = |attempts| schedule.next_attempt_at(attempts, 1_000, None);
    assert_eq!(next(1), Some(1_000 + 3 * MINUTE));
    assert_eq!(next(2), Some(1_000 + 30 * MINUTE));
    assert_eq!(next(3), Some(1_000 + 480 * MINUTE));
    assert_eq!(next(MAX_ATTEMPTS), None);
    assert_eq!(next(u32::MAX), None);
    assert_eq!(next(0), None);
}

#[test]
fn retry_after_lengthens_within_a_cap_and_never_shortens() {
    let schedule = Schedule::default();
    let next = |asked| schedule.next_attempt_at(1, 0, Some(asked));
    assert_eq!(next(0), Some(3 * MINUTE));
    assert_eq!(next(-1), Some(3 * MINUTE));
    assert_eq!(next(10 * MINUTE), Some(10 * MINUTE));
    assert_eq!(next(i64::MAX), Some(MAX_RETRY_AFTER));
    assert_eq!(schedule.next_attempt_at(4, 0, Some(MINUTE)), None);
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
    assert_eq!(retry_after("120", now), Some(120_000));
    assert_eq!(retry_after(" 0 ", now), Some(0));
    assert_eq!(retry_after("99999999999999999999", now), Some(i64::MAX));
    assert_eq!(
        retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now),
        Some(60_000)
    );
    assert_eq!(retry_after("Sun, 06 Nov 1994 08:48:37 GMT", now), Some(0));
    // The obsolete forms, which RFC 9110 (5.6.7) has a recipient read as well.
    assert_eq!(
        retry_after("Sunday, 06-Nov-94 08:50:37 GMT", now),
        Some(60_000)
    );
    assert_eq!(retry_after("Sun Nov  6 08:50:37 1994", now), Some(60_000));
    assert_eq!(
        retry_after("Monday, 06-Nov-95 08:49:37 GMT", now),
        Some(365 * 86_400_000)
    );
    let in_2030 = 1_900_000_000_000;
    assert_eq!(
        retry_after("Sunday, 17-Mar-30 17:46:41 GMT", in_2030),
        Some(1000)
    );
    assert_eq!(
        retry_after("Sunday, 06-Nov-94 08:49:37 GMT", in_2030),
        Some(0),
        "more than 50 years ahead is the last century"
    );
    for nonsense in ["", "soon", "-1", "1.5", "１"] {
        assert_eq!(retry_after(nonsense, now), None, "{nonsense:?}");
    }
}

#[test]
fn a_schedule_is_read_and_written_as_three_lengths() {
    assert_eq!("3m,30m,8h".parse(), Ok(Schedule::default()));
    assert_eq!(Schedule::default().to_string(), "3m,30m,8h");
    for text in ["0s,0s,0s", "1ms,1500ms,90s", "1d,7d,36h"] {
        assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
    }
    assert_eq!("180s, 1800 s,480m".parse(), Ok(Schedule::default()));
    for bad in [
        "",
        "3m",
        "3m,30m",
        "3m,30m,8h,1d",
        "3,30,8",
        "-1m,1m,1m",
        "8d,1m,1m",
        "1w,1m,1m",
        "m,m,m",
    ] {
        assert!(bad.parse::<Schedule>().is_err(), "{bad:?}");
    }
}
