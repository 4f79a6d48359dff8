//! Callbacks: kept once, leased under fences, finished once, listed, redelivered.

use bytes::Bytes;
use sealpost_contract::SignFlowId;
use sealpost_flow::{Digest, Operation, apply};
use sealpost_store::{
    Accepted, CallbackFilter, CallbackId, CallbackState, Claim, Claimed, Committed, FailedSince,
    Finished, FlowCommit, Holder, IdempotencyKey, LaneId, Lease, NewCallback, Next, Outcome,
    Placed, Redelivered, RedeliveredOnce, Remembered, Store,
};

use crate::world::*;

const ME: Holder = Holder(1);
const OTHER: Holder = Holder(2);
const LEASE: i64 = 40_000;

fn new(number: u32, at: i64) -> NewCallback {
    NewCallback {
        id: CallbackId::new(at, number),
        ..callback(&flow_id(number), "2", at)
    }
}

async fn keep_callback(store: &Store, number: u32, at: i64) -> (CallbackId, LaneId) {
    match store.accept_callback(new(number, at)).await.unwrap() {
        Accepted::New(placed) => (placed.id, placed.lane),
        other => panic!("{other:?}"),
    }
}

async fn claim(store: &Store, lane: LaneId, limit: usize, holder: Holder, now: i64) -> Claim {
    let lease = Lease {
        holder,
        until: now + LEASE,
    };
    store
        .claim_due(vec![(lane, limit)], lease, now)
        .await
        .unwrap()
        .remove(0)
}

fn attempt(reason: Option<&'static str>) -> Option<Finished> {
    Some(Finished {
        at: NOW,
        duration_ms: 12,
        http_status: Some(200),
        reason,
        detail: reason.map(|_| "in words".to_owned()),
        answer: Bytes::from_static(br#"{"response_code":"999"}"#),
    })
}

fn outcome(claimed: &Claimed, next: Next) -> Outcome {
    let reason = (!matches!(next, Next::Acknowledged(_))).then_some("response_code");
    Outcome {
        id: claimed.id,
        fence: claimed.fence,
        attempt: attempt(reason),
        next,
    }
}

async fn finish(store: &Store, holder: Holder, outcomes: Vec<Outcome>) -> Vec<bool> {
    store.finish(holder, outcomes.into()).await.unwrap()
}

/// Fails a callback for good at `at`.
async fn fail(store: &Store, lane: LaneId, at: i64) {
    let claimed = claim(store, lane, 1, ME, at).await.taken.remove(0);
    assert_eq!(
        finish(store, ME, vec![outcome(&claimed, Next::Failed(at))]).await,
        [true]
    );
}

async fn the_same_again_answers_as_before_and_another_end_conflicts(world: World) {
    let (id, _) = keep_callback(&world, 1, NOW).await;
    assert_eq!(
        world.accept_callback(new(1, NOW + 5)).await.unwrap(),
        Accepted::Before(id)
    );
    let other = callback(&flow_id(1), "3", NOW);
    assert_eq!(
        world.accept_callback(other).await.unwrap(),
        Accepted::Conflict
    );
    // Another channel may well have a flow of the same id.
    world
        .create_channel(channel("ch-2", "贝壳"), api_key("k2", "ch-2"))
        .await
        .unwrap();
    let elsewhere = NewCallback {
        channel_id: "ch-2".into(),
        ..new(1, NOW)
    };
    assert!(
        matches!(world.accept_callback(elsewhere).await.unwrap(), Accepted::New(placed) if placed.id != id)
    );
    // The end of a flow of ours is told by us alone.
    let own = world.keep(7, NOW).await;
    let handed = callback(&own.flow.id, "2", NOW);
    assert_eq!(
        world.accept_callback(handed).await.unwrap(),
        Accepted::Conflict
    );
}

async fn ids_are_ordered_unique_and_readable(world: World) {
    let mut ids = Vec::new();
    for number in 0..5 {
        let same = NewCallback {
            id: CallbackId::new(NOW, 77),
            ..new(number, NOW)
        };
        let Accepted::New(placed) = world.accept_callback(same).await.unwrap() else {
            panic!("not new")
        };
        ids.push(placed.id);
    }
    assert!(ids.is_sorted() && ids.iter().all(|id| id.created_at() == NOW));
    for id in &ids {
        assert_eq!(id.to_string().parse::<CallbackId>().unwrap(), *id);
    }
    for text in [
        "",
        "cb_",
        "cb_12",
        "cb_00000000000000000",
        "cb_000000000000000G",
        "cb_000000000000000A",
        "xx_0000000000000000",
    ] {
        assert!(text.parse::<CallbackId>().is_err(), "{text}");
    }
}

async fn a_lease_hides_a_callback_until_it_ends(world: World) {
    let (id, lane) = keep_callback(&world, 1, NOW).await;
    assert!(
        claim(&world, lane, 10, ME, NOW - 1).await.taken.is_empty(),
        "not due yet"
    );
    let first = claim(&world, lane, 10, ME, NOW).await;
    assert_eq!(first.taken[0].id, id);
    assert_eq!(first.next_due_at, Some(NOW + LEASE));
    assert!(
        claim(&world, lane, 10, OTHER, NOW + LEASE - 1)
            .await
            .taken
            .is_empty(),
        "under a lease"
    );
    let second = claim(&world, lane, 10, OTHER, NOW + LEASE).await;
    assert_eq!(second.taken[0].fence, first.taken[0].fence + 1);

    // The first holder comes back from a long sleep: its outcome does not count, whatever it says.
    assert_eq!(
        finish(
            &world,
            ME,
            vec![outcome(&first.taken[0], Next::Failed(NOW))]
        )
        .await,
        [false]
    );
    let kept = world.find_callback(id).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.attempts, kept.in_progress),
        (CallbackState::Waiting, 0, true)
    );
    let acknowledged = outcome(&second.taken[0], Next::Acknowledged(NOW + LEASE + 9));
    assert_eq!(
        finish(&world, OTHER, vec![acknowledged.clone(), acknowledged]).await,
        [true, false],
        "once only"
    );
    assert_eq!(world.attempts(id).await.unwrap().len(), 1);
}

/// A holder that slept through its lease may be the one who claims the callback next.
async fn only_the_newest_lease_of_a_holder_counts(world: World) {
    let (id, lane) = keep_callback(&world, 1, NOW).await;
    let first = claim(&world, lane, 1, ME, NOW).await.taken.remove(0);
    let second = claim(&world, lane, 1, ME, NOW + LEASE).await;
    let second = second.taken.into_iter().next().unwrap();
    assert_eq!(
        finish(&world, ME, vec![outcome(&first, Next::Failed(NOW))]).await,
        [false]
    );
    let acknowledged = outcome(&second, Next::Acknowledged(NOW + LEASE + 1));
    assert_eq!(
        finish(&world, OTHER, vec![acknowledged.clone()]).await,
        [false],
        "nobody else's either"
    );
    let back = Outcome {
        id,
        fence: second.fence,
        attempt: None,
        next: Next::Due(NOW + LEASE),
    };
    assert_eq!(finish(&world, ME, vec![back]).await, [true]);
    assert_eq!(
        finish(&world, ME, vec![acknowledged]).await,
        [false],
        "what was given back is nobody's"
    );
    let kept = world.find_callback(id).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.attempts, kept.in_progress),
        (CallbackState::Waiting, 0, false)
    );
    assert_eq!(world.attempts(id).await.unwrap(), []);
}

/// The lease of an engine that takes a callback as it is inserted.
const MINE: Lease = Lease {
    holder: ME,
    until: NOW + LEASE,
};

/// A callback that is accepted and leased at once.
async fn accept_leased(world: &World) -> Placed {
    let leased = NewCallback {
        lease: Some(MINE),
        ..new(1, NOW)
    };
    let accepted = world.accept_callback(leased).await;
    let Accepted::New(placed) = accepted.unwrap() else {
        panic!("not new")
    };
    placed
}

/// What an engine has taken as it was accepted, or as its flow ended, is nobody else's meanwhile.
async fn a_lease_at_the_insert_hides_a_callback_until_it_ends(world: World) {
    let accepted = accept_leased(&world).await;
    let flow = world.keep(2, NOW).await;
    let revoke = Operation::Revoke {
        reason: "填错金额".into(),
    };
    let change = apply(&flow.flow, revoke, &initiator(), NOW).unwrap();
    let of_flow = NewCallback {
        lease: Some(MINE),
        ..callback(&change.flow.id, "3", NOW)
    };
    let commit = FlowCommit::new(&flow, change).with_callback(Some(of_flow));
    let committed = world.commit_flow(commit).await.unwrap();
    let Committed::Done {
        callback: Some(ended),
        ..
    } = committed
    else {
        panic!("{committed:?}")
    };
    assert_eq!((accepted.fence, ended.fence), (1, 1));
    assert_eq!(accepted.lane, ended.lane, "of one channel's address");

    let lane = accepted.lane;
    for (holder, at) in [(OTHER, NOW), (ME, NOW), (OTHER, NOW + LEASE - 1)] {
        let claim = claim(&world, lane, 10, holder, at).await;
        assert_eq!(claim.taken, [], "under a lease");
        assert_eq!(claim.next_due_at, Some(NOW + LEASE));
    }
    for id in [accepted.id, ended.id] {
        let kept = world.find_callback(id).await.unwrap().unwrap();
        assert!(kept.in_progress, "{kept:?}");
    }
    let taken = claim(&world, lane, 10, OTHER, NOW + LEASE).await.taken;
    let mut ids: Vec<CallbackId> = taken.iter().map(|claimed| claimed.id).collect();
    ids.sort();
    let mut all = [accepted.id, ended.id];
    all.sort();
    assert_eq!(ids, all);
    assert!(taken.iter().all(|claimed| claimed.fence == 2), "{taken:?}");
    let first = Claimed {
        fence: 1,
        ..taken[0].clone()
    };
    assert_eq!(
        finish(&world, ME, vec![outcome(&first, Next::Failed(NOW))]).await,
        [false],
        "the first lease has gone to somebody else"
    );
}

/// Before it has ended it is the holder's to finish, as if claimed.
async fn what_was_leased_at_the_insert_is_finished_by_its_holder(world: World) {
    let placed = accept_leased(&world).await;
    let acknowledged = Outcome {
        id: placed.id,
        fence: placed.fence,
        attempt: attempt(None),
        next: Next::Acknowledged(NOW + 1),
    };
    assert_eq!(
        finish(&world, OTHER, vec![acknowledged.clone()]).await,
        [false]
    );
    assert_eq!(finish(&world, ME, vec![acknowledged]).await, [true]);
    let kept = world.find_callback(placed.id).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.attempts, kept.in_progress),
        (CallbackState::Acknowledged, 1, false)
    );
}

async fn an_expired_lease_that_nobody_took_still_counts(world: World) {
    let (id, lane) = keep_callback(&world, 1, NOW).await;
    let claimed = claim(&world, lane, 1, ME, NOW).await.taken.remove(0);
    let late = outcome(&claimed, Next::Acknowledged(NOW + 10 * LEASE));
    assert_eq!(
        finish(&world, ME, vec![late]).await,
        [true],
        "better than a second delivery"
    );
    assert_eq!(
        world.find_callback(id).await.unwrap().unwrap().state,
        CallbackState::Acknowledged
    );
}

async fn attempts_are_counted_and_kept_and_giving_back_is_not_one(world: World) {
    let (id, lane) = keep_callback(&world, 1, NOW).await;
    let claimed = claim(&world, lane, 1, ME, NOW).await.taken.remove(0);
    let back = Outcome {
        id,
        fence: claimed.fence,
        attempt: None,
        next: Next::Due(NOW),
    };
    assert_eq!(finish(&world, ME, vec![back]).await, [true]);
    for number in 1..=3 {
        let claimed = claim(&world, lane, 1, ME, NOW).await.taken.remove(0);
        assert_eq!(claimed.attempts, number - 1);
        assert_eq!(
            finish(&world, ME, vec![outcome(&claimed, Next::Due(NOW))]).await,
            [true]
        );
    }
    fail(&world, lane, NOW + 1).await;
    let kept = world.find_callback(id).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.attempts, kept.ended_at, kept.due_at),
        (CallbackState::Failed, 4, Some(NOW + 1), None)
    );
    let attempts = world.attempts(id).await.unwrap();
    assert_eq!(
        attempts
            .iter()
            .map(|attempt| attempt.number)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!(attempts[3].reason.as_deref(), Some("response_code"));
    assert_eq!(
        attempts[3].answer.as_deref(),
        Some(&br#"{"response_code":"999"}"#[..])
    );
}

async fn the_longest_due_is_claimed_first_and_lanes_do_not_mix(world: World) {
    let (first, lane) = keep_callback(&world, 1, NOW).await;
    for number in 2..=10 {
        keep_callback(&world, number, NOW + i64::from(number)).await;
    }
    let own = NewCallback {
        url: Some("https://own.example:8443/a/b?c".into()),
        ..new(11, NOW)
    };
    let Accepted::New(own) = world.accept_callback(own).await.unwrap() else {
        panic!("not new")
    };
    assert_ne!(own.lane, lane);
    let same = NewCallback {
        url: Some("https://own.example:8443/z".into()),
        ..new(12, NOW)
    };
    let Accepted::New(same) = world.accept_callback(same).await.unwrap() else {
        panic!("not new")
    };
    assert_eq!(same.lane, own.lane, "one endpoint, one lane");

    let lanes = world.due_lanes().await.unwrap();
    assert_eq!(
        lanes
            .iter()
            .map(|found| (found.id, found.due_at))
            .collect::<Vec<_>>(),
        [(lane, NOW), (own.lane, NOW)]
    );
    let claimed = claim(&world, lane, 3, ME, NOW + 100).await;
    assert_eq!(claimed.taken[0].id, first);
    assert_eq!(
        (claimed.taken.len(), claimed.next_due_at),
        (3, Some(NOW + 4))
    );
}

async fn lanes_rest_with_their_channel(world: World) {
    keep_callback(&world, 1, NOW).await;
    assert!(!world.due_lanes().await.unwrap()[0].resting);
    let pause = sealpost_store::Pause {
        at: NOW,
        reason: "410".into(),
    };
    world.pause_channel(CHANNEL, pause).await.unwrap();
    assert!(world.due_lanes().await.unwrap()[0].resting);
    assert_eq!(world.backlog(NOW + 5).await.unwrap().oldest_due_at, None);
    world.resume_channel(CHANNEL).await.unwrap();
    assert_eq!(
        world.backlog(NOW + 5).await.unwrap().oldest_due_at,
        Some(NOW)
    );
    world
        .set_channel_delivery(CHANNEL, None, sealpost_contract::Schedule::default())
        .await
        .unwrap();
    assert!(
        world.due_lanes().await.unwrap()[0].resting,
        "there is nowhere to send"
    );
}

/// Only SQLite has but one process that delivers; over PostgreSQL others may be alive.
#[tokio::test]
async fn a_new_run_releases_what_others_held() {
    let world = World::sqlite().await;
    let (_, lane) = keep_callback(&world, 1, NOW).await;
    keep_callback(&world, 2, NOW).await;
    keep_callback(&world, 3, NOW + 5000).await;
    let theirs = claim(&world, lane, 1, OTHER, NOW).await.taken.remove(0);
    let mine = claim(&world, lane, 1, ME, NOW).await.taken.remove(0);
    assert_eq!(world.release_others(ME, NOW + 10).await.unwrap(), 1);
    assert_eq!(
        finish(&world, OTHER, vec![outcome(&theirs, Next::Failed(NOW))]).await,
        [false]
    );
    let again = claim(&world, lane, 10, ME, NOW + 10).await;
    assert_eq!(
        again
            .taken
            .iter()
            .map(|claimed| claimed.id)
            .collect::<Vec<_>>(),
        [theirs.id]
    );
    assert_eq!(
        again.next_due_at,
        Some(NOW + 5000),
        "what is not yet due stays so"
    );
    assert_eq!(
        finish(&world, ME, vec![outcome(&mine, Next::Failed(NOW))]).await,
        [true]
    );
}

async fn a_key_redelivers_once_and_is_used_only_by_that(world: World) {
    let key = |request: &str| IdempotencyKey {
        caller_id: CHANNEL.into(),
        key: "once".into(),
        request: Digest::of(request.as_bytes()),
        at: NOW,
    };
    let (id, lane) = keep_callback(&world, 1, NOW).await;
    let (other, _) = keep_callback(&world, 2, NOW + 5).await;
    let redeliver = async |id, request| {
        world
            .redeliver_once(id, key(request), NOW + 9)
            .await
            .unwrap()
    };
    assert_eq!(
        redeliver(id, "a").await,
        RedeliveredOnce::Now(Redelivered::StillWaiting)
    );
    assert_eq!(
        redeliver(CallbackId::new(1, 1), "a").await,
        RedeliveredOnce::Now(Redelivered::NotFound)
    );
    assert_eq!(
        world.find_idempotency_key(key("a")).await.unwrap(),
        None,
        "what did nothing uses no key"
    );
    fail(&world, lane, NOW).await;
    assert_eq!(
        redeliver(id, "a").await,
        RedeliveredOnce::Now(Redelivered::Due)
    );
    let first = id.to_string();
    for (id, request) in [(id, "a"), (other, "b")] {
        assert_eq!(
            redeliver(id, request).await,
            RedeliveredOnce::Remembered(Remembered {
                request: Digest::of(b"a"),
                resource: first.clone(),
            })
        );
    }
    assert_eq!(world.find_callback(id).await.unwrap().unwrap().round, 2);
}

async fn one_is_redelivered_in_a_new_round(world: World) {
    let (id, lane) = keep_callback(&world, 1, NOW).await;
    assert_eq!(
        world.redeliver(id, NOW).await.unwrap(),
        Redelivered::StillWaiting
    );
    fail(&world, lane, NOW).await;
    assert_eq!(
        world.redeliver(id, NOW + 9).await.unwrap(),
        Redelivered::Due
    );
    let kept = world.find_callback(id).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.round, kept.attempts, kept.due_at),
        (CallbackState::Waiting, 2, 0, Some(NOW + 9))
    );
    let claimed = claim(&world, lane, 1, ME, NOW + 9).await.taken.remove(0);
    finish(
        &world,
        ME,
        vec![outcome(&claimed, Next::Acknowledged(NOW + 10))],
    )
    .await;
    let attempts = world.attempts(id).await.unwrap();
    assert_eq!(
        attempts
            .iter()
            .map(|attempt| (attempt.round, attempt.number))
            .collect::<Vec<_>>(),
        [(1, 1), (2, 1)]
    );
}

async fn all_failed_since_are_redelivered_step_by_step(world: World) {
    world
        .create_channel(channel("ch-2", "贝壳"), api_key("k2", "ch-2"))
        .await
        .unwrap();
    let mut lanes = Vec::new();
    for number in 0..1200 {
        let channel_id = if number % 2 == 0 { CHANNEL } else { "ch-2" };
        let new = NewCallback {
            channel_id: channel_id.into(),
            ..new(number, NOW)
        };
        let Accepted::New(placed) = world.accept_callback(new).await.unwrap() else {
            panic!("not new")
        };
        lanes.push(placed.lane);
    }
    for lane in [lanes[0], lanes[1]] {
        let taken = claim(&world, lane, 1000, ME, NOW).await.taken;
        // The first hundred of each channel failed before the others.
        let outcomes = taken.iter().enumerate();
        let outcomes = outcomes.map(|(place, claimed)| {
            outcome(claimed, Next::Failed(NOW + i64::from(place >= 100) * 1000))
        });
        finish(&world, ME, outcomes.collect()).await;
    }
    assert_eq!(world.backlog(NOW).await.unwrap().failed, 1200);
    let redeliver_all = async |which: FailedSince| {
        let mut redelivery = world.start_redelivery(which, NOW + 5000).await.unwrap();
        let mut steps = 0;
        while redelivery.finished_at.is_none() {
            let stepped = world.step_redelivery(redelivery.id, NOW + 5000).await;
            redelivery = stepped.unwrap().unwrap();
            steps += 1;
        }
        (redelivery.total, redelivery.redelivered, steps)
    };
    let late = FailedSince {
        channel_id: Some(CHANNEL.into()),
        since: NOW + 1000,
        until: NOW + 2000,
    };
    assert_eq!(redeliver_all(late.clone()).await, (500, 500, 3));
    assert_eq!(redeliver_all(late).await.1, 0, "they wait now");
    let rest = FailedSince {
        channel_id: None,
        since: 0,
        until: NOW + 2000,
    };
    assert_eq!(redeliver_all(rest).await.1, 700);
    assert_eq!(world.backlog(NOW).await.unwrap().failed, 0);
}

async fn a_redelivery_of_many_goes_on_wherever_it_was_left(world: World) {
    let mut lane = LaneId(0);
    for number in 0..1200 {
        lane = keep_callback(&world, number, NOW).await.1;
    }
    while world.backlog(NOW).await.unwrap().failed < 1200 {
        let taken = claim(&world, lane, 400, ME, NOW).await.taken;
        let outcomes = taken.iter();
        let outcomes = outcomes.map(|claimed| outcome(claimed, Next::Failed(NOW)));
        finish(&world, ME, outcomes.collect()).await;
    }
    let which = FailedSince {
        channel_id: Some(CHANNEL.into()),
        since: NOW,
        until: NOW,
    };
    let begun = world.start_redelivery(which, NOW + 1).await.unwrap();
    assert_eq!((begun.total, begun.redelivered), (1200, 0));
    let first = world.step_redelivery(begun.id, NOW + 2).await.unwrap();
    let first = first.unwrap();
    assert_eq!((first.redelivered, first.finished_at), (500, None));
    // Whoever began it is gone. Two others go on at once, and neither repeats what the other does.
    let other = world.another();
    assert_eq!(other.unfinished_redeliveries().await.unwrap(), [first]);
    let (one, two) = tokio::join!(
        world.step_redelivery(begun.id, NOW + 3),
        other.step_redelivery(begun.id, NOW + 3)
    );
    let ends = [one.unwrap().unwrap(), two.unwrap().unwrap()];
    let done: Vec<u64> = ends.iter().map(|end| end.redelivered).collect();
    assert!(done == [1000, 1200] || done == [1200, 1000], "{done:?}");
    let end = world.find_redelivery(begun.id).await.unwrap().unwrap();
    assert_eq!((end.redelivered, end.finished_at), (1200, Some(NOW + 3)));
    assert_eq!(
        world.step_redelivery(begun.id, NOW + 9).await.unwrap(),
        Some(end.clone()),
        "what is over stays as it is"
    );
    assert_eq!(other.unfinished_redeliveries().await.unwrap(), []);
    let of = async |channel: Option<&str>| {
        let channel = channel.map(str::to_owned);
        world.redeliveries(channel, 10).await.unwrap()
    };
    assert_eq!(end.id.to_string().parse(), Ok(end.id));
    let all = [end];
    assert_eq!(of(None).await, all);
    assert_eq!(of(Some(CHANNEL)).await, all);
    assert_eq!(of(Some("ch-2")).await, []);
    assert!("rd_01".parse::<sealpost_store::RedeliveryId>().is_err());
}

async fn lists_show_what_was_asked_for_page_by_page(world: World) {
    world
        .create_channel(channel("ch-2", "贝壳"), api_key("k2", "ch-2"))
        .await
        .unwrap();
    let mut lane = LaneId(0);
    for number in 0..30 {
        lane = keep_callback(&world, number, NOW + i64::from(number) * 1000)
            .await
            .1;
    }
    let other = NewCallback {
        channel_id: "ch-2".into(),
        ..new(99, NOW)
    };
    world.accept_callback(other).await.unwrap();
    let taken = claim(&world, lane, 10, ME, NOW + DAY).await.taken;
    let ends = taken.iter().enumerate().map(|(place, claimed)| {
        outcome(
            claimed,
            if place < 4 {
                Next::Failed(NOW + DAY)
            } else {
                Next::Acknowledged(NOW + DAY)
            },
        )
    });
    finish(&world, ME, ends.collect()).await;

    let count = async |filter: CallbackFilter| {
        let (mut before, mut seen) = (None, Vec::new());
        loop {
            let page = world.callbacks(filter.clone(), before, 7).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            seen.extend(page.into_iter().map(|callback| callback.id));
        }
        assert!(
            seen.is_sorted_by(|a, b| a > b),
            "the newest first, none twice"
        );
        seen.len()
    };
    let all = CallbackFilter::default();
    let of = |state| CallbackFilter {
        state: Some(state),
        channel_id: Some(CHANNEL.into()),
        ..all.clone()
    };
    assert_eq!(count(all.clone()).await, 31);
    assert_eq!(
        count(CallbackFilter {
            channel_id: Some(CHANNEL.into()),
            ..all.clone()
        })
        .await,
        30
    );
    assert_eq!(
        count(CallbackFilter {
            channel_id: Some("ch-none".into()),
            ..all.clone()
        })
        .await,
        0
    );
    assert_eq!(count(of(CallbackState::Failed)).await, 4);
    assert_eq!(count(of(CallbackState::Acknowledged)).await, 6);
    assert_eq!(count(of(CallbackState::Waiting)).await, 20);
    assert_eq!(
        count(CallbackFilter {
            state: Some(CallbackState::Failed),
            ..all.clone()
        })
        .await,
        4
    );
    let window = CallbackFilter {
        since: Some(NOW + 5000),
        until: Some(NOW + 8000),
        ..all
    };
    assert_eq!(count(window).await, 3);

    let found = world
        .find_callback_of_flow(CHANNEL.into(), flow_id(3))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.sign_flow_id, found.channel_id.as_str()),
        (flow_id(3), CHANNEL)
    );
    let nobody: SignFlowId = "nobody".parse().unwrap();
    assert_eq!(
        world
            .find_callback_of_flow(CHANNEL.into(), nobody)
            .await
            .unwrap(),
        None
    );
}

async fn many_at_once_are_each_answered_for_themselves(world: World) {
    keep_callback(&world, 7, NOW).await;
    let handed = (0..300_u32).map(|number| {
        let store = Store::clone(&world);
        tokio::spawn(async move {
            // Every third is handed over twice, every tenth has no channel, and all draw the same id.
            let mut new = NewCallback {
                id: CallbackId::new(NOW, 1),
                ..new(number - number % 3 % 2, NOW)
            };
            if number % 10 == 0 {
                new.channel_id = "no such channel".into();
            }
            (new.sign_flow_id.clone(), store.accept_callback(new).await)
        })
    });
    let handed: Vec<_> = handed.collect();
    let mut kept = std::collections::HashMap::new();
    for (number, handed) in (0..).zip(handed) {
        let (flow, answer) = handed.await.unwrap();
        let id = match answer {
            Ok(Accepted::New(placed)) => placed.id,
            Ok(Accepted::Before(id)) => id,
            Ok(Accepted::Conflict) => panic!("{flow} in conflict"),
            Err(_) => {
                assert_eq!(number % 10, 0, "{flow}");
                continue;
            }
        };
        assert_ne!(number % 10, 0);
        assert_eq!(
            *kept.entry(flow.clone()).or_insert(id),
            id,
            "one callback of {flow}"
        );
        let stored = world.find_callback(id).await.unwrap().unwrap();
        assert_eq!(stored.sign_flow_id, flow);
    }
    let ids: std::collections::HashSet<_> = kept.values().collect();
    assert_eq!(ids.len(), kept.len(), "each has an id of its own");
}

on_every_database! {
    many_at_once_are_each_answered_for_themselves,
    the_same_again_answers_as_before_and_another_end_conflicts,
    ids_are_ordered_unique_and_readable,
    a_lease_hides_a_callback_until_it_ends,
    a_lease_at_the_insert_hides_a_callback_until_it_ends,
    what_was_leased_at_the_insert_is_finished_by_its_holder,
    only_the_newest_lease_of_a_holder_counts,
    an_expired_lease_that_nobody_took_still_counts,
    attempts_are_counted_and_kept_and_giving_back_is_not_one,
    the_longest_due_is_claimed_first_and_lanes_do_not_mix,
    lanes_rest_with_their_channel,
    one_is_redelivered_in_a_new_round,
    a_key_redelivers_once_and_is_used_only_by_that,
    all_failed_since_are_redelivered_step_by_step,
    a_redelivery_of_many_goes_on_wherever_it_was_left,
    lists_show_what_was_asked_for_page_by_page,
}
