//! `/v1/operator/sign-flows`: those of every channel, searched, shown, revoked, reminded.

use axum::Json as JsonAnswer;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use sealpost_flow::limits;
use sealpost_store::{FlowFilter, Role, StoredFlow};
use serde_json::{Value, json};

use super::{OperatorCaller, answer};
use crate::api::evidence::{Format, format_of};
use crate::api::sign_flows::{flow_filter, flow_page_of, sign_flow};
use crate::api::{Call, files};
use crate::app::App;
use crate::app::flows::Outcome;
use crate::pages::signing::page_image_of;
use crate::problem::Problem;
use crate::web::body::no_members;
use crate::web::{Json, Query};

/// Characters of a search at most.
const TEXT_CHARS: usize = 64;

/// `GET /v1/operator/sign-flows`
pub(crate) async fn list_flows(
    State(app): State<App>,
    caller: OperatorCaller,
    Query(mut query): Query,
) -> Result<Response, Problem> {
    let filter = FlowFilter {
        channel_id: query.find_text("channel_id", 1..=64),
        text: query.find_text("text", 1..=TEXT_CHARS),
        ..flow_filter(&mut query)
    };
    let (limit, cursor) = flow_page_of(query)?;
    let page = app.list_flows(filter, cursor, limit).await?;
    let data: Vec<Value> = page
        .items
        .iter()
        .map(|stored| shown_flow(&app, stored, caller.principal.role))
        .collect();
    Ok(JsonAnswer(
        json!({ "data": data, "next_cursor": page.next.map(|cursor| cursor.to_string()) }),
    )
    .into_response())
}

/// `GET /v1/operator/sign-flows/{id}`
pub(crate) async fn show_flow(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let stored = app.flow_of_any_channel(&id).await?;
    Ok(JsonAnswer(shown_flow(&app, &stored, caller.principal.role)).into_response())
}

/// `GET /v1/operator/sign-flows/{id}/pages/{page}`: `1.png` and on, with `?width=`.
pub(crate) async fn show_page(
    State(app): State<App>,
    _: OperatorCaller,
    Path((id, page)): Path<(String, String)>,
    Query(mut query): Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let width = query.find_integer("width", 1..=4000);
    query.finish()?;
    let stored = app.flow_of_any_channel(&id).await?;
    page_image_of(&app, &stored, &page, width, &headers).await
}

/// `GET /v1/operator/sign-flows/{id}/file`
pub(crate) async fn fetch_file(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
    method: Method,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let pdf = app.operate(&caller.principal).fetch_file(&id).await?;
    Ok(files::answer(&method, &asked, pdf))
}

/// `GET /v1/operator/sign-flows/{id}/evidence`
pub(crate) async fn fetch_evidence(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
    Query(query): Query,
) -> Result<Response, Problem> {
    let operate = app.operate(&caller.principal);
    match format_of(query)? {
        Format::Json => Ok(JsonAnswer(operate.fetch_evidence(&id).await?).into_response()),
        Format::Report(language) => operate.fetch_report(&id, language).await,
    }
}

/// `POST /v1/operator/sign-flows/{id}/revoke`
pub(crate) async fn revoke_flow(
    State(app): State<App>,
    caller: OperatorCaller,
    call: Call,
    Path(id): Path<String>,
    Json { mut fields, bytes }: Json,
) -> Result<Response, Problem> {
    let reason = fields.text("reason", 1..=limits::REASON_CHARS);
    fields.finish()?;
    let key = caller.idempotency(&app, &call, &bytes)?;
    let operate = app.operate(&caller.principal);
    let outcome = operate.revoke_flow(&id, &reason, key.as_ref()).await?;
    Ok(done(&app, &caller, &outcome))
}

/// `POST /v1/operator/sign-flows/{id}/remind`
pub(crate) async fn remind_signers(
    State(app): State<App>,
    caller: OperatorCaller,
    call: Call,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = no_members(body).await?;
    let key = caller.idempotency(&app, &call, &bytes)?;
    let operate = app.operate(&caller.principal);
    let outcome = operate.remind_signers(&id, key.as_ref()).await?;
    Ok(done(&app, &caller, &outcome))
}

fn done(app: &App, caller: &OperatorCaller, outcome: &Outcome) -> Response {
    let shown = shown_flow(app, &outcome.stored, caller.principal.role);
    answer(StatusCode::OK, outcome.replayed, shown)
}

/// A flow as its channel sees it, with the channel and what a search finds it by. Whoever has a signer's link can sign: links are
/// not for those who may only look.
fn shown_flow(app: &App, stored: &StoredFlow, role: Role) -> Value {
    let mut shown = sign_flow(app, stored);
    if role < Role::Operator
        && let Some(signers) = shown["signers"].as_array_mut()
    {
        for signer in signers.iter_mut().filter_map(Value::as_object_mut) {
            signer.remove("sign_url");
        }
    }
    shown["channel_id"] = stored.channel_id.as_str().into();
    let labels = &stored.labels;
    for (member, label) in [
        ("project", &labels.project),
        ("room", &labels.room),
        ("payer_masked", &labels.payer_masked),
    ] {
        if let Some(label) = label {
            shown[member] = label.as_str().into();
        }
    }
    shown
}
