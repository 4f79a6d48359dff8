//! `sealpost check URL`: being written.

/// Check.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// None yet.
pub async fn run(_: Args) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not built yet")
}
