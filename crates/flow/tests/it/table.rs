//! Every status × every operation, with an actor who may and who may not.

use std::fmt::Write as _;

use expect_test::expect;
use sealpost_flow::{Actor, Flow, Level, Message, Method, Operation, Proof, Route, Status, apply};

use crate::cases::{DEADLINE, NOW, apply_for, document, in_status, initiator, preserve, sign};

#[test]
fn every_status_and_every_operation() {
    let expected = expect![[r#"
                        draft               signing             sealing             completed           revoked             expired             rejected
        start           -> signing          wrong_state         wrong_state         flow_ended          flow_ended          flow_ended          flow_ended
        start late      deadline_passed     wrong_state         wrong_state         flow_ended          flow_ended          flow_ended          flow_ended
        view            wrong_state         -> signing          already_signed      flow_ended          flow_ended          flow_ended          flow_ended
        notify          wrong_state         -> signing          -> sealing          flow_ended          flow_ended          flow_ended          flow_ended
        notify 3        wrong_state         unknown_signer      unknown_signer      flow_ended          flow_ended          flow_ended          flow_ended
        notify by 2     actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed
        sign            wrong_state         -> sealing          already_signed      flow_ended          flow_ended          flow_ended          flow_ended
        sign late       wrong_state         deadline_passed     already_signed      flow_ended          flow_ended          flow_ended          flow_ended
        sign other      wrong_state         unknown_document    already_signed      flow_ended          flow_ended          flow_ended          flow_ended
        sign by 1       wrong_state         already_signed      already_signed      flow_ended          flow_ended          flow_ended          flow_ended
        sign by 3       unknown_signer      unknown_signer      unknown_signer      unknown_signer      unknown_signer      unknown_signer      unknown_signer
        sign by system  actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed
        reject          wrong_state         -> rejected         already_signed      flow_ended          flow_ended          flow_ended          flow_ended
        reject late     wrong_state         deadline_passed     already_signed      flow_ended          flow_ended          flow_ended          flow_ended
        reject blank    wrong_state         bad_reason          already_signed      flow_ended          flow_ended          flow_ended          flow_ended
        revoke          -> revoked          -> revoked          -> revoked          flow_ended          flow_ended          flow_ended          flow_ended
        revoke, op.     -> revoked          -> revoked          -> revoked          flow_ended          flow_ended          flow_ended          flow_ended
        revoke blank    bad_reason          bad_reason          bad_reason          flow_ended          flow_ended          flow_ended          flow_ended
        revoke by 2     actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed
        remind          wrong_state         -> signing          wrong_state         flow_ended          flow_ended          flow_ended          flow_ended
        remind early    wrong_state         started_recently    wrong_state         flow_ended          flow_ended          flow_ended          flow_ended
        expire          wrong_state         -> expired          wrong_state         flow_ended          flow_ended          flow_ended          flow_ended
        expire early    wrong_state         deadline_not_passed wrong_state         flow_ended          flow_ended          flow_ended          flow_ended
        expire by 2     actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed
        apply 2         wrong_state         nothing_to_apply    -> sealing          flow_ended          flow_ended          flow_ended          flow_ended
        apply 2 late    wrong_state         nothing_to_apply    -> sealing          flow_ended          flow_ended          flow_ended          flow_ended
        apply 1         wrong_state         nothing_to_apply    nothing_to_apply    flow_ended          flow_ended          flow_ended          flow_ended
        apply by 2      actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed
        apply stale     wrong_state         nothing_to_apply    stale_document      flow_ended          flow_ended          flow_ended          flow_ended
        sealing failed  wrong_state         nothing_to_seal     -> sealing          flow_ended          flow_ended          flow_ended          flow_ended
        preserve        wrong_state         wrong_state         not_fully_applied   -> completed        flow_ended          flow_ended          flow_ended
        preserve by 1   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed
        complete        wrong_state         wrong_state         not_fully_applied   flow_ended          flow_ended          flow_ended          flow_ended
        complete by 1   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed   actor_not_allowed"#]];
    expected.assert_eq(&table());
}

/// In each cell the status afterwards, or the code of the refusal.
fn table() -> String {
    let mut table = format!("{:<16}", "");
    for status in Status::ALL {
        write!(table, "{:<20}", status.as_str()).unwrap();
    }
    for (name, operation, actor, now) in operations() {
        write!(table, "\n{name:<16}").unwrap();
        for status in Status::ALL {
            let flow = in_status(status);
            assert_eq!(flow.state.status(), status);
            let cell = match apply(&flow, operation(&flow), &actor, now) {
                Ok(change) => format!("-> {}", change.flow.state.status()),
                Err(refusal) => refusal.code().to_owned(),
            };
            write!(table, "{cell:<20}").unwrap();
        }
    }
    let lines: Vec<_> = table.lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn notify(signer: u8) -> Operation {
    Operation::Notify {
        signer,
        message: Message::Code,
        to: Route {
            method: Method::Sms,
            contact: "138****5678".into(),
        },
        failure: None,
    }
}

type Row = (&'static str, fn(&Flow) -> Operation, Actor, i64);

fn operations() -> Vec<Row> {
    let buyer = || Actor::signer(2);
    vec![
        ("start", |_| Operation::Start, initiator(), NOW),
        ("start late", |_| Operation::Start, initiator(), DEADLINE),
        ("view", |_| Operation::View, buyer(), NOW),
        ("notify", |_| notify(2), Actor::SYSTEM, NOW),
        ("notify 3", |_| notify(3), Actor::SYSTEM, NOW),
        ("notify by 2", |_| notify(2), buyer(), NOW),
        ("sign", sign, buyer(), NOW),
        ("sign late", sign, buyer(), DEADLINE),
        (
            "sign other",
            |_| Operation::Sign {
                mark: document("mark"),
                document: document("?"),
                proof: Proof::default(),
            },
            buyer(),
            NOW,
        ),
        ("sign by 1", sign, Actor::signer(1), NOW),
        ("sign by 3", sign, Actor::signer(3), NOW),
        ("sign by system", sign, Actor::SYSTEM, NOW),
        (
            "reject",
            |_| Operation::Reject {
                reason: "金额不对".into(),
            },
            buyer(),
            NOW,
        ),
        (
            "reject late",
            |_| Operation::Reject {
                reason: "金额不对".into(),
            },
            buyer(),
            DEADLINE,
        ),
        (
            "reject blank",
            |_| Operation::Reject { reason: " ".into() },
            buyer(),
            NOW,
        ),
        (
            "revoke",
            |_| Operation::Revoke {
                reason: "重开".into(),
            },
            initiator(),
            NOW,
        ),
        (
            "revoke, op.",
            |_| Operation::Revoke {
                reason: "重开".into(),
            },
            Actor::OPERATOR,
            NOW,
        ),
        (
            "revoke blank",
            |_| Operation::Revoke {
                reason: String::new(),
            },
            initiator(),
            NOW,
        ),
        (
            "revoke by 2",
            |_| Operation::Revoke {
                reason: "重开".into(),
            },
            buyer(),
            NOW,
        ),
        ("remind", |_| Operation::Remind, initiator(), DEADLINE - 1),
        ("remind early", |_| Operation::Remind, initiator(), NOW),
        ("expire", |_| Operation::Expire, Actor::SYSTEM, DEADLINE),
        (
            "expire early",
            |_| Operation::Expire,
            Actor::SYSTEM,
            DEADLINE - 1,
        ),
        ("expire by 2", |_| Operation::Expire, buyer(), DEADLINE),
        ("apply 2", |flow| apply_for(flow, 2), Actor::SYSTEM, NOW),
        (
            "apply 2 late",
            |flow| apply_for(flow, 2),
            Actor::SYSTEM,
            DEADLINE,
        ),
        ("apply 1", |flow| apply_for(flow, 1), Actor::SYSTEM, NOW),
        ("apply by 2", |flow| apply_for(flow, 2), buyer(), NOW),
        ("apply stale", stale, Actor::SYSTEM, NOW),
        (
            "sealing failed",
            |_| Operation::SealingFailed {
                reason: "disk full".into(),
            },
            Actor::SYSTEM,
            NOW,
        ),
        ("preserve", preserve, Actor::SYSTEM, NOW),
        ("preserve by 1", preserve, initiator(), NOW),
        (
            "complete",
            |flow| Operation::Complete {
                document: flow.document,
            },
            Actor::SYSTEM,
            NOW,
        ),
        (
            "complete by 1",
            |flow| Operation::Complete {
                document: flow.document,
            },
            initiator(),
            NOW,
        ),
    ]
}

fn stale(_: &Flow) -> Operation {
    let [base, with] = ["stale", "with"].map(document);
    Operation::Apply {
        signer: 2,
        base,
        document: with,
        certificate: "02".into(),
        level: Level::BB,
        downgrade: None,
    }
}
