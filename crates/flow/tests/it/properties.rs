//! What holds whatever is done, by whomever, in whatever order.

use proptest::prelude::*;
use sealpost_flow::{
    Actor, Change, Digest, Downgrade, Flow, Happening, Level, Message, Method, NewSigner,
    Operation, Proof, Route, Step, apply, event,
};

use crate::cases::{DEADLINE, NOW, document, initiator, new_flow, organization, person};

/// Something that is attempted: what, by whom, how many minutes after the last.
#[derive(Debug, Clone)]
struct Attempt {
    operation: Operation,
    actor: Actor,
    pause: i64,
}

fn signers() -> impl Strategy<Value = Vec<NewSigner>> {
    let signer = (1_u8..=3, 0..3).prop_map(|(order, kind)| match kind {
        0 => person(order, "张三"),
        1 => organization(order, "海景置业有限公司", true),
        _ => organization(order, "海景物业有限公司", false),
    });
    prop::collection::vec(signer, 1..=4)
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        4 => (1_u8..=5).prop_map(Actor::signer),
        1 => Just(initiator()),
        1 => Just(Actor::OPERATOR),
        2 => Just(Actor::SYSTEM),
    ]
}

/// Digests that are the flow's, or not: `attempts` puts the current document in place of this one.
const CURRENT: &str = "current";

fn attempt() -> impl Strategy<Value = Attempt> {
    let digest = || prop_oneof![9 => Just(document(CURRENT)), 1 => Just(document("another"))];
    let reason = || prop_oneof![9 => Just("因为".to_owned()), 1 => Just(String::new())];
    let operation = prop_oneof![
        3 => Just(Operation::Start),
        1 => Just(Operation::View),
        1 => Just(Operation::Notify {
            signer: 1,
            message: Message::Code,
            to: Route { method: Method::Sms, contact: "138****5678".into() },
            failure: None,
        }),
        9 => digest().prop_map(|document| Operation::Sign { mark: document, document, proof: Proof::default() }),
        1 => reason().prop_map(|reason| Operation::Reject { reason }),
        1 => reason().prop_map(|reason| Operation::Revoke { reason }),
        1 => Just(Operation::Remind),
        1 => Just(Operation::Expire),
        9 => (1_u8..=4, digest(), any::<[u8; 32]>()).prop_map(|(signer, base, made)| Operation::Apply {
            signer,
            base,
            document: Digest::from_bytes(made),
            certificate: "01".into(),
            level: Level::BT,
            downgrade: Some(Downgrade { wanted: Level::BLTA, reason: "because".into() }),
        }),
        3 => (digest(), any::<[u8; 32]>()).prop_map(|(base, made)| Operation::Preserve {
            base,
            document: Digest::from_bytes(made),
            level: Level::BLTA,
            renew_by: Some(DEADLINE),
            downgrade: None,
        }),
        2 => reason().prop_map(|reason| Operation::SealingFailed { reason }),
        5 => digest().prop_map(|document| Operation::Complete { document }),
    ];
    // Mostly the actor who may, or hardly any flow would get anywhere.
    (operation, actor(), any::<bool>(), 0_i64..1200).prop_map(|(operation, any, fitting, pause)| {
        let actor = match operation {
            _ if !fitting => any,
            Operation::Start | Operation::Revoke { .. } | Operation::Remind => initiator(),
            Operation::View | Operation::Sign { .. } | Operation::Reject { .. } => any,
            Operation::Notify { .. }
            | Operation::Expire
            | Operation::Apply { .. }
            | Operation::Preserve { .. }
            | Operation::SealingFailed { .. }
            | Operation::Complete { .. } => Actor::SYSTEM,
        };
        Attempt {
            operation,
            actor,
            pause: pause * 60_000 / 20,
        }
    })
}

fn with_current(operation: Operation, flow: &Flow) -> Operation {
    let current_mark = document(CURRENT);
    let current = |digest: Digest| {
        if digest == document(CURRENT) {
            flow.document
        } else {
            digest
        }
    };
    match operation {
        Operation::Sign {
            mark,
            document,
            proof,
        } => Operation::Sign {
            mark,
            document: current(document),
            proof,
        },
        Operation::Apply {
            signer,
            base,
            document,
            certificate,
            level,
            downgrade,
        } => Operation::Apply {
            signer,
            base: current(base),
            document,
            certificate,
            level,
            downgrade,
        },
        Operation::Preserve {
            base,
            document,
            level,
            renew_by,
            downgrade,
        } => Operation::Preserve {
            base: if base == current_mark {
                flow.newest()
            } else {
                base
            },
            document,
            level,
            renew_by,
            downgrade,
        },
        Operation::Complete { document } => Operation::Complete {
            document: current(document),
        },
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_sequence_breaks_a_rule(signers in signers(), attempts in prop::collection::vec(attempt(), 1..80)) {
        let created = sealpost_flow::create(new_flow(signers), &initiator(), NOW).unwrap();
        let mut flow = created.flow;
        let mut now = NOW;
        let mut ends = 0;
        for Attempt { operation, actor, pause } in attempts {
            now += pause;
            let operation = with_current(operation, &flow);
            let Ok(Change { flow: after, events }) = apply(&flow, operation.clone(), &actor, now) else {
                continue;
            };
            let renewed = matches!(operation, Operation::Preserve { .. }) && flow.state == after.state && flow.document == after.document;
            prop_assert!(renewed || !flow.state.status().is_final(), "{operation:?} left {:?}", flow.state);
            check_record(&flow, &after, &events, now)?;
            check_order(&after)?;
            check_sealing(&after)?;
            ends += usize::from(flow.state.end().is_none() && after.state.end().is_some());
            flow = after;
        }
        prop_assert!(ends <= 1, "a flow ended {ends} times");
    }
}

/// Events count on without gaps, and no change goes unrecorded.
fn check_record(
    before: &Flow,
    after: &Flow,
    events: &[event::Event],
    now: i64,
) -> Result<(), TestCaseError> {
    let numbers: Vec<_> = events.iter().map(|event| event.seq).collect();
    let expected: Vec<_> = (before.events + 1..=after.events).collect();
    prop_assert_eq!(numbers, expected);
    prop_assert!(!events.is_empty() || before == after);
    prop_assert!(events.iter().all(|event| event.at == now));
    let ending = |event: &&event::Event| {
        matches!(
            event.what,
            Happening::Completed { .. }
                | Happening::Revoked { .. }
                | Happening::Expired
                | Happening::Rejected { .. }
        )
    };
    prop_assert_eq!(
        events.iter().filter(ending).count(),
        usize::from(before.state.end().is_none() && after.state.end().is_some())
    );
    Ok(())
}

/// Nobody signs, nor is asked to, while a lower order is not wholly applied; nobody by hand after the deadline.
fn check_order(flow: &Flow) -> Result<(), TestCaseError> {
    for signer in &flow.signers {
        let touched = !matches!(signer.step, Step::Waiting);
        let lower_done = flow
            .signers
            .iter()
            .filter(|other| other.order < signer.order)
            .all(|other| other.step.is_applied());
        prop_assert!(!touched || lower_done, "signer {} out of turn", signer.no);
        if let Step::Signed { intent } | Step::Applied { intent, .. } = &signer.step {
            prop_assert!(intent.at < DEADLINE || signer.party.is_automatic());
            prop_assert_eq!(intent.mark.is_none(), signer.party.is_automatic());
        }
    }
    Ok(())
}

/// Whatever can be sealed is due for it, a completed flow is wholly signed, and an ended one is due for nothing.
fn check_sealing(flow: &Flow) -> Result<(), TestCaseError> {
    let work = flow.next_to_apply().is_some() || flow.is_fully_applied();
    let due = flow.sealing.next_at.is_some();
    prop_assert_eq!(due, work && !flow.state.status().is_final());
    if flow.state.status() == sealpost_flow::Status::Completed {
        prop_assert!(flow.is_fully_applied());
    }
    if flow.state.status() == sealpost_flow::Status::Sealing {
        prop_assert!(due, "sealing with nothing to do is stuck");
    }
    Ok(())
}
