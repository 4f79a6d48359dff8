//! `sealpost callbacks …`: what was told to channels, each attempt, and sending again.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use sealpost_store::{CallbackFilter, CallbackId, CallbackState, StoredCallback};
use serde_json::{Value, json};

use super::{channel, output};
use crate::api::callbacks::shown_callback;
use crate::api::time;
use crate::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum CallbacksCommand {
    /// List callbacks, newest first
    List(ListArgs),
    /// Show one callback with every attempt
    Show {
        /// The callback's id
        id: CallbackId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send one callback again, or all that failed since a time
    Redeliver(RedeliverArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those of this channel (name or id)
    #[arg(long)]
    channel: Option<String>,
    /// Only those of this state
    #[arg(long)]
    state: Option<WhichState>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// The last id of the page before
    #[arg(long, value_name = "ID")]
    cursor: Option<CallbackId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WhichState {
    Waiting,
    Acknowledged,
    Failed,
}

#[derive(Debug, Args)]
pub(super) struct RedeliverArgs {
    /// The callback's id
    #[arg(
        required_unless_present = "failed_since",
        conflicts_with = "failed_since"
    )]
    id: Option<CallbackId>,
    /// All that failed then or later: a time with its offset, or a span back from now such as 2h or 3days
    #[arg(long, value_name = "TIME")]
    failed_since: Option<String>,
    /// With --failed-since: only those of this channel (name or id)
    #[arg(long, requires = "failed_since")]
    channel: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: CallbacksCommand, app: &App) -> anyhow::Result<ExitCode> {
    match command {
        CallbacksCommand::List(args) => list(args, app).await,
        CallbacksCommand::Show { id, json } => show(id, json, app).await,
        CallbacksCommand::Redeliver(args) => redeliver(args, app).await,
    }
}

async fn list(args: ListArgs, app: &App) -> anyhow::Result<ExitCode> {
    let channel_id = match &args.channel {
        Some(name) => Some(channel::named(app, name).await?.id),
        None => None,
    };
    let state = args.state.map(|state| match state {
        WhichState::Waiting => CallbackState::Waiting,
        WhichState::Acknowledged => CallbackState::Acknowledged,
        WhichState::Failed => CallbackState::Failed,
    });
    let filter = CallbackFilter {
        channel_id,
        state,
        ..CallbackFilter::default()
    };
    let limit = args.limit as usize;
    let mut found = app.list_callbacks(filter, args.cursor, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found
        .last()
        .filter(|_| more)
        .map(|last: &StoredCallback| last.id.to_string());
    if args.json {
        let data: Vec<Value> = found
            .iter()
            .map(|callback| shown_callback(callback, None))
            .collect();
        return output::json(&json!({ "data": data, "next_cursor": next }));
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|callback| {
            vec![
                callback.id.to_string(),
                callback.state.name().to_owned(),
                callback.attempts.to_string(),
                time(callback.created_at),
                callback
                    .due_at
                    .filter(|_| callback.state == CallbackState::Waiting)
                    .map(time)
                    .unwrap_or_default(),
                callback.sign_flow_id.to_string(),
            ]
        })
        .collect();
    output::table(
        &[
            "ID",
            "STATE",
            "ATTEMPTS",
            "CREATED",
            "NEXT ATTEMPT",
            "SIGN FLOW",
        ],
        &rows,
    )?;
    match next {
        Some(cursor) => output::line(&format!("\nmore: --cursor {cursor}")),
        None => Ok(ExitCode::SUCCESS),
    }
}

async fn show(id: CallbackId, as_json: bool, app: &App) -> anyhow::Result<ExitCode> {
    let (callback, attempts) = app
        .find_callback(None, id)
        .await?
        .context("there is no such callback")?;
    if as_json {
        return output::json(&shown_callback(&callback, Some(&attempts)));
    }
    output::line(&format!(
        "{}  {} (round {})\nsign flow  {}\nchannel    {}\nbody       {}\n",
        callback.id,
        callback.state.name(),
        callback.round,
        callback.sign_flow_id,
        callback.channel_id,
        callback.body
    ))?;
    let rows: Vec<Vec<String>> = attempts
        .into_iter()
        .map(|attempt| {
            let answer = attempt.answer.map(|answer| {
                String::from_utf8_lossy(&answer)
                    .chars()
                    .take(60)
                    .collect::<String>()
            });
            vec![
                format!("{}.{}", attempt.round, attempt.number),
                time(attempt.at),
                format!("{} ms", attempt.duration_ms),
                attempt
                    .http_status
                    .map(|status| status.to_string())
                    .unwrap_or_default(),
                attempt.reason.unwrap_or_else(|| "acknowledged".to_owned()),
                answer
                    .or(attempt.detail)
                    .unwrap_or_default()
                    .replace(char::is_control, " "),
            ]
        })
        .collect();
    output::table(
        &["ATTEMPT", "AT", "TOOK", "HTTP", "OUTCOME", "ANSWER"],
        &rows,
    )
}

async fn redeliver(args: RedeliverArgs, app: &App) -> anyhow::Result<ExitCode> {
    let redelivered = match (args.id, args.failed_since) {
        (Some(id), _) => {
            app.redeliver(id).await?;
            1
        }
        (None, since) => {
            let channel_id = match &args.channel {
                Some(name) => Some(channel::named(app, name).await?.id),
                None => None,
            };
            let since = parse_since(&since.unwrap_or_default(), app.now())?;
            let mut redelivery = app.start_redelivery(channel_id, since).await?;
            // A running server does its part; a step is never taken twice.
            while redelivery.finished_at.is_none() {
                if !args.json {
                    eprintln!("{} of {}", redelivery.redelivered, redelivery.total);
                }
                redelivery = app.step_redelivery(redelivery.id).await?;
            }
            redelivery.redelivered
        }
    };
    if args.json {
        return output::json(&json!({ "redelivered": redelivered }));
    }
    output::line(&format!(
        "{redelivered} due again; a running server takes them within half a second"
    ))
}

/// A moment, or a span back from `now`.
fn parse_since(text: &str, now: i64) -> anyhow::Result<i64> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let neither = || {
        format!(
            "{text:?} is neither a time like 2026-03-22T18:24:29+08:00 nor a span like 2h or 3days"
        )
    };
    let span: jiff::Span = text.parse().with_context(neither)?;
    // A day back is 24 hours, whatever the clocks did meanwhile. `2h ago` means the same as `2h`.
    let length = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .with_context(neither)?
        .abs();
    Ok(now.saturating_sub(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::parse_since;

    #[test]
    fn since_is_a_moment_or_a_span_back() {
        assert_eq!(parse_since("1970-01-01T08:00:01+08:00", 0).unwrap(), 1000);
        assert_eq!(parse_since("2h", 10_000_000).unwrap(), 2_800_000);
        assert_eq!(parse_since("2h ago", 10_000_000).unwrap(), 2_800_000);
        assert_eq!(parse_since("3days", 300_000_000).unwrap(), 40_800_000);
        for wrong in ["yesterday", "2 months", "2026-03-22 18:24:29"] {
            assert!(parse_since(wrong, 0).is_err(), "{wrong}");
        }
    }
}
