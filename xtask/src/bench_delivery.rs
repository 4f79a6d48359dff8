//! `cargo xtask bench delivery`: callbacks from a loader through `sealpost serve` to a receiver with a ledger, each a process
//! of its own on this machine, over SQLite and over PostgreSQL; and beside it, in the same run, what the machine could do at
//! most.
//!
//! This file says what is measured. `roles` are the loader, the receiver and the bare relay; `run` is one measurement
//! each; `processes` starts and stops them; `report` writes the tables and the plot.

pub(crate) mod processes;
pub(crate) mod report;
pub(crate) mod roles;
pub(crate) mod run;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

use report::{Report, Tables};
use run::{Load, Scene, World};

/// Measure the delivery of callbacks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench delivery")]
struct Args {
    /// Runs of each measurement; the median is reported
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Measure less of everything, to see that it works
    #[arg(long)]
    quick: bool,
    /// Only the measurements whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Callbacks that wait in the measurement of a large backlog
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    /// Only over this database
    #[arg(long)]
    database: Option<Which>,
    /// Write the tables and the plot into docs/performance
    #[arg(long, conflicts_with_all = ["database", "only"])]
    write: bool,
    /// Measure this program instead of building one
    #[arg(long, value_name = "FILE")]
    sealpost: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<roles::Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    Sqlite,
    Postgresql,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let args = Args::parse_from(
        std::iter::once("cargo xtask bench delivery".to_owned()).chain(args.iter().cloned()),
    );
    if let Some(role) = args.role {
        return roles::play(role);
    }
    let sealpost = program(args.sealpost.as_deref())?;
    let bench = Bench {
        sealpost,
        scale: if args.quick { 10 } else { 1 },
        args,
    };
    let report = bench.measure()?;
    println!("{}", report.markdown());
    if bench.args.write {
        let folder: PathBuf = crate::root().join("docs/performance");
        report
            .write(&folder)
            .with_context(|| format!("cannot write {}", folder.display()))?;
    }
    Ok(())
}

/// The program that is measured: this one, or one that is built now.
pub(crate) fn program(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let mut build = crate::cargo();
    crate::run(build.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "sealpost-server",
    ]))?;
    Ok(crate::target_dir().join("release/sealpost"))
}

struct Bench {
    sealpost: PathBuf,
    /// Everything is divided by it.
    scale: u64,
    args: Args,
}

impl Bench {
    fn wanted(&self, name: &str) -> bool {
        name.contains(&self.args.only)
    }

    /// Runs something as often as asked for, and gives back the runs.
    fn repeat<T>(&self, name: &str, once: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
        self.repeat_at_most(self.args.runs, name, once)
    }

    fn repeat_at_most<T>(
        &self,
        most: usize,
        name: &str,
        mut once: impl FnMut() -> Result<T>,
    ) -> Result<Vec<T>> {
        if !self.wanted(name) {
            return Ok(Vec::new());
        }
        let runs = self.args.runs.min(most);
        (1..=runs)
            .map(|run| {
                eprintln!("{name}: run {run} of {runs}");
                once().with_context(|| format!("{name}, run {run}"))
            })
            .collect()
    }

    fn measure(&self) -> Result<Report> {
        let mut report = Report::default();
        let world = World::new(self.sealpost.clone())?;
        self.limits(&world, &mut report)?;
        if self.args.database != Some(Which::Postgresql) {
            let tables = Tables::new("SQLite");
            report.database(self.deliveries(&world, tables, self.args.backlog)?);
        }
        if self.args.database != Some(Which::Sqlite) {
            let world = World::with_postgres(self.sealpost.clone())?;
            // Filling it and draining it takes PostgreSQL minutes.
            let backlog = self.args.backlog.min(100_000);
            report.database(self.deliveries(&world, Tables::new("PostgreSQL"), backlog)?);
        }
        Ok(report)
    }

    fn limits(&self, world: &World, report: &mut Report) -> Result<()> {
        let appended = 1000 / self.scale;
        report.limit(
            "fdatasync of 4 KiB appended, one after the other",
            self.repeat("limit fdatasync", || world.fdatasync(appended))?,
        );
        let posts = 60_000 / self.scale;
        report.limit(
            "the engine's HTTP client in a bare loop",
            self.repeat("limit post", || world.bare_posts(posts))?,
        );
        report.limit(
            "a bare relay: one request in, one POST out",
            self.repeat("limit relay", || world.relay(posts))?,
        );
        Ok(())
    }

    fn deliveries(&self, world: &World, mut tables: Tables, backlog: u64) -> Result<Tables> {
        let through = |endpoints| Scene {
            nodes: 1,
            endpoints,
            hanging: 0,
            load: Load::Closed {
                callbacks: 80_000 / self.scale,
                connections: 256,
            },
        };
        tables.delivery(
            "one endpoint, as fast as it goes",
            self.repeat("one endpoint", || world.deliver(&through(1)))?,
        );
        let per_second = tables.last_rate();
        tables.delivery(
            "1,000 endpoints, as fast as it goes",
            self.repeat_at_most(1, "1,000 endpoints", || {
                world.deliver(&through(1000 / self.scale as usize))
            })?,
        );

        let seconds = 20 / self.scale.min(4);
        let at = |rate, hanging| Scene {
            nodes: 1,
            endpoints: 1,
            hanging,
            load: Load::Open { rate, seconds },
        };
        tables.delivery(
            "100 a second",
            self.repeat("100 a second", || world.deliver(&at(100, 0)))?,
        );
        if let Some(per_second) = per_second {
            let half = (per_second / 2.0) as u64;
            tables.delivery(
                &format!("half load: {half} a second"),
                self.repeat("half load", || world.deliver(&at(half, 0)))?,
            );
        }
        tables.delivery(
            "100 a second, beside 50 endpoints that hang",
            self.repeat("beside hanging", || world.deliver(&at(100, 50)))?,
        );

        for waiting in [1000, backlog / self.scale] {
            let name = format!("backlog of {waiting}");
            tables.backlog(
                &name,
                self.repeat_at_most(1, &name, || world.backlog(waiting, 20_000 / self.scale))?,
            );
        }
        Ok(tables)
    }
}
