//! The four members of a callback (the page's 请求参数), each a type that is valid once made.

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::UtcMillis;
use crate::json::{self, Value};

/// What the platform tells a channel when a sign flow has ended.
///
/// There is deliberately no `Deserialize`: [`Callback::parse`] is the one way in, because it also refuses what a
/// derived implementation would let pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Callback {
    /// When the flow ended, in the platform's time zone.
    pub sign_end_time: SignEndTime,
    /// How the flow ended.
    pub sign_flow_status: EndStatus,
    /// Which flow ended.
    pub sign_flow_id: SignFlowId,
    /// Where the signed file (or its marked copy) can be fetched.
    pub sign_file_url: SignFileUrl,
}

impl Callback {
    /// Reads the body of a callback as a receiver must: strict JSON (RFC 8259, each member once, at most
    /// [`MAX_NESTING`](crate::MAX_NESTING) levels, no byte order mark), the four members as strings within their
    /// limits, any others ignored. The caller bounds the body's size, see [`MAX_BODY_BYTES`](crate::MAX_BODY_BYTES).
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong without repeating the value received.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut members = json::object(body).map_err(|error| Malformed::Json(error.to_string()))?;
        let mut take = |member: Member| match members.remove(member.name()) {
            None => Err(Malformed::Missing(member)),
            Some(Value::Other) => Err(Malformed::NotAString(member)),
            Some(Value::String(text)) => Ok(text),
        };
        Ok(Self {
            sign_end_time: take(Member::SignEndTime)?.parse()?,
            sign_flow_status: take(Member::SignFlowStatus)?.parse()?,
            sign_flow_id: take(Member::SignFlowId)?.parse()?,
            sign_file_url: take(Member::SignFileUrl)?.parse()?,
        })
    }

    /// The body to send: exactly the four members, in the page's order, without white space.
    pub fn to_json(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        format!(
            r#"{{"sign_end_time":{},"sign_flow_status":{},"sign_flow_id":{},"sign_file_url":{}}}"#,
            quoted(self.sign_end_time.as_str()),
            quoted(self.sign_flow_status.code()),
            quoted(self.sign_flow_id.as_str()),
            quoted(self.sign_file_url.as_str()),
        )
    }
}

/// One of the four members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// `sign_end_time`
    SignEndTime,
    /// `sign_flow_status`
    SignFlowStatus,
    /// `sign_flow_id`
    SignFlowId,
    /// `sign_file_url`
    SignFileUrl,
}

impl Member {
    /// The four, in the page's order.
    pub const ALL: [Self; 4] = [
        Self::SignEndTime,
        Self::SignFlowStatus,
        Self::SignFlowId,
        Self::SignFileUrl,
    ];

    /// The member's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::SignEndTime => "sign_end_time",
            Self::SignFlowStatus => "sign_flow_status",
            Self::SignFlowId => "sign_flow_id",
            Self::SignFileUrl => "sign_file_url",
        }
    }

    /// The page's 最大长度: the most characters (Unicode scalar values, not bytes) of the value.
    pub fn max_chars(self) -> usize {
        match self {
            Self::SignEndTime | Self::SignFlowStatus | Self::SignFlowId => 32,
            Self::SignFileUrl => 128,
        }
    }

    fn check_length(self, text: &str) -> Result<(), Malformed> {
        // No more bytes than characters are allowed is the common case, and needs no counting.
        if text.is_empty() {
            Err(Malformed::Empty(self))
        } else if text.len() > self.max_chars() && text.chars().count() > self.max_chars() {
            Err(Malformed::TooLong(self))
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a body is no callback. A receiver answers each with code 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Not one strict JSON object. The text is the parser's, with line and column.
    #[error("the body is not one strict JSON object: {0}")]
    Json(String),
    /// A required member is not there.
    #[error("{0} is missing")]
    Missing(Member),
    /// A member is null, a number, an array, …
    #[error("{0} is not a string")]
    NotAString(Member),
    /// A member is the empty string.
    #[error("{0} is empty")]
    Empty(Member),
    /// A member has more characters than the page allows.
    #[error("{0} is longer than {limit} characters", limit = .0.max_chars())]
    TooLong(Member),
    /// `sign_flow_status` is none of the four ends.
    #[error("sign_flow_status is none of 2, 3, 5 and 7")]
    UnknownStatus,
    /// `sign_end_time` is not a real date and time of the form `YYYY-MM-DD HH:MM:SS`.
    #[error("sign_end_time is no time of the form YYYY-MM-DD HH:MM:SS")]
    TimeForm,
}

/// How a sign flow ended: the page's 签署流程状态.
///
/// `0` (draft) and `1` (signing) come before the end and are never sent; 4 and 6 have no meaning here and never
/// will, since platforms of this field have used them for other things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EndStatus {
    /// `2` 已完成: everyone signed, the file is sealed.
    Completed,
    /// `3` 已撤销: the initiator took it back.
    Revoked,
    /// `5` 已过期: the deadline passed.
    Expired,
    /// `7` 已拒签: a signer refused.
    Rejected,
}

impl EndStatus {
    /// The four, in the order of their codes.
    pub const ALL: [Self; 4] = [
        Self::Completed,
        Self::Revoked,
        Self::Expired,
        Self::Rejected,
    ];

    /// The code on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::Completed => "2",
            Self::Revoked => "3",
            Self::Expired => "5",
            Self::Rejected => "7",
        }
    }

    /// The page's word for it.
    pub fn chinese(self) -> &'static str {
        match self {
            Self::Completed => "已完成",
            Self::Revoked => "已撤销",
            Self::Expired => "已过期",
            Self::Rejected => "已拒签",
        }
    }

    /// The English word for it, in lower case.
    pub fn english(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
        }
    }
}

impl FromStr for EndStatus {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Member::SignFlowStatus.check_length(text)?;
        Self::ALL
            .into_iter()
            .find(|status| status.code() == text)
            .ok_or(Malformed::UnknownStatus)
    }
}

impl fmt::Display for EndStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl From<EndStatus> for String {
    fn from(status: EndStatus) -> Self {
        status.code().to_owned()
    }
}

impl TryFrom<String> for EndStatus {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

/// The newtypes over a checked `String` share everything but their check.
macro_rules! checked_string {
    ($name:ident) => {
        impl $name {
            /// The value as it is on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;

            fn try_from(text: String) -> Result<Self, Malformed> {
                Self::check(&text)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

/// The id of a sign flow: 1 to 32 characters as received; of our own making always 32 lower-case hex digits.
///
/// What was received may hold *any* characters, `/` and NUL among them: never use it as a file name as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignFlowId(String);

checked_string!(SignFlowId);

impl SignFlowId {
    /// An id of our own: the 16 bytes as 32 lower-case hex digits.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(hex::encode(bytes))
    }

    /// Whether the id has the form of [`SignFlowId::from_bytes`]: 32 lower-case hex digits.
    pub fn is_hex(&self) -> bool {
        self.0.len() == 32
            && self
                .0
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    fn check(text: &str) -> Result<(), Malformed> {
        Member::SignFlowId.check_length(text)
    }
}

/// When a sign flow ended: `YYYY-MM-DD HH:MM:SS`, 24-hour, a day that exists, without a zone. Which zone it is in is
/// the platform's setting (Asia/Shanghai unless told otherwise).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignEndTime(String);

checked_string!(SignEndTime);

impl SignEndTime {
    /// The moment `at` on the clocks of `zone`, cut (not rounded) to the second. A moment that those clocks put
    /// outside the years 1 to 9999 becomes the nearest one inside them.
    pub fn at(at: UtcMillis, zone: &TimeZone) -> Self {
        let timestamp = jiff::Timestamp::from_millisecond(at).unwrap_or(if at < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        let local = zone
            .to_datetime(timestamp)
            .max(civil::date(1, 1, 1).at(0, 0, 0, 0));
        Self(local.strftime("%Y-%m-%d %H:%M:%S").to_string())
    }

    /// The same as a civil time, to compute with.
    pub fn to_civil(&self) -> civil::DateTime {
        civil_time(&self.0).unwrap_or_default()
    }

    fn check(text: &str) -> Result<(), Malformed> {
        Member::SignEndTime.check_length(text)?;
        civil_time(text).map(drop).ok_or(Malformed::TimeForm)
    }
}

/// Reads the one form, digit by digit; jiff only judges whether the date exists.
fn civil_time(text: &str) -> Option<civil::DateTime> {
    let bytes: &[u8; 19] = text.as_bytes().try_into().ok()?;
    let separators = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':')];
    if separators
        .iter()
        .any(|&(index, separator)| bytes[index] != separator)
    {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0_i16, |sum, byte| {
            byte.is_ascii_digit()
                .then(|| sum * 10 + i16::from(byte - b'0'))
        })
    };
    let small = |from: usize| number(from, from + 2).and_then(|value| i8::try_from(value).ok());
    let year = number(0, 4).filter(|&year| year >= 1)?;
    civil::DateTime::new(
        year,
        small(5)?,
        small(8)?,
        small(11)?,
        small(14)?,
        small(17)?,
        0,
    )
    .ok()
}

/// Where the signed file can be fetched: 1 to 128 characters as received. The page's own sample is just `http://`,
/// so a receiver accepts any text; what a sender makes must pass [`SignFileUrl::is_absolute_http`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignFileUrl(String);

checked_string!(SignFileUrl);

impl SignFileUrl {
    /// Whether this is `http://` or `https://` followed by a host, without white space or control characters.
    pub fn is_absolute_http(&self) -> bool {
        let rest = self
            .0
            .strip_prefix("https://")
            .or_else(|| self.0.strip_prefix("http://"));
        rest.is_some_and(|rest| {
            !rest.starts_with(['/', '?', '#', ':'])
                && !rest.is_empty()
                && !rest
                    .contains(|character: char| character.is_whitespace() || character.is_control())
        })
    }

    fn check(text: &str) -> Result<(), Malformed> {
        Member::SignFileUrl.check_length(text)
    }
}
