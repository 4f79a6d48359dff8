//! When a callback that was not acknowledged is sent again. "Retried 3 times" (the page's 非000会重试（3次）) means
//! 1 + 3 = 4 POSTs at most, so a schedule is exactly three waits.

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::UtcMillis;

/// POSTs at most: the first and three retries.
pub const MAX_ATTEMPTS: u32 = 4;

/// The longest wait an operator may set, in milliseconds: seven days.
const MAX_WAIT: i64 = 7 * 24 * HOUR;
/// The longest wait `Retry-After` may ask for, in milliseconds: a day.
pub const MAX_RETRY_AFTER: i64 = 24 * HOUR;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// The waits before the three retries. Written as three lengths, `3m,30m,8h`; units are `ms`, `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    waits: [i64; 3],
}

impl Default for Schedule {
    /// 3 minutes, 30 minutes, 8 hours (the practice of FaDaDa, 法大大).
    fn default() -> Self {
        Self {
            waits: [3 * MINUTE, 30 * MINUTE, 8 * HOUR],
        }
    }
}

impl Schedule {
    /// A schedule of three waits in milliseconds.
    ///
    /// # Errors
    /// [`BadSchedule`] if one is negative or longer than seven days.
    pub fn new(waits: [i64; 3]) -> Result<Self, BadSchedule> {
        if waits.iter().all(|wait| (0..=MAX_WAIT).contains(wait)) {
            Ok(Self { waits })
        } else {
            Err(BadSchedule)
        }
    }

    /// The three waits in milliseconds.
    pub fn waits(&self) -> [i64; 3] {
        self.waits
    }

    /// When the next attempt is due after `attempts` of them have failed, the last at `failed_at`; `None` after the
    /// fourth. `retry_after` (milliseconds, as the answer asked, see [`retry_after`]) lengthens the wait up to
    /// [`MAX_RETRY_AFTER`], and never shortens it.
    pub fn next_attempt_at(
        &self,
        attempts: u32,
        failed_at: UtcMillis,
        retry_after: Option<i64>,
    ) -> Option<UtcMillis> {
        let index = usize::try_from(attempts.checked_sub(1)?).ok()?;
        let wait = *self.waits.get(index)?;
        let asked = retry_after.unwrap_or(0).min(MAX_RETRY_AFTER);
        Some(failed_at.saturating_add(wait.max(asked)))
    }
}

/// How long a `Retry-After` header asks to wait from `now` on, in milliseconds: seconds or an HTTP date (RFC 9110,
/// 10.2.3) in any of its three forms (5.6.7). `None` for anything else; a date that has passed gives zero.
pub fn retry_after(header: &str, now: UtcMillis) -> Option<i64> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds still ask for a long wait, which the schedule caps.
        return Some(
            header
                .parse::<i64>()
                .map_or(i64::MAX, |seconds| seconds.saturating_mul(SECOND)),
        );
    }
    let at = match rfc2822::parse(header) {
        Ok(at) => at.timestamp().as_millisecond(),
        Err(_) => obsolete_date(header, now)?,
    };
    Some(at.saturating_sub(now).max(0))
}

/// The two forms of a date that nobody writes any more and everybody has to read: `Sunday, 06-Nov-94 08:49:37 GMT` (RFC 850) and
/// `Sun Nov  6 08:49:37 1994` (asctime). A year of two digits that lies more than 50 years ahead is one of the last century.
fn obsolete_date(text: &str, now: UtcMillis) -> Option<UtcMillis> {
    if let Ok(at) = civil::DateTime::strptime("%a %b %e %H:%M:%S %Y", text) {
        return Some(TimeZone::UTC.to_timestamp(at).ok()?.as_millisecond());
    }
    // The weekday says nothing that the date does not.
    let (_, date) = text.split_once(", ")?;
    let date = date.strip_suffix(" GMT")?;
    let (day_and_month, rest) = date.rsplit_once('-')?;
    let (year, time) = rest.split_once(' ')?;
    let year = match year.len() {
        2 => year.parse::<i16>().ok()?,
        _ => return None,
    };
    let now = jiff::Timestamp::from_millisecond(now).ok()?;
    let this_year = TimeZone::UTC.to_datetime(now).year();
    let century = this_year - this_year.rem_euclid(100);
    let year = match century + year {
        year if year > this_year + 50 => year - 100,
        year => year,
    };
    let text = format!("{day_and_month}-{year:04} {time}");
    let at = civil::DateTime::strptime("%d-%b-%Y %H:%M:%S", text).ok()?;
    Some(TimeZone::UTC.to_timestamp(at).ok()?.as_millisecond())
}

/// Text or numbers that are no [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a schedule is exactly three waits such as 3m,30m,8h, each at most 7 days")]
pub struct BadSchedule;

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let waits = text
            .split(',')
            .map(|wait| parse_wait(wait.trim()))
            .collect::<Option<Vec<_>>>();
        let waits: [i64; 3] = waits
            .ok_or(BadSchedule)?
            .try_into()
            .map_err(|_| BadSchedule)?;
        Self::new(waits)
    }
}

/// The units, the longest first, so that `Display` finds the one that divides.
const UNITS: [(&str, i64); 5] = [
    ("d", 24 * HOUR),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
    ("ms", 1),
];

fn parse_wait(text: &str) -> Option<i64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, length) = UNITS
        .into_iter()
        .find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<i64>().ok()?.checked_mul(length)
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, wait) in self.waits.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // Milliseconds divide everything; zero is written as seconds.
            let unit = UNITS
                .into_iter()
                .find(|(_, length)| wait % length == 0 && wait != 0);
            let (unit, length) = unit.unwrap_or(("s", SECOND));
            write!(formatter, "{comma}{}{unit}", wait / length)?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Schedule {
    type Error = BadSchedule;

    fn try_from(text: String) -> Result<Self, BadSchedule> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}
