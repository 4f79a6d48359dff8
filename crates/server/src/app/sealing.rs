//! Sealing: what signers have signed is put into the PDF, one signature after the other; when the last is in, the finished
//! bytes are read back, verified, and only then is the flow completed.
//!
//! Whatever goes wrong is recorded with the flow and tried again later. Nothing here holds a lock or a transaction while it
//! works on a PDF: each step names the version of the document it began with, and a step that was overtaken changes nothing.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealpost_contract::SignFlowId;
use sealpost_flow::{Actor, Flow, Operation, Party, Signer, Status};
use sealpost_pdf::{Credential, Pending};
use sealpost_store::StoredFlow;

use super::paper::Applied;
use super::{App, paper};
use crate::problem::{Chain, Kind, Problem};
use crate::secrets::random;

/// How long a request waits for the sealing that it caused.
const PATIENCE: Duration = Duration::from_secs(2);

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
                Some(signer) => self.apply_signature(flow, signer).await,
                None if flow.is_fully_applied() && flow.state.status() == Status::Sealing => {
                    self.verify_and_complete(flow).await
                }
                None => return Ok(()),
            };
            match step {
                Ok(operation) => match self
                    .change_flow(id, &Actor::SYSTEM, |_| operation.clone(), None)
                    .await
                {
                    Ok(_) => self.metrics().observe_sealing(begun.elapsed()),
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

    /// Puts one signature into the document. The error is in words for the record.
    async fn apply_signature(&self, flow: &Flow, signer: &Signer) -> Result<Operation, String> {
        let pdf = self
            .store()
            .document(&flow.document)
            .await
            .map_err(|error| Chain(&error).to_string())?;
        let mark = match signer.step.unapplied().and_then(|intent| intent.mark) {
            Some(digest) => Some(
                self.store()
                    .document(&digest)
                    .await
                    .map_err(|error| Chain(&error).to_string())?,
            ),
            None => None,
        };
        let organization = match &signer.party {
            Party::Organization { name, .. } => {
                let found = self
                    .0
                    .keys
                    .organization(self.store(), self.secrets(), name, self.now())
                    .await;
                Some(found.map_err(|error| Chain(&error).to_string())?)
            }
            Party::Person { .. } => None,
        };
        let (app, flow_now, signer_now, now) =
            (self.clone(), flow.clone(), signer.clone(), self.now());
        let stamped = !self.timestamps().is_empty();
        let signed = self.on_paper(move || {
            let person: Credential;
            let credential = match &organization {
                Some(credential) => credential.as_ref(),
                None => {
                    person = app
                        .0
                        .keys
                        .person(signer_now.party.name(), &flow_now.id, now)
                        .map_err(|error| Chain(&error).to_string())?;
                    &person
                }
            };
            let zone = &app.config().time_zone;
            let signed = paper::apply(
                &pdf,
                &flow_now,
                &signer_now,
                mark.as_deref(),
                credential,
                zone,
                stamped,
            );
            signed
                .map(|applied| (applied, credential.serial_hex()))
                .map_err(|error| Chain(&error).to_string())
        });
        let (applied, certificate) = signed
            .await
            .map_err(|problem| problem.detail().to_owned())??;
        let pdf = match applied {
            Applied::Signed(pdf) => pdf,
            Applied::Pending(pending) => self.stamp(*pending).await?,
        };
        let document = self
            .store()
            .put_document(pdf)
            .await
            .map_err(|error| Chain(&error).to_string())?;
        Ok(Operation::Apply {
            signer: signer.no,
            base: flow.document,
            document,
            certificate,
        })
    }

    /// Takes a signature to the timestamp authorities. When none answers, the signature waits to be tried again like any
    /// sealing that failed: it is never made without a timestamp where the operator asked for one.
    async fn stamp(&self, mut pending: Pending) -> Result<Vec<u8>, String> {
        let authorities = self.timestamps();
        let nonce = random::<16>().map_err(|error| Chain(&error).to_string())?;
        let question = pending
            .timestamp_request(nonce, authorities.policy())
            .map_err(|error| Chain(&error).to_string())?;
        let timestamp = authorities.stamp(&question).await?;
        pending
            .set_timestamp(&timestamp)
            .and_then(|()| pending.finish())
            .map_err(|error| Chain(&error).to_string())
    }

    /// Reads the finished document back from where it is kept and verifies it. The error is in words for the record.
    async fn verify_and_complete(&self, flow: &Flow) -> Result<Operation, String> {
        let pdf = self
            .store()
            .document(&flow.document)
            .await
            .map_err(|error| Chain(&error).to_string())?;
        let (trust, now, checked) = (self.trust(), self.now(), flow.clone());
        let verdict = self
            .on_paper(move || paper::verify_complete(&pdf, &checked, &trust, now))
            .await;
        verdict.map_err(|problem| problem.detail().to_owned())??;
        Ok(Operation::Complete {
            document: flow.document,
        })
    }
}
