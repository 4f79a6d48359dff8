//! `/v1/operator/seals` and `/v1/operator/certificates`: the seals of every channel and those for all, and what signs.

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::{OperatorCaller, answer};
use crate::api::seals::{SEAL_BODY, read_new_seal, shown};
use crate::api::time;
use crate::app::App;
use crate::app::keys::KeptCertificate;
use crate::app::seals::KeptSeal;
use crate::problem::Problem;
use crate::web::Json;

/// `GET /v1/operator/seals`
pub(crate) async fn list_seals(
    State(app): State<App>,
    _: OperatorCaller,
) -> Result<Response, Problem> {
    let kept = app.seals(None).await?;
    let data: Vec<Value> = kept.iter().map(shown_to_operators).collect();
    Ok(JsonAnswer(json!({ "data": data })).into_response())
}

/// `POST /v1/operator/seals`: for all channels, or for the one that `channel_id` names.
pub(crate) async fn create_seal(
    State(app): State<App>,
    caller: OperatorCaller,
    Json { mut fields, .. }: Json<SEAL_BODY>,
) -> Result<Response, Problem> {
    let channel = fields.find_text("channel_id", 1..=64);
    let (label, wanted) = read_new_seal(fields)?;
    let kept = app
        .operate(&caller.principal)
        .add_seal(channel.as_deref(), &label, &wanted)
        .await?;
    Ok(answer(
        StatusCode::CREATED,
        false,
        shown_to_operators(&kept),
    ))
}

/// `DELETE /v1/operator/seals/{id}`
pub(crate) async fn remove_seal(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.operate(&caller.principal).remove_seal(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/operator/seals/{id}/preview.png`
pub(crate) async fn preview_seal(
    State(app): State<App>,
    _: OperatorCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let kept = app.find_seal(None, &id).await?;
    let kept = kept.ok_or_else(|| Problem::not_found("seal"))?;
    crate::api::seals::png(&app, &kept, crate::api::seals::PREVIEW).await
}

/// `GET /v1/operator/certificates`: whose keys are kept here, and until when they are valid.
pub(crate) async fn list_certificates(
    State(app): State<App>,
    _: OperatorCaller,
) -> Result<Response, Problem> {
    let kept = app.certificates().await?;
    let data: Vec<Value> = kept.iter().map(shown_certificate).collect();
    Ok(JsonAnswer(json!({ "data": data })).into_response())
}

fn shown_to_operators(kept: &KeptSeal) -> Value {
    let mut seal = shown(kept);
    seal["channel_id"] = kept.channel_id.clone().into();
    seal
}

fn shown_certificate(kept: &KeptCertificate) -> Value {
    json!({
        "of": kept.of.as_str(),
        "subject": kept.subject,
        "not_before": time(kept.validity.not_before),
        "not_after": time(kept.validity.not_after),
    })
}
