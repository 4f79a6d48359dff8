//! `/v1/operator/channels/{id}/test` and `/check`: a channel's endpoint tried out.

use axum::Json as JsonAnswer;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::{OperatorCaller, answer};
use crate::api::time;
use crate::app::App;
use crate::app::contract_check::ShownCheck;
use crate::problem::Problem;
use crate::web::body::optional_json;

/// `POST /v1/operator/channels/{id}/test`: sends a made-up callback and answers with what came of it.
pub(crate) async fn send_test(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let sent = app.operate(&caller.principal).rehearse(&id).await?;
    let mut shown = json!({
        "url": sent.url,
        "sent": sent.sent,
        "acknowledged": sent.failure.is_none(),
        "http_status": sent.http_status,
        "answer": sent.answer,
        "duration_ms": sent.took.as_millis() as u64,
    });
    if let Some((reason, detail)) = sent.failure {
        shown["reason"] = reason.into();
        shown["detail"] = detail.into();
    }
    Ok(JsonAnswer(shown).into_response())
}

/// `POST /v1/operator/channels/{id}/check`: begins a check in the background.
pub(crate) async fn begin_check(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let (mut fields, _) = optional_json(body).await?;
    let everything = fields.switch("everything");
    fields.finish()?;
    let operate = app.operate(&caller.principal);
    let check = operate.begin_contract_check(&id, !everything).await?;
    let shown = shown_check(&app.shown_check(&check));
    Ok(answer(StatusCode::ACCEPTED, false, shown))
}

/// `GET /v1/operator/channels/{id}/check`: the last check, as far as it has come.
pub(crate) async fn show_check(
    State(app): State<App>,
    _: OperatorCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    app.channel(&id).await?;
    let check = app.find_contract_check(&id).await?;
    let check = check.ok_or_else(|| Problem::not_found("contract check"))?;
    Ok(JsonAnswer(shown_check(&check)).into_response())
}

fn shown_check(check: &ShownCheck) -> Value {
    let report = &check.report;
    json!({
        "state": check.state.name(),
        "url": report.url,
        "read_only": report.read_only,
        "started_by": report.started_by,
        "started_at": time(check.started_at),
        "ended_at": check.ended_at.map(time),
        "failure": report.failure,
        "keeps": report.count("keeps"),
        "may": report.count("may"),
        "breaks": report.count("breaks"),
        "cases": report.cases,
    })
}
