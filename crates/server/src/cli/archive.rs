//! `sealpost archive`: renews the timestamps over completed documents before they age.
//!
//! What is done is in the store flow by flow, so that a run that was stopped is taken up by the next.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_flow::{Level, Status};
use sealpost_store::{Cursor, FlowFilter};
use serde_json::json;

use super::output;
use crate::api::time;
use crate::app::App;
use crate::app::preservation::{Failure, Renewed};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Flows that are looked up at a time.
const PAGE: u32 = 100;

#[derive(Debug, Args)]
pub(super) struct ArchiveArgs {
    /// Renew what must be renewed within this many days
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=7300))]
    within: u32,
    /// Also raise completed documents with timestamps in their signatures to B-LTA that are below it
    #[arg(long)]
    raise: bool,
    /// Renew also where the new timestamp ends no later than the one that is there
    #[arg(long)]
    anyway: bool,
    /// Stop after this many documents
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    limit: u32,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print a line of JSON for each document
    #[arg(long)]
    json: bool,
}

/// Exits with 0 when all is done that was to be done; with 1 when a document failed, which the next run tries again.
pub(super) async fn run(args: ArchiveArgs, app: &App) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.dry_run || !app.timestamps().is_empty(),
        "there is nobody to give timestamps: set timestamps.authorities"
    );
    let mut run = Run {
        app,
        args: &args,
        done: 0,
        failed: 0,
        gains_nothing: false,
    };
    run.renew_due().await?;
    if args.raise {
        run.raise_all().await?;
    }
    let (done, failed) = (run.done, run.failed);
    if !args.json {
        let what = if args.dry_run {
            "would be archived"
        } else {
            "archived"
        };
        output::line(&format!("{done} {what}, {failed} failed"))?;
    }
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

struct Run<'r> {
    app: &'r App,
    args: &'r ArchiveArgs,
    done: u32,
    failed: u32,
    /// Whether a new timestamp over the last document would have ended no later than the one that is there.
    gains_nothing: bool,
}

impl Run<'_> {
    fn is_full(&self) -> bool {
        self.done + self.failed >= self.args.limit
    }

    /// The most urgent first. A document that fails is passed over; one that is renewed has left the range. Where one gains nothing,
    /// those that follow, which end later, gain nothing either.
    async fn renew_due(&mut self) -> anyhow::Result<()> {
        let until = self.app.now() + i64::from(self.args.within) * DAY;
        let mut after = (i64::MIN, None);
        while !self.is_full() {
            let page = self.app.store().flows_to_renew(after, until, PAGE).await?;
            let Some((at, id)) = page.last() else { break };
            after = (*at, Some(id.clone()));
            for (renew_by, id) in page {
                if self.is_full() {
                    break;
                }
                self.one(&id, Some(renew_by)).await?;
                if self.gains_nothing {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn raise_all(&mut self) -> anyhow::Result<()> {
        let filter = || FlowFilter {
            status: Some(Status::Completed),
            ..FlowFilter::default()
        };
        let mut cursor: Option<Cursor> = None;
        while !self.is_full() {
            let page = self.app.list_flows(filter(), cursor.take(), PAGE).await?;
            for stored in page.items {
                let flow = stored.flow;
                // Without timestamps in the signatures nothing proves when they were made.
                let lower = matches!(flow.level, Some(Level::BT | Level::BLT));
                if lower && !self.is_full() {
                    self.one(&flow.id, flow.renew_by).await?;
                }
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    async fn one(&mut self, id: &SignFlowId, renew_by: Option<UtcMillis>) -> anyhow::Result<()> {
        let outcome = if self.args.dry_run {
            Ok(Renewed::Until(renew_by))
        } else {
            let renewed = self.app.renew(id, self.args.anyway).await;
            renewed.map_err(Failure::into_reason)
        };
        match &outcome {
            Ok(Renewed::Until(_)) => self.done += 1,
            Ok(Renewed::NoLonger) => self.gains_nothing = true,
            Ok(Renewed::Nothing) => {}
            Err(_) => self.failed += 1,
        }
        self.tell(id, renew_by, &outcome).context("standard output")
    }

    fn tell(
        &self,
        id: &SignFlowId,
        before: Option<UtcMillis>,
        outcome: &Result<Renewed, String>,
    ) -> anyhow::Result<()> {
        let after = match outcome {
            Ok(Renewed::Until(until)) => *until,
            Ok(Renewed::NoLonger | Renewed::Nothing) | Err(_) => None,
        };
        if self.args.json {
            let line = json!({
                "sign_flow_id": id.as_str(),
                "renew_by": before.map(time),
                "archived_until": after.filter(|_| !self.args.dry_run).map(time),
                "failure": outcome.as_ref().err(),
            });
            output::line(&line.to_string())?;
            return Ok(());
        }
        let before = before.map_or_else(|| "none".to_owned(), time);
        let said = match (outcome, after) {
            (Err(reason), _) => format!("failed: {reason}"),
            (Ok(Renewed::Nothing), _) => "nothing to do".to_owned(),
            (Ok(Renewed::NoLonger), _) => {
                "left as it is: the authority's timestamps end no later".to_owned()
            }
            (Ok(_), _) if self.args.dry_run => "would be archived".to_owned(),
            (Ok(_), Some(until)) => format!("archived until {}", time(until)),
            (Ok(_), None) => "archived".to_owned(),
        };
        output::line(&format!("{id}  renew by {before}  {said}"))?;
        Ok(())
    }
}
