//! Sign flows: made, changed, found. Each change, its events and the callback it causes are one commit; when another was
//! faster, the flow is read again and the operation applied again.

mod prepare;

use bytes::Bytes;
use sealpost_contract::{Callback, SignEndTime, SignFileUrl, SignFlowId, UtcMillis};
use sealpost_flow::{
    Actor, Change, Flow, Invalid, NewFlow, Operation, Party, Refusal, State, Step,
};
use sealpost_pdf::Receipt;
use sealpost_pdf::place::Spot;
use sealpost_store::{
    Committed, Created, Cursor, FlowCommit, FlowFilter, IdempotencyKey, NewCallback, NewStoredFlow,
    NewToken, Page, Remembered, StoredFlow,
};

use super::App;
use super::details::Details;
use super::notify::Contact;
use super::sealing::SEALING_CLAIM;
use super::seals::WantedSeal;
use super::view::{EndView, FlowState, FlowView, PlaceView, SignerKind, SignerView, StepView};
use crate::problem::{FieldError, Kind, Problem};
use crate::secrets::{Purpose, random, sha256};

/// How often a change that always meets another is tried.
const TRIES: usize = 16;

/// A flow that a channel wants.
pub(crate) struct NewSignFlow {
    pub(crate) reference: String,
    pub(crate) title: String,
    pub(crate) document: NewDocument,
    pub(crate) signers: Vec<NewSigner>,
    pub(crate) expires_at: Option<UtcMillis>,
    pub(crate) callback_url: Option<String>,
    /// Signatures must be drawn; otherwise they may be typed.
    pub(crate) drawn_only: bool,
    /// Leave it a draft.
    pub(crate) draft: bool,
}

pub(crate) enum NewDocument {
    /// To be drawn; the places are the drawing's.
    Receipt(Box<Receipt>),
    /// As it is; each signer has a place.
    Pdf(Bytes),
}

pub(crate) struct NewSigner {
    pub(crate) order: u8,
    pub(crate) party: Party,
    /// Where the seal or the signature goes; a receipt has places of its own.
    pub(crate) place: Option<Spot>,
    /// Where else it goes; each is a signature of its own.
    pub(crate) more: Vec<Spot>,
    /// What the seal looks like; an organization without one has the usual.
    pub(crate) seal: Option<SignerSeal>,
    /// Whether the seal goes across the edges of all pages, too.
    pub(crate) straddle: bool,
    pub(crate) contact: Option<Contact>,
    /// Whether the signer must enter a code that is sent to the contact.
    pub(crate) code: bool,
}

/// The seal that a signer of a new flow is to have.
pub(crate) enum SignerSeal {
    /// As the request describes it.
    Own(WantedSeal),
    /// One that is kept, by its id.
    Kept(String),
}

/// Who asks: a channel, by one of its keys.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The channel's id.
    pub(crate) channel_id: String,
    /// The key's id (not the key).
    pub(crate) key_id: String,
}

/// What came of a request that may be a repetition.
pub(crate) struct Outcome {
    pub(crate) stored: StoredFlow,
    /// The same request was done before under its idempotency key.
    pub(crate) replayed: bool,
}

impl App {
    /// Makes a flow and, unless it is to be a draft, starts it.
    pub(crate) async fn create_flow(
        &self,
        caller: &Caller,
        actor: &Actor,
        new: NewSignFlow,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Outcome, Problem> {
        if let Some(outcome) = self.find_replay(idempotency.as_ref()).await? {
            return Ok(outcome);
        }
        let id = SignFlowId::from_bytes(random::<16>()?);
        let now = self.now();
        let expires_at = new
            .expires_at
            .unwrap_or(now + self.config().flow.default_life.as_millis() as i64);
        self.check_deadline(expires_at, now)?;
        let (prepared, mut details, labels) = self.prepare(caller, &id, &new, now).await?;
        details.contacts = self.kept_contacts(&id, &new.signers)?;
        details.drawn_only = new.drawn_only;
        let document = self.store().put_document(prepared.pdf).await?;
        let signers = new.signers.into_iter().zip(prepared.places);
        let signers = signers.map(|(signer, place)| sealpost_flow::NewSigner {
            order: signer.order,
            party: signer.party,
            place,
        });
        let wanted = NewFlow {
            id,
            reference: new.reference,
            title: new.title,
            document,
            signers: signers.collect(),
            expires_at,
        };
        let mut change = sealpost_flow::create(wanted, actor, now).map_err(invalid)?;
        if !new.draft {
            let started = sealpost_flow::apply(&change.flow, Operation::Start, actor, now)
                .map_err(|refusal| self.refused(&change.flow, &refusal))?;
            change = Change {
                flow: started.flow,
                events: [change.events, started.events].concat(),
            };
        }
        let tokens = self.tokens(&change.flow);
        let created = self.store().create_flow(NewStoredFlow {
            sealing_claim: sealing_claim(&change.flow, now),
            change,
            channel_id: caller.channel_id.clone(),
            callback_url: new.callback_url,
            labels,
            details: Some(details.to_json()),
            tokens,
            idempotency: idempotency.clone(),
        });
        match created.await? {
            Created::New(stored) => {
                self.metrics().count_operation("create");
                self.wake().expiry.notify_one();
                Ok(Outcome {
                    stored: *stored,
                    replayed: false,
                })
            }
            Created::Remembered(remembered) => self.replay(idempotency.as_ref(), &remembered).await,
        }
    }

    fn check_deadline(&self, expires_at: UtcMillis, now: UtcMillis) -> Result<(), Problem> {
        let most = self.config().flow.max_life;
        if expires_at > now.saturating_add(most.as_millis() as i64) {
            let days = most.as_secs() / (24 * 60 * 60);
            let error = FieldError::new(
                "expires_at",
                "too_far_ahead",
                format!("it may be at most {days} days ahead"),
            );
            return Err(Problem::fields(vec![error.limit(days)]));
        }
        Ok(())
    }

    /// What the links of a flow open: each signer's who signs by hand, and the file.
    fn tokens(&self, flow: &Flow) -> Vec<NewToken> {
        let by_hand = flow
            .signers
            .iter()
            .filter(|signer| !signer.party.is_automatic());
        let hash = |token: String| sealpost_flow::Digest::from_bytes(sha256(token.as_bytes()));
        let mut tokens: Vec<NewToken> = by_hand
            .map(|signer| NewToken {
                hash: hash(
                    self.secrets()
                        .token(Purpose::Sign, &flow.id, signer.no.into()),
                ),
                signer: Some(signer.no),
            })
            .collect();
        tokens.push(NewToken {
            hash: hash(self.secrets().token(Purpose::File, &flow.id, 0)),
            signer: None,
        });
        tokens
    }

    /// Does an operation to a flow and keeps what comes of it. `operation` is asked again each time another was faster.
    pub(crate) async fn change_flow(
        &self,
        id: &SignFlowId,
        actor: &Actor,
        operation: impl Fn(&Flow) -> Operation,
        idempotency: Option<&IdempotencyKey>,
    ) -> Result<Outcome, Problem> {
        if let Some(outcome) = self.find_replay(idempotency).await? {
            return Ok(outcome);
        }
        for _ in 0..TRIES {
            let stored = self
                .store()
                .find_flow(id)
                .await?
                .ok_or_else(|| Problem::not_found("sign flow"))?;
            let now = self.now();
            let wanted = operation(&stored.flow);
            let name = operation_name(&wanted);
            let change = match sealpost_flow::apply(&stored.flow, wanted, actor, now) {
                Ok(change) => change,
                Err(refusal) => return Err(self.refused(&stored.flow, &refusal)),
            };
            if change.events.is_empty() {
                return Ok(Outcome {
                    stored,
                    replayed: false,
                });
            }
            // What is done to a flow after its end, such as renewing its timestamps, ends it no second time.
            let callback = match stored.flow.state.end() {
                None => self.end_callback(&stored, &change.flow)?,
                Some(_) => None,
            };
            let flow = change.flow.clone();
            let commit = FlowCommit::new(&stored, change)
                .with_callback(callback.clone())
                .with_sealing_claim(sealing_claim(&flow, now))
                .with_idempotency(idempotency.cloned());
            match self.store().commit_flow(commit).await? {
                Committed::Done {
                    version,
                    chain_head,
                    callback: placed,
                } => {
                    self.metrics().count_operation(name);
                    if let (Some(callback), Some(placed)) = (callback, placed) {
                        self.metrics().count_end(flow.state.status().code());
                        self.hand_over(callback, placed);
                    }
                    return Ok(Outcome {
                        stored: StoredFlow {
                            flow,
                            version,
                            chain_head,
                            ..stored
                        },
                        replayed: false,
                    });
                }
                Committed::Conflict => {}
                Committed::Remembered(remembered) => {
                    return self.replay(idempotency, &remembered).await;
                }
            }
        }
        Err(Problem::new(
            Kind::Unavailable,
            "The sign flow is being changed by others at this moment.",
        )
        .retry_after(1))
    }

    /// The callback that the end of a flow causes.
    fn end_callback(
        &self,
        stored: &StoredFlow,
        flow: &Flow,
    ) -> Result<Option<NewCallback>, Problem> {
        let Some((status, at)) = flow.state.end() else {
            return Ok(None);
        };
        let url = SignFileUrl::try_from(self.file_url(&flow.id)).map_err(|error| {
            Problem::internal("the file's link does not fit the contract", &error)
        })?;
        let callback = Callback {
            sign_end_time: SignEndTime::at(at, &self.config().time_zone),
            sign_flow_status: status,
            sign_flow_id: flow.id.clone(),
            sign_file_url: url,
        };
        self.new_callback(
            &stored.channel_id,
            stored.callback_url.as_deref(),
            &callback,
        )
        .map(Some)
    }

    /// A refusal as a problem, with the state that the flow is in.
    pub(crate) fn refused(&self, flow: &Flow, refusal: &Refusal) -> Problem {
        self.metrics().count_operation(refusal.code());
        let status = flow.state.status();
        let kind = match refusal {
            Refusal::BadReason => {
                return Problem::field("reason", "bad_format", refusal.to_string());
            }
            Refusal::UnknownSigner { .. } => Kind::NotFound,
            Refusal::ActorNotAllowed => Kind::Forbidden,
            Refusal::StartedRecently { .. } | Refusal::RemindedRecently { .. } => {
                Kind::TooManyRequests
            }
            _ => Kind::Refused,
        };
        let problem = Problem::new(kind, format!("{}.", capitalised(&refusal.to_string())))
            .code(refusal.code())
            .with("sign_flow_status", status.code())
            .with("state", status.as_str());
        match refusal {
            Refusal::StartedRecently { again_at } | Refusal::RemindedRecently { again_at } => {
                problem
                    .with("again_at", crate::api::time(*again_at))
                    .retry_after(Problem::seconds_until(*again_at, self.now()))
            }
            _ => problem,
        }
    }

    /// A flow of this channel. Another channel's is as good as none.
    pub(crate) async fn find_flow_of(
        &self,
        channel_id: &str,
        id: &SignFlowId,
    ) -> Result<Option<StoredFlow>, Problem> {
        Ok(self
            .store()
            .find_flow(id)
            .await?
            .filter(|stored| stored.channel_id == channel_id))
    }

    /// A page of flows, newest first.
    pub(crate) async fn list_flows(
        &self,
        filter: FlowFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<StoredFlow>, Problem> {
        Ok(self.store().list_flows(filter, after, limit).await?)
    }

    /// What was done before under this key, if anything.
    async fn find_replay(&self, key: Option<&IdempotencyKey>) -> Result<Option<Outcome>, Problem> {
        let Some(key) = key else { return Ok(None) };
        match self.store().find_idempotency_key(key.clone()).await? {
            Some(remembered) => self.replay(Some(key), &remembered).await.map(Some),
            None => Ok(None),
        }
    }

    /// The flow that an earlier request under the same key made or changed, as it is now.
    async fn replay(
        &self,
        key: Option<&IdempotencyKey>,
        remembered: &Remembered,
    ) -> Result<Outcome, Problem> {
        check_same_request(key, remembered)?;
        let id = SignFlowId::try_from(remembered.resource.clone())
            .map_err(|error| Problem::internal("a remembered id is none", &error))?;
        let stored = self
            .store()
            .find_flow(&id)
            .await?
            .ok_or_else(|| Problem::not_found("sign flow"))?;
        Ok(Outcome {
            stored,
            replayed: true,
        })
    }

    /// Notes that the key is used for `resource`, unless it was used before: then what came of it. For work that is done by then
    /// and does no harm when it is done twice.
    pub(crate) async fn was_done_before(
        &self,
        key: Option<IdempotencyKey>,
        resource: &str,
    ) -> Result<Option<String>, Problem> {
        let Some(key) = key else { return Ok(None) };
        let remembered = self
            .store()
            .remember_idempotency_key(key.clone(), resource.to_owned())
            .await?;
        let Some(remembered) = remembered else {
            return Ok(None);
        };
        check_same_request(Some(&key), &remembered)?;
        Ok(Some(remembered.resource))
    }

    /// A flow as people see it.
    pub(crate) async fn view(&self, stored: &StoredFlow) -> Result<FlowView, Problem> {
        let channel = self.store().find_channel(&stored.channel_id).await?;
        let flow = &stored.flow;
        let details = Details::parse(stored.details.as_deref());
        Ok(FlowView {
            id: flow.id.clone(),
            title: flow.title.clone(),
            reference: Some(flow.reference.clone()),
            requested_by: channel.map(|channel| channel.name).unwrap_or_default(),
            facts: details.facts(),
            pages: details.pages,
            page_sizes: details.layout.sizes.clone(),
            state: flow_state(&flow.state),
            signers: flow
                .signers
                .iter()
                .map(|signer| self.signer_view(flow, signer, &details))
                .collect(),
            created_at: flow.created_at,
            expires_at: Some(flow.expires_at),
            end: self.end_view(flow),
        })
    }

    fn signer_view(
        &self,
        flow: &Flow,
        signer: &sealpost_flow::Signer,
        details: &Details,
    ) -> SignerView {
        let shown = details.layout.places.get(usize::from(signer.no) - 1);
        SignerView {
            number: signer.no.into(),
            order: signer.order.into(),
            kind: match signer.party {
                Party::Person { .. } => SignerKind::Person,
                Party::Organization { automatic, .. } => SignerKind::Organization { automatic },
            },
            name: signer.party.name().to_owned(),
            place: PlaceView {
                page: signer.place.page,
                rect: shown.copied().unwrap_or_default(),
            },
            step: match &signer.step {
                Step::Waiting => StepView::Waiting,
                Step::Open { .. } => StepView::Open,
                Step::Signed { intent } => StepView::Signed { at: intent.at },
                Step::Applied { intent, .. } => StepView::Applied { at: intent.at },
                Step::Rejected { at } => StepView::Rejected {
                    at: *at,
                    reason: match &flow.state {
                        State::Rejected { reason, .. } => reason.clone(),
                        _ => String::new(),
                    },
                },
            },
            sign_url: (!signer.party.is_automatic()).then(|| self.sign_url(&flow.id, signer.no)),
        }
    }

    fn end_view(&self, flow: &Flow) -> Option<EndView> {
        let (_, at) = flow.state.end()?;
        let (reason, rejected_by) = match &flow.state {
            State::Revoked { reason, .. } => (Some(reason.clone()), None),
            State::Rejected { reason, signer, .. } => {
                (Some(reason.clone()), Some((*signer).into()))
            }
            _ => (None, None),
        };
        Some(EndView {
            at,
            reason,
            rejected_by,
            file_url: self.file_url(&flow.id),
        })
    }
}

/// The key must have been used for the same request.
pub(crate) fn check_same_request(
    key: Option<&IdempotencyKey>,
    remembered: &Remembered,
) -> Result<(), Problem> {
    if key.is_some_and(|key| key.request == remembered.request) {
        return Ok(());
    }
    let detail = "The idempotency key was used for another request within the last 24 hours. Use a new key for each request.";
    Err(Problem::new(Kind::IdempotencyKeyReused, detail))
}

fn flow_state(state: &State) -> FlowState {
    match state {
        State::Draft => FlowState::Draft,
        State::Signing { .. } => FlowState::Signing,
        State::Sealing { .. } => FlowState::Sealing,
        State::Completed { .. } => FlowState::Completed,
        State::Revoked { .. } => FlowState::Revoked,
        State::Expired { .. } => FlowState::Expired,
        State::Rejected { .. } => FlowState::Rejected,
    }
}

/// Until when what a change leaves to seal is ours: whoever makes the change goes on to seal.
fn sealing_claim(flow: &Flow, now: UtcMillis) -> Option<UtcMillis> {
    let next_at = flow.sealing.next_at.filter(|at| *at <= now);
    next_at.map(|_| now + SEALING_CLAIM)
}

fn operation_name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Start => "start",
        Operation::View => "view",
        Operation::Sign { .. } => "sign",
        Operation::Reject { .. } => "reject",
        Operation::Revoke { .. } => "revoke",
        Operation::Remind => "remind",
        Operation::Notify { .. } => "notify",
        Operation::Expire => "expire",
        Operation::Apply { .. } => "apply",
        Operation::Preserve { .. } => "preserve",
        Operation::SealingFailed { .. } => "sealing_failed",
        Operation::Complete { .. } => "complete",
    }
}

fn invalid(invalid: Vec<Invalid>) -> Problem {
    let errors = invalid.into_iter().map(|invalid| {
        FieldError::new(
            invalid.field,
            invalid.problem.code(),
            format!("it {}", invalid.problem),
        )
    });
    Problem::fields(errors.collect())
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_uppercase().chain(characters).collect())
        .unwrap_or_default()
}
