//! Sealing: what signers have signed is put into the PDF, one signature after the other; when the last is in, the finished
//! bytes are read back, verified, and only then is the flow completed.
//!
//! Whatever goes wrong is recorded with the flow and tried again later. Nothing here holds a lock or a transaction while it
//! works on a PDF: each step names the version of the document it began with, and a step that was overtaken changes nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealpost_contract::SignFlowId;
use sealpost_flow::{Actor, Digest, Downgrade, Flow, Level, Operation, Party, Signer, Status};
use sealpost_pdf::{Appearance, Credential, Pending, signature};
use sealpost_store::StoredFlow;

use super::details::{Details, Mark};
use super::paper::Applied;
use super::preservation::marks;
use super::{App, paper};
use crate::problem::{Chain, Kind, Problem};

/// How long a request waits for the sealing that it caused.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the sealing of a flow is a process's own once claimed, in milliseconds. A claim that runs out, because the process
/// has died or is slow, costs double work and never correctness: each signature names the document it was put into.
pub(crate) const SEALING_CLAIM: i64 = 30_000;

/// The flows that this process seals at this moment.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<HashSet<SignFlowId>>);

impl UnderWay {
    /// Takes a flow, unless it is taken.
    fn take<'a>(&'a self, id: &'a SignFlowId) -> Option<Taken<'a>> {
        let taken = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone());
        taken.then_some(Taken {
            under_way: self,
            id,
        })
    }
}

struct Taken<'a> {
    under_way: &'a UnderWay,
    id: &'a SignFlowId,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.under_way
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(self.id);
    }
}

impl App {
    /// Seals what a request has just caused, and waits for it a little, so that the answer shows the newest state. What
    /// takes longer goes on without the request.
    pub(crate) async fn seal_promptly(&self, stored: StoredFlow) -> Result<StoredFlow, Problem> {
        if stored.flow.sealing.next_at.is_none() {
            return Ok(stored);
        }
        let (app, id) = (self.clone(), stored.flow.id.clone());
        let sealing = tokio::spawn(async move { app.seal(&id).await });
        if tokio::time::timeout(PATIENCE, sealing).await.is_err() {
            tracing::warn!(sign_flow_id = %stored.flow.id, "sealing takes longer than its request waits");
        }
        self.store()
            .find_flow(&stored.flow.id)
            .await?
            .ok_or_else(|| Problem::not_found("sign flow"))
    }

    /// Does all that there is to seal in a flow now. Failures are recorded with the flow; those that cannot even be recorded
    /// (the store does not work) are logged, and the store's claim runs out by itself.
    pub(crate) async fn seal(&self, id: &SignFlowId) {
        let Some(_taken) = self.0.sealing.take(id) else {
            return;
        };
        if let Err(problem) = self.seal_all(id).await {
            tracing::error!(sign_flow_id = %id, detail = problem.detail(), "sealing was given up for now");
        }
    }

    async fn seal_all(&self, id: &SignFlowId) -> Result<(), Problem> {
        loop {
            let Some(stored) = self.store().find_flow(id).await? else {
                return Ok(());
            };
            let flow = &stored.flow;
            if flow
                .sealing
                .next_at
                .is_none_or(|at| flow.sealing.failures > 0 && at > self.now())
            {
                return Ok(());
            }
            let begun = Instant::now();
            let step = match flow.next_to_apply() {
                Some(signer) => self.apply_signature(&stored, signer).await,
                None if flow.is_fully_applied() && flow.state.status() == Status::Sealing => {
                    if self.wants_preserving(flow) {
                        self.preserve(&stored).await
                    } else {
                        self.verify_and_complete(&stored).await
                    }
                }
                None => return Ok(()),
            };
            match step {
                Ok(operation) => match self
                    .change_flow(id, &Actor::SYSTEM, |_| operation.clone(), None)
                    .await
                {
                    Ok(_) => {
                        self.metrics().observe_sealing(begun.elapsed());
                        self.tell_of_downgrade(id, &operation);
                    }
                    // The flow ended or went on meanwhile: what was made is not needed.
                    Err(problem) if problem.kind() == Kind::Refused => {}
                    Err(problem) => return Err(problem),
                },
                Err(reason) => {
                    tracing::error!(sign_flow_id = %id, reason, "sealing failed");
                    self.metrics().count_sealing_failure();
                    let failed = |_: &Flow| Operation::SealingFailed {
                        reason: reason.clone(),
                    };
                    return match self.change_flow(id, &Actor::SYSTEM, failed, None).await {
                        Err(problem) if problem.kind() != Kind::Refused => Err(problem),
                        _ => Ok(()),
                    };
                }
            }
        }
    }

    /// Puts a signer's signatures into the document, one for each of their places. The error is in words for the record.
    async fn apply_signature(
        &self,
        stored: &StoredFlow,
        signer: &Signer,
    ) -> Result<Operation, String> {
        let flow = &stored.flow;
        let details = Details::parse(stored.details.as_deref());
        let mark = details.mark_of(signer);
        let mut pdf = self.kept_document(&flow.document).await?;
        let appearance = self.appearance_of(signer, &mark).await?;
        let credential = self.credential_of(flow, signer).await?;
        let stamped = self.config().signature_level() >= Level::BT;
        let mut downgrade = None;
        for field in mark.fields {
            let (app, flow, signer) = (self.clone(), flow.clone(), signer.clone());
            let (appearance, credential) = (Arc::clone(&appearance), Arc::clone(&credential));
            let is_receipt = details.is_receipt();
            let signed = self.on_paper(move || {
                let signing = paper::Signing {
                    flow: &flow,
                    signer: &signer,
                    is_receipt,
                    field: &field,
                    appearance: &appearance,
                    credential: &credential,
                    zone: &app.config().time_zone,
                    stamped,
                };
                let applied = signing.apply(&pdf);
                applied.map_err(|error| Chain(&error).to_string())
            });
            pdf = match signed
                .await
                .map_err(|problem| problem.detail().to_owned())??
            {
                Applied::Signed(pdf) => pdf,
                Applied::Pending(pending) => {
                    let (signed, lower) = self.stamp(stored, *pending).await?;
                    downgrade = downgrade.or(lower);
                    signed
                }
            };
        }
        let document = self
            .store()
            .put_document(pdf)
            .await
            .map_err(|error| Chain(&error).to_string())?;
        Ok(Operation::Apply {
            signer: signer.no,
            base: flow.document,
            document,
            certificate: credential.serial_hex(),
            level: match stamped && downgrade.is_none() {
                true => Level::BT,
                false => Level::BB,
            },
            downgrade,
        })
    }

    /// How a signer's signatures look.
    async fn appearance_of(&self, signer: &Signer, mark: &Mark) -> Result<Arc<Appearance>, String> {
        let hand = match signer.step.unapplied().and_then(|intent| intent.mark) {
            Some(digest) => Some(self.hand_of(&digest).await?),
            None => None,
        };
        let seal = match &mark.seal {
            Some(seal) => Some(self.draw_seal(seal).await?),
            None => None,
        };
        let drawn = paper::appearance(&signer.party, hand, seal);
        drawn
            .map(Arc::new)
            .map_err(|error| Chain(&error).to_string())
    }

    /// How a signature by hand looks.
    async fn hand_of(&self, drawing: &Digest) -> Result<Appearance, String> {
        if let Some(held) = self.0.hands.take(drawing) {
            return Ok(held);
        }
        let drawing = self.kept_document(drawing).await?;
        let read = self.on_paper(move || {
            let read = signature::appearance(&drawing);
            read.map_err(|error| Chain(&paper::ApplyError::from(error)).to_string())
        });
        read.await.map_err(|problem| problem.detail().to_owned())?
    }

    /// The key that a signer signs with: an organization's own, or one of a person's that is made for this flow.
    async fn credential_of(&self, flow: &Flow, signer: &Signer) -> Result<Arc<Credential>, String> {
        match &signer.party {
            Party::Organization { name, .. } => {
                let keys = &self.0.keys;
                let found = keys.organization(self.store(), self.secrets(), name, self.now());
                found.await.map_err(|error| Chain(&error).to_string())
            }
            Party::Person { name } => {
                let (app, name, id, now) =
                    (self.clone(), name.clone(), flow.id.clone(), self.now());
                let made = self.on_paper(move || {
                    let made = app.0.keys.person(&name, &id, now);
                    made.map_err(|error| Chain(&error).to_string())
                });
                let made = made
                    .await
                    .map_err(|problem| problem.detail().to_owned())??;
                Ok(Arc::new(made))
            }
        }
    }

    pub(super) async fn kept_document(&self, digest: &Digest) -> Result<Vec<u8>, String> {
        let kept = self.store().document(digest).await;
        kept.map_err(|error| Chain(&error).to_string())
    }

    /// Takes a signature to the timestamp authorities. When none answers, the signature waits to be tried again like any
    /// sealing that failed; where the operator rather has it without a timestamp then, it comes with the reason.
    async fn stamp(
        &self,
        stored: &StoredFlow,
        mut pending: Pending,
    ) -> Result<(Vec<u8>, Option<Downgrade>), String> {
        let downgrade = match self.timestamp(&pending).await {
            Ok(timestamp) => {
                let set = pending.set_timestamp(&timestamp);
                set.map_err(|error| Chain(&error).to_string())?;
                None
            }
            Err(reason) => match self.downgrade(&stored.flow, &reason) {
                Some(downgrade) => Some(downgrade),
                None => return Err(reason),
            },
        };
        let signed = pending.finish();
        Ok((
            signed.map_err(|error| Chain(&error).to_string())?,
            downgrade,
        ))
    }

    /// Tells the operator that a signature got a lower level than was wanted.
    fn tell_of_downgrade(&self, id: &SignFlowId, operation: &Operation) {
        let (Operation::Apply {
            level, downgrade, ..
        }
        | Operation::Preserve {
            level, downgrade, ..
        }) = operation
        else {
            return;
        };
        if let Some(Downgrade { wanted, reason }) = downgrade {
            tracing::warn!(sign_flow_id = %id, %wanted, reached = %level, reason, "signatures have a lower level than was wanted");
            self.metrics().count_downgrade(level.as_str());
        }
    }

    /// Reads the finished document back from where it is kept and verifies it. The error is in words for the record.
    async fn verify_and_complete(&self, stored: &StoredFlow) -> Result<Operation, String> {
        let flow = &stored.flow;
        let marks = marks(stored);
        let pdf = self.kept_document(&flow.document).await?;
        let trust = self.trust_and_revocations().await;
        let trust = trust.map_err(|problem| problem.detail().to_owned())?;
        let (now, checked) = (self.now(), flow.clone());
        let verdict = self
            .on_paper(move || paper::verify_complete(&pdf, &checked, &marks, &trust, now))
            .await;
        verdict.map_err(|problem| problem.detail().to_owned())??;
        Ok(Operation::Complete {
            document: flow.document,
        })
    }
}
