//! For tests of a sender: a receiver that fails on purpose. What fails on purpose is not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::channel_side::values;
use crate::channel_side::wire::{self, Answer, HangUp};

/// How much of a request that is going to fail is read, so that its sender gets to see how it failed.
const READ_BYTES: usize = 1024 * 1024;

/// The flags. They are for tests of a sender.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For tests of a sender (what fails on purpose is not kept)")]
pub(super) struct FaultArgs {
    /// Fail only the first N requests.
    #[arg(long, value_name = "N")]
    fail_first: Option<u64>,
    /// Answer this code instead of handling the request; 999 if only --fail-first is given.
    #[arg(long, value_name = "CODE", value_parser = code)]
    answer: Option<String>,
    /// The HTTP status of that answer.
    #[arg(long, value_name = "STATUS", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    answer_status: u16,
    /// Close the connection instead of answering.
    #[arg(long, conflicts_with = "answer")]
    drop: bool,
    /// Answer this much later.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = values::duration)]
    delay: Duration,
}

fn code(text: &str) -> Result<String, String> {
    if text == sealpost_contract::answer::SUCCESS {
        Err("000 would acknowledge what is not kept".to_owned())
    } else if text.chars().count() > sealpost_contract::answer::MAX_CODE_CHARS {
        Err("a code has at most 32 characters".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Decides, request by request, which fail.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    fault: Option<Fault>,
    /// How many are still to fail; `u64::MAX` never ends.
    left: Arc<AtomicU64>,
    delay: Duration,
}

/// How a request fails.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// The code to answer; without one the connection is closed.
    answer: Option<(StatusCode, String)>,
    delay: Duration,
}

impl Faults {
    pub(super) fn new(args: FaultArgs) -> Self {
        let wanted = args.fail_first.is_some() || args.answer.is_some() || args.drop;
        let fault = wanted.then(|| {
            let status = StatusCode::from_u16(args.answer_status).unwrap_or(StatusCode::OK);
            let code = args.answer.unwrap_or_else(|| "999".to_owned());
            Fault {
                answer: (!args.drop).then_some((status, code)),
                delay: args.delay,
            }
        });
        let left = Arc::new(AtomicU64::new(args.fail_first.unwrap_or(u64::MAX)));
        Self {
            fault,
            left,
            delay: args.delay,
        }
    }

    /// The fault of the next request, if it is to fail.
    pub(super) fn next(&self) -> Option<Fault> {
        let fault = self.fault.as_ref()?;
        let take = |left: u64| {
            if left == u64::MAX {
                Some(left)
            } else {
                left.checked_sub(1)
            }
        };
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .ok()?;
        Some(fault.clone())
    }

    /// How much later every answer is to come.
    pub(super) fn delay(&self) -> Duration {
        self.delay
    }
}

impl Fault {
    /// Reads the request and fails it.
    pub(super) async fn play(self, request: Request<Incoming>) -> Result<Answer, HangUp> {
        // Whatever came, or did not come whole: it is not kept.
        let _ = Limited::new(request.into_body(), READ_BYTES)
            .collect()
            .await;
        tokio::time::sleep(self.delay).await;
        let Some((status, code)) = self.answer else {
            return Err(HangUp);
        };
        Ok(wire::json(
            status,
            serde_json::json!({ "response_code": code }).to_string(),
        ))
    }
}
