//! What a callback costs as the tables grow, over a PostgreSQL server of its own that waits for the disk.
//!
//! The work is done by the example `scale` of the store, a program of its own, so that its CPU and PostgreSQL's are told apart.
//! Its lines are what this file reads.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::bench_delivery::processes::{cpu, family_cpu};
use crate::postgres::Server;

/// As for the other measurements, but that vacuum comes when it is told to: over small tables it would come each minute, over large ones
/// hardly ever, so it is measured by itself.
const SETTINGS: &str =
    "-c shared_buffers=512MB -c max_wal_size=4GB -c checkpoint_timeout=15min -c autovacuum=off";

/// When vacuum comes to a table of callbacks: after this share of its rows has changed (`migrations/postgres`), but once a minute at most.
const VACUUM_SHARE: f64 = 0.02;
const VACUUM_SECONDS: f64 = 60.0;

/// What one size of the tables showed.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    /// Callbacks in the tables before it.
    pub(super) rows: u64,
    /// Kept, claimed, finished a second.
    pub(super) per_second: f64,
    /// CPU seconds for 10,000 of them: PostgreSQL's, and the store's.
    pub(super) database_cpu: f64,
    pub(super) store_cpu: f64,
    /// Bytes of write-ahead log for each, and whole pages in it.
    pub(super) wal: f64,
    pub(super) pages: f64,
    /// CPU seconds of a vacuum of the callbacks afterwards.
    pub(super) vacuum: f64,
    /// Rows a second of bare inserts.
    pub(super) bare: f64,
    /// Tables and indexes, MB.
    pub(super) size: f64,
    /// A channel's newest page, and what the metrics count; milliseconds.
    pub(super) page: f64,
    pub(super) counts: f64,
}

impl Step {
    /// CPU seconds of PostgreSQL for 10,000, with their share of the vacuum that they cause.
    pub(super) fn with_vacuum(&self) -> f64 {
        let until_vacuum = (VACUUM_SHARE * self.rows as f64).max(VACUUM_SECONDS * self.per_second);
        self.database_cpu + self.vacuum * 10_000.0 / until_vacuum
    }
}

/// The example, which does not outlive us.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures each size, `seconds` long after half as long to warm up.
pub(super) fn measure(rows: &[u64], seconds: u64) -> Result<Vec<Step>> {
    let mut build = crate::cargo();
    build.args(["build", "--release", "--locked"]);
    build.args(["--package", "sealpost-store", "--example", "scale"]);
    crate::run(&mut build)?;
    let server = Server::start_with(SETTINGS)?;
    let mut command = Command::new(crate::target_dir().join("release/examples/scale"));
    command
        .arg(server.create_database("scale")?)
        .arg(seconds.to_string())
        .args(rows.iter().map(u64::to_string));
    let mut example = Example(command.stdout(Stdio::piped()).spawn()?);
    let output = example.0.stdout.take().context("no output")?;
    let id = example.0.id();
    let postgres = server.process()?;
    let now = || anyhow::Ok((family_cpu(postgres)?, cpu(id)?));

    let (mut steps, mut step, mut before) = (Vec::new(), Step::default(), (0.0, 0.0));
    for line in BufReader::new(output).lines() {
        let line = line?;
        eprintln!("{line}");
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let numbers: Vec<f64> = rest
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        match (word, &numbers[..]) {
            ("measuring", [rows]) => {
                step.rows = *rows as u64;
                before = now()?;
            }
            ("measured", [callbacks, took, wal, pages]) => {
                let after = now()?;
                step.per_second = callbacks / took;
                step.database_cpu = (after.0 - before.0) * 10_000.0 / callbacks;
                step.store_cpu = (after.1 - before.1) * 10_000.0 / callbacks;
                step.wal = wal / callbacks;
                step.pages = pages / callbacks;
            }
            ("vacuuming", []) => before = now()?,
            ("vacuumed", []) => step.vacuum = now()?.0 - before.0,
            ("asked", [bare, size, page, counts]) => {
                (step.bare, step.size) = (*bare, *size);
                (step.page, step.counts) = (*page, *counts);
                steps.push(std::mem::take(&mut step));
            }
            _ => {}
        }
    }
    ensure!(example.0.wait()?.success(), "the example failed");
    ensure!(steps.len() == rows.len(), "the example left a size out");
    Ok(steps)
}
