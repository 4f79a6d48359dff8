//! `sealpost serve`.

use std::process::ExitCode;

use crate::config::Config;
use crate::server::Server;
use crate::web::serve::stop_on_signal;

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let stop = stop_on_signal();
    let server = Server::start(config, super::master_secret().as_deref()).await?;
    stop.cancelled().await;
    server.stop().await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}
