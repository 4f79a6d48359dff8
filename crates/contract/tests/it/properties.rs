//! What holds for any input: no panic, and what was made is read back as it was.

use proptest::prelude::*;
use sealpost_contract::webhook::{Headers, Secret, sign, verify};
use sealpost_contract::{
    Callback, EndStatus, MAX_NESTING, Schedule, SignEndTime, answer, schedule,
};

/// Text that looks like a callback gone wrong: members of the contract with odd values, nested and repeated.
fn almost_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("000".to_owned()),
        Just("2".to_owned()),
        "\"[\\PC]{0,40}\"",
        r#""(2|3|5|7|http://|2021-0[1-9]-3[01] 18:24:29|\\u[0-9a-d]{4})""#,
    ];
    let value = leaf.prop_recursive(6, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name(), inner), 0..4).prop_map(object),
        ]
    });
    prop::collection::vec((name(), value), 0..6).prop_map(object)
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "sign_end_time",
        "sign_flow_status",
        "sign_flow_id",
        "sign_file_url",
        "response_code",
        "x",
    ])
}

fn object(members: Vec<(&'static str, String)>) -> String {
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn callback() -> impl Strategy<Value = Callback> {
    (
        any::<i64>(),
        prop::sample::select(EndStatus::ALL.to_vec()),
        any_text(32),
        any_text(128),
    )
        .prop_map(|(at, sign_flow_status, id, url)| Callback {
            sign_end_time: SignEndTime::at(at, &jiff::tz::TimeZone::UTC),
            sign_flow_status,
            sign_flow_id: id.parse().unwrap(),
            sign_file_url: url.parse().unwrap(),
        })
}

/// Any characters at all, control characters and NUL among them.
fn any_text(max: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 1..=max).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Callback::parse(&body);
        let _ = answer::judge(200, &body);
    }

    #[test]
    fn what_is_accepted_is_strict_json_of_four_strings(body in almost_json()) {
        if Callback::parse(body.as_bytes()).is_ok() {
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            for member in sealpost_contract::Member::ALL {
                let text = value[member.name()].as_str().unwrap();
                prop_assert!((1..=member.max_chars()).contains(&text.chars().count()));
            }
        }
        let _ = answer::judge(200, body.as_bytes());
    }

    #[test]
    fn a_callback_is_read_back_as_it_was_sent(callback in callback()) {
        prop_assert_eq!(Callback::parse(callback.to_json().as_bytes()), Ok(callback));
    }

    #[test]
    fn a_callback_cut_anywhere_is_refused(callback in callback(), at in any::<prop::sample::Index>()) {
        let body = callback.to_json();
        let cut = at.index(body.len());
        prop_assert!(Callback::parse(&body.as_bytes()[..cut]).is_err());
    }

    #[test]
    fn nesting_is_refused_past_the_limit_and_never_overflows(levels in 0_usize..100_000) {
        let body = format!(
            r#"{{"sign_end_time":"2021-03-22 18:24:29","sign_flow_status":"2","sign_flow_id":"1","sign_file_url":"u","x":{}{}}}"#,
            "[".repeat(levels + 1), "]".repeat(levels + 1)
        );
        prop_assert_eq!(Callback::parse(body.as_bytes()).is_ok(), levels + 2 <= MAX_NESTING);
    }

    #[test]
    fn what_was_signed_verifies_and_with_a_flipped_bit_does_not(
        body in prop::collection::vec(any::<u8>(), 1..200),
        id in "[A-Za-z0-9_-]{1,40}",
        sent in 0_i64..4_000_000_000,
        bit in any::<prop::sample::Index>(),
    ) {
        let secret = Secret::from_bytes([9; 32]).unwrap();
        let signature = sign(&secret, &id, sent, &body);
        let timestamp = sent.to_string();
        let headers = Headers { id: Some(&id), timestamp: Some(&timestamp), signature: Some(&signature) };
        prop_assert!(verify(std::slice::from_ref(&secret), headers, &body, sent * 1000, 300).is_ok());
        let mut flipped = body.clone();
        let bit = bit.index(body.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify(&[secret], headers, &flipped, sent * 1000, 300).is_err());
    }

    #[test]
    fn any_header_is_verified_or_refused(id in any::<String>(), timestamp in any::<String>(), signature in any::<String>()) {
        let secret = Secret::from_bytes([9; 32]).unwrap();
        let headers = Headers { id: Some(&id), timestamp: Some(&timestamp), signature: Some(&signature) };
        prop_assert!(verify(&[secret], headers, b"", 0, i64::MAX).is_err());
        let _ = schedule::retry_after(&signature, 0);
    }

    #[test]
    fn a_schedule_is_read_back_as_it_was_written(waits in prop::array::uniform3(0_i64..=7 * 86_400_000)) {
        let schedule = Schedule::new(waits).unwrap();
        prop_assert_eq!(schedule.to_string().parse(), Ok(schedule));
    }
}
