//! `cargo xtask test`: every test of the workspace, with the tools that they call on the `PATH`, a PostgreSQL server and one
//! that speaks S3.

use anyhow::Result;

use crate::{cargo, postgres, s3, setup};

pub(crate) fn run(args: &[String]) -> Result<()> {
    let tools = setup::tools()?;
    let server = postgres::Server::start()?;
    let storage = s3::Server::start(&tools)?;
    let mut test = cargo();
    test.args(["test", "--locked", "--no-fail-fast"])
        .env("PATH", &tools.path)
        // Not SEALPOST_…: the program under test takes every such variable for a setting.
        .env("TEST_POSTGRES_URL", server.url())
        .env("TEST_S3_ENDPOINT", storage.endpoint());
    match args {
        [] => test.arg("--workspace"),
        args => test.args(args),
    };
    crate::run(&mut test)
}
