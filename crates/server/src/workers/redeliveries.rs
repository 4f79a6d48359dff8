//! Goes on with redeliveries of many that nobody is at: the rest of a large one, and what a process that has died left.

use std::time::Duration;

use sealpost_contract::UtcMillis;
use tokio_util::sync::CancellationToken;

use super::LOOK;
use crate::app::App;
use crate::problem::Problem;

/// Whoever takes a redelivery's steps takes the next within this time, in milliseconds.
const ABANDONED: UtcMillis = 2000;

/// Time between two steps, in which others write.
const BREATH: Duration = Duration::from_millis(5);

pub(super) async fn run(app: App, stop: CancellationToken) {
    loop {
        if let Err(problem) = look(&app, &stop).await {
            tracing::error!(detail = problem.detail(), "a redelivery does not go on");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn look(app: &App, stop: &CancellationToken) -> Result<(), Problem> {
    for mut redelivery in app.store().unfinished_redeliveries().await? {
        if redelivery.stepped_at + ABANDONED > app.now() {
            continue;
        }
        while redelivery.finished_at.is_none() && !stop.is_cancelled() {
            redelivery = app.step_redelivery(redelivery.id).await?;
            tokio::time::sleep(BREATH).await;
        }
    }
    Ok(())
}
