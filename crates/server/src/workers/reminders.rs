//! Reminds signers (催签) once by itself, a day before the deadline: those whose turn it is and who left a number or address.
//! How soon after the start and the last reminder that may be is the flow's own rule.
//!
//! The worker walks the index of deadlines and keeps in memory when each flow of the coming day is to be reminded, so that it
//! reads a flow once and not every time it looks. What it forgets when it stops, it finds again in the flows.

use std::collections::HashMap;
use std::time::Duration;

use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_flow::{Actor, Flow, Step};
use sealpost_store::StoredFlow;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::app::details::Details;
use crate::problem::{Kind, Problem};

const MINUTE: UtcMillis = 60 * 1000;

/// How long before the deadline.
const BEFORE_DEADLINE: UtcMillis = 24 * 60 * MINUTE;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// Flows read from the index at a time.
const STEP: u32 = 500;

/// When each flow of the coming day is to be reminded; `None`: not any more.
type Plan = HashMap<SignFlowId, Option<UtcMillis>>;

pub(super) async fn run(app: App, stop: CancellationToken) {
    let mut plan = Plan::new();
    loop {
        match look(&app, &mut plan).await {
            Ok(()) => {}
            Err(problem) => {
                tracing::error!(detail = problem.detail(), "signers cannot be reminded")
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Reminds what is due, and forgets what is no longer being signed.
async fn look(app: &App, plan: &mut Plan) -> Result<(), Problem> {
    let now = app.now();
    let mut after = (now, None);
    let mut next = Plan::new();
    loop {
        let step = app
            .store()
            .flows_expiring(after, now + BEFORE_DEADLINE, STEP)
            .await?;
        let is_last = step.len() < STEP as usize;
        let Some((at, id)) = step.last() else { break };
        after = (*at, Some(id.clone()));
        for (_, id) in step {
            let planned = match plan.get(&id) {
                Some(planned) if planned.is_none_or(|due| due > now) => *planned,
                _ => match consider(app, &id).await {
                    Ok(planned) => planned,
                    // Looked at again next time; the others do not wait for it.
                    Err(problem) => {
                        tracing::error!(sign_flow_id = %id, detail = problem.detail(), "signers cannot be reminded");
                        continue;
                    }
                },
            };
            next.insert(id, planned);
        }
        if is_last {
            break;
        }
    }
    *plan = next;
    Ok(())
}

/// Reminds the signers of a flow if it is time, and says when to look at it again.
async fn consider(app: &App, id: &SignFlowId) -> Result<Option<UtcMillis>, Problem> {
    let Some(stored) = app.store().find_flow(id).await? else {
        return Ok(None);
    };
    let due = due_at(&stored.flow).filter(|_| can_be_reached(&stored));
    if due.is_none_or(|due| due > app.now()) {
        return Ok(due);
    }
    match app.remind(id, &Actor::SYSTEM, None).await {
        Ok(_) => Ok(None),
        // Ended, or reminded by another node, a moment ago.
        Err(problem) if matches!(problem.kind(), Kind::Refused | Kind::TooManyRequests) => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// When the signers of a flow are to be reminded by themselves.
fn due_at(flow: &Flow) -> Option<UtcMillis> {
    let earliest = flow.remindable_at()?;
    let usual = flow.expires_at - BEFORE_DEADLINE;
    if flow.reminded_at.is_some_and(|last| last >= usual) {
        return None;
    }
    let due = usual.max(earliest);
    (due < flow.expires_at).then_some(due)
}

/// Whether anyone whose turn it is has left a number or address.
fn can_be_reached(stored: &StoredFlow) -> bool {
    let details = Details::parse(stored.details.as_deref());
    let mut open = stored
        .flow
        .signers
        .iter()
        .filter(|signer| matches!(signer.step, Step::Open { .. }));
    open.any(|signer| details.contact_of(signer.no).is_some())
}
