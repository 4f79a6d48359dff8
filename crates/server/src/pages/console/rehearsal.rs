//! A test callback, sent to a channel's endpoint at once and shown with its answer. It is kept nowhere and never retried.
//!
//! What it carries is made up and marked as such, as `sealpost check` does: the id begins with 5ea1c4ec, the file's host is
//! sealpost-check.invalid, the flow ended on 2000-01-01. It goes out through the guarded client, like any callback.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use sealpost_contract::{Callback, EndStatus, SignEndTime, SignFileUrl, SignFlowId};
use sealpost_delivery::attempt::{Endpoint, Made, Verdict, make};
use sealpost_delivery::client::{Client, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_store::{Channel, Role};

use super::Words;
use super::session::{Action, Signed};
use super::view::{RehearsalPage, Section};
use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::secrets::random;

/// 2000-01-01 00:00:00 UTC.
const LONG_AGO: i64 = 946_684_800_000;

/// `POST /console/channels/{id}/test`.
pub(crate) async fn send(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Operator)?;
    signed.log(&app, "channel.test", Some(&id), None).await?;
    let sent = async {
        let channel = app.store().find_channel(&id).await?;
        let channel = channel.ok_or_else(|| Problem::not_found("channel"))?;
        let body = body(&app)?;
        let made = attempt(&app, &channel, body.clone()).await?;
        Ok::<_, Problem>(page(&app, signed, &channel, &body, made))
    };
    let page = sent.await.map_err(|problem| signed.problem(&problem))?;
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

fn body(app: &App) -> Result<Bytes, Problem> {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&[0x5e, 0xa1, 0xc4, 0xec]);
    id[4..].copy_from_slice(&random::<12>()?);
    let url = SignFileUrl::try_from("http://sealpost-check.invalid/".to_owned());
    let callback = Callback {
        sign_end_time: SignEndTime::at(LONG_AGO, &app.config().time_zone),
        sign_flow_status: EndStatus::Completed,
        sign_flow_id: SignFlowId::from_bytes(id),
        sign_file_url: url
            .map_err(|error| Problem::internal("a made-up URL is refused", &error))?,
    };
    Ok(Bytes::from(callback.to_json()))
}

async fn attempt(app: &App, channel: &Channel, body: Bytes) -> Result<Made, Problem> {
    let Some(url) = &channel.callback_url else {
        let detail = "The channel has no callback address yet.";
        return Err(Problem::new(Kind::Refused, detail).code("no_callback_url"));
    };
    let settings = &app.config().delivery;
    let unusable = |error: sealpost_delivery::Error| {
        Problem::internal("a client for a test callback cannot be made", &error)
    };
    let trust = Trust::load(settings.ca_file.as_deref()).map_err(unusable)?;
    let policy = Arc::new(app.callback_policy());
    let client = Client::new(policy, Resolver::System, &trust, None).map_err(unusable)?;
    let open = |sealed: &sealpost_store::SealedSecret| {
        app.open_webhook_secret(&channel.id, &sealed.ciphertext)
    };
    let url = app.check_callback_url(url);
    let endpoint = Endpoint {
        url: url.map(|target| target.uri().clone()),
        secrets: channel.secrets.iter().filter_map(open).collect(),
        schedule: channel.schedule,
    };
    let id = app.new_callback_id()?;
    Ok(make(
        &client,
        &endpoint,
        id,
        body,
        settings.attempt_timeout,
        app.now(),
    )
    .await)
}

fn page(app: &App, signed: &Signed, channel: &Channel, body: &Bytes, made: Made) -> RehearsalPage {
    let words = Words::of(app, signed.reader.lang);
    let (acknowledged, reason, status, answer) = match made.verdict {
        Verdict::Acknowledged { status, answer } => (true, String::new(), Some(status), answer),
        Verdict::Failed {
            reason,
            detail,
            status,
            answer,
            ..
        } => (
            false,
            format!("{} · {detail}", reason.code()),
            status,
            answer,
        ),
        Verdict::NotMade(detail) => (false, detail, None, Bytes::new()),
    };
    RehearsalPage {
        frame: signed.frame(Section::Channels),
        channel: channel.id.clone(),
        name: channel.name.clone(),
        url: channel.callback_url.clone().unwrap_or_default(),
        acknowledged,
        reason,
        status: status.map(|status| status.to_string()).unwrap_or_default(),
        took: words.duration(u32::try_from(made.took.as_millis()).unwrap_or(u32::MAX)),
        sent: String::from_utf8_lossy(body).into_owned(),
        answer: String::from_utf8_lossy(&answer)
            .chars()
            .take(4000)
            .collect(),
    }
}
