//! `sealpost doctor`: is this configuration fit to run?

use std::process::ExitCode;

use clap::Args;

use crate::config::Config;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(
    args: DoctorArgs,
    config: anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    let _ = (args.json, config?);
    Ok(ExitCode::SUCCESS)
}
