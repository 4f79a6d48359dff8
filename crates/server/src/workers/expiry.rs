//! Ends flows whose deadline has passed, promptly: while one ends within the next second, it looks every few milliseconds.

use std::time::Duration;

use sealpost_flow::{Actor, Operation};
use tokio_util::sync::CancellationToken;

use super::LOOK;
use crate::app::App;
use crate::problem::Kind;

/// Flows ended in one look.
const AT_ONCE: u32 = 100;

/// The time between two looks while a deadline is near.
const NEAR: Duration = Duration::from_millis(20);

pub(super) async fn run(app: App, stop: CancellationToken) {
    loop {
        let pause = match expire_due(&app).await {
            Ended::All(AT_ONCE) => continue,
            Ended::All(_) if is_one_near(&app).await => NEAR,
            Ended::All(_) | Ended::Some => LOOK,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.wake().expiry.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether a deadline passes before the next unhurried look.
async fn is_one_near(app: &App) -> bool {
    let next_look = app.now() + LOOK.as_millis() as i64;
    let near = app.store().flows_due_to_expire(next_look, 1).await;
    near.is_ok_and(|flows| !flows.is_empty())
}

/// What became of the flows that were due.
enum Ended {
    /// So many are over.
    All(u32),
    /// Some are not, and stay due.
    Some,
}

/// Ends what is due. One that cannot be ended keeps no other from it.
async fn expire_due(app: &App) -> Ended {
    let due = match app.store().flows_due_to_expire(app.now(), AT_ONCE).await {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(%error, "expired flows cannot be read");
            return Ended::Some;
        }
    };
    let mut ended = Ended::All(due.len() as u32);
    for id in &due {
        match app
            .change_flow(id, &Actor::SYSTEM, |_| Operation::Expire, None)
            .await
        {
            Ok(_) => tracing::info!(sign_flow_id = %id, "a sign flow expired"),
            // It ended otherwise a moment ago.
            Err(problem) if problem.kind() == Kind::Refused => {}
            Err(problem) => {
                tracing::error!(sign_flow_id = %id, detail = problem.detail(), "a sign flow cannot be ended as expired");
                ended = Ended::Some;
                if problem.kind() == Kind::Unavailable {
                    break;
                }
            }
        }
    }
    ended
}
