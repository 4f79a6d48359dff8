//! Why an attempt did not acknowledge a callback: one stable code for each way to fail.

use std::fmt;

/// What a failed attempt failed of. The codes are kept with the attempt, shown by the API and counted in the metrics; they do
/// not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The URL itself is not permitted: its scheme, port, credentials or spelling.
    BlockedUrl,
    /// The host is, or resolved to, an address that the guard refuses.
    BlockedAddress,
    /// The host name did not resolve.
    Dns,
    /// Nobody listens at the address.
    ConnectRefused,
    /// No connection for another reason: no route, reset while connecting.
    ConnectFailed,
    /// The TLS handshake failed: an unknown authority, a wrong name, an expired certificate, no common version.
    Tls,
    /// The attempt was not over at its deadline, whatever it was doing.
    Timeout,
    /// The connection ended before the answer did.
    ConnectionClosed,
    /// What came back is not HTTP.
    BadHttp,
    /// The answer is longer than is read.
    AnswerTooLarge,
    /// The answer redirects; redirects are never followed.
    Redirect,
    /// The HTTP status is neither 2xx nor a redirect.
    HttpStatus,
    /// HTTP 410: the channel says that this endpoint is gone for good. Pauses the lane.
    Gone,
    /// The answer is not a JSON object.
    NotJson,
    /// The answer has no `response_code`, or it is not the string `000`.
    ResponseCode,
}

impl Reason {
    /// Every reason, in the order of an attempt's way.
    pub const ALL: [Reason; 15] = [
        Reason::BlockedUrl,
        Reason::BlockedAddress,
        Reason::Dns,
        Reason::ConnectRefused,
        Reason::ConnectFailed,
        Reason::Tls,
        Reason::Timeout,
        Reason::ConnectionClosed,
        Reason::BadHttp,
        Reason::AnswerTooLarge,
        Reason::Redirect,
        Reason::HttpStatus,
        Reason::Gone,
        Reason::NotJson,
        Reason::ResponseCode,
    ];

    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Reason::BlockedUrl => "blocked_url",
            Reason::BlockedAddress => "blocked_address",
            Reason::Dns => "dns",
            Reason::ConnectRefused => "connect_refused",
            Reason::ConnectFailed => "connect_failed",
            Reason::Tls => "tls",
            Reason::Timeout => "timeout",
            Reason::ConnectionClosed => "connection_closed",
            Reason::BadHttp => "bad_http",
            Reason::AnswerTooLarge => "answer_too_large",
            Reason::Redirect => "redirect",
            Reason::HttpStatus => "http_status",
            Reason::Gone => "gone",
            Reason::NotJson => "not_json",
            Reason::ResponseCode => "response_code",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
