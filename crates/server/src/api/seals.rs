//! `/v1/seals`: the seals that are kept under a name. A channel sees its own and those that an operator keeps for all channels;
//! it makes and removes its own.

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use sealpost_pdf::render::MAX_PAGE_WIDTH;
use serde_json::{Value, json};

use super::request::seal::read_seal;
use super::time;
use crate::app::App;
use crate::app::flows::Caller;
use crate::app::seals::{KeptSeal, LABEL_CHARS, MAX_PICTURE, WantedSeal};
use crate::problem::Problem;
use crate::web::body::MIB;
use crate::web::{Fields, Json, Query};

/// The most bytes of a body with a picture in base64.
pub(crate) const SEAL_BODY: usize = MAX_PICTURE / 3 * 4 + MIB;

/// The width of a preview unless another is asked for, in pixels.
pub(crate) const PREVIEW: u32 = 600;

/// `POST /v1/seals`
pub(crate) async fn create_seal(
    State(app): State<App>,
    caller: Caller,
    Json { fields, .. }: Json<SEAL_BODY>,
) -> Result<Response, Problem> {
    let (label, wanted) = read_new_seal(fields)?;
    let kept = app
        .add_seal(Some(&caller.channel_id), &label, &wanted)
        .await?;
    let mut response = (StatusCode::CREATED, JsonAnswer(shown(&kept))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/seals/{}", kept.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// A name and a seal.
pub(crate) fn read_new_seal(mut fields: Fields) -> Result<(String, WantedSeal), Problem> {
    let label = fields.text("label", 1..=LABEL_CHARS);
    if !fields.has("seal") {
        fields.refuse("seal", "missing", "it is required");
    }
    let mut wanted = None;
    if let Some(mut seal) = fields.find_object("seal") {
        wanted = read_seal(&mut seal, None);
        fields.absorb(seal);
    }
    fields.finish()?;
    let wanted = wanted.ok_or_else(|| Problem::field("seal", "missing", "it is required"))?;
    Ok((label, wanted))
}

/// `GET /v1/seals`
pub(crate) async fn list_seals(
    State(app): State<App>,
    caller: Caller,
) -> Result<Response, Problem> {
    let kept = app.seals(Some(&caller.channel_id)).await?;
    let data: Vec<Value> = kept.iter().map(shown).collect();
    Ok(JsonAnswer(json!({ "data": data })).into_response())
}

/// `GET /v1/seals/{id}`
pub(crate) async fn show_seal(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(JsonAnswer(shown(&find(&app, &caller, &id).await?)).into_response())
}

/// `GET /v1/seals/{id}/preview.png`
pub(crate) async fn preview_seal(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(mut query): Query,
) -> Result<Response, Problem> {
    let width = query.find_integer("width", 50..=i64::from(MAX_PAGE_WIDTH));
    query.finish()?;
    let kept = find(&app, &caller, &id).await?;
    let width = width.and_then(|width| u32::try_from(width).ok());
    png(&app, &kept, width.unwrap_or(PREVIEW)).await
}

/// A picture of a kept seal, for programs and pages.
pub(crate) async fn png(app: &App, kept: &KeptSeal, width: u32) -> Result<Response, Problem> {
    let png = app.seal_png(&kept.seal, width).await?;
    let headers = [
        (header::CONTENT_TYPE, "image/png"),
        (header::CACHE_CONTROL, "private, max-age=3600"),
    ];
    Ok((headers, png).into_response())
}

/// `DELETE /v1/seals/{id}`
pub(crate) async fn remove_seal(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let kept = find(&app, &caller, &id).await?;
    // Those for all channels are the operator's.
    if kept.channel_id.is_none() || !app.remove_seal(&kept.id).await? {
        return Err(Problem::not_found("seal of this channel"));
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<KeptSeal, Problem> {
    app.find_seal(Some(&caller.channel_id), id)
        .await?
        .ok_or_else(|| Problem::not_found("seal"))
}

/// A kept seal as the API shows it.
pub(crate) fn shown(kept: &KeptSeal) -> Value {
    json!({
        "id": kept.id,
        "label": kept.label,
        "for_all_channels": kept.channel_id.is_none(),
        "seal": kept.seal,
        "created_at": time(kept.created_at),
    })
}
