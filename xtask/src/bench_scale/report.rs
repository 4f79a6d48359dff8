//! The tables, the targets, and where they are written.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::growth::Step;
use super::nodes_of;
use super::receipts::Completed;
use crate::bench_delivery::report::{Spread, number};
use crate::bench_delivery::run::Delivered;

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Report {
    limits: Vec<(String, Spread)>,
    /// Receipts a second of one core that does nothing but paper.
    paper: Option<Spread>,
    /// By how many nodes there were.
    pub(super) callbacks: Vec<(usize, Vec<Delivered>)>,
    pub(super) receipts: Vec<(String, Vec<Completed>)>,
    pub(super) growth: Vec<Step>,
}

/// The parts of the report, each of which is replaced where it was measured.
const PARTS: [&str; 5] = ["targets", "limits", "callbacks", "receipts", "growth"];

impl Report {
    pub(super) fn limit(&mut self, name: &str, per_second: Vec<f64>) {
        let spread = Spread::of(per_second.into_iter());
        self.limits
            .extend(spread.map(|spread| (name.to_owned(), spread)));
    }

    pub(super) fn paper(&mut self, per_second: Vec<f64>) {
        self.paper = Spread::of(per_second.into_iter());
        self.limits.extend(self.paper.map(|spread| {
            let name = "one core that draws, seals, signs and verifies receipts and nothing else";
            (name.to_owned(), spread)
        }));
    }

    pub(super) fn markdown(&self) -> String {
        let parts = PARTS.iter().map(|part| self.part(part));
        let parts: Vec<String> = parts.filter(|text| !text.is_empty()).collect();
        parts.join("\n")
    }

    /// Replaces each part that was measured.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut text = std::fs::read_to_string(path)?;
        for part in PARTS {
            let new = self.part(part);
            if new.is_empty() {
                continue;
            }
            let (begin, end) = (
                format!("<!-- {part}: written by cargo xtask bench scale --write -->"),
                format!("<!-- end of {part} -->"),
            );
            let missing = || format!("there is no place for {part}");
            let (head, rest) = text.split_once(&begin).with_context(missing)?;
            let (_, tail) = rest.split_once(&end).with_context(missing)?;
            text = format!("{head}{begin}\n\n{new}\n{end}{tail}");
        }
        Ok(std::fs::write(path, text)?)
    }

    fn part(&self, part: &str) -> String {
        match part {
            "targets" => self.targets(),
            "limits" => self.limits(),
            "callbacks" => self.callbacks(),
            "receipts" => self.receipts(),
            _ => self.growth(),
        }
    }

    fn targets(&self) -> String {
        let mut rows = String::new();
        let mut row = |target: &str, measured: String, is_met: bool| {
            let verdict = if is_met { "met" } else { "**not met**" };
            let _ = writeln!(rows, "| {target} | {measured} | {verdict} |");
        };
        let callbacks = |nodes: usize| {
            let found = self.callbacks.iter().find(|(count, _)| *count == nodes);
            found.and_then(|(_, runs)| median(runs, |run| run.per_second))
        };
        let receipts = |name: &str| {
            let found = self.receipts.iter().find(|(found, _)| found == name);
            found.and_then(|(_, runs)| median(runs, |run| run.per_second))
        };
        let over_postgres = |nodes| receipts(&nodes_of("receipts, PostgreSQL", nodes));
        let mut at_least = |target: &str, least: f64, found: Option<f64>| {
            if let Some(found) = found {
                row(target, number(found, 0), found >= least);
            }
        };
        at_least(
            "at least 6,000 callbacks/s end to end over PostgreSQL, one node",
            6000.0,
            callbacks(1),
        );
        at_least(
            "at least 150 receipts/s on SQLite",
            150.0,
            receipts("receipts, SQLite"),
        );
        at_least(
            "at least 100 receipts/s on PostgreSQL, one node",
            100.0,
            over_postgres(1),
        );
        for (what, rate) in [
            ("callbacks", &callbacks as &dyn Fn(usize) -> Option<f64>),
            ("receipts", &over_postgres),
        ] {
            let rates: Option<Vec<f64>> = super::NODES.iter().map(|nodes| rate(*nodes)).collect();
            let Some(rates) = rates else { continue };
            // From two to four are two nodes more.
            let steps = rates.windows(2).zip(super::NODES.windows(2));
            let is_met = steps
                .map(|(rates, nodes)| (rates[1] / rates[0], nodes[1] - nodes[0]))
                .all(|(ratio, more)| ratio.powf(1.0 / more as f64) >= 0.9);
            let shown: Vec<String> = rates.iter().map(|rate| number(*rate, 0)).collect();
            row(
                &format!("{what}: a node more is never slower by more than a tenth"),
                format!("{} a second with 1, 2 and 4", shown.join(", ")),
                is_met,
            );
        }
        if let (Some(first), Some(last)) = (self.growth.first(), self.growth.last())
            && first.rows < last.rows
        {
            let cpu = last.with_vacuum() / first.with_vacuum();
            let wall = first.per_second / last.per_second;
            let target = format!(
                "a callback at {} rows costs at most 1.3× of one at {}",
                number(last.rows as f64, 0),
                number(first.rows as f64, 0)
            );
            let measured = format!("{cpu:.2}× in PostgreSQL's CPU, {wall:.2}× in time");
            row(&target, measured, cpu <= 1.3 && wall <= 1.3);
        }
        if rows.is_empty() {
            return rows;
        }
        format!("| target | measured | |\n|---|---|---|\n{rows}")
    }

    fn limits(&self) -> String {
        if self.limits.is_empty() {
            return String::new();
        }
        let mut text = "| the limit | a second |\n|---|---:|\n".to_owned();
        for (name, spread) in &self.limits {
            let _ = writeln!(text, "| {name} | {} |", spread.show(0));
        }
        text
    }

    fn callbacks(&self) -> String {
        if self.callbacks.is_empty() {
            return String::new();
        }
        let mut text = "| nodes | callbacks/s | all nodes' CPU s / 10,000 | PostgreSQL's | loader's and receiver's | cores at work | all nodes' peak MB | lost | again |\n\
             |---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
        for (nodes, runs) in &self.callbacks {
            let of = |value: &dyn Fn(&Delivered) -> f64, digits| shown(runs, value, digits);
            let at_work = |run: &Delivered| {
                (run.server_cpu + run.database_cpu + run.other_cpu) * run.per_second / 10_000.0
            };
            let _ = writeln!(
                text,
                "| {nodes} | {} | {} | {} | {} | {} | {} | {} | {} |",
                of(&|run| run.per_second, 0),
                of(&|run| run.server_cpu, 2),
                of(&|run| run.database_cpu, 2),
                of(&|run| run.other_cpu, 2),
                of(&at_work, 2),
                of(&|run| run.memory, 0),
                runs.iter().map(|run| run.lost).sum::<u64>(),
                runs.iter().map(|run| run.again).sum::<u64>(),
            );
        }
        text
    }

    fn receipts(&self) -> String {
        if self.receipts.is_empty() {
            return String::new();
        }
        let mut text = "| | receipts/s | request to callback p50, ms | p99, ms | servers' CPU ms each | PostgreSQL's | channel's and buyers' | cores at work | completed | lost | again | wrong |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
        for (name, runs) in &self.receipts {
            let of = |value: &dyn Fn(&Completed) -> f64, digits| shown(runs, value, digits);
            let at_work = |run: &Completed| {
                (run.server_cpu + run.database_cpu + run.other_cpu) * run.per_second / 1000.0
            };
            let sum = |value: fn(&Completed) -> u64| runs.iter().map(value).sum::<u64>();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} of {} | {} | {} | {} |",
                name.trim_start_matches("receipts, "),
                of(&|run| run.per_second, 0),
                of(&|run| run.p50, 0),
                of(&|run| run.p99, 0),
                of(&|run| run.server_cpu, 2),
                of(&|run| run.database_cpu, 2),
                of(&|run| run.other_cpu, 2),
                of(&at_work, 2),
                number(sum(|run| run.completed) as f64, 0),
                number(sum(|run| run.receipts) as f64, 0),
                sum(|run| run.lost),
                sum(|run| run.again),
                sum(|run| run.wrong),
            );
        }
        text
    }

    fn growth(&self) -> String {
        if self.growth.is_empty() {
            return String::new();
        }
        let mut text = "| callbacks kept | kept, claimed, finished a second | PostgreSQL's CPU s / 10,000 | with its vacuum | the store's CPU s / 10,000 | log, KB each | whole pages in it | bare inserts a second | tables and indexes | a channel's page | counts |\n\
             |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
        for step in &self.growth {
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} MB | {:.2} ms | {:.2} ms |",
                number(step.rows as f64, 0),
                number(step.per_second, 0),
                step.database_cpu,
                step.with_vacuum(),
                step.store_cpu,
                step.wal / 1000.0,
                step.pages,
                number(step.bare, 0),
                number(step.size, 0),
                step.page,
                step.counts,
            );
        }
        text
    }
}

fn median<T>(runs: &[T], value: impl Fn(&T) -> f64) -> Option<f64> {
    Some(Spread::of(runs.iter().map(value))?.median)
}

fn shown<T>(runs: &[T], value: &dyn Fn(&T) -> f64, digits: usize) -> String {
    Spread::of(runs.iter().map(value)).map_or_else(String::new, |spread| spread.show(digits))
}
