//! `sealpost serve`.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::timeout;

use crate::config::Config;
use crate::server::Server;
use crate::web::serve::stop_on_signal;

/// How long a server that is to stop while it starts may take to finish starting, and then stop in order. Only bringing the
/// schema of a database up to date, and waiting for another node that does, take longer.
const START_AFTER_STOP: Duration = Duration::from_secs(2);

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let stop = stop_on_signal();
    let secret = super::master_secret();
    let mut starting = pin!(Server::start(config, secret.as_deref()));
    let started = tokio::select! {
        started = &mut starting => Ok(started),
        () = stop.cancelled() => timeout(START_AFTER_STOP, &mut starting).await,
    };
    let Ok(started) = started else {
        tracing::info!(
            "stopped before it had started; what it was doing to the database is undone"
        );
        // Returning would wait for the thread that waits for the database.
        std::process::exit(0);
    };
    let server = started?;
    stop.cancelled().await;
    server.stop().await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}
