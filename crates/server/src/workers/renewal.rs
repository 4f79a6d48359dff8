//! Renews the timestamps over completed documents before they age, where the operator wants documents to last.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::app::renewal::RenewalWalk;

/// Time between two walks through what is due.
const REST: Duration = Duration::from_secs(60 * 60);

/// Time between two steps of a walk, in which others work.
const BREATH: Duration = Duration::from_secs(1);

/// Time after the first failure in a row, which doubles with each, and at most.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(15 * 60);

pub(super) async fn run(app: App, stop: CancellationToken) {
    if app.renewal_window().is_none() {
        return;
    }
    let mut walk = RenewalWalk::default();
    let mut failures = 0;
    loop {
        let done = match app.renew_due(&mut walk, &stop).await {
            Ok(step) if !step.failed => Ok(step.is_last),
            Ok(_) => Err(()),
            Err(problem) => {
                tracing::error!(detail = problem.detail(), "timestamps cannot be renewed");
                Err(())
            }
        };
        failures = if done.is_err() { failures + 1 } else { 0 };
        let pause = match done {
            Ok(true) => REST,
            Ok(false) => BREATH,
            Err(()) => pause_after(failures),
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.wake().renewal.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    let doubled = 1_u32 << failures.saturating_sub(1).min(8);
    (AFTER_FAILURE * doubled).min(LONGEST)
}
