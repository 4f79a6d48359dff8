//! Goes on with redeliveries of many that nobody is at: the rest of a large one, and what a process that has died left. They
//! take their steps by turns, and one whose step fails rests for a while, so that none keeps the others waiting.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sealpost_contract::UtcMillis;
use sealpost_store::{Redelivery, RedeliveryId};
use tokio_util::sync::CancellationToken;

use super::LOOK;
use crate::app::App;
use crate::problem::Problem;

/// Whoever takes a redelivery's steps takes the next within this time, in milliseconds.
const ABANDONED: UtcMillis = 2000;

/// Time between two steps, in which others write.
const BREATH: Duration = Duration::from_millis(5);

/// How long a redelivery rests after a step that failed, in milliseconds: after the first, and at most. It doubles in between.
const REST: (UtcMillis, UtcMillis) = (1000, 60_000);

pub(super) async fn run(app: App, stop: CancellationToken) {
    let mut turns = Turns::default();
    loop {
        let more = match take_steps(&app, &mut turns, &stop).await {
            Ok(more) => more,
            Err(problem) => {
                tracing::error!(detail = problem.detail(), "redeliveries cannot be read");
                false
            }
        };
        if more && !stop.is_cancelled() {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Takes one step of each redelivery whose turn it is. Answers whether any of them is to go on at once.
async fn take_steps(
    app: &App,
    turns: &mut Turns,
    stop: &CancellationToken,
) -> Result<bool, Problem> {
    let unfinished = app.store().unfinished_redeliveries().await?;
    turns.forget_all_but(&unfinished);
    let mut more = false;
    for redelivery in unfinished {
        let id = redelivery.id;
        if stop.is_cancelled() {
            break;
        }
        if !turns.is_due(&redelivery, app.now()) {
            continue;
        }
        match app.step_redelivery(id).await {
            Ok(stepped) => {
                turns.stepped(id);
                more |= stepped.finished_at.is_none();
            }
            Err(problem) => {
                tracing::error!(redelivery = %id, detail = problem.detail(), "a redelivery does not go on");
                turns.failed(id, app.now());
            }
        }
        tokio::time::sleep(BREATH).await;
    }
    Ok(more)
}

/// Whose turn it is.
#[derive(Debug, Default)]
struct Turns {
    /// Those whose last step was ours, and worked.
    ours: HashSet<RedeliveryId>,
    /// Those whose last step failed: how long they rest, and until when.
    resting: HashMap<RedeliveryId, (UtcMillis, UtcMillis)>,
}

impl Turns {
    fn is_due(&self, redelivery: &Redelivery, now: UtcMillis) -> bool {
        match self.resting.get(&redelivery.id) {
            Some((_, until)) => *until <= now,
            None => self.ours.contains(&redelivery.id) || redelivery.stepped_at + ABANDONED <= now,
        }
    }

    fn stepped(&mut self, id: RedeliveryId) {
        self.resting.remove(&id);
        self.ours.insert(id);
    }

    fn failed(&mut self, id: RedeliveryId, now: UtcMillis) {
        let before = self.resting.get(&id);
        let rest = before.map_or(REST.0, |(rest, _)| (2 * rest).min(REST.1));
        self.resting.insert(id, (rest, now + rest));
        self.ours.remove(&id);
    }

    fn forget_all_but(&mut self, unfinished: &[Redelivery]) {
        let unfinished: HashSet<RedeliveryId> =
            unfinished.iter().map(|redelivery| redelivery.id).collect();
        self.ours.retain(|id| unfinished.contains(id));
        self.resting.retain(|id, _| unfinished.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use sealpost_store::FailedSince;

    use super::*;

    fn redelivery(id: &str, stepped_at: UtcMillis) -> Redelivery {
        Redelivery {
            id: id.parse().unwrap(),
            which: FailedSince {
                channel_id: None,
                since: 0,
                until: 0,
            },
            total: 1000,
            redelivered: 0,
            started_at: 0,
            stepped_at,
            finished_at: None,
        }
    }

    #[test]
    fn what_others_are_at_is_left_to_them() {
        let mut turns = Turns::default();
        let redelivery = redelivery("rd_1", 5000);
        assert!(!turns.is_due(&redelivery, 5000 + ABANDONED - 1));
        assert!(turns.is_due(&redelivery, 5000 + ABANDONED));
        turns.stepped(redelivery.id);
        assert!(turns.is_due(&redelivery, 5001), "ours goes on at once");
        turns.forget_all_but(&[]);
        assert!(!turns.is_due(&redelivery, 5001));
    }

    #[test]
    fn one_that_fails_rests_longer_each_time_and_alone() {
        let mut turns = Turns::default();
        let (failing, other) = (redelivery("rd_1", 0), redelivery("rd_2", 0));
        let mut now = 10_000;
        let mut rests = Vec::new();
        for _ in 0..8 {
            turns.failed(failing.id, now);
            let failed_at = now;
            assert!(turns.is_due(&other, now));
            while !turns.is_due(&failing, now) {
                now += 1000;
            }
            rests.push(now - failed_at);
        }
        assert_eq!(
            rests,
            [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
        );
        turns.stepped(failing.id);
        turns.failed(failing.id, now);
        assert!(turns.is_due(&failing, now + REST.0), "from the start again");
    }
}
