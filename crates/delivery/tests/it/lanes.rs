//! The lanes' rules one by one, where the simulation sees only what they come to together.

use std::time::Duration;

use bytes::Bytes;
use sealpost_delivery::breaker::{Breaker, BreakerState};
use sealpost_delivery::lanes::{Effect, Ended, LaneReport, Lanes, Limits};
use sealpost_delivery::window::Window;
use sealpost_store::{CallbackId, Claim, Claimed, LaneId};

const NOW: i64 = 1_800_000_000_000;
const HOUR: i64 = 3_600_000;
const FIRST_REST: i64 = 30_000;
const QUICK: Duration = Duration::from_millis(1);

const A: LaneId = LaneId(1);
const B: LaneId = LaneId(2);
const C: LaneId = LaneId(3);

fn lanes(attempts: usize, attempts_per_lane: usize, held: usize) -> Lanes {
    Lanes::new(Limits {
        attempts,
        attempts_per_lane,
        held,
        lease_margin: 1000,
    })
}

fn claimed(lane: LaneId, number: u32) -> Claimed {
    Claimed {
        id: CallbackId::new(NOW + lane.0, number),
        lane,
        url: None,
        body: Bytes::new(),
        attempts: 0,
        fence: 1,
        lease_until: NOW + HOUR,
    }
}

fn admit(lanes: &mut Lanes, lane: LaneId, count: u32) {
    for number in 0..count {
        lanes.admit(claimed(lane, number));
    }
}

fn start_all(lanes: &mut Lanes) -> Vec<Claimed> {
    std::iter::from_fn(|| lanes.start(NOW)).collect()
}

/// Makes so many attempts one after the other, all with this effect.
fn make(lanes: &mut Lanes, lane: LaneId, effect: Effect, count: u32) {
    for number in 0..count {
        let one = claimed(lane, 1000 + number);
        lanes.admit(one.clone());
        assert_eq!(lanes.start(NOW).as_ref(), Some(&one));
        assert!(lanes.ended(lane, effect, QUICK, NOW).back.is_empty());
        lanes.settled(lane, one.id, one.fence, None);
    }
}

fn report(lanes: &Lanes, lane: LaneId) -> LaneReport {
    let mut reports = lanes.report(NOW).into_iter();
    reports.find(|report| report.lane == lane).unwrap()
}

#[test]
fn nothing_is_taken_in_at_once_that_would_overtake_or_only_wait() {
    let mut overtaken = lanes(8, 8, 100);
    assert!(overtaken.has_room(A, NOW), "of a new lane");
    overtaken.waits(A, NOW + 1);
    assert!(overtaken.has_room(A, NOW));
    assert!(!overtaken.has_room(A, NOW + 1), "an older one is due");
    overtaken.to_claim(NOW + 1, 100);
    assert!(!overtaken.has_room(A, NOW + 1), "an older one is coming");
    overtaken.claimed(A, Claim::default());
    assert!(overtaken.has_room(A, NOW + 1));
    assert!(overtaken.set_paused(A, true).is_empty());
    assert!(!overtaken.has_room(A, NOW + 1), "paused");

    let mut resting = lanes(8, 8, 100);
    make(&mut resting, A, Effect::Refused, 19);
    assert!(resting.has_room(A, NOW));
    make(&mut resting, A, Effect::Refused, 1);
    assert!(!resting.has_room(A, NOW), "the breaker is open");

    let mut full = lanes(8, 2, 100);
    admit(&mut full, A, 7);
    assert!(full.has_room(A, NOW));
    admit(&mut full, A, 8);
    assert!(!full.has_room(A, NOW), "four times its window");
}

#[test]
fn the_earliest_that_waits_is_claimed_first() {
    let mut lanes = lanes(8, 8, 100);
    for wait in [10, 5, 20] {
        lanes.waits(A, NOW + wait);
    }
    assert_eq!(lanes.next_claim_at(), Some(NOW + 5));
}

/// Its room was seen before the breaker opened, and it comes after.
#[test]
fn what_comes_late_waits_for_the_end_of_the_rest() {
    let mut lanes = lanes(8, 8, 100);
    make(&mut lanes, A, Effect::Refused, 20);
    admit(&mut lanes, A, 2);
    assert_eq!(lanes.start(NOW + FIRST_REST - 1), None);
    assert_eq!(lanes.start(NOW + FIRST_REST), Some(claimed(A, 0)));
    assert_eq!(lanes.start(NOW + FIRST_REST), None, "one probe");
}

#[test]
fn a_lane_that_finds_everything_taken_is_the_next() {
    let mut lanes = lanes(1, 8, 100);
    admit(&mut lanes, A, 1);
    admit(&mut lanes, B, 1);
    assert_eq!(lanes.start(NOW), Some(claimed(A, 0)));
    assert_eq!(lanes.start(NOW), None);
    lanes.ended(A, Effect::Acknowledged, QUICK, NOW);
    assert_eq!(lanes.start(NOW), Some(claimed(B, 0)));
}

#[test]
fn a_lane_takes_no_more_than_it_leaves() {
    let mut proven = lanes(8, 8, 100);
    for lane in [A, B] {
        make(&mut proven, lane, Effect::Acknowledged, 1);
    }
    for lane in [A, B] {
        admit(&mut proven, lane, 10);
    }
    start_all(&mut proven);
    let running = [A, B].map(|lane| report(&proven, lane).running);
    assert_eq!(running, [3, 3], "as many as two are free");

    // The last attempt failed: a quarter is the others'.
    let mut failing = lanes(8, 8, 100);
    make(&mut failing, A, Effect::Refused, 1);
    admit(&mut failing, A, 10);
    assert_eq!(start_all(&mut failing).len(), 3);

    let mut narrow = lanes(100, 4, 100);
    admit(&mut narrow, A, 10);
    assert_eq!(start_all(&mut narrow).len(), 2, "nothing is known of it");
    narrow.ended(A, Effect::Refused, QUICK, NOW);
    assert_eq!(start_all(&mut narrow).len(), 3, "the window");
    assert_eq!(report(&narrow, A).running, 4);
}

#[test]
fn a_window_that_is_used_up_grows() {
    let mut lanes = lanes(100, 64, 100);
    make(&mut lanes, A, Effect::Acknowledged, 1);
    assert_eq!(report(&lanes, A).window, 8);
    admit(&mut lanes, A, 8);
    assert_eq!(start_all(&mut lanes).len(), 8);
    lanes.ended(A, Effect::Acknowledged, QUICK, NOW);
    assert_eq!(report(&lanes, A).window, 9);
    // Seven of nine prove nothing.
    lanes.ended(A, Effect::Acknowledged, QUICK, NOW);
    assert_eq!(report(&lanes, A).window, 9);
}

#[test]
fn a_rest_gives_everything_back_and_is_over_with_one_probe() {
    let mut lanes = lanes(100, 32, 200);
    make(&mut lanes, A, Effect::Refused, 19);
    admit(&mut lanes, A, 12);
    assert_eq!(start_all(&mut lanes).len(), 8);
    let ended = lanes.ended(A, Effect::Refused, QUICK, NOW);
    assert_eq!(ended.back.len(), 4, "what had not started");
    assert_eq!(ended.tripped, Some(true));
    assert_eq!(
        report(&lanes, A).breaker,
        BreakerState::Open(NOW + FIRST_REST)
    );
    for _ in 0..7 {
        let late = lanes.ended(A, Effect::Refused, QUICK, NOW + 10);
        assert_eq!(late, Ended::default());
    }
    assert_eq!(
        report(&lanes, A).breaker,
        BreakerState::Open(NOW + FIRST_REST),
        "what was under way says nothing new"
    );
    lanes.waits(A, NOW);
    assert_eq!(lanes.next_claim_at(), None, "something of it is still held");
    for number in 0..12 {
        let one = claimed(A, number);
        lanes.settled(A, one.id, one.fence, Some(NOW));
    }
    assert_eq!(lanes.held(), 0);
    assert_eq!(lanes.next_claim_at(), Some(NOW + FIRST_REST));
    assert_eq!(lanes.to_claim(NOW + FIRST_REST - 1, 100), []);
    assert_eq!(lanes.to_claim(NOW + FIRST_REST, 100), [(A, 1)]);
    let probe = Claimed {
        fence: 2,
        ..claimed(A, 0)
    };
    let claim = Claim {
        taken: vec![probe.clone()],
        next_due_at: Some(NOW),
    };
    lanes.claimed(A, claim);
    assert_eq!(lanes.next_claim_at(), None, "one at a time");
    assert_eq!(lanes.start(NOW + FIRST_REST), Some(probe));
    lanes.ended(A, Effect::Acknowledged, QUICK, NOW + FIRST_REST);
    assert_eq!(report(&lanes, A).breaker, BreakerState::Closed);
    assert_eq!(lanes.next_claim_at(), Some(NOW));
}

#[test]
fn what_could_not_be_made_says_nothing_of_the_endpoint() {
    let mut lanes = lanes(100, 8, 100);
    make(&mut lanes, A, Effect::NotMade, 30);
    assert_eq!(report(&lanes, A).breaker, BreakerState::Closed);
    make(&mut lanes, A, Effect::Refused, 19);
    make(&mut lanes, A, Effect::NotMade, 1);
    make(&mut lanes, A, Effect::Refused, 1);
    assert_ne!(report(&lanes, A).breaker, BreakerState::Closed);
}

#[test]
fn memory_is_shared_out_and_none_goes_without() {
    // Three quarters of 24 are shared out.
    let mut lanes = lanes(100, 64, 24);
    lanes.waits(A, NOW);
    assert_eq!(lanes.to_claim(NOW - 1, 100), []);
    assert_eq!(
        lanes.to_claim(NOW, 100),
        [(A, 4)],
        "it may have no more than a few"
    );
    let claim = Claim {
        taken: (0..4).map(|number| claimed(A, number)).collect(),
        next_due_at: Some(NOW),
    };
    lanes.claimed(A, claim);
    assert_eq!(
        lanes.to_claim(NOW, 100),
        [(A, 7)],
        "it has: half of the 14 that are free"
    );
    lanes.waits(B, NOW);
    assert_eq!(
        lanes.to_claim(NOW, 100),
        [(B, 4)],
        "what is asked for is not free"
    );
    lanes.claimed(A, Claim::default());
    lanes.claimed(B, Claim::default());
    admit(&mut lanes, A, 18);
    lanes.waits(A, NOW);
    lanes.waits(C, NOW);
    assert_eq!(
        lanes.to_claim(NOW, 100),
        [(C, 1)],
        "the last quarter is for those that have none"
    );
}

#[test]
fn a_failed_claim_is_made_again() {
    let mut lanes = lanes(100, 8, 20);
    lanes.waits(A, NOW);
    assert_eq!(lanes.to_claim(NOW, 100), [(A, 4)]);
    lanes.claim_failed(A, NOW + 200);
    assert_eq!(lanes.next_claim_at(), Some(NOW + 200));
    assert_eq!(lanes.to_claim(NOW + 200, 100), [(A, 4)]);
    lanes.waits(A, NOW + 300);
    assert_eq!(lanes.next_claim_at(), None, "one claim at a time");
    lanes.claim_failed(A, NOW + 400);
    assert_eq!(lanes.next_claim_at(), Some(NOW + 300));
}

#[test]
fn a_lease_that_is_too_short_lets_go_until_it_ends() {
    let mut lanes = lanes(8, 8, 100);
    lanes.admit(claimed(A, 0));
    assert_eq!(lanes.start(NOW + HOUR - 1000), None);
    assert_eq!((lanes.held(), lanes.running()), (0, 0));
    assert_eq!(lanes.next_claim_at(), Some(NOW + HOUR));
    lanes.admit(claimed(A, 1));
    assert_eq!(lanes.start(NOW + HOUR - 1001), Some(claimed(A, 1)));
}

#[test]
fn a_pause_gives_back_what_has_not_started() {
    let mut lanes = lanes(100, 1, 100);
    admit(&mut lanes, A, 4);
    assert_eq!(start_all(&mut lanes).len(), 1);
    let back = lanes.set_paused(A, true);
    assert_eq!(back.len(), 3);
    assert_eq!(lanes.held(), 4, "until that is on disk");
    lanes.ended(A, Effect::Acknowledged, QUICK, NOW);
    for number in 0..4 {
        let one = claimed(A, number);
        lanes.settled(A, one.id, one.fence, (number > 0).then_some(NOW));
    }
    assert_eq!((lanes.held(), report(&lanes, A).held), (0, 0));
    assert_eq!(lanes.next_claim_at(), None, "paused");
    lanes.admit(Claimed {
        fence: 2,
        ..claimed(A, 9)
    });
    assert_eq!(lanes.start(NOW), None, "paused");
    assert!(lanes.set_paused(A, false).is_empty());
    assert_eq!(lanes.next_claim_at(), Some(NOW));
    assert!(lanes.start(NOW).is_some());
}

#[test]
fn a_newer_lease_outlives_the_outcome_of_the_older() {
    let mut lanes = lanes(8, 8, 100);
    let old = claimed(A, 0);
    let new = Claimed {
        fence: 2,
        ..old.clone()
    };
    lanes.admit(old.clone());
    lanes.admit(old.clone());
    let started = start_all(&mut lanes);
    assert_eq!(
        started,
        std::slice::from_ref(&old),
        "one lease, one attempt"
    );
    lanes.ended(A, Effect::Refused, QUICK, NOW);
    lanes.admit(new.clone());
    lanes.settled(A, old.id, old.fence, None);
    assert_eq!(lanes.held(), 1);
    lanes.admit(new.clone());
    assert_eq!(start_all(&mut lanes), [new], "one lease, one attempt");
}

#[test]
fn lanes_with_nothing_to_remember_are_forgotten() {
    let mut lanes = lanes(8, 8, 100);
    make(&mut lanes, A, Effect::Acknowledged, 1);
    lanes.waits(B, NOW + HOUR);
    make(&mut lanes, C, Effect::Refused, 20);
    lanes.forget_idle();
    let mut kept: Vec<LaneId> = lanes.report(NOW).iter().map(|lane| lane.lane).collect();
    kept.sort();
    assert_eq!(kept, [B, C]);
}

#[test]
fn a_window_is_halved_again_once_a_round_has_been_answered() {
    let mut window = Window::new(64);
    window.overloaded();
    assert_eq!(window.size(), 4);
    for _ in 0..7 {
        window.kept_up(QUICK, false);
    }
    window.overloaded();
    assert_eq!(window.size(), 2);
}

#[test]
fn an_endpoint_that_has_become_slower_for_good_is_not_held_to_its_past() {
    let mut window = Window::new(64);
    window.kept_up(QUICK, true);
    let before = window.size();
    for _ in 0..5000 {
        window.kept_up(Duration::from_millis(50), true);
    }
    assert!(window.size() > before);
}

#[test]
fn a_failure_during_the_rest_does_not_lengthen_it() {
    let mut breaker = Breaker::default();
    for _ in 0..20 {
        breaker.failed(NOW);
    }
    for _ in 0..20 {
        breaker.failed(NOW + FIRST_REST - 1);
    }
    assert_eq!(breaker.earliest(), Some(NOW + FIRST_REST));
}
