//! `/v1/operator/channels`: made and changed, their keys, secrets and client certificates, paused and resumed, tried out.

use axum::Json as JsonAnswer;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sealpost_contract::Schedule;
use sealpost_store::{ApiKey, Channel, Role};
use serde_json::{Value, json};

use super::{OperatorCaller, answer};
use crate::api::{Call, time};
use crate::app::App;
use crate::app::channels::NAME_CHARS;
use crate::app::client_certificates::{ClientCertificate, MAX_FILE, read_identity};
use crate::app::operate::ChannelChange;
use crate::problem::Problem;
use crate::web::body::no_members;
use crate::web::{Fields, Json};

/// `GET /v1/operator/channels`: all of them, by name.
pub(crate) async fn list_channels(
    State(app): State<App>,
    _: OperatorCaller,
) -> Result<Response, Problem> {
    let data: Vec<Value> = app.channels().await?.iter().map(shown_channel).collect();
    Ok(JsonAnswer(json!({ "data": data })).into_response())
}

/// `GET /v1/operator/channels/{id}`
pub(crate) async fn show_channel(
    State(app): State<App>,
    _: OperatorCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(JsonAnswer(shown_channel(&app.channel(&id).await?)).into_response())
}

/// `POST /v1/operator/channels`: answers with a key and a secret, which are told only here.
pub(crate) async fn create_channel(
    State(app): State<App>,
    caller: OperatorCaller,
    Json { mut fields, .. }: Json,
) -> Result<Response, Problem> {
    let name = fields.text("name", 1..=NAME_CHARS);
    let url = fields.find_http_url("callback_url");
    let schedule = find_schedule(&mut fields).unwrap_or_default();
    fields.finish()?;
    let new = app
        .operate(&caller.principal)
        .add_channel(&name, url.as_deref(), schedule)
        .await?;
    let mut shown = shown_channel(&new.channel);
    shown["api_key"] = new.api_key.into();
    shown["webhook_secret"] = new.webhook_secret.into();
    Ok(answer(StatusCode::CREATED, false, shown))
}

/// `PATCH /v1/operator/channels/{id}`: what does not stand there stays; an empty `callback_url` takes the address away.
pub(crate) async fn change_channel(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
    Json { mut fields, .. }: Json,
) -> Result<Response, Problem> {
    let callback_url = if fields.is_empty_text("callback_url") {
        Some(None)
    } else {
        fields.find_http_url("callback_url").map(Some)
    };
    let change = ChannelChange {
        callback_url,
        schedule: find_schedule(&mut fields),
    };
    fields.finish()?;
    let operate = app.operate(&caller.principal);
    let channel = operate.change_channel(&id, change).await?;
    Ok(JsonAnswer(shown_channel(&channel)).into_response())
}

fn find_schedule(fields: &mut Fields) -> Option<Schedule> {
    let text = fields.find_text("schedule", 1..=64)?;
    let schedule = text.parse().ok();
    if schedule.is_none() {
        fields.refuse(
            "schedule",
            "bad_format",
            "it must be three waits, like 3m,30m,8h",
        );
    }
    schedule
}

/// `POST /v1/operator/channels/{id}/pause`
pub(crate) async fn pause_channel(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
    Json { mut fields, .. }: Json,
) -> Result<Response, Problem> {
    let reason = fields.text("reason", 1..=200);
    fields.finish()?;
    app.operate(&caller.principal)
        .pause_channel(&id, &reason)
        .await?;
    show(&app, &id).await
}

/// `POST /v1/operator/channels/{id}/resume`
pub(crate) async fn resume_channel(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    app.operate(&caller.principal).resume_channel(&id).await?;
    show(&app, &id).await
}

async fn show(app: &App, id: &str) -> Result<Response, Problem> {
    Ok(JsonAnswer(shown_channel(&app.channel(id).await?)).into_response())
}

/// `POST /v1/operator/channels/{id}/rotate-secret`: the new secret is told only here.
pub(crate) async fn rotate_secret(
    State(app): State<App>,
    caller: OperatorCaller,
    call: Call,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = no_members(body).await?;
    let key = caller.idempotency(&app, &call, &bytes)?;
    let operate = app.operate(&caller.principal);
    let secret = operate.rotate_webhook_secret(&id, key).await?;
    let replayed = secret.is_none();
    let mut shown = json!({ "channel_id": id });
    if let Some(secret) = secret {
        shown["webhook_secret"] = secret.into();
    }
    Ok(answer(StatusCode::OK, replayed, shown))
}

/// `GET /v1/operator/channels/{id}/keys`
pub(crate) async fn list_keys(
    State(app): State<App>,
    _: OperatorCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    app.channel(&id).await?;
    let shown = |key: &ApiKey| json!({ "id": key.id, "created_at": time(key.created_at), "revoked_at": key.revoked_at.map(time) });
    let data: Vec<Value> = app.api_keys(&id).await?.iter().map(shown).collect();
    Ok(JsonAnswer(json!({ "data": data })).into_response())
}

/// `POST /v1/operator/channels/{id}/keys`: the new key is told only here.
pub(crate) async fn add_key(
    State(app): State<App>,
    caller: OperatorCaller,
    call: Call,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = no_members(body).await?;
    let key = caller.idempotency(&app, &call, &bytes)?;
    let new = app.operate(&caller.principal).add_api_key(&id, key).await?;
    Ok(match new {
        Ok(new) => answer(
            StatusCode::CREATED,
            false,
            json!({ "id": new.id, "api_key": new.secret }),
        ),
        Err(before) => answer(StatusCode::CREATED, true, json!({ "id": before })),
    })
}

/// `POST /v1/operator/channels/{id}/keys/{key}/revoke`
pub(crate) async fn revoke_key(
    State(app): State<App>,
    caller: OperatorCaller,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    app.operate(&caller.principal)
        .revoke_api_key(&id, &key)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/operator/channels/{id}/client-certificate`
pub(crate) async fn show_client_certificate(
    State(app): State<App>,
    _: OperatorCaller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    app.channel(&id).await?;
    let certificate = app.shown_client_certificate(&id).await?;
    let certificate = certificate.ok_or_else(|| Problem::not_found("client certificate"))?;
    Ok(JsonAnswer(shown_certificate(&certificate)).into_response())
}

/// `PUT /v1/operator/channels/{id}/client-certificate`: PEM texts, or a PKCS#12 file in base64 with its password.
pub(crate) async fn set_client_certificate(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
    Json { mut fields, .. }: Json,
) -> Result<Response, Problem> {
    // Before a file is opened, which its maker can have made slow.
    caller.principal.permit(Role::Administrator)?;
    let pkcs12 = fields.find_base64("pkcs12_base64", MAX_FILE);
    let password = fields.find_text("password", 0..=128).unwrap_or_default();
    let certificate = fields.find_text("certificate", 1..=MAX_FILE);
    let key = fields.find_text("key", 1..=MAX_FILE).unwrap_or_default();
    if pkcs12.is_some() == certificate.is_some() && fields.is_sound() {
        let message = "either it or pkcs12_base64 must stand there";
        fields.refuse("certificate", "missing", message);
    }
    fields.finish()?;
    let file = match (pkcs12, certificate) {
        (Some(file), _) => file,
        (None, text) => text.unwrap_or_default().into(),
    };
    let identity = read_identity(&file, key.as_bytes(), &password).await?;
    let operate = app.operate(&caller.principal);
    let kept = operate.set_client_certificate(&id, Some(identity)).await?;
    let kept = kept.ok_or_else(|| Problem::not_found("client certificate"))?;
    Ok(JsonAnswer(shown_certificate(&kept)).into_response())
}

/// `DELETE /v1/operator/channels/{id}/client-certificate`
pub(crate) async fn remove_client_certificate(
    State(app): State<App>,
    caller: OperatorCaller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.operate(&caller.principal)
        .set_client_certificate(&id, None)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown_certificate(certificate: &ClientCertificate) -> Value {
    json!({
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "not_before": time(certificate.not_before),
        "not_after": time(certificate.not_after),
    })
}

fn shown_channel(channel: &Channel) -> Value {
    let secrets = channel.secrets.iter().map(|secret| {
        json!({ "created_at": time(secret.created_at), "retires_at": secret.retires_at.map(time) })
    });
    json!({
        "id": channel.id,
        "name": channel.name,
        "callback_url": channel.callback_url,
        "schedule": channel.schedule.to_string(),
        "created_at": time(channel.created_at),
        "paused": channel.paused.as_ref().map(|pause| json!({ "at": time(pause.at), "reason": pause.reason })),
        "webhook_secrets": secrets.collect::<Vec<_>>(),
    })
}
