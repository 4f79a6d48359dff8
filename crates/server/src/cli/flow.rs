//! `sealpost flow …`: look at sign flows in the data folder.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use sealpost_contract::SignFlowId;
use sealpost_flow::{Actor, Operation, Status};
use sealpost_store::{Cursor, FlowFilter};
use serde_json::{Value, json};

use super::{channel, output};
use crate::api::sign_flows::sign_flow;
use crate::api::time;
use crate::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum FlowCommand {
    /// Show one flow with its events
    Show {
        /// The flow's id
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List flows, newest first
    List(ListArgs),
    /// Take a flow back: it ends as 3
    Revoke {
        /// The flow's id
        id: String,
        /// Why, 1 to 200 characters
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those of this channel (name or id)
    #[arg(long)]
    channel: Option<String>,
    /// Only those of this state: draft, signing, sealing, completed, revoked, expired, rejected
    #[arg(long)]
    status: Option<Status>,
    /// Only those of this reference
    #[arg(long)]
    reference: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<Cursor>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: FlowCommand, app: &App) -> anyhow::Result<ExitCode> {
    match command {
        FlowCommand::Show { id, json } => show(&id, json, app).await,
        FlowCommand::List(args) => list(args, app).await,
        FlowCommand::Revoke { id, reason } => {
            let id: SignFlowId = id.parse().context("that is no flow's id")?;
            app.change_flow(
                &id,
                &Actor::OPERATOR,
                |_| Operation::Revoke {
                    reason: reason.clone(),
                },
                None,
            )
            .await?;
            output::line("revoked")
        }
    }
}

async fn show(id: &str, as_json: bool, app: &App) -> anyhow::Result<ExitCode> {
    let id: SignFlowId = id.parse().context("that is no flow's id")?;
    let stored = app
        .store()
        .find_flow(&id)
        .await?
        .context("there is no such flow")?;
    let events = app.store().events(&id).await?;
    let shown = sign_flow(app, &stored);
    if as_json {
        let events: Vec<Value> = events
            .iter()
            .map(|event| serde_json::from_str(&event.json).unwrap_or_default())
            .collect();
        return output::json(
            &json!({ "sign_flow": shown, "channel_id": stored.channel_id, "events": events }),
        );
    }
    let flow = &stored.flow;
    let status = flow.state.status();
    output::line(&format!(
        "{}  {} ({})\nreference  {}\ntitle      {}\ncreated    {}\nexpires    {}\ndocument   {}",
        flow.id,
        status.code(),
        status,
        flow.reference,
        flow.title,
        time(flow.created_at),
        time(flow.expires_at),
        flow.document
    ))?;
    if let Some(failure) = &flow.sealing.last_failure {
        output::line(&format!(
            "sealing    failed {} times: {failure}",
            flow.sealing.failures
        ))?;
    }
    let steps = shown["signers"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = steps
        .map(|signer| {
            [
                "number",
                "order",
                "type",
                "name",
                "step",
                "signed_at",
                "sign_url",
            ]
            .map(|member| plain(&signer[member]))
            .to_vec()
        })
        .collect();
    output::line("")?;
    output::table(
        &["NO", "ORDER", "TYPE", "NAME", "STEP", "SIGNED AT", "LINK"],
        &rows,
    )?;
    output::line("")?;
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|stored| {
            let event: Value = serde_json::from_str(&stored.json).unwrap_or_default();
            let what = plain(&event["what"]["kind"]);
            let who = [plain(&event["by"]["role"]), plain(&event["by"]["signer"])].join(" ");
            vec![
                stored.event.seq.to_string(),
                time(stored.event.at),
                what,
                who,
                plain(&event["address"]),
            ]
        })
        .collect();
    output::table(&["SEQ", "AT", "WHAT", "WHO", "FROM"], &rows)
}

async fn list(args: ListArgs, app: &App) -> anyhow::Result<ExitCode> {
    let channel_id = match &args.channel {
        Some(name) => Some(channel::named(app, name).await?.id),
        None => None,
    };
    let filter = FlowFilter {
        channel_id,
        status: args.status,
        reference: args.reference,
        ..FlowFilter::default()
    };
    let page = app.list_flows(filter, args.cursor, args.limit).await?;
    let next = page.next.map(|cursor| cursor.to_string());
    if args.json {
        let data: Vec<Value> = page
            .items
            .iter()
            .map(|stored| sign_flow(app, stored))
            .collect();
        return output::json(&json!({ "data": data, "next_cursor": next }));
    }
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|stored| {
            let flow = &stored.flow;
            let status = flow.state.status();
            vec![
                flow.id.to_string(),
                format!("{} {status}", status.code()),
                time(flow.created_at),
                flow.reference.clone(),
                flow.title.clone(),
            ]
        })
        .collect();
    output::table(&["ID", "STATUS", "CREATED", "REFERENCE", "TITLE"], &rows)?;
    match next {
        Some(cursor) => output::line(&format!("\nmore: --cursor {cursor}")),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// A value without JSON's quotes; nothing for null.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
