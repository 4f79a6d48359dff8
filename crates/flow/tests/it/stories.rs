//! Flows from start to end.

use sealpost_contract::EndStatus;
use sealpost_flow::{
    Actor, Consent, Downgrade, Flow, Happening, Level, Method, Operation, Proof, Refusal, Route,
    Status, Step, apply, sealing_wait,
};

use crate::cases::{
    DEADLINE, NOW, Story as _, apply_for, document, draft, in_status, initiator, organization,
    person, preserve, seller_and_buyer, sign, started,
};

fn steps(flow: &Flow) -> Vec<&'static str> {
    let name = |step: &Step| match step {
        Step::Waiting => "waiting",
        Step::Open { .. } => "open",
        Step::Signed { .. } => "signed",
        Step::Applied { .. } => "applied",
        Step::Rejected { .. } => "rejected",
    };
    flow.signers
        .iter()
        .map(|signer| name(&signer.step))
        .collect()
}

#[test]
fn the_seller_seals_by_itself_then_the_buyer_signs() {
    let flow = draft(seller_and_buyer());
    assert_eq!(steps(&flow), ["waiting", "waiting"]);

    let flow = flow.after(Operation::Start, &initiator());
    assert_eq!(steps(&flow), ["signed", "waiting"]);
    assert_eq!(flow.state.status(), Status::Signing);
    assert_eq!(flow.sealing.next_at, Some(NOW));
    assert_eq!(flow.next_to_apply().unwrap().no, 1);

    let flow = flow.applied(1);
    assert_eq!(steps(&flow), ["applied", "open"]);
    assert_eq!(
        flow.sealing.next_at, None,
        "nothing to seal while the buyer reads"
    );

    let flow = flow.signed(2);
    assert_eq!(flow.state.status(), Status::Sealing);
    assert_eq!(
        flow.state.status().code(),
        "1",
        "on the wire it is still being signed"
    );
    assert_eq!(flow.sealing.next_at, Some(NOW));

    let flow = flow.applied(2);
    assert_eq!(
        flow.state.status(),
        Status::Sealing,
        "not completed before the bytes are verified"
    );
    assert_eq!(flow.sealing.next_at, Some(NOW));

    let flow = flow.after(
        Operation::Complete {
            document: flow.document,
        },
        &Actor::SYSTEM,
    );
    assert_eq!(flow.state.end(), Some((EndStatus::Completed, NOW)));
    assert_eq!(flow.sealing.next_at, None);
}

#[test]
fn the_same_order_signs_in_parallel_and_each_may_have_seen_an_earlier_version() {
    let flow = started(vec![
        person(1, "张三"),
        person(1, "李四"),
        person(2, "王五"),
    ]);
    assert_eq!(steps(&flow), ["open", "open", "waiting"]);
    let seen_by_both = flow.document;

    let flow = flow.signed(2).applied(2);
    assert_eq!(
        steps(&flow),
        ["open", "applied", "waiting"],
        "the next order waits for both"
    );

    let late = Operation::Sign {
        mark: document("mark"),
        document: seen_by_both,
        proof: Proof::default(),
    };
    let flow = flow.after(late, &Actor::signer(1));
    assert_eq!(
        steps(&flow),
        ["signed", "applied", "waiting"],
        "given is not yet applied"
    );
    let flow = flow.applied(1);
    assert_eq!(steps(&flow), ["applied", "applied", "open"]);
}

#[test]
fn of_two_sealing_workers_the_slower_starts_anew() {
    let flow = started(vec![person(1, "张三"), person(1, "李四")])
        .signed(1)
        .signed(2);
    let [first, second] = [1, 2].map(|signer| apply_for(&flow, signer));
    let flow = flow.after(first, &Actor::SYSTEM);
    assert_eq!(
        flow.attempt(second, &Actor::SYSTEM),
        Err(Refusal::StaleDocument)
    );
}

#[test]
fn when_only_automatic_seals_are_left_the_flow_no_longer_expires() {
    let flow = started(vec![
        person(1, "张三"),
        organization(2, "海景置业有限公司", true),
    ]);
    let flow = flow.signed(1);
    assert_eq!(flow.state.status(), Status::Sealing);
    assert_eq!(steps(&flow), ["signed", "waiting"]);
    let expired = apply(&flow, Operation::Expire, &Actor::SYSTEM, DEADLINE);
    assert_eq!(
        expired,
        Err(Refusal::WrongState {
            status: Status::Sealing
        })
    );

    let late = apply(&flow, apply_for(&flow, 1), &Actor::SYSTEM, DEADLINE + 1)
        .unwrap()
        .flow;
    assert_eq!(steps(&late), ["applied", "signed"]);
}

#[test]
fn an_organization_without_automatic_seal_signs_by_hand() {
    let flow = started(vec![organization(1, "海景置业有限公司", false)]);
    assert_eq!(steps(&flow), ["open"]);
    assert_eq!(flow.signed(1).state.status(), Status::Sealing);
}

#[test]
fn a_failing_seal_is_recorded_counted_and_tried_later_and_later() {
    let mut flow = in_status(Status::Sealing);
    let failed = Operation::SealingFailed {
        reason: "x".repeat(500),
    };
    for failures in 1..=12 {
        let change = flow.attempt(failed.clone(), &Actor::SYSTEM).unwrap();
        let reason = "x".repeat(200);
        assert_eq!(
            change.events[0].what,
            Happening::SealingFailed { reason, failures }
        );
        flow = change.flow;
        assert_eq!(flow.sealing.failures, failures);
        assert_eq!(flow.sealing.next_at, Some(NOW + sealing_wait(failures)));
    }
    assert_eq!(
        [1, 2, 3, 4, 10, 11, 12, u32::MAX].map(sealing_wait),
        [
            1_000, 2_000, 4_000, 8_000, 512_000, 600_000, 600_000, 600_000
        ]
    );
    let flow = flow.applied(2);
    assert_eq!(
        (flow.sealing.failures, flow.sealing.last_failure.as_deref()),
        (0, None)
    );
}

#[test]
fn another_signature_does_not_shorten_the_wait_after_a_failure() {
    let flow = started(vec![person(1, "张三"), person(1, "李四")]).signed(1);
    let flow = flow.after(
        Operation::SealingFailed {
            reason: "no".into(),
        },
        &Actor::SYSTEM,
    );
    assert_eq!(flow.signed(2).sealing.next_at, Some(NOW + 1000));
}

#[test]
fn the_first_look_is_recorded_and_no_other() {
    let flow = started(vec![person(1, "张三")]);
    let first = flow.attempt(Operation::View, &Actor::signer(1)).unwrap();
    assert_eq!(first.events.len(), 1);
    let second = first
        .flow
        .attempt(Operation::View, &Actor::signer(1))
        .unwrap();
    assert_eq!((second.events.len(), &second.flow), (0, &first.flow));
}

#[test]
fn reminders_keep_a_distance() {
    const MINUTE: i64 = 60_000;
    let flow = started(vec![person(1, "张三"), person(2, "李四")]);
    let remind = |flow: &Flow, now| apply(flow, Operation::Remind, &initiator(), now);

    let again_at = NOW + 30 * MINUTE;
    assert_eq!(flow.remindable_at(), Some(again_at));
    assert_eq!(
        remind(&flow, again_at - 1),
        Err(Refusal::StartedRecently { again_at })
    );
    let change = remind(&flow, again_at).unwrap();
    assert_eq!(
        change.events[0].what,
        Happening::Reminded { signers: vec![1] }
    );

    let again_at = again_at + 10 * MINUTE;
    assert_eq!(
        remind(&change.flow, again_at - 1),
        Err(Refusal::RemindedRecently { again_at })
    );
    assert!(remind(&change.flow, again_at).is_ok());
}

/// The proof is on record before the signature that it belongs to, in the same change.
#[test]
fn what_a_signer_shows_is_recorded_with_the_signature() {
    let flow = started(vec![person(1, "张三")]);
    let words = "我同意以电子签名签署。";
    let proof = Proof {
        authentication: Some(Route {
            method: Method::Sms,
            contact: "138****5678".into(),
        }),
        consent: Some(Consent {
            text: words.into(),
            language: "zh-CN".into(),
        }),
        typed: Some("张三".into()),
    };
    let sign = |proof| Operation::Sign {
        mark: document("mark"),
        document: flow.document,
        proof,
    };
    let change = flow.attempt(sign(proof), &Actor::signer(1)).unwrap();
    let happened: Vec<_> = change.events.into_iter().map(|event| event.what).collect();
    assert_eq!(
        happened,
        [
            Happening::Authenticated {
                signer: 1,
                method: Method::Sms,
                contact: "138****5678".into(),
            },
            Happening::Agreed {
                signer: 1,
                consent: words.into(),
                digest: document(words),
                language: "zh-CN".into(),
            },
            Happening::Signed {
                signer: 1,
                mark: Some(document("mark")),
                typed: Some("张三".into()),
                document: flow.document,
            },
        ]
    );

    // A code alone is on record, too; and without either there is the signature only.
    let coded = Proof {
        authentication: Some(Route {
            method: Method::Email,
            contact: "z***@example.com".into(),
        }),
        ..Proof::default()
    };
    let events = |proof| flow.attempt(sign(proof), &Actor::signer(1)).unwrap().events;
    assert_eq!(
        (events(coded).len(), events(Proof::default()).len()),
        (2, 1)
    );

    let consent = |text: &str, language: &str| Proof {
        consent: Some(Consent {
            text: text.into(),
            language: language.into(),
        }),
        ..Proof::default()
    };
    for unsound in [
        consent(" ", "zh-CN"),
        consent(words, ""),
        consent(words, "中文"),
    ] {
        let refused = flow.attempt(sign(unsound), &Actor::signer(1));
        assert_eq!(refused, Err(Refusal::BadConsent));
    }
}

#[test]
fn a_refusal_says_why_in_words() {
    let flow = in_status(Status::Revoked);
    let refusal = flow.attempt(sign(&flow), &Actor::signer(2)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the sign flow has ended: it is revoked"
    );
}

#[test]
fn a_flow_survives_json() {
    for status in Status::ALL {
        let flow = in_status(status);
        let json = serde_json::to_string(&flow).unwrap();
        assert_eq!(serde_json::from_str::<Flow>(&json).unwrap(), flow);
    }
}

/// What later checks need is added before the end and may be added again after it, which leaves the end as it was.
#[test]
fn a_completed_document_is_preserved_again_and_again() {
    let signed = in_status(Status::Sealing).applied(2);
    assert_eq!(signed.level, Some(Level::BT));
    let preserved = signed.after(preserve(&signed), &Actor::SYSTEM);
    assert_eq!(
        (preserved.level, preserved.renew_by),
        (Some(Level::BLTA), Some(DEADLINE))
    );
    assert_ne!(preserved.document, signed.document);
    assert!(
        preserved.sealing.next_at.is_some(),
        "it is still to be completed"
    );
    let complete = Operation::Complete {
        document: preserved.document,
    };
    let completed = preserved.after(complete, &Actor::SYSTEM);
    let change = completed
        .attempt(preserve(&completed), &Actor::SYSTEM)
        .unwrap();
    let renewed = change.flow;
    assert_eq!(
        (&renewed.state, renewed.document),
        (&completed.state, completed.document)
    );
    assert_eq!(renewed.archived, Some(renewed.newest()));
    assert!(matches!(
        change.events[..],
        [sealpost_flow::Event {
            what: Happening::Preserved { .. },
            ..
        }]
    ));
    assert_eq!(
        renewed.attempt(preserve(&completed), &Actor::SYSTEM),
        Err(Refusal::StaleDocument)
    );
}

/// Where the operator rather has a lower level than to wait, it is recorded which, and why.
#[test]
fn a_downgrade_is_recorded_with_its_reason() {
    let signed = started(seller_and_buyer());
    let Operation::Apply {
        signer,
        base,
        document,
        certificate,
        ..
    } = apply_for(&signed, 1)
    else {
        panic!("it applies a signature");
    };
    let downgrade = Downgrade {
        wanted: Level::BLTA,
        reason: "no timestamp authority answered".repeat(10),
    };
    let lower = Operation::Apply {
        signer,
        base,
        document,
        certificate,
        level: Level::BB,
        downgrade: Some(downgrade),
    };
    let change = signed.attempt(lower, &Actor::SYSTEM).unwrap();
    let Happening::Downgraded {
        signer,
        wanted,
        reached,
        reason,
    } = &change.events[0].what
    else {
        panic!("{:?}", change.events);
    };
    assert_eq!(
        (*signer, *wanted, *reached),
        (Some(1), Level::BLTA, Level::BB)
    );
    assert_eq!(reason.chars().count(), 200);
    assert_eq!(change.flow.level, Some(Level::BB));
    // A better signature later does not make the flow better than its worst.
    let later = change.flow.signed(2).applied(2);
    assert_eq!(later.level, Some(Level::BB));
    assert_eq!(later.downgrade.unwrap().reason, *reason);
}
