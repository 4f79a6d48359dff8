//! `/v1/operator/operators`, `/v1/operator/keys` and `/v1/operator/audit`: for administrators.

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sealpost_store::{AuditEntry, Operator, OperatorKey};
use serde_json::{Value, json};

use super::{OperatorCaller, answer, role};
use crate::api::{Call, PAGE_MOST, PAGE_USUAL, time};
use crate::app::App;
use crate::app::operate::NAME_CHARS;
use crate::problem::Problem;
use crate::web::{Json, Query};

/// `GET /v1/operator/operators`
pub(crate) async fn list_operators(
    State(app): State<App>,
    caller: OperatorCaller,
) -> Result<Response, Problem> {
    let all = app.operate(&caller.principal).operators().await?;
    let data: Vec<Value> = all.iter().map(shown_operator).collect();
    Ok(JsonAnswer(json!({ "data": data })).into_response())
}

/// `POST /v1/operator/operators`: without a password they are invited to sign in at the OpenID provider.
pub(crate) async fn add_operator(
    State(app): State<App>,
    caller: OperatorCaller,
    Json { mut fields, .. }: Json,
) -> Result<Response, Problem> {
    let name = fields.text("name", 1..=NAME_CHARS);
    let role = role(&mut fields);
    let password = fields.find_text("password", 1..=128);
    fields.finish()?;
    let operate = app.operate(&caller.principal);
    let added = operate.add_operator(&name, role, password).await?;
    Ok(answer(StatusCode::CREATED, false, shown_operator(&added)))
}

/// `PATCH /v1/operator/operators/{name}`: another role.
pub(crate) async fn set_role(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(name): Path<String>,
    Json { mut fields, .. }: Json,
) -> Result<StatusCode, Problem> {
    let role = role(&mut fields);
    fields.finish()?;
    app.operate(&caller.principal).set_role(&name, role).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/operator/operators/{name}/disable`
pub(crate) async fn disable_operator(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    app.operate(&caller.principal)
        .disable_operator(&name)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/operator/keys`
pub(crate) async fn list_keys(
    State(app): State<App>,
    caller: OperatorCaller,
) -> Result<Response, Problem> {
    let all = app.operate(&caller.principal).operator_keys().await?;
    let data: Vec<Value> = all.iter().map(shown_key).collect();
    Ok(JsonAnswer(json!({ "data": data })).into_response())
}

/// `POST /v1/operator/keys`: the new key is told only here.
pub(crate) async fn add_key(
    State(app): State<App>,
    caller: OperatorCaller,
    call: Call,
    Json { mut fields, bytes }: Json,
) -> Result<Response, Problem> {
    let name = fields.text("name", 1..=NAME_CHARS);
    let role = role(&mut fields);
    fields.finish()?;
    let key = caller.idempotency(&app, &call, &bytes)?;
    let operate = app.operate(&caller.principal);
    Ok(match operate.add_operator_key(&name, role, key).await? {
        Ok(new) => answer(
            StatusCode::CREATED,
            false,
            json!({ "id": new.id, "operator_key": new.secret }),
        ),
        Err(before) => answer(StatusCode::CREATED, true, json!({ "id": before })),
    })
}

/// `POST /v1/operator/keys/{id}/revoke`
pub(crate) async fn revoke_key(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.operate(&caller.principal)
        .revoke_operator_key(&id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/operator/audit`
pub(crate) async fn list_audit(
    State(app): State<App>,
    caller: OperatorCaller,
    Query(mut query): Query,
) -> Result<Response, Problem> {
    let limit = query
        .find_integer("limit", 1..=PAGE_MOST)
        .unwrap_or(PAGE_USUAL) as usize;
    let cursor = query.find_integer("cursor", 1..=i64::MAX);
    query.finish()?;
    let operate = app.operate(&caller.principal);
    let entries = operate.audit_log(cursor, limit as u32).await?;
    let next = entries
        .last()
        .filter(|_| entries.len() == limit)
        .map(|(number, _)| number.to_string());
    let data: Vec<Value> = entries.iter().map(shown_entry).collect();
    Ok(JsonAnswer(json!({ "data": data, "next_cursor": next })).into_response())
}

fn shown_operator(operator: &Operator) -> Value {
    let signs_in_with = match (&operator.subject, operator.password_hash.is_empty()) {
        (Some(_), _) => "openid",
        (None, true) => "invitation",
        (None, false) => "password",
    };
    json!({
        "name": operator.name,
        "role": operator.role.as_str(),
        "signs_in_with": signs_in_with,
        "second_factor": operator.totp_secret.is_some(),
        "created_at": time(operator.created_at),
        "disabled_at": operator.disabled_at.map(time),
    })
}

/// An operator key, for the API and the command line.
pub(crate) fn shown_key(key: &OperatorKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "role": key.role.as_str(),
        "created_at": time(key.created_at),
        "created_by": key.created_by,
        "revoked_at": key.revoked_at.map(time),
    })
}

fn shown_entry((number, entry): &(i64, AuditEntry)) -> Value {
    json!({
        "number": number,
        "at": time(entry.at),
        "operator": entry.operator,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail,
        "address": entry.address,
    })
}
