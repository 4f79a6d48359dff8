//! Flows and digests for the tests.

use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_flow::{
    Actor, Change, Digest, Flow, Level, NewFlow, NewSigner, Operation, Party, Place, Proof,
    Refusal, SignerNo, Status, apply, create,
};

pub(crate) const NOW: UtcMillis = 1_790_000_000_000;
pub(crate) const DEADLINE: UtcMillis = NOW + 7 * 24 * 3_600_000;

pub(crate) fn document(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

pub(crate) fn initiator() -> Actor {
    Actor::initiator("key-1")
}

pub(crate) fn person(order: u8, name: &str) -> NewSigner {
    NewSigner {
        order,
        party: Party::Person { name: name.into() },
        place: nowhere(),
    }
}

pub(crate) fn organization(order: u8, name: &str, automatic: bool) -> NewSigner {
    NewSigner {
        order,
        party: Party::Organization {
            name: name.into(),
            automatic,
        },
        place: nowhere(),
    }
}

/// Replaced by `new_flow`, which gives each signer a place of its own.
fn nowhere() -> Place {
    Place {
        page: 0,
        rect: [0.0; 4],
    }
}

pub(crate) fn new_flow(mut signers: Vec<NewSigner>) -> NewFlow {
    for (index, signer) in signers.iter_mut().enumerate() {
        let left = 50.0 * index as f32;
        signer.place = Place {
            page: 1,
            rect: [left, 100.0, left + 40.0, 140.0],
        };
    }
    NewFlow {
        id: SignFlowId::from_bytes([0xab; 16]),
        reference: "R-2026-001".into(),
        title: "定金收据".into(),
        document: document("original"),
        signers,
        expires_at: DEADLINE,
    }
}

/// The seller's seal by itself, then the buyer by hand.
pub(crate) fn seller_and_buyer() -> Vec<NewSigner> {
    vec![organization(1, "海景置业有限公司", true), person(2, "张三")]
}

pub(crate) fn draft(signers: Vec<NewSigner>) -> Flow {
    create(new_flow(signers), &initiator(), NOW).unwrap().flow
}

pub(crate) fn started(signers: Vec<NewSigner>) -> Flow {
    draft(signers).after(Operation::Start, &initiator())
}

/// A flow of seller and buyer in each status.
pub(crate) fn in_status(status: Status) -> Flow {
    let signing = || started(seller_and_buyer()).applied(1);
    let sealing = || signing().signed(2);
    match status {
        Status::Draft => draft(seller_and_buyer()),
        Status::Signing => signing(),
        Status::Sealing => sealing(),
        Status::Completed => {
            let applied = sealing().applied(2);
            let complete = Operation::Complete {
                document: applied.document,
            };
            applied.after(complete, &Actor::SYSTEM)
        }
        Status::Revoked => signing().after(
            Operation::Revoke {
                reason: "填错金额".into(),
            },
            &initiator(),
        ),
        Status::Expired => {
            apply(&signing(), Operation::Expire, &Actor::SYSTEM, DEADLINE)
                .unwrap()
                .flow
        }
        Status::Rejected => signing().after(
            Operation::Reject {
                reason: "金额不对".into(),
            },
            &Actor::signer(2),
        ),
    }
}

/// Steps of a story, all at `NOW`.
pub(crate) trait Story: Sized {
    fn attempt(&self, operation: Operation, actor: &Actor) -> Result<Change, Refusal>;
    fn after(&self, operation: Operation, actor: &Actor) -> Flow;
    fn signed(&self, signer: SignerNo) -> Flow;
    fn applied(&self, signer: SignerNo) -> Flow;
}

impl Story for Flow {
    fn attempt(&self, operation: Operation, actor: &Actor) -> Result<Change, Refusal> {
        apply(self, operation, actor, NOW)
    }

    fn after(&self, operation: Operation, actor: &Actor) -> Flow {
        self.attempt(operation, actor).unwrap().flow
    }

    fn signed(&self, signer: SignerNo) -> Flow {
        self.after(sign(self), &Actor::signer(signer))
    }

    fn applied(&self, signer: SignerNo) -> Flow {
        self.after(apply_for(self, signer), &Actor::SYSTEM)
    }
}

pub(crate) fn sign(flow: &Flow) -> Operation {
    Operation::Sign {
        mark: document("mark"),
        document: flow.document,
        proof: Proof::default(),
    }
}

pub(crate) fn apply_for(flow: &Flow, signer: SignerNo) -> Operation {
    Operation::Apply {
        signer,
        base: flow.document,
        document: Digest::of_parts(&[flow.document.as_bytes(), &[signer]]),
        certificate: format!("0{signer}"),
        level: Level::BT,
        downgrade: None,
    }
}

pub(crate) fn preserve(flow: &Flow) -> Operation {
    let base = flow.newest();
    Operation::Preserve {
        base,
        document: Digest::of_parts(&[base.as_bytes(), b"preserved"]),
        level: Level::BLTA,
        renew_by: Some(DEADLINE),
        downgrade: None,
    }
}
