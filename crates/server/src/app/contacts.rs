//! Reaching signers: their contacts, which are kept encrypted with the flow, and the messages that go there. What was sent, or
//! could not be, is on the flow's record.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealpost_contract::SignFlowId;
use sealpost_flow::{Actor, Digest, Flow, Message, Method, Operation, Route, Step};
use sealpost_store::{Counted, IdempotencyKey, StoredFlow};

use super::App;
use super::details::{Details, KeptContact};
use super::flows::{NewSigner, Outcome};
use super::notify::{Contact, Notice, NotifyError};
use crate::problem::{Chain, Kind, Problem};

/// How often at most a failure to reach one signer goes on record: once in ten minutes, however often it is tried.
const FAILURE_WINDOW: i64 = 10 * 60 * 1000;

impl App {
    /// Whether this installation can send something to this contact.
    pub(crate) fn reaches(&self, contact: &Contact) -> bool {
        self.0.notifier.reaches(contact)
    }

    /// The contacts of a new flow's signers, as they are kept.
    pub(super) fn kept_contacts(
        &self,
        flow: &SignFlowId,
        signers: &[NewSigner],
    ) -> Result<Vec<KeptContact>, Problem> {
        let mut kept = Vec::new();
        for (no, signer) in (1..).zip(signers) {
            let Some(contact) = &signer.contact else {
                continue;
            };
            let json = serde_json::to_vec(contact)
                .map_err(|error| Problem::internal("a contact cannot be kept", &error))?;
            let sealed = STANDARD.encode(self.secrets().encrypt(&contact_place(flow, no), &json)?);
            kept.push(KeptContact {
                signer: no,
                sealed,
                masked: contact.masked(),
                method: contact.method(),
                code: signer.code,
            });
        }
        Ok(kept)
    }

    pub(super) fn open_contact(
        &self,
        flow: &SignFlowId,
        kept: &KeptContact,
    ) -> Result<Contact, Problem> {
        let sealed = STANDARD.decode(&kept.sealed).unwrap_or_default();
        let json = self
            .secrets()
            .decrypt(&contact_place(flow, kept.signer), &sealed)?;
        serde_json::from_slice(&json)
            .map_err(|error| Problem::internal("a kept contact cannot be read", &error))
    }

    /// Hands a message over to be sent, and puts on record that it was, or why it was not.
    pub(super) async fn send_message(
        &self,
        flow: &Flow,
        kept: &KeptContact,
        message: Message,
        contact: &Contact,
        notice: &Notice<'_>,
    ) -> Result<(), NotifyError> {
        let sent = self.0.notifier.send(contact, notice).await;
        let (done, failed) = match message {
            Message::Code => ("send_code", "code_not_sent"),
            Message::Reminder => ("send_reminder", "reminder_not_sent"),
        };
        let failure = sent.as_ref().err().map(|error| Chain(error).to_string());
        match &failure {
            None => self.metrics().count_operation(done),
            Some(reason) => {
                tracing::error!(sign_flow_id = %flow.id, signer = kept.signer, reason, "{failed}");
                self.metrics().count_operation(failed);
            }
        }
        if let Err(problem) = self.note_message(flow, kept, message, failure).await {
            tracing::error!(sign_flow_id = %flow.id, detail = problem.detail(), "a message is not on record");
        }
        sent
    }

    async fn note_message(
        &self,
        flow: &Flow,
        kept: &KeptContact,
        message: Message,
        failure: Option<String>,
    ) -> Result<(), Problem> {
        if failure.is_some() {
            let what = format!("{}/{}", flow.id, kept.signer);
            let key = Digest::from_bytes(self.secrets().mac("failed messages", what.as_bytes()));
            let counted = self
                .store()
                .count_within(&key, FAILURE_WINDOW, 1, self.now());
            if counted.await? != Counted::Within {
                return Ok(());
            }
        }
        let notify = |_: &Flow| Operation::Notify {
            signer: kept.signer,
            message,
            to: kept.route(),
            failure: failure.clone(),
        };
        match self
            .change_flow(&flow.id, &Actor::SYSTEM, notify, None)
            .await
        {
            // The flow has ended meanwhile, and its record with it.
            Err(problem) if problem.kind() == Kind::Refused => Ok(()),
            noted => noted.map(drop),
        }
    }

    /// Reminds the signers whose turn it is (催签): those with a contact get a message with their link. The reminder itself is
    /// on the record even if a message cannot be handed over.
    pub(crate) async fn remind(
        &self,
        id: &SignFlowId,
        actor: &Actor,
        idempotency: Option<&IdempotencyKey>,
    ) -> Result<Outcome, Problem> {
        let outcome = self
            .change_flow(id, actor, |_| Operation::Remind, idempotency)
            .await?;
        if !outcome.replayed {
            let (app, stored) = (self.clone(), outcome.stored.clone());
            tokio::spawn(async move { app.send_reminders(&stored).await });
        }
        Ok(outcome)
    }

    async fn send_reminders(&self, stored: &StoredFlow) {
        let flow = &stored.flow;
        let details = Details::parse(stored.details.as_deref());
        let zone = &self.config().time_zone;
        let deadline =
            jiff::Timestamp::from_millisecond(flow.expires_at).map(|at| zone.to_datetime(at));
        let deadline = deadline
            .map(|at| at.strftime("%Y-%m-%d %H:%M").to_string())
            .unwrap_or_default();
        for signer in flow
            .signers
            .iter()
            .filter(|signer| matches!(signer.step, Step::Open { .. }))
        {
            let Some(kept) = details.contact_of(signer.no) else {
                continue;
            };
            let contact = match self.open_contact(&flow.id, kept) {
                Ok(contact) => contact,
                Err(problem) => {
                    tracing::error!(sign_flow_id = %flow.id, signer = signer.no, detail = problem.detail(), "a signer cannot be reminded");
                    continue;
                }
            };
            let link = self.sign_url(&flow.id, signer.no);
            let notice = Notice {
                subject: "待签署提醒 / Waiting for your signature",
                text: format!(
                    "【Sealpost】“{}”等待您签署，请在 {deadline} 前打开 {link}",
                    flow.title
                ),
                code: None,
            };
            // What fails is logged, counted and on record there.
            let _ = self
                .send_message(flow, kept, Message::Reminder, &contact, &notice)
                .await;
        }
    }
}

impl KeptContact {
    /// As the flow's record names it.
    pub(super) fn route(&self) -> Route {
        Route {
            method: self.method,
            contact: self.masked.clone(),
        }
    }
}

impl Contact {
    /// Which way messages go there.
    pub(super) fn method(&self) -> Method {
        match self {
            Self::Mobile(_) => Method::Sms,
            Self::Email(_) => Method::Email,
        }
    }
}

/// What a contact is bound to when it is encrypted.
fn contact_place(flow: &SignFlowId, signer: u8) -> String {
    format!("flow/{flow}/contact/{signer}")
}
