//! Channels: made, their address and schedule, keys and secrets (shown once), client certificate, paused and resumed.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use sealpost_contract::Schedule;
use sealpost_store::Role;

use super::session::{Action, Signed};
use super::view::{
    CertificateOfChannel, ChannelPage, ChannelsPage, KeyRow, SecretPage, Section, ShownSecret,
};
use super::{Words, checks};
use crate::app::App;
use crate::app::client_certificates::{in_chinese, read_identity};
use crate::app::operate::ChannelChange;
use crate::problem::Problem;
use crate::web;

/// A certificate that expires within thirty days is marked.
const URGENT: i64 = 30 * 24 * 60 * 60 * 1000;

/// `GET /console/channels`.
pub(crate) async fn list(State(app): State<App>, signed: Signed) -> Result<Response, Response> {
    let words = Words::of(&app, signed.reader.lang);
    let channels = app
        .channels()
        .await
        .map_err(|problem| signed.problem(&problem))?;
    let page = ChannelsPage {
        frame: signed.frame(Section::Channels),
        rows: channels
            .into_iter()
            .map(|channel| {
                let since = words.date(channel.created_at);
                (
                    channel.id,
                    channel.name,
                    channel.callback_url.unwrap_or_default(),
                    channel.paused.is_some(),
                    since,
                )
            })
            .collect(),
        can_change: signed.operator.role >= Role::Administrator,
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

/// `GET /console/channels/{id}`.
pub(crate) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    let done = query.find_text("done", 1..=32);
    let words = Words::of(&app, signed.reader.lang);
    let found = async {
        let channel = app.channel(&id).await?;
        let keys = app.api_keys(&id).await?;
        let certificate = app.shown_client_certificate(&id).await?;
        Ok::<_, Problem>((
            channel,
            keys,
            certificate,
            app.find_contract_check(&id).await?,
        ))
    };
    let (channel, keys, certificate, check) =
        found.await.map_err(|problem| signed.problem(&problem))?;
    let page = ChannelPage {
        frame: signed.frame(Section::Channels),
        id: channel.id,
        name: channel.name,
        callback_url: channel.callback_url.unwrap_or_default(),
        schedule: channel.schedule.to_string(),
        paused: channel
            .paused
            .map(|pause| format!("{} · {}", words.time(pause.at), pause.reason)),
        keys: keys
            .into_iter()
            .map(|key| KeyRow {
                since: words.time(key.created_at),
                revoked: key.revoked_at.map(|at| words.time(at)),
                id: key.id,
            })
            .collect(),
        secrets: channel
            .secrets
            .iter()
            .map(|secret| {
                (
                    words.time(secret.created_at),
                    secret.retires_at.map(|at| words.time(at)),
                )
            })
            .collect(),
        certificate: certificate.map(|certificate| CertificateOfChannel {
            until: words.date(certificate.not_after),
            expired: certificate.not_after <= words.now,
            urgent: certificate.not_after - words.now < URGENT,
            subject: certificate.subject,
            issuer: certificate.issuer,
        }),
        check: check.map(|check| checks::summary(&words, &check)),
        can_pause: signed.operator.role >= Role::Operator,
        can_change: signed.operator.role >= Role::Administrator,
        done,
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

/// `POST /console/channels`.
pub(crate) async fn create(State(app): State<App>, action: Action) -> Result<Response, Response> {
    let signed = &action.signed;
    let url = Some(action.text("callback_url")).filter(|url| !url.is_empty());
    let new = app
        .operate(&signed.principal)
        .add_channel(action.text("name"), url, Schedule::default())
        .await
        .map_err(|problem| signed.problem(&problem))?;
    let shown = vec![
        ShownSecret {
            label: signed.reader.lang.say("API 密钥", "API key"),
            value: new.api_key,
        },
        ShownSecret {
            label: signed.reader.lang.say("回调签名密钥", "Webhook secret"),
            value: new.webhook_secret,
        },
    ];
    Ok(secret_page(signed, &new.channel.id, shown))
}

/// `POST /console/channels/{id}/delivery`.
pub(crate) async fn set_delivery(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let Ok(schedule) = action.text("schedule").parse::<Schedule>() else {
        return Ok(back(&id, "bad_schedule"));
    };
    let url = Some(action.text("callback_url")).filter(|url| !url.is_empty());
    let change = ChannelChange {
        callback_url: Some(url.map(str::to_owned)),
        schedule: Some(schedule),
    };
    let changed = app
        .operate(&signed.principal)
        .change_channel(&id, change)
        .await;
    changed.map_err(|problem| signed.problem(&problem))?;
    Ok(back(&id, "delivery"))
}

/// `POST /console/channels/{id}/pause`.
pub(crate) async fn pause(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let reason: String = action.text("reason").chars().take(200).collect();
    let paused = app
        .operate(&signed.principal)
        .pause_channel(&id, &reason)
        .await;
    paused.map_err(|problem| signed.problem(&problem))?;
    Ok(back(&id, "paused"))
}

/// `POST /console/channels/{id}/resume`.
pub(crate) async fn resume(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let resumed = app.operate(&signed.principal).resume_channel(&id).await;
    resumed.map_err(|problem| signed.problem(&problem))?;
    Ok(back(&id, "resumed"))
}

/// `POST /console/channels/{id}/rotate-secret`.
pub(crate) async fn rotate_secret(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let operate = app.operate(&signed.principal);
    let rotated = operate.rotate_webhook_secret(&id, None).await;
    let value = rotated.map_err(|problem| signed.problem(&problem))?;
    let label = signed
        .reader
        .lang
        .say("新的回调签名密钥", "New webhook secret");
    let shown = value.map(|value| ShownSecret { label, value });
    Ok(secret_page(signed, &id, shown.into_iter().collect()))
}

/// `POST /console/channels/{id}/keys`.
pub(crate) async fn add_key(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let added = app.operate(&signed.principal).add_api_key(&id, None).await;
    let new = added.map_err(|problem| signed.problem(&problem))?;
    let label = signed.reader.lang.say("新的 API 密钥", "New API key");
    let shown = new.ok().map(|new| ShownSecret {
        label,
        value: new.secret,
    });
    Ok(secret_page(signed, &id, shown.into_iter().collect()))
}

/// `POST /console/channels/{id}/keys/{key}/revoke`.
pub(crate) async fn revoke_key(
    State(app): State<App>,
    Path((id, key)): Path<(String, String)>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let revoked = app
        .operate(&signed.principal)
        .revoke_api_key(&id, &key)
        .await;
    revoked.map_err(|problem| signed.problem(&problem))?;
    Ok(back(&id, "key_revoked"))
}

/// `POST /console/channels/{id}/client-certificate`: PEM files, or a PKCS#12 file with its password.
pub(crate) async fn set_client_certificate(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Administrator)?;
    let password = action.raw("password");
    let set = async {
        let (certificate, key) = (action.file("certificate"), action.file("key"));
        let identity = read_identity(certificate, key, password).await?;
        let operate = app.operate(&signed.principal);
        operate.set_client_certificate(&id, Some(identity)).await
    };
    set.await
        .map_err(|problem| signed.problem_because(&problem, in_chinese(&problem).as_deref()))?;
    Ok(back(&id, "certificate"))
}

/// `POST /console/channels/{id}/client-certificate/remove`.
pub(crate) async fn remove_client_certificate(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let operate = app.operate(&signed.principal);
    let removed = operate.set_client_certificate(&id, None).await;
    removed.map_err(|problem| signed.problem(&problem))?;
    Ok(back(&id, "certificate_removed"))
}

fn back(id: &str, done: &str) -> Response {
    Redirect::to(&format!("/console/channels/{id}?done={done}")).into_response()
}

/// Secrets are on the answer to the form that made them, and on no page that can be opened again.
fn secret_page(signed: &Signed, channel: &str, shown: Vec<ShownSecret>) -> Response {
    let page = SecretPage {
        frame: signed.frame(Section::Channels),
        back: format!("/console/channels/{channel}"),
        shown,
    };
    signed.reader.respond(StatusCode::OK, &page)
}
