//! A flow while an operation changes it: the record of what happens, whose turn it is, and what follows by itself.

use sealpost_contract::UtcMillis;

use crate::apply::Change;
use crate::event::{Event, Happening};
use crate::operation::{Actor, Refusal, Who};
use crate::state::{Flow, Intent, Signer, SignerNo, State, Step};

/// A flow that is being changed, and the record of it.
pub(crate) struct Recorder {
    pub(crate) flow: Flow,
    pub(crate) now: UtcMillis,
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

    pub(crate) fn end(&mut self, actor: &Actor, state: State, what: Happening) {
        self.flow.state = state;
        self.flow.sealing.next_at = None;
        self.record(actor, what);
    }

    pub(crate) fn check_deadline(&self) -> Result<(), Refusal> {
        let expires_at = self.flow.expires_at;
        if self.now < expires_at {
            Ok(())
        } else {
            Err(Refusal::DeadlinePassed { expires_at })
        }
    }

    pub(crate) fn signer(&mut self, no: SignerNo) -> Result<&mut Signer, Refusal> {
        let signer = self.flow.signers.iter_mut().find(|signer| signer.no == no);
        signer.ok_or(Refusal::UnknownSigner { signer: no })
    }

    /// The signer that the actor is, if its turn has come and it has not used it.
    pub(crate) fn signer_in_turn(&mut self, actor: &Actor) -> Result<&mut Signer, Refusal> {
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
    pub(crate) fn open_next(&mut self) {
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
                    typed: None,
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
    pub(crate) fn settle(&mut self) {
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
