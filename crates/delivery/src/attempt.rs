//! One attempt: sign, POST, judge the answer.
//!
//! A channel's failure is data here, with a [`Reason`]; only what is our own fault is set apart, because it counts as no attempt.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use sealpost_contract::answer::{self, NotAcknowledged};
use sealpost_contract::schedule;
use sealpost_contract::webhook::{self, Secret};
use sealpost_contract::{CONTENT_TYPE, Schedule, UtcMillis};
use sealpost_store::{CallbackId, Finished, MAX_KEPT_ANSWER, Next};

use crate::client::{Client, Failure, Reply};
use crate::guard::Refused;
use crate::reason::Reason;
use crate::retry;

/// The most that is kept of a failure's detail, in characters.
const MAX_DETAIL: usize = 300;

/// How long a callback that met a fault of our own waits, in milliseconds.
pub(crate) const PAUSE: i64 = 1000;

const ID: HeaderName = HeaderName::from_static(webhook::ID_HEADER);
const TIMESTAMP: HeaderName = HeaderName::from_static(webhook::TIMESTAMP_HEADER);
const SIGNATURE: HeaderName = HeaderName::from_static(webhook::SIGNATURE_HEADER);
const JSON: HeaderValue = HeaderValue::from_static(CONTENT_TYPE);

/// Where a callback goes and how: everything an attempt needs besides the callback itself.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address, or why it may not be called.
    pub url: Result<Uri, Refused>,
    /// The secrets that sign, the newest first; none leaves the attempt unsigned.
    pub secrets: Vec<Secret>,
    /// The waits before the retries.
    pub schedule: Schedule,
}

impl Endpoint {
    /// Scheme, host and port of the address; the path is nobody else's business. Empty if the address may not be called.
    pub fn origin(&self) -> String {
        let Ok(url) = &self.url else {
            return String::new();
        };
        let scheme = url.scheme_str().unwrap_or_default();
        let authority = url.authority().map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}")
    }
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The channel has acknowledged.
    Acknowledged {
        /// HTTP status of the answer.
        status: u16,
        /// The answer.
        answer: Bytes,
    },
    /// It has not.
    Failed {
        /// What it failed of.
        reason: Reason,
        /// Beyond the reason, for a person.
        detail: String,
        /// HTTP status of the answer, if its head came.
        status: Option<u16>,
        /// The answer, if it came whole.
        answer: Bytes,
        /// How long the answer asks us to wait, in milliseconds.
        retry_after: Option<i64>,
    },
    /// Nothing was sent, for a reason of our own.
    NotMade(String),
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// When it began.
    pub at: UtcMillis,
    /// How long it took.
    pub took: Duration,
    /// What it came to.
    pub verdict: Verdict,
}

/// Makes one attempt. `now` goes into the signature and is what `Retry-After` dates are counted from.
pub async fn make(
    client: &Client,
    endpoint: &Endpoint,
    id: CallbackId,
    body: Bytes,
    deadline: Duration,
    now: UtcMillis,
) -> Made {
    let began = Instant::now();
    let verdict = match &endpoint.url {
        Ok(url) => {
            let headers = headers(endpoint, id, &body, now);
            judge(client.post(url.clone(), headers, body, deadline).await, now)
        }
        Err(refused @ Refused::Address { .. }) => {
            failed(Reason::BlockedAddress, refused.to_string(), None)
        }
        Err(refused) => failed(Reason::BlockedUrl, refused.to_string(), None),
    };
    Made {
        at: now,
        took: began.elapsed(),
        verdict,
    }
}

fn headers(endpoint: &Endpoint, id: CallbackId, body: &[u8], now: UtcMillis) -> HeaderMap {
    let seconds = now.div_euclid(1000);
    let id = id.to_string();
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, JSON);
    if !endpoint.secrets.is_empty() {
        let signature = webhook::sign_all(&endpoint.secrets, &id, seconds, body);
        // Base64, digits and commas are always a header's value.
        if let Ok(value) = HeaderValue::try_from(signature) {
            headers.insert(SIGNATURE, value);
        }
    }
    if let Ok(value) = HeaderValue::try_from(id) {
        headers.insert(ID, value);
    }
    headers.insert(TIMESTAMP, HeaderValue::from(seconds));
    headers
}

/// Decides what came back means.
pub fn judge(reply: Result<Reply, Failure>, now: UtcMillis) -> Verdict {
    let reply = match reply {
        Ok(reply) => reply,
        Err(Failure::Theirs {
            reason,
            detail,
            status,
        }) => return failed(reason, detail, status),
        Err(Failure::Ours(detail)) => return Verdict::NotMade(detail),
    };
    let status = reply.status.as_u16();
    let why = match answer::judge(status, &reply.body) {
        Ok(()) => {
            return Verdict::Acknowledged {
                status,
                answer: kept(&reply.body),
            };
        }
        Err(why) => why,
    };
    let reason = match &why {
        NotAcknowledged::HttpStatus(_) if reply.status == StatusCode::GONE => Reason::Gone,
        NotAcknowledged::HttpStatus(_) if reply.status.is_redirection() => Reason::Redirect,
        NotAcknowledged::HttpStatus(_) => Reason::HttpStatus,
        NotAcknowledged::NotJson(_) => Reason::NotJson,
        _ => Reason::ResponseCode,
    };
    let retry_after = reply
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| schedule::retry_after(value, now));
    Verdict::Failed {
        reason,
        detail: cut(why.to_string()),
        status: Some(status),
        answer: kept(&reply.body),
        retry_after,
    }
}

fn failed(reason: Reason, detail: String, status: Option<u16>) -> Verdict {
    Verdict::Failed {
        reason,
        detail: cut(detail),
        status,
        answer: Bytes::new(),
        retry_after: None,
    }
}

/// A detail as it can be kept. PostgreSQL takes no NUL in a text, and refuses the whole batch of outcomes for it.
fn cut(text: String) -> String {
    if text.len() <= MAX_DETAIL && !text.contains('\0') {
        return text;
    }
    let kept = text.chars().filter(|character| *character != '\0');
    kept.take(MAX_DETAIL).collect()
}

/// What is kept of an answer. Copied when cut, so that 4 KiB do not hold 64 in memory.
fn kept(body: &Bytes) -> Bytes {
    if body.len() <= MAX_KEPT_ANSWER {
        body.clone()
    } else {
        Bytes::copy_from_slice(&body[..MAX_KEPT_ANSWER])
    }
}

impl Made {
    /// The attempt as it is kept, and what happens next. `attempts` had been made in this round before it; it ended at `now`.
    /// What was not made is due again after a short pause and counts as nothing.
    pub fn settle(
        self,
        schedule: &Schedule,
        id: CallbackId,
        attempts: u32,
        now: UtcMillis,
    ) -> (Option<Finished>, Next) {
        let (http_status, reason, detail, answer, next) = match self.verdict {
            Verdict::NotMade(_) => return (None, Next::Due(now.saturating_add(PAUSE))),
            Verdict::Acknowledged { status, answer } => {
                (Some(status), None, None, answer, Next::Acknowledged(now))
            }
            Verdict::Failed {
                reason,
                detail,
                status,
                answer,
                retry_after,
            } => {
                let next = retry::after_failure(schedule, id, attempts + 1, retry_after, now);
                (status, Some(reason.code()), Some(detail), answer, next)
            }
        };
        let duration_ms = u32::try_from(self.took.as_millis()).unwrap_or(u32::MAX);
        (
            Some(Finished {
                at: self.at,
                duration_ms,
                http_status,
                reason,
                detail,
                answer,
            }),
            next,
        )
    }
}
