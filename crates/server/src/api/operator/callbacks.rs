//! `/v1/operator/callbacks` and `/v1/operator/redeliveries`: those of every channel.

use axum::Json as JsonAnswer;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sealpost_store::Redelivery;
use serde_json::{Value, json};

use super::{OperatorCaller, answer};
use crate::api::Call;
use crate::api::callbacks::{callback_page, callback_query, shown_callback, shown_redelivery};
use crate::app::App;
use crate::problem::Problem;
use crate::web::body::no_members;
use crate::web::{Json, Query};

/// Redeliveries in a list: the newest.
const REDELIVERIES: usize = 50;

/// `GET /v1/operator/callbacks`
pub(crate) async fn list_callbacks(
    State(app): State<App>,
    _: OperatorCaller,
    Query(mut query): Query,
) -> Result<Response, Problem> {
    let channel = query.find_text("channel_id", 1..=64);
    let (filter, limit, cursor) = callback_query(query, channel)?;
    let found = app.list_callbacks(filter, cursor, limit + 1).await?;
    let channel_of: Vec<String> = found.iter().map(|found| found.channel_id.clone()).collect();
    let mut page = callback_page(found, limit);
    for (shown, channel) in page["data"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .zip(channel_of)
    {
        shown["channel_id"] = channel.into();
    }
    Ok(JsonAnswer(page).into_response())
}

/// `GET /v1/operator/callbacks/{id}`
pub(crate) async fn show_callback(
    State(app): State<App>,
    _: OperatorCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(JsonAnswer(shown(&app, &id).await?).into_response())
}

/// `POST /v1/operator/callbacks/{id}/redeliver`
pub(crate) async fn redeliver_callback(
    State(app): State<App>,
    caller: OperatorCaller,
    call: Call,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = no_members(body).await?;
    let key = caller.idempotency(&app, &call, &bytes)?;
    let replayed = app.operate(&caller.principal).redeliver(&id, key).await?;
    Ok(answer(
        StatusCode::ACCEPTED,
        replayed,
        shown(&app, &id).await?,
    ))
}

async fn shown(app: &App, id: &str) -> Result<Value, Problem> {
    let (callback, attempts) = app.callback_of_any_channel(id).await?;
    let mut shown = shown_callback(&callback, Some(&attempts));
    shown["channel_id"] = callback.channel_id.into();
    Ok(shown)
}

/// `POST /v1/operator/redeliveries`
pub(crate) async fn start_redelivery(
    State(app): State<App>,
    caller: OperatorCaller,
    call: Call,
    Json { mut fields, bytes }: Json,
) -> Result<Response, Problem> {
    let since = fields.time("since");
    let channel = fields.find_text("channel_id", 1..=64);
    fields.finish()?;
    let key = caller.idempotency(&app, &call, &bytes)?;
    let operate = app.operate(&caller.principal);
    let (redelivery, replayed) = operate
        .redeliver_failed(channel.as_deref(), since, key)
        .await?;
    Ok(answer(
        StatusCode::ACCEPTED,
        replayed,
        with_channel(&redelivery),
    ))
}

/// `GET /v1/operator/redeliveries`: the newest.
pub(crate) async fn list_redeliveries(
    State(app): State<App>,
    _: OperatorCaller,
    Query(mut query): Query,
) -> Result<Response, Problem> {
    let channel = query.find_text("channel_id", 1..=64);
    query.finish()?;
    let found = app.store().redeliveries(channel, REDELIVERIES).await?;
    let data: Vec<Value> = found.iter().map(with_channel).collect();
    Ok(JsonAnswer(json!({ "data": data })).into_response())
}

/// `GET /v1/operator/redeliveries/{id}`
pub(crate) async fn show_redelivery(
    State(app): State<App>,
    _: OperatorCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let redelivery = app.redelivery_of_any_channel(&id).await?;
    Ok(JsonAnswer(with_channel(&redelivery)).into_response())
}

fn with_channel(redelivery: &Redelivery) -> Value {
    let mut shown = shown_redelivery(redelivery);
    if let Some(channel) = &redelivery.which.channel_id {
        shown["channel_id"] = channel.as_str().into();
    }
    shown
}
