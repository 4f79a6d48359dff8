//! A test callback, sent to a channel's endpoint at once and shown with its answer.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;

use super::Words;
use super::session::Action;
use super::view::{RehearsalPage, Section};
use crate::app::App;

/// `POST /console/channels/{id}/test`.
pub(crate) async fn send(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let sent = app.operate(&signed.principal).rehearse(&id).await;
    let sent = sent.map_err(|problem| signed.problem(&problem))?;
    let words = Words::of(&app, signed.reader.lang);
    let page = RehearsalPage {
        frame: signed.frame(Section::Channels),
        channel: sent.channel.id,
        name: sent.channel.name,
        url: sent.url,
        acknowledged: sent.failure.is_none(),
        reason: sent
            .failure
            .map(|(code, detail)| format!("{code} · {detail}"))
            .unwrap_or_default(),
        status: sent
            .http_status
            .map(|status| status.to_string())
            .unwrap_or_default(),
        took: words.duration(u32::try_from(sent.took.as_millis()).unwrap_or(u32::MAX)),
        sent: sent.sent,
        answer: sent.answer,
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}
