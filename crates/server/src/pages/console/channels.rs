//! Channels: made, their address and schedule, keys and secrets (shown once), paused and resumed.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use sealpost_contract::Schedule;
use sealpost_store::{Channel, Role};

use super::Words;
use super::session::{Action, Signed};
use super::view::{ChannelPage, ChannelsPage, KeyRow, SecretPage, Section, ShownSecret};
use crate::app::App;
use crate::problem::Problem;
use crate::web;

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
        let channel = find(&app, &id).await?;
        let keys = app.api_keys(&channel.id).await?;
        Ok::<_, Problem>((channel, keys))
    };
    let (channel, keys) = found.await.map_err(|problem| signed.problem(&problem))?;
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
        can_pause: signed.operator.role >= Role::Operator,
        can_change: signed.operator.role >= Role::Administrator,
        done,
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

async fn find(app: &App, id: &str) -> Result<Channel, Problem> {
    app.store()
        .find_channel(id)
        .await?
        .ok_or_else(|| Problem::not_found("channel"))
}

/// `POST /console/channels`.
pub(crate) async fn create(State(app): State<App>, action: Action) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Administrator)?;
    let (name, url) = (action.text("name"), action.text("callback_url"));
    signed.log(&app, "channel.add", None, Some(name)).await?;
    let url = (!url.is_empty()).then_some(url);
    let new = app
        .add_channel(name, url, Schedule::default())
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
    signed.permit(Role::Administrator)?;
    let url = action.text("callback_url");
    let Ok(schedule) = action.text("schedule").parse::<Schedule>() else {
        return Ok(
            Redirect::to(&format!("/console/channels/{id}?done=bad_schedule")).into_response(),
        );
    };
    signed
        .log(&app, "channel.delivery", Some(&id), Some(url))
        .await?;
    let done = app
        .set_channel_delivery(&id, (!url.is_empty()).then_some(url), schedule)
        .await;
    done.map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to(&format!("/console/channels/{id}?done=delivery")).into_response())
}

/// `POST /console/channels/{id}/pause`.
pub(crate) async fn pause(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Operator)?;
    let reason: String = action.text("reason").chars().take(200).collect();
    signed
        .log(&app, "channel.pause", Some(&id), Some(&reason))
        .await?;
    app.pause_channel(&id, &reason)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to(&format!("/console/channels/{id}?done=paused")).into_response())
}

/// `POST /console/channels/{id}/resume`.
pub(crate) async fn resume(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Operator)?;
    signed.log(&app, "channel.resume", Some(&id), None).await?;
    app.resume_channel(&id)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to(&format!("/console/channels/{id}?done=resumed")).into_response())
}

/// `POST /console/channels/{id}/rotate-secret`.
pub(crate) async fn rotate_secret(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Administrator)?;
    signed
        .log(&app, "channel.rotate_secret", Some(&id), None)
        .await?;
    let value = app
        .rotate_webhook_secret(&id)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    let shown = ShownSecret {
        label: signed
            .reader
            .lang
            .say("新的回调签名密钥", "New webhook secret"),
        value,
    };
    Ok(secret_page(signed, &id, vec![shown]))
}

/// `POST /console/channels/{id}/keys`.
pub(crate) async fn add_key(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Administrator)?;
    let channel = find(&app, &id)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    signed.log(&app, "channel.add_key", Some(&id), None).await?;
    let value = app
        .add_api_key(&channel.id)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    let shown = ShownSecret {
        label: signed.reader.lang.say("新的 API 密钥", "New API key"),
        value,
    };
    Ok(secret_page(signed, &id, vec![shown]))
}

/// `POST /console/channels/{id}/keys/{key}/revoke`.
pub(crate) async fn revoke_key(
    State(app): State<App>,
    Path((id, key)): Path<(String, String)>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Administrator)?;
    signed
        .log(&app, "channel.revoke_key", Some(&key), Some(&id))
        .await?;
    app.revoke_api_key(&key)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to(&format!("/console/channels/{id}?done=key_revoked")).into_response())
}

/// Secrets are on the answer to the form that made them, and on no page that can be opened again.
fn secret_page(signed: &Signed, channel: &str, shown: Vec<ShownSecret>) -> Response {
    let page = SecretPage {
        frame: signed.frame(Section::Channels),
        channel: channel.to_owned(),
        shown,
    };
    signed.reader.respond(StatusCode::OK, &page)
}
