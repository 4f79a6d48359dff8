//! Timestamps over completed documents, renewed by themselves: which are due, and one document on one node at a time.
//!
//! How a document is renewed is [`App::renew`], which `sealpost archive` calls too. A claim is a rate of the store: a document may be
//! begun once in some hours, on whichever node. So one that failed, or whose node died, waits as long, and holds up no other.

use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_flow::{Happening, Level};
use sealpost_store::{AuditEntry, Counted};
use tokio_util::sync::CancellationToken;

use super::App;
use super::codes::keyed;
use super::operate::DETAIL_CHARS;
use super::preservation::Renewed;
use crate::problem::Problem;

/// How long a document that was begun is left alone, whatever came of it, in milliseconds.
const CLAIM: UtcMillis = 6 * 60 * 60 * 1000;

/// Documents that one step looks at.
const STEP: u32 = 20;

/// Documents that are counted at most.
pub(crate) const COUNTED: u32 = 10_000;

/// How far the walk through the documents that are due has come, the most urgent first.
#[derive(Debug, Clone, Default)]
pub struct RenewalWalk(Option<(UtcMillis, SignFlowId)>);

/// What one step of the walk did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RenewalStep {
    /// Documents that have a new timestamp.
    pub renewed: u32,
    /// Whether one failed, which ends the step: its authority may be away.
    pub failed: bool,
    /// Whether nothing is left to look at: the next step begins anew.
    pub is_last: bool,
}

impl App {
    /// How long before a timestamp ends it is renewed, in milliseconds. `None`: nothing is renewed by itself, for nobody gives
    /// timestamps, documents are not to have any, or the operator does not want it.
    pub(crate) fn renewal_window(&self) -> Option<UtcMillis> {
        let config = self.config();
        let wanted = config.signature_level() >= Level::BLTA && !self.timestamps().is_empty();
        let window = UtcMillis::try_from(config.signatures.renew_within.as_millis());
        window.ok().filter(|&window| wanted && window > 0)
    }

    /// Takes one step of the walk: renews what is due among the next documents, until one fails or the server stops. What was
    /// done is in the audit log.
    ///
    /// # Errors
    /// Whatever keeps the store from reading and writing.
    pub async fn renew_due(
        &self,
        walk: &mut RenewalWalk,
        stop: &CancellationToken,
    ) -> Result<RenewalStep, Problem> {
        let mut step = RenewalStep::default();
        let Some(window) = self.renewal_window() else {
            step.is_last = true;
            return Ok(step);
        };
        let after = walk.0.clone();
        let after = after.map_or((i64::MIN, None), |(at, id)| (at, Some(id)));
        let until = self.now().saturating_add(window);
        let page = self.store().flows_to_renew(after, until, STEP).await?;
        step.is_last = page.len() < STEP as usize;
        let mut failure = None;
        for (renew_by, id) in page {
            if stop.is_cancelled() {
                break;
            }
            walk.0 = Some((renew_by, id.clone()));
            if !self.is_renewal_due(&id, renew_by, window).await?
                || !self.claim_renewal(&id).await?
            {
                continue;
            }
            match self.renew(&id).await {
                Ok(Renewed::Until(_)) => {
                    step.renewed += 1;
                    self.metrics().count_renewal("renewed");
                }
                Ok(Renewed::Nothing) => {}
                Err(reason) => {
                    tracing::error!(sign_flow_id = %id, reason, "the timestamp over a document cannot be renewed");
                    self.metrics().count_renewal("failed");
                    step.failed = true;
                    failure = Some((id, reason));
                    break;
                }
            }
        }
        if step.is_last && !step.failed {
            walk.0 = None;
        }
        self.log_renewals(step.renewed, failure).await?;
        Ok(step)
    }

    async fn is_renewal_due(
        &self,
        id: &SignFlowId,
        renew_by: UtcMillis,
        window: UtcMillis,
    ) -> Result<bool, Problem> {
        let events = self.store().events(id).await?;
        let mut made = events.iter().rev();
        let made = made.find(|kept| matches!(kept.event.what, Happening::Preserved { .. }));
        let made_at = made.map_or(i64::MIN, |kept| kept.event.at);
        Ok(due_at(made_at, renew_by, window) <= self.now())
    }

    /// Takes a document, unless somebody has begun with it lately.
    async fn claim_renewal(&self, id: &SignFlowId) -> Result<bool, Problem> {
        let key = keyed(self.secrets(), "renewal", id.as_str());
        let counted = self
            .store()
            .count_within(&key, CLAIM, 1, self.now())
            .await?;
        Ok(counted == Counted::Within)
    }

    async fn log_renewals(
        &self,
        renewed: u32,
        failure: Option<(SignFlowId, String)>,
    ) -> Result<(), Problem> {
        let entry = |action: &str, subject: Option<String>, detail: String| AuditEntry {
            at: self.now(),
            operator: "renewal".to_owned(),
            action: action.to_owned(),
            subject,
            detail: Some(detail.chars().take(DETAIL_CHARS).collect()),
            address: None,
        };
        if renewed > 0 {
            let detail = format!("{renewed} documents");
            self.store()
                .log_audit(entry("archive.renewed", None, detail))
                .await?;
        }
        if let Some((id, reason)) = failure {
            let id = Some(id.as_str().to_owned());
            self.store()
                .log_audit(entry("archive.failed", id, reason))
                .await?;
        }
        Ok(())
    }
}

/// When a timestamp that was made at one time and ends at another is renewed: `window` before its end. One whose whole life is
/// not much longer than that is renewed at half of it, or an authority that gives nothing longer would be asked without an end.
fn due_at(made_at: UtcMillis, renew_by: UtcMillis, window: UtcMillis) -> UtcMillis {
    let life = renew_by.saturating_sub(made_at).max(0);
    renew_by.saturating_sub(window.min(life / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_renewed_in_time_and_never_at_once() {
        const DAY: UtcMillis = 24 * 60 * 60 * 1000;
        let due = |made, until| due_at(made * DAY, until * DAY, 180 * DAY) / DAY;
        assert_eq!(due(0, 3650), 3470);
        assert_eq!(due(0, 300), 150);
        // An authority whose own certificate ends soon is asked less and less to gain, and never twice in a moment.
        assert_eq!(due(150, 300), 225);
        assert_eq!(due(299, 300), 299);
        assert_eq!(due(310, 300), 300);
        assert_eq!(due_at(i64::MIN, 300 * DAY, 180 * DAY), 120 * DAY);
    }
}
