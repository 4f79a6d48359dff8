//! What runs beside requests: sealing, expiry, reminders, redeliveries, the renewal of timestamps, and the cleaning up of what nobody needs any more.
//!
//! Each worker takes no input: it drains what the database says is due, so that a restart and a steady state are one path.

mod expiry;
mod redeliveries;
mod reminders;
mod renewal;
mod sealing;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;

/// How often each worker looks by itself, whatever wakes it in between.
const LOOK: Duration = Duration::from_secs(1);

/// How often idempotency keys, codes and rates are cleaned up.
const CLEAN: Duration = Duration::from_secs(60);

/// How often a node says that it is there, and compares its clock.
const SAY: Duration = Duration::from_secs(5);

/// How often certificates that end soon are named, and the tables of the months ahead made.
const NAME: Duration = Duration::from_secs(24 * 60 * 60);

/// Starts the workers; they end when `stop` is cancelled and what they have begun is done.
pub(crate) fn start(app: &App, stop: &CancellationToken) -> TaskTracker {
    let workers = TaskTracker::new();
    workers.spawn(sealing::run(app.clone(), stop.clone()));
    workers.spawn(expiry::run(app.clone(), stop.clone()));
    workers.spawn(reminders::run(app.clone(), stop.clone()));
    workers.spawn(redeliveries::run(app.clone(), stop.clone()));
    workers.spawn(renewal::run(app.clone(), stop.clone()));
    workers.spawn(clean(app.clone(), stop.clone()));
    workers.spawn(make_partitions(app.clone(), stop.clone()));
    workers.spawn(say_here(app.clone(), stop.clone()));
    workers.spawn(name_certificates(app.clone(), stop.clone()));
    workers.close();
    workers
}

async fn clean(app: App, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CLEAN) => {}
        }
        if let Err(error) = forget(&app).await {
            tracing::error!(%error, "what has ended cannot be cleaned up");
        }
    }
}

async fn say_here(app: App, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SAY) => {}
        }
        if let Err(error) = app.keep_joined().await {
            tracing::warn!(%error, "the other nodes are not told that this one is there");
        } else if let Err(error) = app.watch_clock().await {
            tracing::warn!(%error, "the clocks cannot be compared");
        }
    }
}

/// Keeps the months ahead ready that PostgreSQL divides tables by.
async fn make_partitions(app: App, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(NAME) => {}
        }
        if let Err(error) = app.store().make_partitions().await {
            tracing::warn!(%error, "the tables of the months ahead cannot be made; the default ones serve");
        }
    }
}

async fn name_certificates(app: App, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(NAME) => app.log_certificates(true),
        }
    }
}

/// Removes what has ended by itself, some at a time.
async fn forget(app: &App) -> sealpost_store::Result<()> {
    let (store, now) = (app.store(), app.now());
    while store.forget_idempotency_keys(now).await? > 0 {}
    while store.forget_codes(now).await? > 0 {}
    while store.forget_rates(now).await? > 0 {}
    Ok(())
}
