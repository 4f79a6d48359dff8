//! One-time codes and rate limits: what is let through, also by several nodes at once and after a restart.

use sealpost_contract::UtcMillis;
use sealpost_flow::Digest;
use sealpost_store::{Counted, NewCode, Rate, Store, Tried};

use crate::world::{NOW, World, flow_id};

const MINUTE: i64 = 60_000;

fn key(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn rate(name: &str, limit: u32) -> Rate {
    Rate {
        key: key(name),
        window: 60 * MINUTE,
        limit,
    }
}

fn code(owner: u8, digits: &str, issued_at: UtcMillis) -> NewCode {
    NewCode {
        owner: (flow_id(1), owner),
        digest: key(digits),
        issued_at,
        expires_at: issued_at + 5 * MINUTE,
        next_at: issued_at + MINUTE,
        tries: 5,
        rates: vec![rate("138", 2), rate("192.0.2.7", 30)],
    }
}

async fn tries(store: &Store, owner: u8, digits: &str, now: UtcMillis) -> Tried {
    let owner = (flow_id(1), owner);
    store.try_code(owner, key(digits), now).await.unwrap()
}

async fn a_code_is_good_for_its_time_and_its_tries(world: World) {
    assert_eq!(tries(&world, 1, "000042", NOW).await, Tried::Gone);
    let issued = world.issue_code(code(1, "000042", NOW)).await.unwrap();
    assert_eq!(issued, Counted::Within);
    assert_eq!(tries(&world, 2, "000042", NOW).await, Tried::Gone);

    // It outlives this process, and so do the tries.
    let other = world.another();
    for tries_left in [4, 3] {
        assert_eq!(
            tries(&other, 1, "999999", NOW).await,
            Tried::Wrong { tries_left }
        );
    }
    assert_eq!(
        tries(&world, 1, "000042", NOW + 5 * MINUTE - 1).await,
        Tried::Right
    );
    assert_eq!(
        tries(&world, 1, "000042", NOW + 5 * MINUTE).await,
        Tried::Gone
    );
    for tries_left in [2, 1, 0] {
        assert_eq!(
            tries(&world, 1, "999999", NOW).await,
            Tried::Wrong { tries_left }
        );
    }
    assert_eq!(tries(&world, 1, "000042", NOW).await, Tried::Gone);

    // Another takes its place; spent, it is gone.
    let again = world.issue_code(code(1, "000007", NOW + MINUTE)).await;
    assert_eq!(again.unwrap(), Counted::Within);
    assert_eq!(
        tries(&world, 1, "000042", NOW + MINUTE).await,
        Tried::Wrong { tries_left: 4 }
    );
    world.spend_code((flow_id(1), 1)).await.unwrap();
    assert_eq!(tries(&world, 1, "000007", NOW + MINUTE).await, Tried::Gone);
}

async fn codes_are_not_issued_too_often(world: World) {
    let issue = async |code| world.issue_code(code).await.unwrap();
    assert_eq!(issue(code(1, "1", NOW)).await, Counted::Within);
    // Too soon: the first stays good, and nothing is counted.
    assert_eq!(
        issue(code(1, "2", NOW + 1)).await,
        Counted::Beyond {
            until: NOW + MINUTE
        }
    );
    assert_eq!(tries(&world, 1, "1", NOW + 1).await, Tried::Right);
    assert_eq!(issue(code(2, "3", NOW + 2)).await, Counted::Within);
    // Two to this number within the hour are enough, whoever the signer is.
    let beyond = Counted::Beyond {
        until: NOW + 60 * MINUTE,
    };
    assert_eq!(issue(code(3, "4", NOW + 3)).await, beyond);
    assert_eq!(tries(&world, 3, "4", NOW + 3).await, Tried::Gone);
    // One that could not be sent does not count against the number.
    let sent = world.withdraw_code((flow_id(1), 2), vec![key("138")]).await;
    sent.unwrap();
    assert_eq!(tries(&world, 2, "3", NOW + 4).await, Tried::Gone);
    assert_eq!(issue(code(3, "4", NOW + 4)).await, Counted::Within);
    assert_eq!(
        issue(code(4, "5", NOW + 60 * MINUTE)).await,
        Counted::Within
    );
    // The refused ones were not counted for the address either: four of them, and one that could not be sent.
    let mut rest = 0;
    while world
        .count_within(&key("192.0.2.7"), 60 * MINUTE, 30, NOW + 60 * MINUTE)
        .await
        .unwrap()
        == Counted::Within
    {
        rest += 1;
    }
    assert_eq!(rest, 29, "the window of the fifth code is a new one");
}

/// Two nodes count the same at once: exactly as many as the limit says are let through, and exactly as many tries.
async fn nodes_count_together(world: World) {
    let (one, other) = ((*world).clone(), world.another());
    let count = async |store: &Store| {
        let mut within = 0;
        for _ in 0..10 {
            let counted = store.count_within(&key("sign-in"), MINUTE, 7, NOW).await;
            within += u32::from(counted.unwrap() == Counted::Within);
        }
        within
    };
    let (first, second) = tokio::join!(count(&one), count(&other));
    assert_eq!(first + second, 7);
    other.count_back(&key("sign-in")).await.unwrap();
    for (n, until) in [(1, MINUTE), (2, 2 * MINUTE)] {
        one.close_until(&key("rest"), NOW + until).await.unwrap();
        let rests = other.count_within(&key("rest"), MINUTE, 1, NOW).await;
        let until = NOW + until;
        assert_eq!(rests.unwrap(), Counted::Beyond { until }, "{n}");
        for (limit, now, found) in [(1, NOW, Some(until)), (2, NOW, None), (1, until, None)] {
            let limit = other.find_limit(&key("rest"), limit, now).await;
            assert_eq!(limit.unwrap(), found, "{n}");
        }
    }
    assert_eq!(count(&one).await, 1, "one was taken back");
    assert_eq!(
        one.count_within(&key("sign-in"), MINUTE, 7, NOW + MINUTE)
            .await
            .unwrap(),
        Counted::Within,
        "the window ends by itself"
    );

    one.issue_code(code(1, "000042", NOW)).await.unwrap();
    let guess = async |store: &Store| {
        let mut wrong = 0;
        for _ in 0..4 {
            let tried = tries(store, 1, "999999", NOW).await;
            wrong += u32::from(matches!(tried, Tried::Wrong { .. }));
        }
        wrong
    };
    let (first, second) = tokio::join!(guess(&one), guess(&other));
    assert_eq!(first + second, 5);
}

async fn what_has_ended_is_forgotten(world: World) {
    world.issue_code(code(1, "1", NOW)).await.unwrap();
    assert_eq!(world.forget_codes(NOW + 5 * MINUTE - 1).await.unwrap(), 0);
    assert_eq!(world.forget_codes(NOW + 5 * MINUTE).await.unwrap(), 1);
    assert_eq!(world.forget_rates(NOW + 60 * MINUTE - 1).await.unwrap(), 0);
    assert_eq!(world.forget_rates(NOW + 60 * MINUTE).await.unwrap(), 2);
    assert_eq!(world.forget_rates(NOW + 60 * MINUTE).await.unwrap(), 0);
}

on_every_database!(
    a_code_is_good_for_its_time_and_its_tries,
    codes_are_not_issued_too_often,
    nodes_count_together,
    what_has_ended_is_forgotten,
);
