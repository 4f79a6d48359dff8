//! What nodes over one PostgreSQL database do at one moment, row lock by row lock: nobody's change is lost, and nobody waits for one
//! who waits for them.

use std::time::Duration;

use sealpost_flow::Digest;
use sealpost_store::{
    Accepted, IDEMPOTENCY_MILLIS, IdempotencyKey, NewCode, Rate, Remembered, SealedSecret, Store,
};
use tokio_postgres::{Client, NoTls};

use crate::world::{CHANNEL, DAY, NOW, World, callback, flow_id};

/// A session of its own with a transaction begun.
async fn session(world: &World) -> Client {
    let url = world.postgres_options().url;
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN").await.unwrap();
    client
}

/// Waits until so many sessions wait for a lock.
async fn waiting(world: &World, sessions: usize) {
    let wait = "SELECT 1 FROM pg_stat_activity
        WHERE application_name = current_setting('application_name') AND wait_event_type = 'Lock'";
    while world.ask(wait).len() < sessions {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_used_again_as_it_is_cleaned_up_is_kept() {
    let world = World::postgres().await;
    let now = NOW + IDEMPOTENCY_MILLIS;
    let key = |at| IdempotencyKey {
        caller_id: CHANNEL.into(),
        key: "once".into(),
        request: Digest::of(b"request"),
        at,
    };
    let used = world.remember_idempotency_key(key(NOW), "first".into());
    assert_eq!(used.await.unwrap(), None);
    // Another node uses the key, which is a day old, for something new.
    let other = session(&world).await;
    other
        .batch_execute(&format!(
            "UPDATE idempotency_keys SET resource = 'second', created_at = {now}"
        ))
        .await
        .unwrap();
    let cleaning = tokio::spawn({
        let store = world.another();
        async move { store.forget_idempotency_keys(now).await }
    });
    tokio::select! {
        () = waiting(&world, 1) => {}
        () = async { while !cleaning.is_finished() { tokio::task::yield_now().await } } => {}
    }
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(cleaning.await.unwrap().unwrap(), 0);
    let found = world.find_idempotency_key(key(now)).await.unwrap();
    let second = Remembered {
        request: Digest::of(b"request"),
        resource: "second".into(),
    };
    assert_eq!(found, Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_taken_back_while_another_is_issued() {
    let world = World::postgres().await;
    let phone = Digest::of(b"138");
    let code = |digits: &str, issued_at| NewCode {
        owner: (flow_id(1), 1),
        digest: Digest::of(digits.as_bytes()),
        issued_at,
        expires_at: issued_at + 300_000,
        next_at: issued_at + 60_000,
        tries: 5,
        rates: vec![Rate {
            key: phone,
            window: 3_600_000,
            limit: 5,
        }],
    };
    world.issue_code(code("1", NOW)).await.unwrap();
    let other = session(&world).await;
    let lock = "SELECT 1 FROM codes FOR UPDATE";
    other.batch_execute(lock).await.unwrap();
    let (one, two) = (world.another(), world.another());
    let taking = tokio::spawn(async move { one.withdraw_code((flow_id(1), 1), vec![phone]).await });
    waiting(&world, 1).await;
    let issuing = tokio::spawn({
        let code = code("2", NOW + 120_000);
        async move { two.issue_code(code).await }
    });
    waiting(&world, 2).await;
    other.batch_execute("COMMIT").await.unwrap();
    taking.await.unwrap().unwrap();
    issuing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_secrets_that_are_made_at_once_one_retires() {
    let world = World::postgres().await;
    let other = session(&world).await;
    let lock = "SELECT 1 FROM channel_secrets FOR UPDATE";
    other.batch_execute(lock).await.unwrap();
    let rotate = |node: Store, at| {
        let secret = SealedSecret {
            created_at: at,
            retires_at: None,
            ciphertext: b"sealed".to_vec(),
        };
        tokio::spawn(async move { node.rotate_secret(CHANNEL, secret, NOW + DAY).await })
    };
    let one = rotate(world.another(), NOW + 1);
    waiting(&world, 1).await;
    let two = rotate(world.another(), NOW + 2);
    waiting(&world, 2).await;
    other.batch_execute("COMMIT").await.unwrap();
    assert!(one.await.unwrap().unwrap() && two.await.unwrap().unwrap());
    let found = world.find_channel(CHANNEL).await.unwrap().unwrap();
    let kept: Vec<_> = found
        .secrets
        .iter()
        .map(|secret| (secret.created_at - NOW, secret.retires_at))
        .collect();
    let retired = Some(NOW + DAY);
    assert_eq!(kept, [(2, None), (1, retired), (0, retired)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_make_the_same_endpoints_at_once_do_not_wait_for_each_other() {
    const ENDPOINTS: u32 = 8;
    let world = World::postgres().await;
    let nodes = [world.another(), world.another()];
    for round in 0..20 {
        let accept = |node: usize, endpoint: u32| {
            let number = 1000 + round * 100 + node as u32 * ENDPOINTS + endpoint;
            let mut new = callback(&flow_id(number), "2", NOW);
            new.url = Some(format!("https://e{round}-{endpoint}.example/cb"));
            let store = nodes[node].clone();
            tokio::spawn(async move { store.accept_callback(new).await })
        };
        let both = (0..ENDPOINTS).flat_map(|n| [accept(0, n), accept(1, ENDPOINTS - 1 - n)]);
        for accepted in both.collect::<Vec<_>>() {
            let accepted = accepted.await.unwrap();
            assert!(matches!(accepted, Ok(Accepted::New(_))), "{accepted:?}");
        }
    }
}
