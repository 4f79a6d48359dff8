//! Reaching signers: codes before they sign, reminders while they have not. Contacts are kept encrypted with the flow.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealpost_contract::SignFlowId;
use sealpost_flow::{Actor, Flow, Operation, Step};
use sealpost_store::{IdempotencyKey, StoredFlow};

use super::App;
use super::codes::WrongCode;
use super::details::{Details, KeptContact};
use super::flows::{NewSigner, Outcome};
use super::notify::{Contact, Notice};
use super::view::Origin;
use crate::problem::{Chain, FieldError, Kind, Problem};
use crate::secrets::random;

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
                code: signer.code,
            });
        }
        Ok(kept)
    }

    fn open_contact(&self, flow: &SignFlowId, kept: &KeptContact) -> Result<Contact, Problem> {
        let sealed = STANDARD.decode(&kept.sealed).unwrap_or_default();
        let json = self
            .secrets()
            .decrypt(&contact_place(flow, kept.signer), &sealed)?;
        serde_json::from_slice(&json)
            .map_err(|error| Problem::internal("a kept contact cannot be read", &error))
    }

    /// Makes a code and sends it.
    pub(super) async fn issue_code(
        &self,
        flow: &Flow,
        signer: u8,
        kept: &KeptContact,
        origin: &Origin,
    ) -> Result<(), Problem> {
        let contact = self.open_contact(&flow.id, kept)?;
        let random = u32::from_be_bytes(random::<4>()?);
        let key = (flow.id.clone(), signer);
        let code = self
            .0
            .codes
            .issue(
                key.clone(),
                contact.text(),
                origin.address,
                self.now(),
                random,
            )
            .map_err(|too_often| {
                Problem::new(
                    Kind::TooManyRequests,
                    format!(
                        "Too many codes were sent; the next in {} s.",
                        too_often.retry_after
                    ),
                )
                .code("too_many_codes")
                .retry_after(too_often.retry_after)
            })?;
        let notice = Notice {
            subject: "签署验证码 / Signing code",
            text: format!(
                "【Sealpost】您正在签署“{}”，验证码 {code}，5 分钟内有效，请勿告诉他人。Your signing code is {code}, valid for 5 minutes.",
                flow.title
            ),
            code: Some(&code),
        };
        if let Err(error) = self.0.notifier.send(&contact, &notice).await {
            // What did not go out must not count against the signer, nor be guessed at.
            self.0.codes.spend(&key);
            tracing::error!(sign_flow_id = %flow.id, error = %Chain(&error), "a code could not be sent");
            return Err(Problem::new(
                Kind::Unavailable,
                "The code could not be sent. Try again in a moment.",
            )
            .code("code_not_sent")
            .retry_after(10));
        }
        self.metrics().count_operation("send_code");
        Ok(())
    }

    /// The code must be right where the flow asks for one.
    pub(super) fn check_code(
        &self,
        stored: &StoredFlow,
        signer: u8,
        code: Option<&str>,
    ) -> Result<(), Problem> {
        let details = Details::parse(stored.details.as_deref());
        if !details.contact_of(signer).is_some_and(|kept| kept.code) {
            return Ok(());
        }
        let code = code.ok_or_else(|| {
            Problem::field(
                "code",
                "missing",
                "the code that was sent to the signer is required",
            )
        })?;
        let refused = match self
            .0
            .codes
            .check(&(stored.flow.id.clone(), signer), code, self.now())
        {
            Ok(()) => return Ok(()),
            Err(WrongCode::Gone) => FieldError::new(
                "code",
                "expired_code",
                "there is no code, or it is no longer good; ask for a new one",
            ),
            Err(WrongCode::Wrong { tries_left }) => FieldError::new(
                "code",
                "wrong_code",
                format!("it is another code; {tries_left} tries are left"),
            )
            .limit(tries_left),
        };
        self.metrics()
            .count_operation(if refused.code == "wrong_code" {
                "wrong_code"
            } else {
                "expired_code"
            });
        Err(Problem::fields(vec![refused]))
    }

    pub(super) fn spend_code(&self, flow: &SignFlowId, signer: u8) {
        self.0.codes.spend(&(flow.clone(), signer));
    }

    /// Reminds the signers whose turn it is (催签): those with a contact get a message with their link. That the message
    /// could not be handed over is logged and counted; the reminder itself is on the record all the same.
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
            let link = self.sign_url(&flow.id, signer.no);
            let notice = Notice {
                subject: "待签署提醒 / Waiting for your signature",
                text: format!(
                    "【Sealpost】“{}”等待您签署，请在 {deadline} 前打开 {link}",
                    flow.title
                ),
                code: None,
            };
            let sent = match self.open_contact(&flow.id, kept) {
                Ok(contact) => self
                    .0
                    .notifier
                    .send(&contact, &notice)
                    .await
                    .map_err(|error| Chain(&error).to_string()),
                Err(problem) => Err(problem.detail().to_owned()),
            };
            match sent {
                Ok(()) => self.metrics().count_operation("send_reminder"),
                Err(reason) => {
                    tracing::error!(sign_flow_id = %flow.id, signer = signer.no, reason, "a reminder could not be sent");
                    self.metrics().count_operation("reminder_not_sent");
                }
            }
        }
    }
}

/// What a contact is bound to when it is encrypted.
fn contact_place(flow: &SignFlowId, signer: u8) -> String {
    format!("flow/{flow}/contact/{signer}")
}
