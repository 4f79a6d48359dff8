//! What each operation does: one exhaustive `match`, each arm a function of the flow, its input and the moment.

use sealpost_contract::UtcMillis;

use crate::Digest;
use crate::event::{Event, Happening};
use crate::new::{is_reason, limits};
use crate::operation::{Actor, Operation, Refusal, Who};
use crate::state::{Flow, Intent, Signer, SignerNo, State, Status, Step};

/// How long after a reminder the next is refused, in milliseconds.
const REMINDER_PAUSE: i64 = 60_000;

/// A flow after an operation, with what there is to record.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The flow as it is now.
    pub flow: Flow,
    /// What happened, in order. Empty: nothing did, and nothing needs to be committed.
    pub events: Vec<Event>,
}

/// Does an operation to a flow.
///
/// # Errors
/// The refusal, with the flow as it was: first whether the actor may ever do this, then whether the state permits it, then
/// the operation's own conditions.
pub fn apply(
    flow: &Flow,
    operation: Operation,
    actor: &Actor,
    now: UtcMillis,
) -> Result<Change, Refusal> {
    check_actor(flow, &operation, actor)?;
    check_state(flow.state.status(), &operation)?;
    let mut recorder = Recorder::new(flow.clone(), now);
    match operation {
        Operation::Start => start(&mut recorder, actor)?,
        Operation::View => view(&mut recorder, actor)?,
        Operation::Agree { consent, verified } => agree(&mut recorder, actor, consent, verified)?,
        Operation::Sign { mark, document } => sign(&mut recorder, actor, mark, document)?,
        Operation::Reject { reason } => reject(&mut recorder, actor, reason)?,
        Operation::Revoke { reason } => revoke(&mut recorder, actor, reason)?,
        Operation::Remind => remind(&mut recorder, actor)?,
        Operation::Expire => expire(&mut recorder, actor)?,
        Operation::Apply {
            signer,
            base,
            document,
            certificate,
        } => {
            apply_signature(&mut recorder, actor, signer, base, document, certificate)?;
        }
        Operation::SealingFailed { reason } => fail_sealing(&mut recorder, actor, &reason)?,
        Operation::Complete { document } => complete(&mut recorder, actor, document)?,
    }
    Ok(recorder.finish())
}

/// How long to wait after this many failures to seal in a row, in milliseconds: 1 s, doubled each time, at most 10 minutes.
pub fn sealing_wait(failures: u32) -> i64 {
    let doublings = failures.saturating_sub(1).min(10);
    (1000 << doublings).min(600_000)
}

fn check_actor(flow: &Flow, operation: &Operation, actor: &Actor) -> Result<(), Refusal> {
    let allowed = match operation {
        Operation::Start | Operation::Revoke { .. } => {
            matches!(actor.who, Who::Initiator { .. } | Who::Operator)
        }
        Operation::Remind => matches!(
            actor.who,
            Who::Initiator { .. } | Who::Operator | Who::System
        ),
        Operation::View
        | Operation::Agree { .. }
        | Operation::Sign { .. }
        | Operation::Reject { .. } => match actor.who {
            Who::Signer { signer } if flow.signer(signer).is_none() => {
                return Err(Refusal::UnknownSigner { signer });
            }
            Who::Signer { .. } => true,
            Who::Initiator { .. } | Who::Operator | Who::System => false,
        },
        Operation::Expire
        | Operation::Apply { .. }
        | Operation::SealingFailed { .. }
        | Operation::Complete { .. } => matches!(actor.who, Who::System),
    };
    if allowed {
        Ok(())
    } else {
        Err(Refusal::ActorNotAllowed)
    }
}

/// The table of states and operations.
fn check_state(status: Status, operation: &Operation) -> Result<(), Refusal> {
    let permitted = match operation {
        Operation::Start => matches!(status, Status::Draft),
        Operation::Revoke { .. } => {
            matches!(status, Status::Draft | Status::Signing | Status::Sealing)
        }
        // Sealing is permitted here, so that a signer who comes twice is told `already_signed`.
        Operation::View
        | Operation::Agree { .. }
        | Operation::Sign { .. }
        | Operation::Reject { .. } => {
            matches!(status, Status::Signing | Status::Sealing)
        }
        Operation::Remind | Operation::Expire => matches!(status, Status::Signing),
        Operation::Apply { .. } | Operation::SealingFailed { .. } => {
            matches!(status, Status::Signing | Status::Sealing)
        }
        Operation::Complete { .. } => matches!(status, Status::Sealing),
    };
    if permitted {
        Ok(())
    } else if status.is_final() {
        Err(Refusal::Ended { status })
    } else {
        Err(Refusal::WrongState { status })
    }
}

fn start(recorder: &mut Recorder, actor: &Actor) -> Result<(), Refusal> {
    recorder.check_deadline()?;
    recorder.flow.state = State::Signing {
        started_at: recorder.now,
    };
    recorder.record(actor, Happening::Started);
    recorder.open_next();
    recorder.settle();
    Ok(())
}

fn view(recorder: &mut Recorder, actor: &Actor) -> Result<(), Refusal> {
    let now = recorder.now;
    let signer = recorder.signer_in_turn(actor)?;
    let no = signer.no;
    if let Step::Open {
        viewed_at: viewed_at @ None,
        ..
    } = &mut signer.step
    {
        *viewed_at = Some(now);
        recorder.record(actor, Happening::Viewed { signer: no });
    }
    Ok(())
}

fn agree(
    recorder: &mut Recorder,
    actor: &Actor,
    consent: String,
    verified: Option<String>,
) -> Result<(), Refusal> {
    let deadline = recorder.check_deadline();
    let signer = recorder.signer_in_turn(actor)?.no;
    deadline?;
    let blank = consent.trim().is_empty() || consent.chars().any(char::is_control);
    if blank || consent.chars().nth(limits::CONSENT_CHARS).is_some() {
        return Err(Refusal::BadConsent);
    }
    let verified = verified.map(|text| text.chars().take(limits::REASON_CHARS).collect());
    recorder.record(
        actor,
        Happening::Agreed {
            signer,
            consent,
            verified,
        },
    );
    Ok(())
}

fn sign(
    recorder: &mut Recorder,
    actor: &Actor,
    mark: Digest,
    document: Digest,
) -> Result<(), Refusal> {
    let now = recorder.now;
    let known = recorder.flow.has_had(&document);
    let deadline = recorder.check_deadline();
    let signer = recorder.signer_in_turn(actor)?;
    deadline?;
    if !known {
        return Err(Refusal::UnknownDocument);
    }
    let no = signer.no;
    let intent = Intent {
        at: now,
        address: actor.address,
        mark: Some(mark),
        document,
    };
    signer.step = Step::Signed { intent };
    recorder.record(
        actor,
        Happening::Signed {
            signer: no,
            mark: Some(mark),
            document,
        },
    );
    recorder.settle();
    Ok(())
}

fn reject(recorder: &mut Recorder, actor: &Actor, reason: String) -> Result<(), Refusal> {
    let at = recorder.now;
    let deadline = recorder.check_deadline();
    let signer = recorder.signer_in_turn(actor)?;
    deadline?;
    if !is_reason(&reason) {
        return Err(Refusal::BadReason);
    }
    let no = signer.no;
    signer.step = Step::Rejected { at };
    recorder.end(
        actor,
        State::Rejected {
            at,
            signer: no,
            reason: reason.clone(),
        },
        Happening::Rejected { signer: no, reason },
    );
    Ok(())
}

fn revoke(recorder: &mut Recorder, actor: &Actor, reason: String) -> Result<(), Refusal> {
    if !is_reason(&reason) {
        return Err(Refusal::BadReason);
    }
    let at = recorder.now;
    recorder.end(
        actor,
        State::Revoked {
            at,
            reason: reason.clone(),
        },
        Happening::Revoked { reason },
    );
    Ok(())
}

fn remind(recorder: &mut Recorder, actor: &Actor) -> Result<(), Refusal> {
    let now = recorder.now;
    recorder.check_deadline()?;
    if recorder
        .flow
        .reminded_at
        .is_some_and(|last| now < last.saturating_add(REMINDER_PAUSE))
    {
        return Err(Refusal::RemindedRecently);
    }
    let open = recorder
        .flow
        .signers
        .iter()
        .filter(|signer| matches!(signer.step, Step::Open { .. }));
    let signers = open.map(|signer| signer.no).collect();
    recorder.flow.reminded_at = Some(now);
    recorder.record(actor, Happening::Reminded { signers });
    Ok(())
}

fn expire(recorder: &mut Recorder, actor: &Actor) -> Result<(), Refusal> {
    let (at, expires_at) = (recorder.now, recorder.flow.expires_at);
    if at < expires_at {
        return Err(Refusal::DeadlineNotPassed { expires_at });
    }
    recorder.end(actor, State::Expired { at }, Happening::Expired);
    Ok(())
}

fn apply_signature(
    recorder: &mut Recorder,
    actor: &Actor,
    no: SignerNo,
    base: Digest,
    document: Digest,
    certificate: String,
) -> Result<(), Refusal> {
    let at = recorder.now;
    let current = recorder.flow.document;
    let signer = recorder.signer(no)?;
    let Step::Signed { intent } = &signer.step else {
        return Err(Refusal::NothingToApply { signer: no });
    };
    if base != current {
        return Err(Refusal::StaleDocument);
    }
    signer.step = Step::Applied {
        intent: intent.clone(),
        at,
        document,
        certificate: certificate.clone(),
    };
    recorder.flow.document = document;
    recorder.flow.sealing = Default::default();
    recorder.record(
        actor,
        Happening::Applied {
            signer: no,
            document,
            certificate,
        },
    );
    recorder.open_next();
    recorder.settle();
    Ok(())
}

fn fail_sealing(recorder: &mut Recorder, actor: &Actor, reason: &str) -> Result<(), Refusal> {
    let now = recorder.now;
    let sealing = &mut recorder.flow.sealing;
    if sealing.next_at.is_none() {
        return Err(Refusal::NothingToSeal);
    }
    let reason: String = reason.chars().take(limits::REASON_CHARS).collect();
    sealing.failures = sealing.failures.saturating_add(1);
    sealing.next_at = Some(now.saturating_add(sealing_wait(sealing.failures)));
    sealing.last_failure = Some(reason.clone());
    let failures = sealing.failures;
    recorder.record(actor, Happening::SealingFailed { reason, failures });
    Ok(())
}

fn complete(recorder: &mut Recorder, actor: &Actor, document: Digest) -> Result<(), Refusal> {
    if !recorder.flow.is_fully_applied() {
        return Err(Refusal::NotFullyApplied);
    }
    if document != recorder.flow.document {
        return Err(Refusal::StaleDocument);
    }
    let at = recorder.now;
    recorder.end(
        actor,
        State::Completed { at },
        Happening::Completed { document },
    );
    Ok(())
}

/// A flow that is being changed, and the record of it.
pub(crate) struct Recorder {
    flow: Flow,
    now: UtcMillis,
    events: Vec<Event>,
}

impl Recorder {
    pub(crate) fn new(flow: Flow, now: UtcMillis) -> Recorder {
        Recorder {
            flow,
            now,
            events: Vec::new(),
        }
    }

    pub(crate) fn record(&mut self, actor: &Actor, what: Happening) {
        self.flow.events += 1;
        let Actor {
            who: by,
            address,
            user_agent,
        } = actor.clone();
        self.events.push(Event {
            seq: self.flow.events,
            at: self.now,
            by,
            address,
            user_agent,
            what,
        });
    }

    pub(crate) fn finish(self) -> Change {
        Change {
            flow: self.flow,
            events: self.events,
        }
    }

    fn end(&mut self, actor: &Actor, state: State, what: Happening) {
        self.flow.state = state;
        self.flow.sealing.next_at = None;
        self.record(actor, what);
    }

    fn check_deadline(&self) -> Result<(), Refusal> {
        let expires_at = self.flow.expires_at;
        if self.now < expires_at {
            Ok(())
        } else {
            Err(Refusal::DeadlinePassed { expires_at })
        }
    }

    fn signer(&mut self, no: SignerNo) -> Result<&mut Signer, Refusal> {
        let signer = self.flow.signers.iter_mut().find(|signer| signer.no == no);
        signer.ok_or(Refusal::UnknownSigner { signer: no })
    }

    /// The signer that the actor is, if its turn has come and it has not used it.
    fn signer_in_turn(&mut self, actor: &Actor) -> Result<&mut Signer, Refusal> {
        let Who::Signer { signer: no } = actor.who else {
            return Err(Refusal::ActorNotAllowed);
        };
        let signer = self.signer(no)?;
        match signer.step {
            Step::Open { .. } => Ok(signer),
            Step::Waiting => Err(Refusal::NotYourTurn { signer: no }),
            // A rejection ends the flow, so that nobody meets the last of these here.
            Step::Signed { .. } | Step::Applied { .. } | Step::Rejected { .. } => {
                Err(Refusal::AlreadySigned { signer: no })
            }
        }
    }

    /// Opens the lowest order that is not wholly applied, and signs for those of it that sign by themselves.
    fn open_next(&mut self) {
        let unapplied = self
            .flow
            .signers
            .iter()
            .filter(|signer| !signer.step.is_applied());
        let Some(turn) = unapplied.map(|signer| signer.order).min() else {
            return;
        };
        let (now, document) = (self.now, self.flow.document);
        let mut happened = Vec::new();
        for signer in self
            .flow
            .signers
            .iter_mut()
            .filter(|signer| signer.order == turn)
        {
            if signer.step != Step::Waiting {
                continue;
            }
            happened.push(Happening::Opened { signer: signer.no });
            signer.step = if signer.party.is_automatic() {
                happened.push(Happening::Signed {
                    signer: signer.no,
                    mark: None,
                    document,
                });
                Step::Signed {
                    intent: Intent {
                        at: now,
                        address: None,
                        mark: None,
                        document,
                    },
                }
            } else {
                Step::Open {
                    at: now,
                    viewed_at: None,
                }
            };
        }
        for what in happened {
            self.record(&Actor::SYSTEM, what);
        }
    }

    /// Moves on to sealing when no hand is waited for, and notes whether there is something to seal.
    fn settle(&mut self) {
        let waits_for = |signer: &Signer| match signer.step {
            Step::Waiting => !signer.party.is_automatic(),
            Step::Open { .. } => true,
            Step::Signed { .. } | Step::Applied { .. } | Step::Rejected { .. } => false,
        };
        if let State::Signing { started_at } = self.flow.state
            && !self.flow.signers.iter().any(waits_for)
        {
            self.flow.state = State::Sealing {
                started_at,
                since: self.now,
            };
        }
        let something = self.flow.next_to_apply().is_some() || self.flow.is_fully_applied();
        // A wait after a failure is kept: another signature does not mend what failed.
        if something && self.flow.sealing.next_at.is_none() {
            self.flow.sealing.next_at = Some(self.now);
        }
    }
}
