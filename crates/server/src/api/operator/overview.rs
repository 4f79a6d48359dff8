//! `/v1/operator/overview`: the figures of the console's first page.

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use sealpost_flow::Status;
use serde_json::{Value, json};

use super::OperatorCaller;
use crate::api::time;
use crate::app::App;
use crate::app::overview::CALLBACK_DAYS;
use crate::problem::Problem;

/// `GET /v1/operator/overview`
pub(crate) async fn show_overview(
    State(app): State<App>,
    _: OperatorCaller,
) -> Result<Response, Problem> {
    let figures = app.overview().await?;
    let totals: Vec<Value> = Status::ALL
        .into_iter()
        .map(|status| {
            json!({
                "state": status.as_str(),
                "sign_flow_status": status.code(),
                "sign_flows": figures.total(&[status]),
            })
        })
        .collect();
    let days: Vec<Value> = figures
        .days
        .iter()
        .map(|count| {
            json!({
                "day": time(count.day),
                "state": count.status.as_str(),
                "sign_flows": count.flows,
            })
        })
        .collect();
    let channels: Vec<Value> = figures
        .channels
        .iter()
        .map(|(channel, own)| {
            json!({
                "channel_id": channel.id,
                "name": channel.name,
                "paused": channel.paused.is_some(),
                "acknowledged": own.acknowledged,
                "waiting": own.waiting,
                "failed": own.failed,
                "median_ms": own.median_ms,
                "p95_ms": own.p95_ms,
            })
        })
        .collect();
    let (backlog, sealing) = (figures.backlog, figures.sealing);
    Ok(JsonAnswer(json!({
        "as_of": time(figures.as_of),
        "sign_flows": totals,
        "days_since": time(figures.first_day),
        "days": days,
        "callbacks": {
            "waiting": backlog.waiting,
            "failed": backlog.failed,
            "oldest_due_at": backlog.oldest_due_at.map(time),
        },
        "sealing": { "waiting": sealing.waiting, "failing": sealing.failing },
        "channel_days": CALLBACK_DAYS,
        "channels": channels,
    }))
    .into_response())
}
