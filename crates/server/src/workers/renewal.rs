//! Renews the timestamps over completed documents before they age, where the operator wants documents to last.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::app::renewal::RenewalWalk;

/// Time between two walks through what is due.
const REST: Duration = Duration::from_secs(60 * 60);

/// Time between two steps of a walk, in which others work.
const BREATH: Duration = Duration::from_secs(1);

/// Time after which an authority whose timestamps gain nothing is asked again.
const GAINS_NOTHING: Duration = Duration::from_secs(24 * 60 * 60);

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
        let step = app.renew_due(&mut walk, &stop).await;
        if let Err(problem) = &step {
            tracing::error!(detail = problem.detail(), "timestamps cannot be renewed");
        }
        let step = step.ok().filter(|step| !step.is_stuck);
        failures = if step.is_none() { failures + 1 } else { 0 };
        let pause = match step {
            None => pause_after(failures),
            Some(step) if step.gains_nothing => GAINS_NOTHING,
            Some(step) if step.is_last => REST,
            Some(_) => BREATH,
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
