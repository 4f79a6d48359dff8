//! `cargo xtask bench scale`: what a callback costs as the tables grow, over a private PostgreSQL that waits for the disk.
//!
//! The work is done by the example `scale` of the store, a program of its own, so that its CPU and PostgreSQL's are told apart.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::bench_delivery::family_cpu;
use crate::postgres::Server;

/// Measure what a callback costs PostgreSQL as its tables grow.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench scale")]
struct Args {
    /// Callbacks in the tables, step by step
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000, 10_000_000])]
    rows: Vec<u64>,
    /// How long each step is measured
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Write the table into docs/performance/scale.md
    #[arg(long)]
    write: bool,
}

/// What one step showed, as the example prints it, and PostgreSQL's CPU seconds for 10,000 callbacks.
struct Step {
    values: Vec<String>,
    cpu: f64,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let args = Args::parse_from(
        std::iter::once("cargo xtask bench scale".to_owned()).chain(args.iter().cloned()),
    );
    let mut build = crate::cargo();
    build.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "sealpost-store",
    ]);
    crate::run(build.args(["--example", "scale"]))?;
    let server = Server::start_with(
        "-c shared_buffers=512MB -c max_wal_size=4GB -c checkpoint_timeout=15min",
    )?;
    let steps = measure(&server, &args)?;
    let table = table(&steps);
    println!("{table}");
    if args.write {
        let path = crate::root().join("docs/performance/scale.md");
        let before = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let (head, _) = before
            .split_once("<!-- measured -->")
            .context("scale.md has no line that says where the table begins")?;
        std::fs::write(&path, format!("{head}<!-- measured -->\n\n{table}"))?;
    }
    Ok(())
}

fn measure(server: &Server, args: &Args) -> Result<Vec<Step>> {
    let mut example = Command::new(crate::target_dir().join("release/examples/scale"))
        .arg(server.create_database("scale")?)
        .arg(args.seconds.to_string())
        .args(args.rows.iter().map(u64::to_string))
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(example.stdout.take().context("no output")?).lines();
    let (mut steps, mut before, mut spent) = (Vec::new(), 0.0, 0.0);
    for line in lines {
        let line = line?;
        eprintln!("{line}");
        let mut words = line.split_whitespace();
        match words.next() {
            Some("measuring") => before = family_cpu(server.process()?)?,
            Some("measured") => spent = family_cpu(server.process()?)? - before,
            Some("step") => {
                let values: Vec<String> = words.map(str::to_owned).collect();
                let per_second: f64 = values.get(1).context("no rate")?.parse()?;
                let callbacks = per_second * args.seconds as f64;
                steps.push(Step {
                    values,
                    cpu: spent * 10_000.0 / callbacks,
                });
            }
            _ => {}
        }
    }
    ensure!(example.wait()?.success(), "the example failed");
    Ok(steps)
}

fn table(steps: &[Step]) -> String {
    let mut table = "| callbacks kept | kept, claimed, finished a second | PostgreSQL's CPU for 10,000 | bare inserts a second \
         | tables and indexes | a channel's page | counts |\n|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for Step { values, cpu } in steps {
        let value = |place: usize| values.get(place).map_or("", String::as_str);
        table += &format!(
            "| {} | {} | {cpu:.2} s | {} | {} MB | {} ms | {} ms |\n",
            value(0),
            value(1),
            value(2),
            value(3),
            value(4),
            value(5)
        );
    }
    table
}
