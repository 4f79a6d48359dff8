//! `/v1/sign-flows`: make, list, show, start, revoke, remind.

use axum::Json as JsonAnswer;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use sealpost_contract::{SignEndTime, SignFlowId};
use sealpost_flow::{Flow, Level, Operation, Party, State as FlowState, Status, Step, limits};
use sealpost_store::{Cursor, FlowFilter, StoredFlow};
use serde_json::{Map, Value, json};

use super::request::read_create;
use super::{Call, PAGE_MOST, PAGE_USUAL, answer, time};
use crate::app::App;
use crate::app::details::Details;
use crate::app::flows::{Caller, Outcome};
use crate::app::view::Origin;
use crate::problem::Problem;
use crate::web::body::no_members;
use crate::web::{Fields, Json, Query};

/// `POST /v1/sign-flows`
pub(crate) async fn create_sign_flow(
    State(app): State<App>,
    caller: Caller,
    origin: Origin,
    call: Call,
    request: Request,
) -> Result<Response, Problem> {
    let request = read_create(&app, request).await?;
    let key = caller.idempotency(&call, &request.bytes, app.now())?;
    let outcome = app
        .create_flow(&caller, &caller.actor(&origin), request.new, key)
        .await?;
    let outcome = Outcome {
        stored: app.seal_promptly(outcome.stored).await?,
        ..outcome
    };
    let location = format!("/v1/sign-flows/{}", outcome.stored.flow.id);
    let mut response = told(&app, StatusCode::CREATED, &outcome);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// `GET /v1/sign-flows`
pub(crate) async fn list_sign_flows(
    State(app): State<App>,
    caller: Caller,
    Query(mut query): Query,
) -> Result<Response, Problem> {
    let filter = FlowFilter {
        channel_id: Some(caller.channel_id),
        ..flow_filter(&mut query)
    };
    let (limit, cursor) = flow_page_of(query)?;
    let page = app.list_flows(filter, cursor, limit).await?;
    let data: Vec<Value> = page
        .items
        .iter()
        .map(|stored| sign_flow(&app, stored))
        .collect();
    Ok(JsonAnswer(
        json!({ "data": data, "next_cursor": page.next.map(|cursor| cursor.to_string()) }),
    )
    .into_response())
}

/// What narrows a list of flows, but for whose they are.
pub(super) fn flow_filter(query: &mut Fields) -> FlowFilter {
    let statuses: Vec<(&str, Status)> = Status::ALL
        .into_iter()
        .map(|status| (status.as_str(), status))
        .collect();
    FlowFilter {
        status: query.find_word("status", &statuses),
        reference: query.find_text("reference", 1..=limits::REFERENCE_CHARS),
        created_from: query.find_time("created_from"),
        created_before: query.find_time("created_before"),
        ..FlowFilter::default()
    }
}

/// How many flows of a list, and where it goes on; the query must hold nothing else.
pub(super) fn flow_page_of(mut query: Fields) -> Result<(u32, Option<Cursor>), Problem> {
    let limit = query
        .find_integer("limit", 1..=PAGE_MOST)
        .unwrap_or(PAGE_USUAL);
    let cursor = query
        .find_text("cursor", 1..=128)
        .map(|text| text.parse::<Cursor>());
    if let Some(Err(error)) = &cursor {
        query.refuse("cursor", "bad_format", error.to_string());
    }
    query.finish()?;
    Ok((limit as u32, cursor.and_then(Result::ok)))
}

/// `GET /v1/sign-flows/{id}`
pub(crate) async fn show_sign_flow(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let stored = own_flow(&app, &caller, id).await?;
    Ok(JsonAnswer(sign_flow(&app, &stored)).into_response())
}

/// `POST /v1/sign-flows/{id}/start`
pub(crate) async fn start_sign_flow(
    State(app): State<App>,
    caller: Caller,
    origin: Origin,
    call: Call,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = no_members(body).await?;
    let stored = own_flow(&app, &caller, id).await?;
    let key = caller.idempotency(&call, &bytes, app.now())?;
    let outcome = app
        .change_flow(
            &stored.flow.id,
            &caller.actor(&origin),
            |_| Operation::Start,
            key.as_ref(),
        )
        .await?;
    let outcome = Outcome {
        stored: app.seal_promptly(outcome.stored).await?,
        ..outcome
    };
    Ok(told(&app, StatusCode::OK, &outcome))
}

/// `POST /v1/sign-flows/{id}/revoke`
pub(crate) async fn revoke_sign_flow(
    State(app): State<App>,
    caller: Caller,
    origin: Origin,
    call: Call,
    Path(id): Path<String>,
    Json { mut fields, bytes }: Json,
) -> Result<Response, Problem> {
    let reason = fields.text("reason", 1..=limits::REASON_CHARS);
    fields.finish()?;
    let stored = own_flow(&app, &caller, id).await?;
    let key = caller.idempotency(&call, &bytes, app.now())?;
    let revoke = |_: &Flow| Operation::Revoke {
        reason: reason.clone(),
    };
    let outcome = app
        .change_flow(
            &stored.flow.id,
            &caller.actor(&origin),
            revoke,
            key.as_ref(),
        )
        .await?;
    Ok(told(&app, StatusCode::OK, &outcome))
}

/// `POST /v1/sign-flows/{id}/remind`
pub(crate) async fn remind_signers(
    State(app): State<App>,
    caller: Caller,
    origin: Origin,
    call: Call,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = no_members(body).await?;
    let stored = own_flow(&app, &caller, id).await?;
    let key = caller.idempotency(&call, &bytes, app.now())?;
    let outcome = app
        .remind(&stored.flow.id, &caller.actor(&origin), key.as_ref())
        .await?;
    Ok(told(&app, StatusCode::OK, &outcome))
}

/// The caller's flow of this id; everything else is not found, whether it exists or not.
pub(super) async fn own_flow(
    app: &App,
    caller: &Caller,
    id: String,
) -> Result<StoredFlow, Problem> {
    let found = match SignFlowId::try_from(id) {
        Ok(id) => app.find_flow_of(&caller.channel_id, &id).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| Problem::not_found("sign flow"))
}

fn told(app: &App, status: StatusCode, outcome: &Outcome) -> Response {
    answer(status, outcome.replayed, sign_flow(app, &outcome.stored))
}

/// A flow as the API shows it.
pub(crate) fn sign_flow(app: &App, stored: &StoredFlow) -> Value {
    let flow = &stored.flow;
    let status = flow.state.status();
    let mut shown = Map::new();
    let mut put = |member: &str, value: Value| {
        shown.insert(member.to_owned(), value);
    };
    put("sign_flow_id", flow.id.as_str().into());
    put("sign_flow_status", status.code().into());
    put("state", status.as_str().into());
    put("reference", flow.reference.as_str().into());
    put("title", flow.title.as_str().into());
    let drawn_only = Details::parse(stored.details.as_deref()).drawn_only;
    let signatures = if drawn_only {
        "drawn"
    } else {
        "drawn_or_typed"
    };
    put("signatures", signatures.into());
    put("created_at", time(flow.created_at).into());
    put("expires_at", time(flow.expires_at).into());
    put(
        "document",
        json!({
            "sha256": flow.document.to_string(),
            "original_sha256": flow.original.to_string(),
            "archived_sha256": flow.archived.map(|archived| archived.to_string()),
        }),
    );
    put(
        "signature_level",
        json!({
            "wanted": app.config().signature_level().as_str(),
            "reached": flow.level.map(Level::as_str),
            "downgrade": flow.downgrade.as_ref().map(|downgrade| json!({
                "wanted": downgrade.wanted.as_str(),
                "reason": downgrade.reason,
            })),
            "renew_by": flow.renew_by.map(time),
        }),
    );
    put(
        "signers",
        flow.signers
            .iter()
            .map(|signer| shown_signer(app, flow, signer))
            .collect(),
    );
    if flow.sealing.failures > 0 {
        put(
            "sealing",
            json!({
                "failures": flow.sealing.failures,
                "last_failure": flow.sealing.last_failure,
                "next_at": flow.sealing.next_at.map(time),
            }),
        );
    }
    if let Some((_, at)) = flow.state.end() {
        put("ended_at", time(at).into());
        put(
            "sign_end_time",
            SignEndTime::at(at, &app.config().time_zone).as_str().into(),
        );
        match &flow.state {
            FlowState::Revoked { reason, .. } => put("reason", reason.as_str().into()),
            FlowState::Rejected { reason, signer, .. } => {
                put("reason", reason.as_str().into());
                put("rejected_by", (*signer).into());
            }
            _ => {}
        }
        put("sign_file_url", app.file_url(&flow.id).into());
    }
    Value::Object(shown)
}

fn shown_signer(app: &App, flow: &Flow, signer: &sealpost_flow::Signer) -> Value {
    let mut shown = Map::new();
    shown.insert("number".to_owned(), signer.no.into());
    let kind = match signer.party {
        Party::Person { .. } => "person",
        Party::Organization { .. } => "organization",
    };
    shown.insert("type".to_owned(), kind.into());
    shown.insert("name".to_owned(), signer.party.name().into());
    shown.insert("order".to_owned(), signer.order.into());
    if let Party::Organization { automatic, .. } = signer.party {
        shown.insert("automatic".to_owned(), automatic.into());
    }
    let (step, moment) = match &signer.step {
        Step::Waiting => ("waiting", None),
        Step::Open { .. } => ("open", None),
        Step::Signed { intent } => ("signed", Some(("signed_at", intent.at))),
        Step::Applied { intent, .. } => ("applied", Some(("signed_at", intent.at))),
        Step::Rejected { at } => ("rejected", Some(("rejected_at", *at))),
    };
    shown.insert("step".to_owned(), step.into());
    if let Some((member, at)) = moment {
        shown.insert(member.to_owned(), time(at).into());
    }
    if !signer.party.is_automatic() {
        shown.insert(
            "sign_url".to_owned(),
            app.sign_url(&flow.id, signer.no).into(),
        );
    }
    Value::Object(shown)
}
