//! Callbacks: by state and channel, one with every attempt, sent again one by one or all that failed since a time.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use sealpost_contract::UtcMillis;
use sealpost_delivery::breaker::BreakerState;
use sealpost_delivery::lanes::worst;
use sealpost_store::{
    Attempt, CallbackFilter, CallbackId, CallbackState, Redelivery, Role, StoredCallback,
};

use super::Words;
use super::session::{Action, Signed};
use super::view::{
    AttemptRow, CallbackPage, CallbackRow, CallbacksPage, RedeliveryPage, RedeliveryRow, Section,
};
use crate::app::App;
use crate::problem::Problem;
use crate::web;

const ROWS: usize = 50;

/// The newest redeliveries of many that are listed.
const REDELIVERIES: usize = 5;

/// The endpoints left alone that are told of.
const RESTING: usize = 20;

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
            app.store().redeliveries(None, REDELIVERIES).await?,
        ))
    };
    let (callbacks, channels, backlog, redeliveries) =
        found.await.map_err(|problem| signed.problem(&problem))?;
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
        resting: resting(&app)
            .into_iter()
            .map(|(channel, until)| (name_of(&channel), words.time(until)))
            .collect(),
        can_redeliver: signed.operator.role >= Role::Operator,
        redeliveries: redeliveries
            .iter()
            .map(|redelivery| {
                let of = redelivery.which.channel_id.as_deref();
                let all = words.say("全部渠道", "All channels").to_owned();
                redelivery_row(&words, redelivery, of.map_or(all, &name_of))
            })
            .collect(),
        state,
        channel,
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

/// The channels with an endpoint that only fails and is left alone at the moment by this node, and until when; twenty at most.
fn resting(app: &App) -> Vec<(String, UtcMillis)> {
    let Some(engine) = app.delivery() else {
        return Vec::new();
    };
    worst(engine.lanes(), RESTING, app.now())
        .into_iter()
        .filter_map(|lane| match lane.breaker {
            BreakerState::Open(until) => Some((lane.channel_id?.to_string(), until)),
            BreakerState::Closed | BreakerState::Probing => None,
        })
        .collect()
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
        let (callback, attempts) = app.callback_of_any_channel(&id).await?;
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
        why: words
            .reason(attempt.reason.as_deref().unwrap_or_default())
            .to_owned(),
        detail: attempt.detail.clone().unwrap_or_default(),
        answer: attempt
            .answer
            .as_deref()
            .map(|answer| String::from_utf8_lossy(answer).into_owned())
            .unwrap_or_default(),
    }
}

/// `POST /console/callbacks/{id}/redeliver`.
pub(crate) async fn redeliver(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let redelivered = app.operate(&signed.principal).redeliver(&id, None).await;
    redelivered.map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to(&format!("/console/callbacks/{id}?done=redelivered")).into_response())
}

/// `POST /console/callbacks/redeliver`: all that failed in the last `hours`, of one channel or of all.
pub(crate) async fn redeliver_failed(
    State(app): State<App>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let hours: i64 = action.text("hours").parse().unwrap_or(24);
    let since = app.now() - hours.clamp(1, 24 * 366) * HOUR;
    let channel = Some(action.text("channel")).filter(|channel| !channel.is_empty());
    let operate = app.operate(&signed.principal);
    let begun = operate.redeliver_failed(channel, since, None).await;
    let (redelivery, _) = begun.map_err(|problem| signed.problem(&problem))?;
    let page = format!("/console/callbacks/redeliveries/{}", redelivery.id);
    Ok(Redirect::to(&page).into_response())
}

/// `GET /console/callbacks/redeliveries/{id}`: how far it has come.
pub(crate) async fn show_redelivery(
    State(app): State<App>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Response, Response> {
    let words = Words::of(&app, signed.reader.lang);
    let found = async {
        let redelivery = app.redelivery_of_any_channel(&id).await?;
        let channel = match &redelivery.which.channel_id {
            Some(id) => app.find_channel(id).await?.map(|channel| channel.name),
            None => Some(words.say("全部渠道", "All channels").to_owned()),
        };
        Ok::<_, Problem>((redelivery, channel))
    };
    let (redelivery, channel) = found.await.map_err(|problem| signed.problem(&problem))?;
    let page = RedeliveryPage {
        frame: signed.frame(Section::Callbacks),
        row: redelivery_row(&words, &redelivery, channel.unwrap_or_default()),
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

fn redelivery_row(words: &Words<'_>, redelivery: &Redelivery, channel: String) -> RedeliveryRow {
    // Those that somebody sends one by one meanwhile are counted in the total only.
    let total = redelivery.total.max(redelivery.redelivered).max(1);
    let done = if redelivery.finished_at.is_some() {
        100
    } else {
        (redelivery.redelivered * 100 / total).min(99)
    };
    RedeliveryRow {
        id: redelivery.id.to_string(),
        channel,
        since: words.time(redelivery.which.since),
        started: words.time(redelivery.started_at),
        finished: redelivery.finished_at.map(|at| words.time(at)),
        redelivered: redelivery.redelivered,
        total: redelivery.total,
        percent: done,
    }
}
