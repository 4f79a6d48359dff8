//! `/v1/callbacks`: hand over what ended elsewhere, see what was told and what came back, send again.

use axum::Json as JsonAnswer;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sealpost_contract::{Callback, Malformed};
use sealpost_store::{
    Attempt, CallbackFilter, CallbackId, CallbackState, IdempotencyKey, Redelivered,
    RedeliveredOnce, Redelivery, RedeliveryId, StoredCallback,
};
use serde_json::{Map, Value, json};

use super::{Call, IDEMPOTENCY_REPLAYED, PAGE_MOST, PAGE_USUAL, time};
use crate::app::App;
use crate::app::callbacks::still_waiting;
use crate::app::flows::{Caller, check_same_request};
use crate::problem::{Kind, Problem};
use crate::web::body::{bounded, content_type, optional_json};
use crate::web::{Json, Query};

/// `POST /v1/callbacks`: the four members are the body, read as strictly as a channel's receiver reads them.
pub(crate) async fn accept_callback(
    State(app): State<App>,
    caller: Caller,
    call: Call,
    request: Request,
) -> Result<Response, Problem> {
    if !content_type(&request)
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
    {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            "The body must be JSON, with the header `content-type: application/json`.",
        ));
    }
    let body = bounded(request, sealpost_contract::MAX_BODY_BYTES).await?;
    let key = caller.idempotency(&call, &body, app.now())?;
    let callback = Callback::parse(&body).map_err(malformed)?;
    if callback.sign_flow_id.as_str().chars().any(char::is_control) {
        let detail = "it must not contain control characters";
        return Err(Problem::field("sign_flow_id", "bad_format", detail));
    }
    // Before the work, so that of two nodes with one key only one keeps its callback. The work is done again whenever the
    // request comes again, which changes nothing, unless the first time was cut short.
    if let Some(key) = key
        && let Some(remembered) = app
            .store()
            .remember_idempotency_key(key.clone(), callback.sign_flow_id.to_string())
            .await?
    {
        check_same_request(Some(&key), &remembered)?;
    }
    let id = app.accept_callback(&caller.channel_id, &callback).await?;
    let accepted = json!({ "id": id.to_string(), "sign_flow_id": callback.sign_flow_id.as_str() });
    Ok((StatusCode::ACCEPTED, JsonAnswer(accepted)).into_response())
}

/// `GET /v1/callbacks`
pub(crate) async fn list_callbacks(
    State(app): State<App>,
    caller: Caller,
    Query(mut query): Query,
) -> Result<Response, Problem> {
    let states = [
        CallbackState::Waiting,
        CallbackState::Acknowledged,
        CallbackState::Failed,
    ]
    .map(|state| (state.name(), state));
    let filter = CallbackFilter {
        channel_id: Some(caller.channel_id.clone()),
        state: query.find_word("state", &states),
        since: query.find_time("created_from"),
        until: query.find_time("created_before"),
    };
    let flow = query
        .find_text("sign_flow_id", 1..=32)
        .and_then(|id| id.parse().ok());
    let limit = query
        .find_integer("limit", 1..=PAGE_MOST)
        .unwrap_or(PAGE_USUAL) as usize;
    let cursor = query
        .find_text("cursor", 1..=64)
        .map(|text| text.parse::<CallbackId>());
    if let Some(Err(_)) = &cursor {
        query.refuse("cursor", "bad_format", "not a cursor that a list has given");
    }
    query.finish()?;
    let (found, more) = match flow {
        Some(flow) => (
            app.find_callback_of_flow(&caller.channel_id, &flow)
                .await?
                .into_iter()
                .collect(),
            false,
        ),
        None => {
            let mut found = app
                .list_callbacks(filter, cursor.and_then(Result::ok), limit + 1)
                .await?;
            let more = found.len() > limit;
            found.truncate(limit);
            (found, more)
        }
    };
    let next = found
        .last()
        .filter(|_| more)
        .map(|last: &StoredCallback| last.id.to_string());
    let data: Vec<Value> = found
        .iter()
        .map(|callback| shown_callback(callback, None))
        .collect();
    Ok(JsonAnswer(json!({ "data": data, "next_cursor": next })).into_response())
}

/// `GET /v1/callbacks/{id}`
pub(crate) async fn show_callback(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (callback, attempts) = own_callback(&app, &caller, &id).await?;
    Ok(JsonAnswer(shown_callback(&callback, Some(&attempts))).into_response())
}

/// `POST /v1/callbacks/{id}/redeliver`
pub(crate) async fn redeliver_callback(
    State(app): State<App>,
    caller: Caller,
    call: Call,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let (fields, bytes) = optional_json(body).await?;
    fields.finish()?;
    let (callback, _) = own_callback(&app, &caller, &id).await?;
    let key = caller.idempotency(&call, &bytes, app.now())?;
    let replayed = match key {
        None => {
            app.redeliver(callback.id).await?;
            false
        }
        Some(key) => redeliver_once(&app, callback.id, key).await?,
    };
    let (callback, attempts) = own_callback(&app, &caller, &id).await?;
    let mut response = (
        StatusCode::ACCEPTED,
        JsonAnswer(shown_callback(&callback, Some(&attempts))),
    )
        .into_response();
    if replayed {
        response
            .headers_mut()
            .insert(IDEMPOTENCY_REPLAYED, http::HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Starts a new round unless the key has started one before; whether it has.
async fn redeliver_once(app: &App, id: CallbackId, key: IdempotencyKey) -> Result<bool, Problem> {
    let redelivered = app
        .store()
        .redeliver_once(id, key.clone(), app.now())
        .await?;
    match redelivered {
        RedeliveredOnce::Now(Redelivered::Due) => {
            app.poke_delivery();
            Ok(false)
        }
        RedeliveredOnce::Now(Redelivered::StillWaiting) => Err(still_waiting()),
        RedeliveredOnce::Now(Redelivered::NotFound) => Err(Problem::not_found("callback")),
        RedeliveredOnce::Remembered(remembered) => {
            check_same_request(Some(&key), &remembered)?;
            Ok(true)
        }
    }
}

/// `POST /v1/callbacks/redeliver`
pub(crate) async fn redeliver_failed(
    State(app): State<App>,
    caller: Caller,
    Json { mut fields, .. }: Json,
) -> Result<Response, Problem> {
    if !fields.has("since") {
        fields.refuse("since", "missing", "it is required");
    }
    let since = fields.find_time("since").unwrap_or_default();
    fields.finish()?;
    let redelivery = app.start_redelivery(Some(caller.channel_id), since).await?;
    Ok((
        StatusCode::ACCEPTED,
        JsonAnswer(shown_redelivery(&redelivery)),
    )
        .into_response())
}

/// `GET /v1/callbacks/redeliveries/{id}`
pub(crate) async fn show_redelivery(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let found = match id.parse::<RedeliveryId>() {
        Ok(id) => app.find_redelivery(&caller.channel_id, id).await?,
        Err(_) => None,
    };
    let redelivery = found.ok_or_else(|| Problem::not_found("redelivery"))?;
    Ok(JsonAnswer(shown_redelivery(&redelivery)).into_response())
}

/// A redelivery of many as the API shows it.
pub(crate) fn shown_redelivery(redelivery: &Redelivery) -> Value {
    let mut shown = json!({
        "id": redelivery.id.to_string(),
        "state": if redelivery.finished_at.is_some() { "finished" } else { "running" },
        "since": time(redelivery.which.since),
        "started_at": time(redelivery.started_at),
        "total": redelivery.total,
        "redelivered": redelivery.redelivered,
    });
    if let Some(at) = redelivery.finished_at {
        shown["finished_at"] = time(at).into();
    }
    shown
}

async fn own_callback(
    app: &App,
    caller: &Caller,
    id: &str,
) -> Result<(StoredCallback, Vec<Attempt>), Problem> {
    let found = match id.parse::<CallbackId>() {
        Ok(id) => app.find_callback(Some(&caller.channel_id), id).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| Problem::not_found("callback"))
}

fn malformed(error: Malformed) -> Problem {
    Problem::new(Kind::InvalidFields, format!("{error}.")).code("malformed_callback")
}

/// A callback as the API shows it.
pub(crate) fn shown_callback(callback: &StoredCallback, attempts: Option<&[Attempt]>) -> Value {
    let mut shown = Map::new();
    let mut put = |member: &str, value: Value| {
        if !value.is_null() {
            shown.insert(member.to_owned(), value);
        }
    };
    put("id", callback.id.to_string().into());
    put("sign_flow_id", callback.sign_flow_id.as_str().into());
    put("state", callback.state.name().into());
    put(
        "body",
        serde_json::from_str(&callback.body).unwrap_or(Value::Null),
    );
    put("url", callback.url.clone().into());
    put("created_at", time(callback.created_at).into());
    put("round", callback.round.into());
    put("attempts_in_round", callback.attempts.into());
    match callback.state {
        CallbackState::Waiting => put("next_attempt_at", callback.due_at.map(time).into()),
        CallbackState::Acknowledged => put("acknowledged_at", callback.ended_at.map(time).into()),
        CallbackState::Failed => put("failed_at", callback.ended_at.map(time).into()),
    }
    if let Some(attempts) = attempts {
        put("attempts", attempts.iter().map(shown_attempt).collect());
    }
    Value::Object(shown)
}

fn shown_attempt(attempt: &Attempt) -> Value {
    let mut shown = Map::new();
    let mut put = |member: &str, value: Value| {
        if !value.is_null() {
            shown.insert(member.to_owned(), value);
        }
    };
    put("round", attempt.round.into());
    put("number", attempt.number.into());
    put("at", time(attempt.at).into());
    put("duration_ms", attempt.duration_ms.into());
    put("http_status", attempt.http_status.into());
    put("acknowledged", attempt.reason.is_none().into());
    put("reason", attempt.reason.clone().into());
    put("detail", attempt.detail.clone().into());
    put(
        "answer",
        attempt
            .answer
            .as_ref()
            .map(|answer| String::from_utf8_lossy(answer).into_owned())
            .into(),
    );
    Value::Object(shown)
}
