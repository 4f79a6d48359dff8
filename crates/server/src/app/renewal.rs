//! Timestamps over completed documents, renewed by themselves: which are due, and one document on one node at a time.
//!
//! How a document is renewed is [`App::renew`], which `sealpost archive` calls too. A claim is a rate of the store: a document may be
//! begun once in some hours, on whichever node. So one that failed, or whose node died, waits as long, and longer each time that it
//! fails by itself: a document that can never be renewed holds up no other.

use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_flow::{Digest, Happening, Level};
use sealpost_store::{AuditEntry, Counted};
use tokio_util::sync::CancellationToken;

use super::App;
use super::codes::keyed;
use super::operate::DETAIL_CHARS;
use super::preservation::{Failure, Renewed};
use crate::problem::Problem;

/// How long a document that was begun is left alone, whatever came of it, in milliseconds.
const CLAIM: UtcMillis = 6 * 60 * 60 * 1000;

/// How long one is left alone that failed by itself for the first time, for the second, and from the third on.
const RESTS: [UtcMillis; 3] = [CLAIM, 24 * 60 * 60 * 1000, 7 * 24 * 60 * 60 * 1000];

/// How long failures are remembered: that a document failed is told once, though it fails again and again.
const MEMORY: UtcMillis = 365 * 24 * 60 * 60 * 1000;

/// Documents that one step looks at.
const STEP: u32 = 20;

/// Documents that may fail by themselves in one step.
const FAILURES: u32 = 5;

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
    /// Documents that cannot be renewed.
    pub failed: u32,
    /// Whether no timestamp authority answered, or documents failed and nothing else was done: the next step can wait.
    pub is_stuck: bool,
    /// Whether the authority's timestamps end no later than those that are there. The next in the walk end later still, so that
    /// nothing is gained until it stamps with another certificate.
    pub gains_nothing: bool,
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

    /// Takes one step of the walk: renews what is due among the next documents, until no authority answers, too many documents
    /// fail by themselves, or the server stops. What was done is in the audit log.
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
        for (renew_by, id) in page {
            if stop.is_cancelled() {
                break;
            }
            walk.0 = Some((renew_by, id.clone()));
            if self.renewal_due_at(&id, renew_by, window).await? > self.now()
                || !self.claim_renewal(&id).await?
            {
                continue;
            }
            match self.renew(&id, false).await {
                Ok(Renewed::Until(_)) => {
                    step.renewed += 1;
                    self.metrics().count_renewal("renewed");
                }
                Ok(Renewed::Nothing) => {}
                Ok(Renewed::NoLonger) => {
                    tracing::warn!(sign_flow_id = %id, "a timestamp over a document is not renewed: the authority's end no later than the one that is there");
                    step.gains_nothing = true;
                    break;
                }
                Err(failure) => {
                    step.failed += 1;
                    step.is_stuck = matches!(failure, Failure::Authorities(_))
                        || step.failed == FAILURES && step.renewed == 0;
                    self.note_failure(id, failure).await?;
                    self.metrics().count_renewal("failed");
                    if step.is_stuck || step.failed == FAILURES {
                        break;
                    }
                }
            }
        }
        let is_over = step.is_last && !step.is_stuck && step.failed < FAILURES;
        if is_over || step.gains_nothing {
            walk.0 = None;
        }
        if step.renewed > 0 {
            let detail = format!("{} documents", step.renewed);
            self.log_renewal("archive.renewed", None, detail).await?;
        }
        Ok(step)
    }

    /// When the newest timestamp over a document, which ends at `renew_by`, is to be renewed.
    pub(crate) async fn renewal_due_at(
        &self,
        id: &SignFlowId,
        renew_by: UtcMillis,
        window: UtcMillis,
    ) -> Result<UtcMillis, Problem> {
        let events = self.store().events(id).await?;
        let mut made = events.iter().rev();
        let made = made.find(|kept| matches!(kept.event.what, Happening::Preserved { .. }));
        let made_at = made.map_or(i64::MIN, |kept| kept.event.at);
        Ok(due_at(made_at, renew_by, window))
    }

    /// Takes a document, unless somebody has begun with it lately.
    async fn claim_renewal(&self, id: &SignFlowId) -> Result<bool, Problem> {
        let claim = self.claim(id);
        let counted = self.store().count_within(&claim, CLAIM, 1, self.now());
        Ok(counted.await? == Counted::Within)
    }

    fn claim(&self, id: &SignFlowId) -> Digest {
        keyed(self.secrets(), "renewal", id.as_str())
    }

    /// Writes a failure down, once, and leaves a document alone for the longer the more often it has failed by itself.
    async fn note_failure(&self, id: SignFlowId, failure: Failure) -> Result<(), Problem> {
        let (store, now) = (self.store(), self.now());
        let (of, is_own) = match &failure {
            Failure::Authorities(_) => ("", false),
            Failure::Document(_) => (id.as_str(), true),
        };
        let failures = keyed(self.secrets(), "renewal failures", of);
        let memory = if is_own { MEMORY } else { CLAIM };
        let (mut rest, mut is_first) = (CLAIM, false);
        // What was counted before is let through by a higher limit alone.
        for (times, longer) in (1..).zip(RESTS) {
            rest = longer;
            let counted = store.count_within(&failures, memory, times, now).await?;
            if counted == Counted::Within {
                is_first = times == 1;
                break;
            }
        }
        if is_own {
            store.close_until(&self.claim(&id), now + rest).await?;
        }
        let reason = failure.into_reason();
        tracing::error!(sign_flow_id = %id, reason, "the timestamp over a document cannot be renewed");
        if is_first {
            let id = Some(id.as_str().to_owned());
            self.log_renewal("archive.failed", id, reason).await?;
        }
        Ok(())
    }

    async fn log_renewal(
        &self,
        action: &str,
        subject: Option<String>,
        detail: String,
    ) -> Result<(), Problem> {
        let entry = AuditEntry {
            at: self.now(),
            operator: "renewal".to_owned(),
            action: action.to_owned(),
            subject,
            detail: Some(detail.chars().take(DETAIL_CHARS).collect()),
            address: None,
        };
        Ok(self.store().log_audit(entry).await?)
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
