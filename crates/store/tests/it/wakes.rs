//! Nodes over one PostgreSQL database tell each other that there is something to take.

use std::time::Duration;

use sealpost_store::{Holder, Lease, Pause, Store, Wakes};
use tokio::time::timeout;

use crate::world::{CHANNEL, NOW, World, callback, flow_id};

/// What an idle and unhurried machine may take; whoever is not woken would wait for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hears as soon as it listens, for others may have rung before; and then of what is new.
async fn listening(node: &Store) -> Wakes {
    let mut wakes = node.wakes();
    timeout(PATIENCE, wakes.woken()).await.unwrap();
    wakes
}

async fn is_woken(wakes: &mut Wakes) {
    timeout(PATIENCE, wakes.woken())
        .await
        .expect("the other node was not woken");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_leaves_wakes_the_others() {
    let world = World::postgres().await;
    let node = world.another();
    let mut wakes = listening(&node).await;
    // A node without room for it.
    world
        .accept_callback(callback(&flow_id(1), "2", NOW))
        .await
        .unwrap();
    is_woken(&mut wakes).await;
    let pause = Pause {
        at: NOW,
        reason: "rest".into(),
    };
    world.pause_channel(CHANNEL, pause).await.unwrap();
    is_woken(&mut wakes).await;
    world.resume_channel(CHANNEL).await.unwrap();
    is_woken(&mut wakes).await;
    // Something to seal.
    world.keep(2, NOW).await;
    world.lose_sessions();
    // The connection that was lost may have missed something.
    is_woken(&mut wakes).await;
    world.resume_channel(CHANNEL).await.unwrap();
    is_woken(&mut wakes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_wake_itself_or_for_what_it_does_itself() {
    let world = World::postgres().await;
    let (here, there) = (world.another(), world.another());
    let (mut own, mut other) = (listening(&here).await, listening(&there).await);
    let lease = Lease {
        holder: Holder(1),
        until: NOW + 1000,
    };
    for number in 1..=20 {
        let mut new = callback(&flow_id(number), "2", NOW);
        new.lease = Some(lease);
        here.accept_callback(new).await.unwrap();
    }
    here.resume_channel(CHANNEL).await.unwrap();
    is_woken(&mut other).await;
    // Heard in order: if it heard itself, it would have by now.
    there.resume_channel(CHANNEL).await.unwrap();
    is_woken(&mut own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_tells_before_it_ends() {
    let world = World::postgres().await;
    let node = world.another();
    let mut wakes = listening(&node).await;
    let command = world.another();
    command.resume_channel(CHANNEL).await.unwrap();
    tokio::task::block_in_place(|| drop(command));
    is_woken(&mut wakes).await;
}
