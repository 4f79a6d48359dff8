//! Callbacks: by state and channel, one with every attempt, sent again one by one or all that failed since a time.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use sealpost_store::{Attempt, CallbackFilter, CallbackId, CallbackState, Role, StoredCallback};

use super::Words;
use super::session::{Action, Signed};
use super::view::{AttemptRow, CallbackPage, CallbackRow, CallbacksPage, Section};
use crate::app::App;
use crate::problem::Problem;
use crate::web;

const ROWS: usize = 50;
const HOUR: i64 = 60 * 60 * 1000;

/// `GET /console/callbacks`: `?state=`, `?channel=`, `?before=`.
pub(crate) async fn list(
    State(app): State<App>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    let state = query.find_text("state", 1..=16).unwrap_or_default();
    let channel = query.find_text("channel", 1..=64).unwrap_or_default();
    let before = query
        .find_text("before", 1..=32)
        .and_then(|text| text.parse::<CallbackId>().ok());
    let redelivered = query.find_integer("redelivered", 0..=i64::MAX);
    let states = [
        CallbackState::Waiting,
        CallbackState::Acknowledged,
        CallbackState::Failed,
    ];
    let filter = CallbackFilter {
        channel_id: (!channel.is_empty()).then(|| channel.clone()),
        state: states.into_iter().find(|known| known.name() == state),
        ..CallbackFilter::default()
    };
    let words = Words::of(&app, signed.reader.lang);
    let found = async {
        let callbacks = app.list_callbacks(filter, before, ROWS).await?;
        Ok::<_, Problem>((
            callbacks,
            app.channels().await?,
            app.store().backlog(app.now()).await?,
        ))
    };
    let (callbacks, channels, backlog) = found.await.map_err(|problem| signed.problem(&problem))?;
    let name_of = |id: &str| {
        channels
            .iter()
            .find(|channel| channel.id == id)
            .map(|channel| channel.name.clone())
            .unwrap_or_default()
    };
    let page = CallbacksPage {
        frame: signed.frame(Section::Callbacks),
        next: (callbacks.len() == ROWS)
            .then(|| callbacks.last().map(|last| last.id.to_string()))
            .flatten(),
        rows: callbacks
            .iter()
            .map(|callback| row(&words, callback, name_of(&callback.channel_id)))
            .collect(),
        channels: channels
            .iter()
            .map(|channel| (channel.id.clone(), channel.name.clone()))
            .collect(),
        waiting: backlog.waiting,
        failed: backlog.failed,
        can_redeliver: signed.operator.role >= Role::Operator,
        redelivered,
        state,
        channel,
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

fn row(words: &Words<'_>, callback: &StoredCallback, channel: String) -> CallbackRow {
    let next = match callback.due_at {
        Some(_) if callback.in_progress => words.say("正在发送", "being sent").to_owned(),
        Some(due) if due <= words.now => words.say("已到期", "due").to_owned(),
        Some(due) => format!(
            "{} {}",
            words.span(due - words.now),
            words.say("后", "from now")
        ),
        None => callback
            .ended_at
            .map(|at| words.time(at))
            .unwrap_or_default(),
    };
    CallbackRow {
        id: callback.id.to_string(),
        flow: callback.sign_flow_id.to_string(),
        channel,
        state: words.callback(callback.state),
        attempts: callback.attempts,
        round: callback.round,
        created: words.time(callback.created_at),
        next,
    }
}

/// `GET /console/callbacks/{id}`.
pub(crate) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    let done = query.find_text("done", 1..=32);
    let words = Words::of(&app, signed.reader.lang);
    let found = async {
        let (callback, attempts) = find(&app, &id).await?;
        let channel = app.find_channel(&callback.channel_id).await?;
        let is_ours = app
            .store()
            .find_flow(&callback.sign_flow_id)
            .await?
            .is_some();
        Ok::<_, Problem>((callback, attempts, channel, is_ours))
    };
    let (callback, attempts, channel, is_ours) =
        found.await.map_err(|problem| signed.problem(&problem))?;
    let (name, own_url) = channel
        .map(|channel| (channel.name, channel.callback_url))
        .unwrap_or_default();
    let page = CallbackPage {
        frame: signed.frame(Section::Callbacks),
        row: row(&words, &callback, name),
        url: callback.url.clone().or(own_url).unwrap_or_default(),
        body: callback.body.clone(),
        is_ours,
        attempts: attempts
            .iter()
            .rev()
            .map(|attempt| attempt_row(&words, attempt))
            .collect(),
        can_redeliver: callback.state != CallbackState::Waiting
            && signed.operator.role >= Role::Operator,
        done,
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

fn attempt_row(words: &Words<'_>, attempt: &Attempt) -> AttemptRow {
    AttemptRow {
        round: attempt.round,
        number: attempt.number,
        at: words.time(attempt.at),
        took: words.duration(attempt.duration_ms),
        http_status: attempt
            .http_status
            .map(|status| status.to_string())
            .unwrap_or_default(),
        acknowledged: attempt.reason.is_none(),
        reason: attempt.reason.clone().unwrap_or_default(),
        detail: attempt.detail.clone().unwrap_or_default(),
        answer: attempt
            .answer
            .as_deref()
            .map(|answer| String::from_utf8_lossy(answer).into_owned())
            .unwrap_or_default(),
    }
}

async fn find(app: &App, id: &str) -> Result<(StoredCallback, Vec<Attempt>), Problem> {
    let id: CallbackId = id.parse().map_err(|_| Problem::not_found("callback"))?;
    app.find_callback(None, id)
        .await?
        .ok_or_else(|| Problem::not_found("callback"))
}

/// `POST /console/callbacks/{id}/redeliver`.
pub(crate) async fn redeliver(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Operator)?;
    let (callback, _) = find(&app, &id)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    signed
        .log(&app, "callback.redeliver", Some(&id), None)
        .await?;
    app.redeliver(callback.id)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to(&format!("/console/callbacks/{id}?done=redelivered")).into_response())
}

/// `POST /console/callbacks/redeliver`: all that failed in the last `hours`, of one channel or of all.
pub(crate) async fn redeliver_failed(
    State(app): State<App>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Operator)?;
    let hours: i64 = action.text("hours").parse().unwrap_or(24);
    let hours = hours.clamp(1, 24 * 366);
    let channel = action.text("channel");
    let detail = format!("{hours} h");
    signed
        .log(
            &app,
            "callback.redeliver_failed",
            (!channel.is_empty()).then_some(channel),
            Some(&detail),
        )
        .await?;
    let channel_id = (!channel.is_empty()).then(|| channel.to_owned());
    let redelivery = app
        .start_redelivery(channel_id, app.now() - hours * HOUR)
        .await;
    let redelivered = redelivery
        .map_err(|problem| signed.problem(&problem))?
        .redelivered;
    Ok(Redirect::to(&format!(
        "/console/callbacks?state=waiting&redelivered={redelivered}"
    ))
    .into_response())
}
