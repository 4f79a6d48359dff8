//! `cargo xtask test`: every test of the workspace, with the tools that they call on the `PATH`, a PostgreSQL server and one
//! that speaks S3.

use std::process::Command;

use anyhow::Result;

use crate::{cargo, postgres, s3, setup};

pub(crate) fn run(args: &[String]) -> Result<()> {
    with_servers(|test| {
        match args {
            [] => test.args(["--no-fail-fast", "--workspace"]),
            args => test.arg("--no-fail-fast").args(args),
        };
    })
}

/// `cargo xtask faults`: the tests of faults one after the other, the first for longer, and with what they print.
pub(crate) fn faults(rounds: u32) -> Result<()> {
    with_servers(|test| {
        test.args([
            "-p",
            "sealpost-server",
            "--test",
            "it",
            "nodes::faults",
            "--",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("TEST_FAULTS_ROUNDS", rounds.to_string());
    })
}

/// `cargo test` with the tools on the `PATH` and the servers running.
fn with_servers(set: impl FnOnce(&mut Command)) -> Result<()> {
    let tools = setup::tools()?;
    let server = postgres::Server::start()?;
    let storage = s3::Server::start(&tools)?;
    let mut test = cargo();
    test.args(["test", "--locked"])
        .env("PATH", &tools.path)
        // Not SEALPOST_…: the program under test takes every such variable for a setting.
        .env("TEST_POSTGRES_URL", server.url())
        .env("TEST_S3_ENDPOINT", storage.endpoint());
    set(&mut test);
    crate::run(&mut test)
}
