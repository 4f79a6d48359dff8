//! What each operation does: one exhaustive `match`, each arm a function of the flow, its input and the moment.

use sealpost_contract::UtcMillis;

use crate::Digest;
use crate::event::{Event, Happening};
use crate::new::{is_reason, limits};
use crate::operation::{Actor, Consent, Message, Operation, Proof, Refusal, Route, Who};
use crate::recorder::Recorder;
use crate::state::{Downgrade, Flow, Intent, Level, SignerNo, State, Status, Step};

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
        Operation::Sign {
            mark,
            document,
            proof,
        } => sign(&mut recorder, actor, mark, document, proof)?,
        Operation::Reject { reason } => reject(&mut recorder, actor, reason)?,
        Operation::Revoke { reason } => revoke(&mut recorder, actor, reason)?,
        Operation::Remind => remind(&mut recorder, actor)?,
        Operation::Notify {
            signer,
            message,
            to,
            failure,
        } => notify(&mut recorder, actor, signer, message, to, failure)?,
        Operation::Expire => expire(&mut recorder, actor)?,
        Operation::Apply {
            signer,
            base,
            document,
            certificate,
            level,
            downgrade,
        } => {
            let made = Made {
                base,
                document,
                level,
                downgrade,
            };
            apply_signature(&mut recorder, actor, signer, certificate, made)?;
        }
        Operation::Preserve {
            base,
            document,
            level,
            renew_by,
            downgrade,
        } => {
            let made = Made {
                base,
                document,
                level,
                downgrade,
            };
            preserve(&mut recorder, actor, renew_by, made)?;
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
        Operation::View | Operation::Sign { .. } | Operation::Reject { .. } => match actor.who {
            Who::Signer { signer } if flow.signer(signer).is_none() => {
                return Err(Refusal::UnknownSigner { signer });
            }
            Who::Signer { .. } => true,
            Who::Initiator { .. } | Who::Operator | Who::System => false,
        },
        Operation::Notify { .. }
        | Operation::Expire
        | Operation::Apply { .. }
        | Operation::Preserve { .. }
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
        Operation::View | Operation::Sign { .. } | Operation::Reject { .. } => {
            matches!(status, Status::Signing | Status::Sealing)
        }
        Operation::Remind | Operation::Expire => matches!(status, Status::Signing),
        Operation::Notify { .. } | Operation::Apply { .. } | Operation::SealingFailed { .. } => {
            matches!(status, Status::Signing | Status::Sealing)
        }
        Operation::Preserve { .. } => matches!(status, Status::Sealing | Status::Completed),
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

fn sign(
    recorder: &mut Recorder,
    actor: &Actor,
    mark: Digest,
    document: Digest,
    proof: Proof,
) -> Result<(), Refusal> {
    let now = recorder.now;
    let known = recorder.flow.has_had(&document);
    let deadline = recorder.check_deadline();
    let signer = recorder.signer_in_turn(actor)?;
    deadline?;
    if !known {
        return Err(Refusal::UnknownDocument);
    }
    if let Some(consent) = &proof.consent {
        check_consent(consent)?;
    }
    let no = signer.no;
    let intent = Intent {
        at: now,
        address: actor.address,
        mark: Some(mark),
        document,
    };
    signer.step = Step::Signed { intent };
    if let Some(Route { method, contact }) = proof.authentication {
        recorder.record(
            actor,
            Happening::Authenticated {
                signer: no,
                method,
                contact: cut(&contact, limits::REASON_CHARS),
            },
        );
    }
    if let Some(Consent { text, language }) = proof.consent {
        recorder.record(
            actor,
            Happening::Agreed {
                signer: no,
                digest: Digest::of(text.as_bytes()),
                consent: text,
                language,
            },
        );
    }
    recorder.record(
        actor,
        Happening::Signed {
            signer: no,
            mark: Some(mark),
            typed: proof.typed.map(|name| cut(&name, limits::NAME_CHARS)),
            document,
        },
    );
    recorder.settle();
    Ok(())
}

fn check_consent(consent: &Consent) -> Result<(), Refusal> {
    let Consent { text, language } = consent;
    let blank = text.trim().is_empty() || text.chars().any(char::is_control);
    let is_tag = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let tag =
        (1..=limits::LANGUAGE_CHARS).contains(&language.len()) && language.chars().all(is_tag);
    if blank || !tag || text.chars().nth(limits::CONSENT_CHARS).is_some() {
        return Err(Refusal::BadConsent);
    }
    Ok(())
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
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
    if let Some(again_at) = recorder.flow.remindable_at()
        && now < again_at
    {
        return Err(match recorder.flow.reminded_at {
            None => Refusal::StartedRecently { again_at },
            Some(_) => Refusal::RemindedRecently { again_at },
        });
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

fn notify(
    recorder: &mut Recorder,
    actor: &Actor,
    no: SignerNo,
    message: Message,
    to: Route,
    failure: Option<String>,
) -> Result<(), Refusal> {
    let signer = recorder.signer(no)?.no;
    recorder.record(
        actor,
        Happening::Notified {
            signer,
            message,
            method: to.method,
            contact: cut(&to.contact, limits::REASON_CHARS),
            failure: failure.map(|reason| cut(&reason, limits::REASON_CHARS)),
        },
    );
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

/// A document that sealing has made.
struct Made {
    base: Digest,
    document: Digest,
    level: Level,
    downgrade: Option<Downgrade>,
}

fn apply_signature(
    recorder: &mut Recorder,
    actor: &Actor,
    no: SignerNo,
    certificate: String,
    made: Made,
) -> Result<(), Refusal> {
    let at = recorder.now;
    let current = recorder.flow.document;
    let signer = recorder.signer(no)?;
    let Step::Signed { intent } = &signer.step else {
        return Err(Refusal::NothingToApply { signer: no });
    };
    if made.base != current {
        return Err(Refusal::StaleDocument);
    }
    let document = made.document;
    signer.step = Step::Applied {
        intent: intent.clone(),
        at,
        document,
        certificate: certificate.clone(),
    };
    recorder.flow.document = document;
    recorder.flow.sealing = Default::default();
    let lowest = recorder.flow.level.unwrap_or(made.level).min(made.level);
    recorder.flow.level = Some(lowest);
    note_downgrade(recorder, actor, Some(no), made);
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

fn preserve(
    recorder: &mut Recorder,
    actor: &Actor,
    renew_by: Option<UtcMillis>,
    made: Made,
) -> Result<(), Refusal> {
    if !recorder.flow.is_fully_applied() {
        return Err(Refusal::NotFullyApplied);
    }
    if made.base != recorder.flow.newest() {
        return Err(Refusal::StaleDocument);
    }
    let Made {
        document, level, ..
    } = made;
    recorder.flow.level = Some(level);
    recorder.flow.renew_by = renew_by;
    let is_completed = recorder.flow.state.status() == Status::Completed;
    if is_completed {
        recorder.flow.archived = Some(document);
    } else {
        recorder.flow.document = document;
        recorder.flow.sealing = Default::default();
    }
    note_downgrade(recorder, actor, None, made);
    recorder.record(
        actor,
        Happening::Preserved {
            document,
            level,
            renew_by,
        },
    );
    if !is_completed {
        recorder.settle();
    }
    Ok(())
}

fn note_downgrade(recorder: &mut Recorder, actor: &Actor, signer: Option<SignerNo>, made: Made) {
    let Some(Downgrade { wanted, reason }) = made.downgrade else {
        return;
    };
    let reason = cut(&reason, limits::REASON_CHARS);
    recorder.flow.downgrade = Some(Downgrade {
        wanted,
        reason: reason.clone(),
    });
    recorder.record(
        actor,
        Happening::Downgraded {
            signer,
            wanted,
            reached: made.level,
            reason,
        },
    );
}

fn fail_sealing(recorder: &mut Recorder, actor: &Actor, reason: &str) -> Result<(), Refusal> {
    let now = recorder.now;
    let sealing = &mut recorder.flow.sealing;
    if sealing.next_at.is_none() {
        return Err(Refusal::NothingToSeal);
    }
    let reason = cut(reason, limits::REASON_CHARS);
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
