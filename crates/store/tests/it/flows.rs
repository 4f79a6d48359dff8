//! Flows, their events, what is due.

use sealpost_contract::SignFlowId;
use sealpost_flow::{Actor, Digest, Level, Operation, Status, apply, event};
use sealpost_store::{Committed, FlowCommit, SealingBacklog, Token};

use crate::world::{
    CHANNEL, DAY, DEADLINE, NOW, World, advance, buyer, callback, change, commit_of, flow_id,
    initiator, keep, new_flow, sign, token,
};

fn revoke() -> Operation {
    Operation::Revoke {
        reason: "填错金额".into(),
    }
}

fn seal(base: Digest) -> Operation {
    Operation::Apply {
        signer: 1,
        base,
        document: Digest::of(b"signed"),
        certificate: "01".into(),
        level: Level::BB,
        downgrade: None,
    }
}

async fn a_flow_is_found_as_it_was_kept(world: World) {
    let kept = world.keep(1, NOW).await;
    assert_eq!(kept.version, 1);
    assert_eq!(kept.flow, change(1, NOW).flow);
    assert_eq!(world.find(&kept).await, kept);
    assert_eq!(world.find_flow(&flow_id(2)).await.unwrap(), None);
    assert_eq!(
        world.another().find_flow(&flow_id(1)).await.unwrap(),
        Some(kept)
    );
}

async fn a_change_keeps_its_events_and_its_callback(world: World) {
    let kept = world.keep(1, NOW).await;
    let committed = world
        .commit_flow(commit_of(&kept, revoke(), &initiator(), NOW + 5))
        .await
        .unwrap();
    let Committed::Done {
        version: 2,
        chain_head,
        callback: Some(placed),
    } = committed
    else {
        panic!("{committed:?}");
    };
    let found = world.find(&kept).await;
    assert_eq!((found.version, found.chain_head), (2, chain_head));
    assert_eq!(found.flow.state.status(), Status::Revoked);
    assert_eq!(found.labels, kept.labels, "what is given at creation stays");

    let callback = world.find_callback(placed.id).await.unwrap().unwrap();
    assert_eq!(callback.body, r#"{"sign_flow_status":"3"}"#);
    assert_eq!(
        (callback.sign_flow_id, callback.channel_id.as_str()),
        (flow_id(1), CHANNEL)
    );

    let events = world.events(&kept.flow.id).await.unwrap();
    assert_eq!(events.len() as u64, found.flow.events);
    let mut head = event::GENESIS;
    for (seq, stored) in (1..).zip(&events) {
        head = event::chain(&head, &stored.event);
        assert_eq!((stored.event.seq, stored.chain), (seq, head));
        assert_eq!(stored.json, stored.event.to_canonical_json());
    }
    assert_eq!(head, chain_head);
}

async fn a_change_of_what_is_no_longer_there_is_a_conflict_and_leaves_nothing(world: World) {
    let read = world.keep(1, NOW).await;
    advance(&world, &read, revoke(), &initiator(), NOW).await;

    let late = commit_of(
        &read,
        Operation::Reject {
            reason: "金额不对".into(),
        },
        &buyer(),
        NOW,
    );
    assert_eq!(world.commit_flow(late).await.unwrap(), Committed::Conflict);
    assert_eq!(world.find(&read).await.flow.state.status(), Status::Revoked);
    assert_eq!(world.events(&read.flow.id).await.unwrap().len(), 4);
    assert_eq!(world.backlog(NOW).await.unwrap().waiting, 1);

    let unknown = world.another();
    let never_kept = FlowCommit {
        version: 1,
        change: change(9, NOW),
        callback: None,
        idempotency: None,
        sealing_claim: None,
    };
    assert_eq!(
        unknown.commit_flow(never_kept).await.unwrap(),
        Committed::Conflict
    );
}

async fn a_callback_that_cannot_be_kept_takes_the_whole_change_back(world: World) {
    let kept = world.keep(1, NOW).await;
    let mut elsewhere = callback(&kept.flow.id, "3", NOW);
    elsewhere.channel_id = "no such channel".into();
    let commit = commit_of(&kept, revoke(), &initiator(), NOW).with_callback(Some(elsewhere));
    world.commit_flow(commit).await.unwrap_err();
    assert_eq!(world.find(&kept).await, kept);
    assert_eq!(world.events(&kept.flow.id).await.unwrap().len(), 3);
}

async fn a_flow_that_cannot_be_kept_leaves_nothing(world: World) {
    world.keep(1, NOW).await;
    let mut new = new_flow(2, NOW);
    new.tokens[1].hash = token(1, "file");
    world.create_flow(new).await.unwrap_err();
    assert_eq!(world.find_flow(&flow_id(2)).await.unwrap(), None);
    assert_eq!(world.events(&flow_id(2)).await.unwrap(), []);
    assert_eq!(world.find_token(&token(2, "file")).await.unwrap(), None);
}

async fn tokens_open_a_signers_page_or_the_file(world: World) {
    world.keep(1, NOW).await;
    let opened = |signer| {
        Some(Token {
            flow_id: flow_id(1),
            signer,
        })
    };
    assert_eq!(
        world.find_token(&token(1, "file")).await.unwrap(),
        opened(None)
    );
    assert_eq!(
        world.find_token(&token(1, "signer 1")).await.unwrap(),
        opened(Some(1))
    );
    assert_eq!(world.find_token(&token(1, "signer 2")).await.unwrap(), None);
}

async fn flows_are_due_to_expire_from_their_deadline_on(world: World) {
    let late = world.keep(1, NOW + DAY).await;
    let early = world.keep(2, NOW).await;
    let revoked = world.keep(3, NOW).await;
    advance(&world, &revoked, revoke(), &initiator(), NOW).await;
    let due = async |now, limit| world.flows_due_to_expire(now, limit).await.unwrap();

    assert_eq!(due(DEADLINE - 1, 10).await, [] as [SignFlowId; 0]);
    assert_eq!(due(DEADLINE, 10).await, [flow_id(2)]);
    assert_eq!(
        due(DEADLINE + DAY, 10).await,
        [early.flow.id.clone(), late.flow.id.clone()]
    );
    assert_eq!(due(DEADLINE + DAY, 1).await, [flow_id(2)]);

    advance(&world, &early, Operation::Expire, &Actor::SYSTEM, DEADLINE).await;
    assert_eq!(due(DEADLINE + DAY, 10).await, [late.flow.id]);
}

async fn sealing_is_claimed_by_one_until_the_claim_ends(world: World) {
    let kept = world.keep(1, NOW).await;
    world.keep(2, NOW).await;
    let claim = async |now| {
        world
            .claim_flows_to_seal(now, now + 30_000, 10)
            .await
            .unwrap()
    };
    assert_eq!(claim(NOW).await, [] as [SignFlowId; 0]);

    advance(&world, &kept, sign(), &buyer(), NOW + 1).await;
    assert_eq!(claim(NOW).await, [] as [SignFlowId; 0], "not due yet");
    assert_eq!(claim(NOW + 1).await, [flow_id(1)]);
    assert_eq!(claim(NOW + 30_000).await, [] as [SignFlowId; 0], "claimed");
    assert_eq!(
        claim(NOW + 30_001).await,
        [flow_id(1)],
        "whoever claimed it has died"
    );

    let signed = world.find(&kept).await;
    assert_eq!(signed.version, 2, "a claim is no change");
    advance(
        &world,
        &signed,
        seal(signed.flow.document),
        &Actor::SYSTEM,
        NOW + 30_002,
    )
    .await;
    assert_eq!(
        claim(NOW + 30_002).await,
        [flow_id(1)],
        "there is the verification still"
    );
    let sealed = world.find(&kept).await;
    let complete = Operation::Complete {
        document: sealed.flow.document,
    };
    advance(&world, &sealed, complete, &Actor::SYSTEM, NOW + 30_003).await;
    assert_eq!(claim(i64::MAX - 30_000).await, [] as [SignFlowId; 0]);
}

async fn what_waits_and_what_fails_is_counted(world: World) {
    assert_eq!(
        world.sealing_backlog().await.unwrap(),
        SealingBacklog::default()
    );
    assert_eq!(world.flow_counts().await.unwrap(), []);
    for number in 1..=3 {
        world.keep(number, NOW).await;
    }
    for number in 1..=2 {
        let stored = world.find_flow(&flow_id(number)).await.unwrap().unwrap();
        advance(&world, &stored, sign(), &buyer(), NOW + i64::from(number)).await;
    }
    let failing = world.find_flow(&flow_id(1)).await.unwrap().unwrap();
    let failed = Operation::SealingFailed {
        reason: "disk full".into(),
    };
    advance(&world, &failing, failed, &Actor::SYSTEM, NOW + 10).await;

    let backlog = world.sealing_backlog().await.unwrap();
    assert_eq!(
        backlog,
        SealingBacklog {
            waiting: 2,
            failing: 1,
            oldest_at: Some(NOW + 2)
        }
    );
    let mut counts = world.flow_counts().await.unwrap();
    counts.sort();
    assert_eq!(counts, [(Status::Signing, 1), (Status::Sealing, 2)]);
}

async fn nothing_can_rewrite_an_event(world: World) {
    world.keep(1, NOW).await;
    for sql in ["UPDATE events SET at = 0", "DELETE FROM events"] {
        assert_eq!(world.tamper(sql), Err("events are append-only".into()));
    }
}

async fn a_row_that_was_tampered_with_is_an_error_and_no_panic(world: World) {
    let kept = world.keep(1, NOW).await;
    world.tamper("UPDATE flows SET body = '{}'").unwrap();
    let error = world.find_flow(&kept.flow.id).await.unwrap_err();
    assert_eq!(error.to_string(), "a stored flow cannot be read");
    keep(&world, new_flow(2, NOW)).await;
}

async fn a_change_without_events_is_no_change_but_does_no_harm(world: World) {
    let kept = world.keep(1, NOW).await;
    advance(&world, &kept, Operation::View, &buyer(), NOW).await;
    let viewed = world.find(&kept).await;
    let again = apply(&viewed.flow, Operation::View, &buyer(), NOW + 1).unwrap();
    assert!(again.events.is_empty());
    world
        .commit_flow(FlowCommit::new(&viewed, again))
        .await
        .unwrap();
    assert_eq!(world.find(&kept).await.chain_head, viewed.chain_head);
}

on_every_database! {
    a_flow_is_found_as_it_was_kept,
    a_change_keeps_its_events_and_its_callback,
    a_change_of_what_is_no_longer_there_is_a_conflict_and_leaves_nothing,
    a_callback_that_cannot_be_kept_takes_the_whole_change_back,
    a_flow_that_cannot_be_kept_leaves_nothing,
    tokens_open_a_signers_page_or_the_file,
    flows_are_due_to_expire_from_their_deadline_on,
    sealing_is_claimed_by_one_until_the_claim_ends,
    what_waits_and_what_fails_is_counted,
    nothing_can_rewrite_an_event,
    a_row_that_was_tampered_with_is_an_error_and_no_panic,
    a_change_without_events_is_no_change_but_does_no_harm,
}
