//! What may be asked for.

use sealpost_flow::{Invalid, NewFlow, Place, create, limits};

use crate::cases::{NOW, initiator, new_flow, person, seller_and_buyer};

/// The complaints about a flow of seller and buyer that was spoilt, as `field code`.
fn complaints(spoil: impl FnOnce(&mut NewFlow)) -> Vec<String> {
    let mut new = new_flow(seller_and_buyer());
    spoil(&mut new);
    let complaint = |invalid: Invalid| format!("{} {}", invalid.field, invalid.problem.code());
    match create(new, &initiator(), NOW) {
        Ok(_) => Vec::new(),
        Err(invalid) => invalid.into_iter().map(complaint).collect(),
    }
}

#[test]
fn a_good_flow_has_no_complaints() {
    assert_eq!(complaints(|_| ()), [""; 0]);
}

#[test]
fn limits_count_characters_and_are_exact() {
    assert_eq!(complaints(|new| new.reference = "收".repeat(64)), [""; 0]);
    assert_eq!(
        complaints(|new| new.reference = "收".repeat(65)),
        ["reference too_long"]
    );
    assert_eq!(
        complaints(|new| new.reference = String::new()),
        ["reference blank"]
    );
    assert_eq!(
        complaints(|new| new.reference = " \u{3000}".into()),
        ["reference blank"]
    );
    assert_eq!(
        complaints(|new| new.title = "a\nb".into()),
        ["title control_characters"]
    );
    assert_eq!(
        complaints(|new| new.signers[1] = person(2, &"三".repeat(65))),
        ["signers[1].name too_long", "signers[1].place no_area"]
    );
    assert_eq!(
        complaints(|new| new.signers[0].order = 0),
        ["signers[0].order out_of_range"]
    );
    assert_eq!(
        complaints(|new| new.signers[0].order = 11),
        ["signers[0].order out_of_range"]
    );
    assert_eq!(
        complaints(|new| new.expires_at = NOW),
        ["expires_at not_in_future"]
    );
    assert_eq!(complaints(|new| new.expires_at = NOW + 1), [""; 0]);
    assert_eq!(
        complaints(|new| new.expires_at = NOW + limits::DEADLINE_AHEAD),
        [""; 0]
    );
    assert_eq!(
        complaints(|new| new.expires_at = NOW + limits::DEADLINE_AHEAD + 1),
        ["expires_at too_far_ahead"]
    );
    assert_eq!(
        complaints(|new| new.expires_at = i64::MAX),
        ["expires_at too_far_ahead"]
    );
}

#[test]
fn there_are_one_to_ten_signers() {
    let many = |count| {
        move |new: &mut NewFlow| *new = new_flow((0..count).map(|_| person(1, "张三")).collect())
    };
    assert_eq!(complaints(many(0)), ["signers blank"]);
    assert_eq!(complaints(many(1)), [""; 0]);
    assert_eq!(complaints(many(10)), [""; 0]);
    assert_eq!(complaints(many(11)), ["signers too_long"]);
}

#[test]
fn two_signers_cannot_have_one_place() {
    let place = |page, rect| move |new: &mut NewFlow| new.signers[1].place = Place { page, rect };
    let first = new_flow(seller_and_buyer()).signers[0].place;
    assert_eq!(
        complaints(place(1, first.rect)),
        ["signers[1].place place_taken"]
    );
    assert_eq!(
        complaints(place(1, [30.0, 130.0, 80.0, 180.0])),
        ["signers[1].place place_taken"]
    );
    assert_eq!(
        complaints(place(1, [40.0, 100.0, 80.0, 140.0])),
        [""; 0],
        "side by side is no overlap"
    );
    assert_eq!(complaints(place(2, first.rect)), [""; 0]);
    assert_eq!(
        complaints(place(0, [0.0, 0.0, 1.0, 1.0])),
        ["signers[1].place no_area"]
    );
    assert_eq!(
        complaints(place(1, [9.0, 0.0, 9.0, 1.0])),
        ["signers[1].place no_area"]
    );
    assert_eq!(
        complaints(place(1, [f32::NAN, 0.0, 9.0, 1.0])),
        ["signers[1].place no_area"]
    );
}

#[test]
fn everything_wrong_is_told_at_once() {
    let spoil = |new: &mut NewFlow| {
        new.reference.clear();
        new.signers[0].order = 0;
        new.expires_at = 0;
    };
    assert_eq!(
        complaints(spoil),
        [
            "reference blank",
            "signers[0].order out_of_range",
            "expires_at not_in_future"
        ]
    );
}
