//! Seals what no request has sealed at once: after a failure, after a restart, or when another process has signed.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::LOOK;
use crate::app::App;
use crate::app::sealing::SEALING_CLAIM;

pub(super) async fn run(app: App, stop: CancellationToken) {
    let parallel = app.config().sealing_parallel;
    let room = Arc::new(Semaphore::new(parallel));
    let under_way = TaskTracker::new();
    let mut wakes = app.store().wakes();
    loop {
        let free = room.available_permits().min(parallel) as u32;
        let claimed = match free {
            0 => Vec::new(),
            free => {
                let now = app.now();
                app.store()
                    .claim_flows_to_seal(now, now + SEALING_CLAIM, free)
                    .await
                    .unwrap_or_else(|error| {
                        tracing::error!(%error, "flows to seal cannot be claimed");
                        Vec::new()
                    })
            }
        };
        let full = claimed.len() as u32 == free;
        for id in claimed {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let app = app.clone();
            under_way.spawn(async move {
                app.seal(&id).await;
                drop(permit);
                app.wake().sealing.notify_one();
            });
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = app.wake().sealing.notified(), if full => {}
            // Another node has left something.
            () = wakes.woken() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    under_way.close();
    under_way.wait().await;
}
