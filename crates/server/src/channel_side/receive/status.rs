//! `sealpost receive --status`: what is kept, what waits, what failed. Reads the folder while another process may be
//! writing to it.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use sealpost_receiver::{Entry, SqliteInbox, State};

use super::folder;
use super::record::{File, Record};
use crate::channel_side::values::{self, printable, rfc3339};

/// The most callbacks shown in the table; the counts are of all that are read.
const SHOWN: usize = 50;
/// The most callbacks read.
const READ: usize = 1_000_000;

pub(super) fn print(root: &Path, json: bool) -> anyhow::Result<()> {
    let inbox = folder::inbox_in(root);
    let entries = SqliteInbox::entries(&inbox, false, READ).with_context(|| {
        format!(
            "cannot read {} (has sealpost receive run here?)",
            inbox.display()
        )
    })?;
    let records: HashMap<_, _> = folder::records_in(root)?
        .into_iter()
        .map(|record| (record.callback.sign_flow_id.clone(), record))
        .collect();
    let rows: Vec<Row<'_>> = entries
        .iter()
        .map(|entry| Row {
            entry,
            record: records.get(&entry.callback.sign_flow_id),
        })
        .collect();
    if json {
        let shown: Vec<_> = rows.iter().map(Row::to_json).collect();
        values::print(format_args!(
            "{:#}",
            serde_json::json!({ "counts": counts(&rows), "callbacks": shown })
        ));
    } else {
        print_table(&rows);
    }
    Ok(())
}

struct Row<'a> {
    entry: &'a Entry,
    record: Option<&'a Record>,
}

impl Row<'_> {
    fn is_waiting(&self) -> bool {
        matches!(self.entry.state, State::Waiting { .. })
    }

    fn has_failed(&self) -> bool {
        let given_up = matches!(
            self.record.map(|record| &record.file),
            Some(File::GivenUp { .. })
        );
        given_up || self.entry.conflicts > 0 || self.failure().is_some()
    }

    fn failure(&self) -> Option<&str> {
        if let State::Waiting {
            failure: Some(failure),
            ..
        } = &self.entry.state
        {
            return Some(failure);
        }
        match self.record.map(|record| &record.file) {
            Some(File::GivenUp { failure, .. }) => Some(failure),
            _ => None,
        }
    }

    fn file_state(&self) -> String {
        self.record
            .map_or_else(|| "wanted".to_owned(), Record::file_state)
    }

    fn to_json(&self) -> serde_json::Value {
        let (state, at) = match &self.entry.state {
            State::Waiting { due_at, .. } => ("waiting", ("due_at", *due_at)),
            State::Handled { at } => ("done", ("done_at", *at)),
        };
        let mut row = serde_json::json!({
            "callback": self.entry.callback,
            "kept_at": rfc3339(self.entry.kept_at),
            "state": state,
            "attempts": self.entry.attempts,
            "conflicts": self.entry.conflicts,
            "file": self.file_state(),
            "failure": self.failure(),
        });
        row[at.0] = rfc3339(at.1).into();
        row
    }
}

fn counts(rows: &[Row<'_>]) -> serde_json::Value {
    let waiting = rows.iter().filter(|row| row.is_waiting()).count();
    let failed = rows.iter().filter(|row| row.has_failed()).count();
    let conflicts: u64 = rows.iter().map(|row| u64::from(row.entry.conflicts)).sum();
    serde_json::json!({
        "kept": rows.len(), "waiting": waiting, "done": rows.len() - waiting, "failed": failed, "conflicts": conflicts,
    })
}

fn print_table(rows: &[Row<'_>]) {
    let waiting = rows.iter().filter(|row| row.is_waiting()).count();
    let failed = rows.iter().filter(|row| row.has_failed()).count();
    values::print(format_args!(
        "{} kept, {waiting} waiting, {failed} with a failure",
        rows.len()
    ));
    if rows.is_empty() {
        return;
    }
    values::print(format_args!(
        "{:<32}  {:<9}  {:<24}  {:<7}  {:<13}  failure",
        "sign_flow_id", "status", "kept", "state", "file"
    ));
    // Those that need a person come first.
    let (failed, fine): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.has_failed());
    for row in failed.into_iter().chain(fine).take(SHOWN) {
        let callback = &row.entry.callback;
        let conflicts = match row.entry.conflicts {
            0 => String::new(),
            count => format!("{count} other ends refused; "),
        };
        values::print(format_args!(
            "{:<32}  {:<9}  {:<24}  {:<7}  {:<13}  {conflicts}{}",
            printable(callback.sign_flow_id.as_str(), 32),
            callback.sign_flow_status.english(),
            rfc3339(row.entry.kept_at),
            if row.is_waiting() { "waiting" } else { "done" },
            row.file_state(),
            printable(row.failure().unwrap_or_default(), 100),
        ));
    }
    if rows.len() > SHOWN {
        values::print(format_args!(
            "… and {} more; --json shows all",
            rows.len() - SHOWN
        ));
    }
}
