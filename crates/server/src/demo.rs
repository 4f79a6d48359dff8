//! `sealpost demo`: the whole story in the terminal.

use std::process::ExitCode;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {}

pub(crate) async fn run(_: DemoArgs) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
