//! Many who want to end one flow at the same moment, over two openings of one database.

use sealpost_flow::{Actor, Operation, Refusal, Status, apply};
use sealpost_store::{Committed, FlowCommit, Store};

use crate::world::{DEADLINE, NOW, World, buyer, callback, flow_id, initiator, new_flow, sign};

/// Reads, applies, commits, and begins again after a conflict, as every caller does.
async fn insist(
    store: Store,
    number: u32,
    operation: Operation,
    actor: Actor,
    now: i64,
) -> Result<(), Refusal> {
    loop {
        let stored = store.find_flow(&flow_id(number)).await.unwrap().unwrap();
        let change = apply(&stored.flow, operation.clone(), &actor, now)?;
        let callback = change
            .flow
            .state
            .end()
            .map(|(status, at)| callback(&change.flow.id, status.code(), at));
        let commit = FlowCommit::new(&stored, change).with_callback(callback);
        match store.commit_flow(commit).await.unwrap() {
            Committed::Done { .. } => return Ok(()),
            Committed::Conflict => {}
            Committed::Remembered(remembered) => panic!("{remembered:?}"),
        }
    }
}

async fn of_many_ends_exactly_one_is_kept(world: World) {
    let stores = [world.another(), world.another()];
    for number in 1..=20 {
        world.keep(number, NOW).await;
        let contenders = (0..24).map(|index| {
            let store = stores[index % 2].clone();
            let (operation, actor, now) = match index % 4 {
                0 => (
                    Operation::Revoke {
                        reason: "填错金额".into(),
                    },
                    initiator(),
                    NOW,
                ),
                1 => (
                    Operation::Reject {
                        reason: "金额不对".into(),
                    },
                    buyer(),
                    NOW,
                ),
                2 => (Operation::Expire, Actor::SYSTEM, DEADLINE),
                _ => (sign(), buyer(), NOW),
            };
            tokio::spawn(insist(store, number, operation, actor, now))
        });
        let contenders: Vec<_> = contenders.collect();
        let mut outcomes = Vec::new();
        for contender in contenders {
            outcomes.push(contender.await.unwrap());
        }
        let stored = world.find_flow(&flow_id(number)).await.unwrap().unwrap();
        let status = stored.flow.state.status();
        let kept = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let events = world.events(&flow_id(number)).await.unwrap();
        // A signature may come before an end (revoking a flow that is being sealed), but nothing after one.
        let signed = events
            .iter()
            .any(|stored| stored.json.contains(r#""kind":"signed""#));
        assert_eq!(kept, usize::from(signed) + 1, "{outcomes:?}");
        assert!(status.is_final() && status != Status::Completed, "{status}");
        assert_eq!(events.len(), 3 + kept);
        assert_eq!(events.last().unwrap().chain, stored.chain_head);
    }
    assert_eq!(
        world.backlog(NOW).await.unwrap().waiting,
        20,
        "one callback each"
    );
}

async fn an_operation_that_fails_takes_no_other_of_its_commit_along(world: World) {
    let tasks = (0..200).map(|number| {
        let store = Store::clone(&world);
        tokio::spawn(async move {
            let mut new = new_flow(number, NOW);
            if number % 3 == 0 {
                new.channel_id = "no such channel".into();
            }
            store.create_flow(new).await.is_ok()
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for (number, task) in (0..).zip(tasks) {
        let kept = task.await.unwrap();
        assert_eq!(kept, number % 3 != 0, "{number}");
        assert_eq!(
            world.find_flow(&flow_id(number)).await.unwrap().is_some(),
            kept
        );
    }
}

on_every_database! {
    of_many_ends_exactly_one_is_kept,
    an_operation_that_fails_takes_no_other_of_its_commit_along,
}
