//! `/v1/callbacks`: hand over what ended elsewhere, see what was told and what came back, send again.

use axum::Json as JsonAnswer;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sealpost_contract::{
    Callback, EndStatus, Malformed, Member, SignEndTime, SignFileUrl, SignFlowId,
};
use sealpost_store::{
    Attempt, CallbackFilter, CallbackId, CallbackState, Redelivery, RedeliveryId, StoredCallback,
};
use serde_json::{Map, Value, json};

use super::{Call, PAGE_MOST, PAGE_USUAL, answer, time};
use crate::app::App;
use crate::app::flows::{Caller, check_same_request};
use crate::problem::{FieldError, Kind, Problem};
use crate::web::body::{bounded, content_type, no_members};
use crate::web::{Fields, Json, Query};

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
    let callback = Callback::parse(&body).map_err(|error| malformed(error, &body))?;
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
    let flow = query
        .find_text("sign_flow_id", 1..=32)
        .and_then(|id| id.parse().ok());
    let (filter, limit, cursor) = callback_query(query, Some(caller.channel_id.clone()))?;
    let found = match flow {
        Some(flow) => app
            .find_callback_of_flow(&caller.channel_id, &flow)
            .await?
            .into_iter()
            .collect(),
        None => app.list_callbacks(filter, cursor, limit + 1).await?,
    };
    Ok(JsonAnswer(callback_page(found, limit)).into_response())
}

/// What narrows a list of callbacks, how many of it, and where it goes on; the query must hold nothing else.
pub(super) fn callback_query(
    mut query: Fields,
    channel_id: Option<String>,
) -> Result<(CallbackFilter, usize, Option<CallbackId>), Problem> {
    let states = [
        CallbackState::Waiting,
        CallbackState::Acknowledged,
        CallbackState::Failed,
    ]
    .map(|state| (state.name(), state));
    let filter = CallbackFilter {
        channel_id,
        state: query.find_word("state", &states),
        since: query.find_time("created_from"),
        until: query.find_time("created_before"),
    };
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
    Ok((filter, limit, cursor.and_then(Result::ok)))
}

/// A page of callbacks, of which one more than fits was asked for.
pub(super) fn callback_page(mut found: Vec<StoredCallback>, limit: usize) -> Value {
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| last.id.to_string());
    let data: Vec<Value> = found
        .iter()
        .map(|callback| shown_callback(callback, None))
        .collect();
    json!({ "data": data, "next_cursor": next })
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
    let bytes = no_members(body).await?;
    let (callback, _) = own_callback(&app, &caller, &id).await?;
    let key = caller.idempotency(&call, &bytes, app.now())?;
    let replayed = app.redeliver_once(callback.id, key).await?;
    let (callback, attempts) = own_callback(&app, &caller, &id).await?;
    let shown = shown_callback(&callback, Some(&attempts));
    Ok(answer(StatusCode::ACCEPTED, replayed, shown))
}

/// `POST /v1/callbacks/redeliver`
pub(crate) async fn redeliver_failed(
    State(app): State<App>,
    caller: Caller,
    call: Call,
    Json { mut fields, bytes }: Json,
) -> Result<Response, Problem> {
    let since = fields.time("since");
    fields.finish()?;
    let key = caller.idempotency(&call, &bytes, app.now())?;
    let (redelivery, replayed) = app
        .start_redelivery_once(Some(caller.channel_id), since, key)
        .await?;
    Ok(answer(
        StatusCode::ACCEPTED,
        replayed,
        shown_redelivery(&redelivery),
    ))
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

/// Everything that is wrong with the four members, each by its name.
fn malformed(error: Malformed, body: &[u8]) -> Problem {
    let mut members = match (&error, Fields::parse(body)) {
        (_, Err(unreadable)) => return unreadable,
        (Malformed::Json(text), Ok(_)) => {
            return Problem::new(Kind::MalformedRequest, format!("The body: {text}."));
        }
        (_, Ok(members)) => members,
    };
    let mut errors = Vec::new();
    for member in Member::ALL {
        let value = members.find_value(member.name());
        if let Err((code, error)) = check_member(member, value) {
            let refused = FieldError::new(member.name(), code, error);
            errors.push(match code {
                "too_long" => refused.limit(member.max_chars()),
                _ => refused,
            });
        }
    }
    if errors.is_empty() {
        return Problem::new(Kind::InvalidFields, format!("{error}.")).code("malformed_callback");
    }
    Problem::fields(errors).code("malformed_callback")
}

/// A member's stable code and words, if it is wrong.
fn check_member(member: Member, value: Option<Value>) -> Result<(), (&'static str, String)> {
    let text = match value {
        None => return Err(("missing", "it is required".to_owned())),
        Some(Value::String(text)) => text,
        Some(_) => return Err(("wrong_type", "it must be a string".to_owned())),
    };
    let parsed = match member {
        Member::SignEndTime => text.parse::<SignEndTime>().err(),
        Member::SignFlowStatus => text.parse::<EndStatus>().err(),
        Member::SignFlowId => text.parse::<SignFlowId>().err(),
        Member::SignFileUrl => text.parse::<SignFileUrl>().err(),
    };
    let Some(error) = parsed else { return Ok(()) };
    Err(match error {
        Malformed::Empty(_) => ("empty", "it must not be empty".to_owned()),
        Malformed::TooLong(member) => (
            "too_long",
            format!(
                "it has {} characters; at most {} are possible",
                text.chars().count(),
                member.max_chars()
            ),
        ),
        Malformed::UnknownStatus => ("unknown_value", "it must be 2, 3, 5 or 7".to_owned()),
        Malformed::TimeForm => (
            "bad_format",
            "it must be a time that exists, as YYYY-MM-DD HH:MM:SS".to_owned(),
        ),
        other => ("bad_format", other.to_string()),
    })
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
