//! What is fuzzed, and what must hold for any bytes. Used by the fuzz targets and, on stable, by the contract's tests.

use sealpost_contract::webhook::{self, Headers, Secret};
use sealpost_contract::{Callback, Member, Schedule, answer, schedule};

/// A body from outside: as a callback, and as an answer to one.
pub(crate) fn request(data: &[u8]) {
    if let Ok(callback) = Callback::parse(data) {
        // What was accepted is JSON to everybody, four strings within their limits, and sends itself on unchanged.
        let value: serde_json::Value = serde_json::from_slice(data).expect("accepted, but no JSON");
        for member in Member::ALL {
            let text = value[member.name()]
                .as_str()
                .expect("accepted, but not a string");
            assert!((1..=member.max_chars()).contains(&text.chars().count()));
        }
        assert_eq!(Callback::parse(callback.to_json().as_bytes()), Ok(callback));
    }
    if answer::judge(200, data).is_ok() {
        let value: serde_json::Value =
            serde_json::from_slice(data).expect("acknowledged, but no JSON");
        assert_eq!(value["response_code"], "000");
    }
    assert!(answer::judge(500, data).is_err());
}

/// The headers from outside: the lines of the text are id, timestamp, signatures, and then the body.
pub(crate) fn signature(data: &[u8]) {
    const NOW_SECONDS: i64 = 1_614_265_330;
    let secret = Secret::from_bytes([7; 32]).expect("32 bytes are a secret");
    let mut parts = data.splitn(4, |&byte| byte == b'\n');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let headers = Headers {
        id: text(),
        timestamp: text(),
        signature: text(),
    };
    let body = parts.next().unwrap_or_default();
    let secrets = std::slice::from_ref(&secret);
    let verified = webhook::verify(secrets, headers, body, NOW_SECONDS * 1000, 300);
    if let (
        Headers {
            id: Some(id),
            timestamp: Some(timestamp),
            signature: Some(given),
        },
        Ok(()),
    ) = (headers, verified)
    {
        // Whatever was believed was signed with the secret, at a time that the text says.
        let sent: i64 = timestamp.parse().expect("believed, but no number");
        assert!((sent - NOW_SECONDS).abs() <= 300);
        let expected = webhook::sign(&secret, id, sent, body);
        let bare = expected.trim_end_matches('=');
        // Leading zeros are signed as they are written.
        assert!(
            timestamp.starts_with('0') || given.contains(bare),
            "believed, but not signed"
        );
    }
    for text in [headers.id, headers.timestamp, headers.signature]
        .into_iter()
        .flatten()
    {
        if let Ok(secret) = text.parse::<Secret>() {
            assert_eq!(secret.expose().parse(), Ok(secret));
        }
        if let Ok(schedule) = text.parse::<Schedule>() {
            assert_eq!(schedule.to_string().parse(), Ok(schedule));
        }
        assert!(schedule::retry_after(text, NOW_SECONDS * 1000).is_none_or(|wait| wait >= 0));
    }
}
