//! The answer to a callback (the page's 应答报文): what a receiver may say, and whether a sender may take it for
//! an acknowledgement.

use crate::json::{self, Value};

/// The page's 成功响应码: the one code that acknowledges.
pub const SUCCESS: &str = "000";

/// The page's limit for `response_code`, in characters. Longer codes are judged like any other that is not `000`.
pub const MAX_CODE_CHARS: usize = 32;

/// What a receiver of ours answers. The HTTP status of a failure is the same number as its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `000`: what was received is safe on disk.
    Acknowledged,
    /// `400`: the body, or its content type, is not the contract's.
    Malformed,
    /// `401`: the signature is missing, wrong or too old.
    Unsigned,
    /// `409`: this flow has already ended otherwise.
    Conflict,
    /// `413`: the body is over the receiver's limit.
    TooLarge,
    /// `500`: the receiver could not keep or handle it; sending it again may help.
    Internal,
}

impl Answer {
    /// The `response_code`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Acknowledged => SUCCESS,
            Self::Malformed => "400",
            Self::Unsigned => "401",
            Self::Conflict => "409",
            Self::TooLarge => "413",
            Self::Internal => "500",
        }
    }

    /// The HTTP status.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Acknowledged => 200,
            Self::Malformed => 400,
            Self::Unsigned => 401,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Internal => 500,
        }
    }

    /// The body, `{"response_code":"…"}`.
    pub fn body(self) -> &'static str {
        match self {
            Self::Acknowledged => r#"{"response_code":"000"}"#,
            Self::Malformed => r#"{"response_code":"400"}"#,
            Self::Unsigned => r#"{"response_code":"401"}"#,
            Self::Conflict => r#"{"response_code":"409"}"#,
            Self::TooLarge => r#"{"response_code":"413"}"#,
            Self::Internal => r#"{"response_code":"500"}"#,
        }
    }
}

/// Decides whether an answer acknowledges: HTTP 2xx **and** one strict JSON object (see
/// [`Callback::parse`](crate::Callback::parse)) whose `response_code` is the string `"000"`.
///
/// The caller bounds the body's size, does not follow redirects, and counts an answer that never came as a failure.
///
/// # Errors
/// [`NotAcknowledged`] says why the callback must be sent again.
pub fn judge(http_status: u16, body: &[u8]) -> Result<(), NotAcknowledged> {
    if !(200..300).contains(&http_status) {
        return Err(NotAcknowledged::HttpStatus(http_status));
    }
    let mut members =
        json::object(body).map_err(|error| NotAcknowledged::NotJson(error.to_string()))?;
    match members.remove("response_code") {
        None => Err(NotAcknowledged::NoCode),
        Some(Value::Other) => Err(NotAcknowledged::CodeNotAString),
        Some(Value::String(code)) if code == SUCCESS => Ok(()),
        Some(Value::String(code)) => Err(NotAcknowledged::Code(
            code.chars().take(MAX_CODE_CHARS).collect(),
        )),
    }
}

/// Why an answer does not acknowledge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAcknowledged {
    /// The HTTP status is not 2xx (a redirect among them: none is followed).
    #[error("HTTP status {0}")]
    HttpStatus(u16),
    /// The body is not one strict JSON object. The text is the parser's, with line and column.
    #[error("the answer is not one strict JSON object: {0}")]
    NotJson(String),
    /// The object has no `response_code`.
    #[error("the answer has no response_code")]
    NoCode,
    /// `response_code` is a number, null, …
    #[error("response_code is not a string")]
    CodeNotAString,
    /// Another code than `000`, cut to [`MAX_CODE_CHARS`].
    #[error("response_code is {0:?}")]
    Code(String),
}
