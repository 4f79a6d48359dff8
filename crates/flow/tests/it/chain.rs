//! The record and its chain, recomputed as an auditor would.

use aws_lc_rs::digest::{SHA256, digest};
use expect_test::expect;
use sealpost_flow::{Actor, Digest, Event, Operation, create, event};

use crate::cases::{NOW, Story as _, initiator, new_flow, seller_and_buyer};

fn events() -> Vec<Event> {
    let created = create(new_flow(seller_and_buyer()), &initiator(), NOW).unwrap();
    let started = created
        .flow
        .attempt(Operation::Start, &initiator())
        .unwrap();
    let client = Actor::signer(2).from_client([192, 0, 2, 7].into(), Some("Mozilla/5.0"));
    let viewed = started
        .flow
        .applied(1)
        .attempt(Operation::View, &client)
        .unwrap();
    [created.events, started.events, viewed.events].concat()
}

#[test]
fn canonical_json_is_what_it_was() {
    let lines: Vec<_> = events().iter().map(Event::to_canonical_json).collect();
    let expected = expect![[r#"
        {"address":null,"at":1790000000000,"by":{"key":"key-1","role":"initiator"},"seq":1,"user_agent":null,"what":{"document":"0682c5f2076f099c34cfdd15a9e063849ed437a49677e6fcc5b4198c76575be5","expires_at":1790604800000,"kind":"created","reference":"R-2026-001","sign_flow_id":"abababababababababababababababab","signers":["海景置业有限公司","张三"]}}
        {"address":null,"at":1790000000000,"by":{"key":"key-1","role":"initiator"},"seq":2,"user_agent":null,"what":{"kind":"started"}}
        {"address":null,"at":1790000000000,"by":{"role":"system"},"seq":3,"user_agent":null,"what":{"kind":"opened","signer":1}}
        {"address":null,"at":1790000000000,"by":{"role":"system"},"seq":4,"user_agent":null,"what":{"document":"0682c5f2076f099c34cfdd15a9e063849ed437a49677e6fcc5b4198c76575be5","kind":"signed","mark":null,"signer":1,"typed":null}}
        {"address":"192.0.2.7","at":1790000000000,"by":{"role":"signer","signer":2},"seq":7,"user_agent":"Mozilla/5.0","what":{"kind":"viewed","signer":2}}"#]];
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn the_chain_is_sha256_over_the_value_before_and_the_json() {
    let mut by_hand = vec![0; 32];
    let mut ours = event::GENESIS;
    for event in events() {
        by_hand.extend_from_slice(event.to_canonical_json().as_bytes());
        by_hand = digest(&SHA256, &by_hand).as_ref().to_vec();
        ours = event::chain(&ours, &event);
        assert_eq!(ours.as_bytes(), &by_hand[..]);
    }
}

#[test]
fn events_survive_json_and_any_change_shows() {
    for event in events() {
        let json = event.to_canonical_json();
        let read: Event = serde_json::from_str(&json).unwrap();
        assert_eq!(read, event);
        assert_eq!(read.to_canonical_json(), json);
        let later = Event {
            at: event.at + 1,
            ..event.clone()
        };
        assert_ne!(
            event::chain(&event::GENESIS, &later),
            event::chain(&event::GENESIS, &event)
        );
    }
}

#[test]
fn digests_are_64_lower_case_hex_digits() {
    let empty = Digest::of(b"");
    let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(empty.to_string(), text);
    assert_eq!(text.parse(), Ok(empty));
    assert!(text.to_uppercase().parse::<Digest>().is_err());
    assert!(text[1..].parse::<Digest>().is_err());
}
