//! The lanes by themselves: who starts when there is not enough for all, what is held, how long an endpoint is left alone.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sealpost_delivery::breaker::BreakerState;
use sealpost_delivery::lanes::{Effect, Ended, LaneReport, Lanes, Limits};
use sealpost_store::{CallbackId, Claim, Claimed, LaneId};

const LEASE: i64 = 40_000;
const QUICK: Duration = Duration::from_millis(1);

fn limits() -> Limits {
    Limits {
        attempts: 64,
        attempts_per_lane: 16,
        held: 256,
        lease_margin: 12_000,
    }
}

fn claimed(lane: LaneId, number: u32, now: i64) -> Claimed {
    Claimed {
        id: CallbackId::new(lane.0, number),
        lane,
        url: None,
        body: Bytes::from_static(b"{}"),
        attempts: 0,
        fence: 1,
        lease_until: now + LEASE,
    }
}

/// Claims whatever the lanes ask for; each lane has one callback on disk and no more.
fn claim_one_each(lanes: &mut Lanes, now: i64) -> usize {
    let mut claims = 0;
    loop {
        let asks = lanes.to_claim(now, 512);
        if asks.is_empty() {
            return claims;
        }
        for (lane, _) in asks {
            claims += 1;
            let claim = Claim {
                taken: vec![claimed(lane, 0, now)],
                next_due_at: None,
            };
            lanes.claimed(lane, claim);
        }
    }
}

/// One callback of this lane is acknowledged.
fn acknowledge(lanes: &mut Lanes, lane: LaneId, number: u32, now: i64) {
    lanes.admit(claimed(lane, number, now));
    let started = lanes.start(now).expect("nothing else is to be done");
    assert_eq!(started.lane, lane);
    end(lanes, &started, Effect::Acknowledged, now);
}

fn end(lanes: &mut Lanes, claimed: &Claimed, effect: Effect, now: i64) -> Ended {
    let ended = lanes.ended(claimed.lane, effect, QUICK, now);
    lanes.settled(claimed.lane, claimed.id, claimed.fence, None);
    for back in &ended.back {
        lanes.settled(back.lane, back.id, back.fence, Some(now));
    }
    ended
}

fn report(lanes: &Lanes, lane: LaneId, now: i64) -> LaneReport {
    let reports = lanes.report(now);
    let found = reports.into_iter().find(|report| report.lane == lane);
    found.expect("the lane is known")
}

#[test]
fn one_that_works_waits_for_none_of_ten_thousand_that_hang() {
    let mut lanes = Lanes::new(limits());
    let works = LaneId(0);
    acknowledge(&mut lanes, works, 0, 0);
    // Idle in between, it is forgotten, and what is known of it is not.
    lanes.forget_idle();
    assert_eq!(lanes.report(0), []);

    for dead in 1..=10_000 {
        lanes.waits(LaneId(dead), 0);
    }
    claim_one_each(&mut lanes, 0);
    assert!(lanes.held() <= limits().held, "{} are held", lanes.held());
    let mut hanging = 0;
    while lanes.start(0).is_some() {
        hanging += 1;
    }
    assert_eq!(hanging, 48, "a quarter is left to those that work");

    assert!(lanes.has_room(works, 1), "though what is held is full");
    lanes.admit(claimed(works, 1, 1));
    let started = lanes.start(1).expect("it starts at once");
    assert_eq!(started.lane, works);
    end(&mut lanes, &started, Effect::Acknowledged, 2);
    // The same for what is found on disk.
    lanes.waits(works, 2);
    assert_eq!(lanes.next_claim_at(), Some(2));
    assert_eq!(claim_one_each(&mut lanes, 2), 1, "and nobody else is asked");
    assert_eq!(lanes.start(2).map(|claimed| claimed.lane), Some(works));
}

#[test]
fn what_is_held_is_bounded_however_many_lanes_there_are() {
    let mut lanes = Lanes::new(limits());
    let mut admitted = 0;
    for lane in 0..10_000 {
        if lanes.has_room(LaneId(lane), 0) {
            lanes.admit(claimed(LaneId(lane), 0, 0));
            admitted += 1;
        } else {
            lanes.waits(LaneId(lane), 0);
        }
    }
    assert_eq!((admitted, lanes.held()), (256, 256));
    assert_eq!(
        lanes.next_claim_at(),
        None,
        "there is no room to ask for more"
    );

    // Whatever ends makes room for one that waits, until all have had their turn.
    let (mut ended, mut now) = (0, 0);
    while ended < 10_000 {
        now += 1;
        while let Some(started) = lanes.start(now) {
            end(&mut lanes, &started, Effect::Refused, now);
            ended += 1;
        }
        claim_one_each(&mut lanes, now);
        assert!(lanes.held() <= 256);
    }
    assert_eq!(lanes.held(), 0);
}

#[test]
fn those_that_work_leave_the_others_their_share() {
    let mut lanes = Lanes::new(limits());
    for lane in 0..40 {
        acknowledge(&mut lanes, LaneId(lane), 0, 0);
    }
    for number in 1..=4 {
        for lane in 0..40 {
            lanes.admit(claimed(LaneId(lane), number, 0));
        }
    }
    for lane in 100..120 {
        lanes.admit(claimed(LaneId(lane), 0, 0));
    }
    let started: Vec<LaneId> = std::iter::from_fn(|| lanes.start(0))
        .map(|claimed| claimed.lane)
        .collect();
    assert!(started.len() >= 60, "{} start", started.len());
    let unknown = started.iter().filter(|lane| lane.0 >= 100).count();
    assert_eq!(
        unknown, 20,
        "those of whom nothing is known take turns with those that work"
    );
}

#[test]
fn those_that_are_always_busy_leave_the_others_their_share() {
    let mut lanes = Lanes::new(limits());
    for lane in 0..40 {
        acknowledge(&mut lanes, LaneId(lane), 0, 0);
    }
    let mut numbers = 1..;
    for lane in 0..40 {
        for number in numbers.by_ref().take(4) {
            lanes.admit(claimed(LaneId(lane), number, 0));
        }
    }
    let mut running: VecDeque<Claimed> = std::iter::from_fn(|| lanes.start(0)).collect();
    // Then others come of whom nothing is known.
    for lane in 100..120 {
        lanes.admit(claimed(LaneId(lane), 0, 0));
    }
    let mut waiting = 20;
    for ends in 1..=100 {
        let ended = running.pop_front().expect("there is always one more");
        end(&mut lanes, &ended, Effect::Acknowledged, 0);
        if ended.lane.0 < 100 {
            let number = numbers.next().unwrap_or_default();
            lanes.admit(claimed(ended.lane, number, 0));
        }
        while let Some(started) = lanes.start(0) {
            waiting -= usize::from(started.lane.0 >= 100);
            running.push_back(started);
        }
        if waiting == 0 {
            assert!(ends >= 10, "they take turns");
            return;
        }
    }
    panic!("{waiting} wait for those that are always busy");
}

#[test]
fn who_puts_an_endpoint_right_need_not_wait_for_its_rest() {
    let lane = LaneId(1);
    let fails = |lanes: &mut Lanes| {
        let mut tripped = Vec::new();
        for number in 0..20 {
            lanes.admit(claimed(lane, number, 0));
            let started = lanes.start(0).expect("the breaker is closed until then");
            tripped.extend(end(lanes, &started, Effect::Refused, 0).tripped);
        }
        assert_eq!(tripped, [true], "told once");
        lanes.waits(lane, 0);
        assert_eq!(report(lanes, lane, 1).breaker, BreakerState::Open(30_000));
        assert_eq!(lanes.next_claim_at(), Some(30_000));
    };
    // A person pauses and resumes the channel.
    let mut lanes = Lanes::new(limits());
    fails(&mut lanes);
    lanes.set_paused(lane, true);
    lanes.set_paused(lane, false);
    assert_eq!(lanes.next_claim_at(), Some(0));
    // Or changes its address.
    let mut lanes = Lanes::new(limits());
    fails(&mut lanes);
    lanes.endpoint_changed(lane);
    assert_eq!(lanes.next_claim_at(), Some(0));
    // A poll that finds the channel as it was ends no rest.
    let mut lanes = Lanes::new(limits());
    fails(&mut lanes);
    lanes.set_paused(lane, false);
    assert_eq!(lanes.next_claim_at(), Some(30_000));
    // It works again: also told once.
    claim_one_each(&mut lanes, 30_000);
    let probe = lanes.start(30_000).expect("one is sent");
    assert_eq!(
        end(&mut lanes, &probe, Effect::Acknowledged, 30_000).tripped,
        Some(false)
    );
}

#[test]
fn an_endpoint_that_asks_to_wait_is_left_alone_and_nobody_loses_an_attempt() {
    let mut lanes = Lanes::new(limits());
    let lane = LaneId(1);
    for number in 0..8 {
        lanes.admit(claimed(lane, number, 0));
    }
    let first = lanes.start(0).expect("nothing is known of it");
    let ended = end(&mut lanes, &first, Effect::AskedToWait(5000), 0);
    assert_eq!(ended.back.len(), 7, "what has not started is given back");
    assert_eq!(ended.tripped, None, "it does not only fail");
    assert!(!lanes.has_room(lane, 1));
    assert_eq!(lanes.next_claim_at(), Some(5000));
    assert_eq!(claim_one_each(&mut lanes, 5000), 1, "one is sent to see");
    let probe = lanes.start(5000).expect("the wait is over");
    end(&mut lanes, &probe, Effect::Acknowledged, 5001);
    assert!(lanes.has_room(lane, 5001));
}

#[test]
fn what_is_left_lying_is_told_from_what_has_a_reason_to_wait() {
    let mut lanes = Lanes::new(limits());
    let lane = LaneId(1);
    lanes.waits(lane, 1000);
    let since = |lanes: &Lanes| report(lanes, lane, 0).left_since;
    assert_eq!(since(&lanes), Some(1000));
    lanes.set_paused(lane, true);
    assert_eq!(since(&lanes), None, "a person has paused it");
    lanes.set_paused(lane, false);
    lanes.admit(claimed(lane, 0, 50_000));
    let started = lanes.start(50_000).expect("an attempt");
    assert_eq!(since(&lanes), None, "the lane is busy");
    end(&mut lanes, &started, Effect::Refused, 50_001);
    assert_eq!(since(&lanes), Some(50_000), "it has been come to since");
    lanes.admit(claimed(lane, 1, 50_001));
    let started = lanes.start(50_001).expect("another");
    end(&mut lanes, &started, Effect::AskedToWait(9000), 50_001);
    assert_eq!(since(&lanes), Some(59_001), "from the end of its rest on");
}
