//! A test callback, sent to a channel's endpoint at once. It is kept nowhere and never retried.
//!
//! What it carries is made up and marked as such, as `sealpost check` does: the id begins with 5ea1c4ec, the file's host is
//! sealpost-check.invalid, the flow ended on 2000-01-01. It goes out through the guarded client, with the channel's client
//! certificate and signed, like any callback.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealpost_contract::{Callback, EndStatus, SignEndTime, SignFileUrl, SignFlowId};
use sealpost_delivery::attempt::{Endpoint, Verdict, make};
use sealpost_delivery::client::{Client, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_store::{Channel, SealedSecret};

use super::App;
use crate::problem::{Kind, Problem};
use crate::secrets::random;

/// 2000-01-01 00:00:00 UTC.
const LONG_AGO: i64 = 946_684_800_000;

/// Characters that are shown of an answer.
const ANSWER_CHARS: usize = 4000;

/// What came of a test callback.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    pub(crate) channel: Channel,
    /// Where it went.
    pub(crate) url: String,
    /// What was sent.
    pub(crate) sent: String,
    /// Why it was not acknowledged: a stable code, and words; `None`: it was.
    pub(crate) failure: Option<(&'static str, String)>,
    pub(crate) http_status: Option<u16>,
    /// The answer, as text.
    pub(crate) answer: String,
    pub(crate) took: Duration,
}

/// The refusal of what needs an address.
pub(super) fn no_callback_url() -> Problem {
    let detail = "The channel has no callback address yet.";
    Problem::new(Kind::Refused, detail).code("no_callback_url")
}

impl App {
    /// Sends a test callback to a channel's own address.
    pub(crate) async fn rehearse(&self, channel: &Channel) -> Result<Rehearsal, Problem> {
        let url = channel.callback_url.clone().ok_or_else(no_callback_url)?;
        let body = self.made_up_callback()?;
        let settings = &self.config().delivery;
        let unusable = |error: sealpost_delivery::Error| {
            Problem::internal("a client for a test callback cannot be made", &error)
        };
        let trust = Trust::load(settings.ca_file.as_deref()).map_err(unusable)?;
        let identity = self.find_client_certificate(&channel.id).await?;
        let policy = Arc::new(self.callback_policy());
        let client =
            Client::new(policy, Resolver::System, &trust, identity.as_ref()).map_err(unusable)?;
        let open =
            |sealed: &SealedSecret| self.open_webhook_secret(&channel.id, &sealed.ciphertext);
        let endpoint = Endpoint {
            url: self
                .check_callback_url(&url)
                .map(|target| target.uri().clone()),
            secrets: channel.secrets.iter().filter_map(open).collect(),
            schedule: channel.schedule,
        };
        let id = self.new_callback_id()?;
        let deadline = settings.attempt_timeout;
        let made = make(&client, &endpoint, id, body.clone(), deadline, self.now()).await;
        let (failure, http_status, answer) = match made.verdict {
            Verdict::Acknowledged { status, answer } => (None, Some(status), answer),
            Verdict::Failed {
                reason,
                detail,
                status,
                answer,
                ..
            } => (Some((reason.code(), detail)), status, answer),
            Verdict::NotMade(detail) => (Some(("not_made", detail)), None, Bytes::new()),
        };
        let answer = String::from_utf8_lossy(&answer);
        Ok(Rehearsal {
            channel: channel.clone(),
            url,
            sent: String::from_utf8_lossy(&body).into_owned(),
            failure,
            http_status,
            answer: answer.chars().take(ANSWER_CHARS).collect(),
            took: made.took,
        })
    }

    fn made_up_callback(&self) -> Result<Bytes, Problem> {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&[0x5e, 0xa1, 0xc4, 0xec]);
        id[4..].copy_from_slice(&random::<12>()?);
        let url = SignFileUrl::try_from("http://sealpost-check.invalid/".to_owned());
        let callback = Callback {
            sign_end_time: SignEndTime::at(LONG_AGO, &self.config().time_zone),
            sign_flow_status: EndStatus::Completed,
            sign_flow_id: SignFlowId::from_bytes(id),
            sign_file_url: url
                .map_err(|error| Problem::internal("a made-up URL is refused", &error))?,
        };
        Ok(Bytes::from(callback.to_json()))
    }
}
