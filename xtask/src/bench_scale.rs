//! `cargo xtask bench scale`: callbacks and completed receipts a second with one, two and four nodes over one PostgreSQL, and what a
//! callback costs as the tables grow; each node, PostgreSQL and those around them are processes on this machine. Beside it, in the same
//! run, what the machine could do at most.
//!
//! This file says what is measured. `receipts` and `growth` are one measurement each, and callbacks are measured as
//! `bench delivery` does; `parties` are the channel and the buyers; `report` writes the tables.

mod growth;
mod parties;
mod receipts;
mod report;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::bench_delivery::processes::end_children;
use crate::bench_delivery::program;
use crate::bench_delivery::run::{Delivered, Load, Scene, World, scratch};
use receipts::Completed;
use report::Report;

/// How many nodes there are, from measurement to measurement.
const NODES: [usize; 3] = [1, 2, 4];

/// A run that takes longer than this is broken, and is broken off.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Measure several nodes over one PostgreSQL, whole receipts, and growing tables.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench scale")]
struct Args {
    /// Runs of each measurement but that of growth; the median is reported
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Measure less of everything, to see that it works
    #[arg(long)]
    quick: bool,
    /// Only the measurements whose name contains this: `limit`, `callbacks`, `receipts`, `growth`
    #[arg(long, default_value = "")]
    only: String,
    /// Callbacks in the tables, size by size
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000, 10_000_000])]
    rows: Vec<u64>,
    /// Write the tables into docs/performance/scale.md; with `--only`, those that were measured
    #[arg(long)]
    write: bool,
    /// Measure this program instead of building one
    #[arg(long, value_name = "FILE")]
    sealpost: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The part that a process plays.
#[derive(Debug, clap::Subcommand)]
enum Role {
    /// Ask for receipts, sign them, and be told of them (used by the bench itself)
    #[command(hide = true)]
    Parties,
}

/// The channel and the buyers, as a process that is not started yet.
fn parties() -> Command {
    let exe = std::env::current_exe().unwrap_or_else(|_| "xtask".into());
    let mut command = Command::new(exe);
    command.args(["bench", "scale", "--", "parties"]);
    command
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let args = Args::parse_from(
        std::iter::once("cargo xtask bench scale".to_owned()).chain(args.iter().cloned()),
    );
    if let Some(Role::Parties) = args.role {
        return parties::play();
    }
    clean_up_when_told()?;
    let bench = Bench { args };
    let report = bench.measure()?;
    println!("{}", report.markdown());
    if bench.args.write {
        let path = crate::root().join("docs/performance/scale.md");
        report
            .write(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Ends what was started and removes what was written when a signal comes or the time is up. What fails is cleaned up by those who
/// own it; PostgreSQL ends with us in any case.
fn clean_up_when_told() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new().spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => eprintln!("interrupted"),
                _ = terminate.recv() => eprintln!("told to stop"),
                () = tokio::time::sleep(LIMIT) => eprintln!("it takes too long"),
            }
            end_children();
            tokio::time::sleep(Duration::from_secs(1)).await;
            // It may be gone, or never have been there.
            let _ = std::fs::remove_dir_all(scratch());
            std::process::exit(1);
        });
    })?;
    Ok(())
}

struct Bench {
    args: Args,
}

impl Bench {
    fn wanted(&self, name: &str) -> bool {
        name.contains(&self.args.only)
    }

    /// Everything is divided by it.
    fn scale(&self) -> u64 {
        if self.args.quick { 10 } else { 1 }
    }

    /// Runs each of several things as often as asked for, in turn, so that what the machine does beside it meets all of them.
    fn in_turn<S: Copy, T>(
        &self,
        scenes: &[(String, S)],
        mut once: impl FnMut(S) -> Result<T>,
    ) -> Result<Vec<(String, S, Vec<T>)>> {
        let wanted = scenes.iter().filter(|(name, _)| self.wanted(name));
        let mut done: Vec<_> = wanted
            .map(|(name, scene)| (name.clone(), *scene, Vec::new()))
            .collect();
        for run in 1..=self.args.runs {
            for (name, scene, runs) in &mut done {
                eprintln!("{name}: run {run} of {}", self.args.runs);
                let shown = once(*scene).with_context(|| format!("{name}, run {run}"))?;
                runs.push(shown);
            }
        }
        Ok(done)
    }

    fn measure(&self) -> Result<Report> {
        let mut report = Report::default();
        let receipts = NODES.map(|nodes| (nodes_of("receipts, PostgreSQL", nodes), (nodes, false)));
        let callbacks = NODES.map(|nodes| (nodes_of("callbacks", nodes), nodes));
        let on_sqlite = [("", false), (", each with the page and its pictures", true)];
        let on_sqlite =
            on_sqlite.map(|(seen, looks)| (format!("receipts, SQLite{seen}"), (1, looks)));
        let names = receipts.iter().chain(&on_sqlite).map(|(name, _)| name);
        let names = names.chain(callbacks.iter().map(|(name, _)| name));
        if self.wanted("limit") || names.into_iter().any(|name| self.wanted(name)) {
            let sealpost = program(self.args.sealpost.as_deref())?;
            let world = World::new(sealpost.clone())?;
            if self.wanted("limit") {
                self.machine(&world, &mut report)?;
            }
            report.receipts.extend(self.receipts(&world, &on_sqlite)?);
            let world = World::with_postgres(sealpost)?;
            if self.wanted("limit") {
                self.postgres(&world, &mut report)?;
            }
            report.callbacks = self.callbacks(&world, &callbacks)?;
            report.receipts.extend(self.receipts(&world, &receipts)?);
        }
        if self.wanted("growth") {
            let rows: Vec<u64> = match self.args.quick {
                true => vec![10_000, 100_000],
                false => self.args.rows.clone(),
            };
            let seconds = if self.args.quick { 4 } else { 20 };
            report.growth = growth::measure(&rows, seconds)?;
        }
        Ok(report)
    }

    /// What the machine gives at most: the disk, and one core that does nothing but paper.
    fn machine(&self, world: &World, report: &mut Report) -> Result<()> {
        let runs = |once: &dyn Fn() -> Result<f64>| -> Result<Vec<f64>> {
            (0..self.args.runs).map(|_| once()).collect()
        };
        let appended = 1000 / self.scale();
        report.limit(
            "fdatasync of 4 KiB appended, one after the other",
            runs(&|| world.fdatasync(appended))?,
        );
        let time = Duration::from_millis(2000 / self.scale());
        report.paper(runs(&|| receipts::paper(time))?);
        Ok(())
    }

    /// What this PostgreSQL commits at most.
    fn postgres(&self, world: &World, report: &mut Report) -> Result<()> {
        let seconds = if self.args.quick { 1 } else { 4 };
        for (name, sessions, rows) in [
            ("one row in each commit, one session", 1, 1),
            ("one row in each commit, 16 sessions", 16, 1),
            ("128 rows in each commit, one session: rows", 1, 128),
        ] {
            let once = || Ok(world.commits(sessions, rows, seconds)? * rows as f64);
            let runs: Result<Vec<f64>> = (0..self.args.runs).map(|_| once()).collect();
            report.limit(&format!("PostgreSQL alone, {name}"), runs?);
        }
        Ok(())
    }

    fn callbacks(
        &self,
        world: &World,
        scenes: &[(String, usize)],
    ) -> Result<Vec<(usize, Vec<Delivered>)>> {
        let done = self.in_turn(scenes, |nodes| {
            world.deliver(&Scene {
                nodes,
                endpoints: 1,
                hanging: 0,
                load: Load::Closed {
                    callbacks: 60_000 / self.scale(),
                    connections: 256,
                },
            })
        })?;
        Ok(done
            .into_iter()
            .map(|(_, nodes, runs)| (nodes, runs))
            .collect())
    }

    fn receipts(
        &self,
        world: &World,
        scenes: &[(String, (usize, bool))],
    ) -> Result<Vec<(String, Vec<Completed>)>> {
        let done = self.in_turn(scenes, |(nodes, looks)| {
            let scene = receipts::Scene {
                nodes,
                receipts: 1500 / self.scale(),
                looks,
            };
            receipts::measure(world, scene)
        })?;
        Ok(done
            .into_iter()
            .map(|(name, _, runs)| (name, runs))
            .collect())
    }
}

fn nodes_of(what: &str, nodes: usize) -> String {
    match nodes {
        1 => format!("{what}, 1 node"),
        more => format!("{what}, {more} nodes"),
    }
}
