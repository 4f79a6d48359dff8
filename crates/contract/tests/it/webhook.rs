//! The signature: the specification's own example, rotation, the age window, and what must not pass.

use sealpost_contract::webhook::{Headers, Secret, Unverified, sign, sign_all, verify};

const BODY: &[u8] = br#"{"test": 2432232314}"#;
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SENT: i64 = 1_614_265_330;

fn secret() -> Secret {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
}

fn other() -> Secret {
    Secret::from_bytes([7; 32]).unwrap()
}

fn check(secrets: &[Secret], signature: &str, now_seconds: i64) -> Result<(), Unverified> {
    let timestamp = SENT.to_string();
    let headers = Headers {
        id: Some(ID),
        timestamp: Some(&timestamp),
        signature: Some(signature),
    };
    verify(secrets, headers, BODY, now_seconds * 1000, 300)
}

#[test]
fn signs_the_specifications_example() {
    assert_eq!(
        sign(&secret(), ID, SENT, BODY),
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );
}

#[test]
fn while_a_secret_is_rotated_either_side_may_be_first() {
    let (old, new) = (secret(), other());
    // The sender signs with both; the receiver knows one of them.
    let both = sign_all(&[new.clone(), old.clone()], ID, SENT, BODY);
    assert_eq!(check(std::slice::from_ref(&old), &both, SENT), Ok(()));
    assert_eq!(check(std::slice::from_ref(&new), &both, SENT), Ok(()));
    // The receiver knows both; the sender signs with one of them.
    assert_eq!(
        check(
            &[new.clone(), old.clone()],
            &sign(&old, ID, SENT, BODY),
            SENT
        ),
        Ok(())
    );
    assert_eq!(
        check(&[new], &sign(&old, ID, SENT, BODY), SENT),
        Err(Unverified::NoMatch)
    );
}

#[test]
fn the_age_window_is_open_on_neither_side() {
    let signature = sign(&secret(), ID, SENT, BODY);
    let at = |now| check(&[secret()], &signature, now);
    assert_eq!(at(SENT + 300), Ok(()));
    assert_eq!(at(SENT + 301), Err(Unverified::TooOld));
    assert_eq!(at(SENT - 300), Ok(()));
    assert_eq!(at(SENT - 301), Err(Unverified::TooNew));
}

#[test]
fn nothing_else_passes() {
    let good = sign(&secret(), ID, SENT, BODY);
    let bare = good.strip_prefix("v1,").unwrap();
    for bad in [
        "",
        "v1",
        "v1,",
        bare,
        &format!("v2,{bare}"),
        &format!("v1a,{bare}"),
        &good[..good.len() - 8],
    ] {
        assert_eq!(
            check(&[secret()], bad, SENT),
            Err(Unverified::NoMatch),
            "{bad:?}"
        );
    }
    assert_eq!(check(&[], &good, SENT), Err(Unverified::NoMatch));
    // Unknown versions beside a good one do no harm.
    assert_eq!(
        check(&[secret()], &format!("v1a,xyz {good} v9,abc"), SENT),
        Ok(())
    );
    // A flood of signatures is not searched to its end.
    assert_eq!(
        check(
            &[secret()],
            &format!("{}{good}", "v1,AAAA ".repeat(16)),
            SENT
        ),
        Err(Unverified::NoMatch)
    );
}

#[test]
fn each_header_must_be_there_and_plain() {
    let signature = sign(&secret(), ID, SENT, BODY);
    let timestamp = SENT.to_string();
    let good = Headers {
        id: Some(ID),
        timestamp: Some(&timestamp),
        signature: Some(&signature),
    };
    let check = |headers| verify(&[secret()], headers, BODY, SENT * 1000, 300);
    assert_eq!(check(good), Ok(()));
    assert_eq!(
        check(Headers { id: None, ..good }),
        Err(Unverified::Missing("webhook-id"))
    );
    assert_eq!(
        check(Headers {
            timestamp: None,
            ..good
        }),
        Err(Unverified::Missing("webhook-timestamp"))
    );
    assert_eq!(
        check(Headers {
            signature: None,
            ..good
        }),
        Err(Unverified::Missing("webhook-signature"))
    );
    assert_eq!(
        check(Headers {
            id: Some(""),
            ..good
        }),
        Err(Unverified::Id)
    );
    assert_eq!(
        check(Headers {
            id: Some("a.1"),
            ..good
        }),
        Err(Unverified::Id)
    );
    for bad in [
        "",
        "+1614265330",
        "-1",
        "1614265330.0",
        " 1614265330",
        "99999999999999999999",
    ] {
        assert_eq!(
            check(Headers {
                timestamp: Some(bad),
                ..good
            }),
            Err(Unverified::Timestamp),
            "{bad:?}"
        );
    }
}

#[test]
fn a_secret_is_24_to_64_bytes_and_never_shown() {
    assert!(Secret::from_bytes([0; 23]).is_err());
    assert!(Secret::from_bytes([0; 24]).is_ok());
    assert!(Secret::from_bytes([0; 64]).is_ok());
    assert!(Secret::from_bytes([0; 65]).is_err());
    for bad in [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_!!!!",
        "whsec_AAAA",
    ] {
        assert!(bad.parse::<Secret>().is_err(), "{bad:?}");
    }
    assert_eq!(other().expose().parse(), Ok(other()));
    assert_eq!(format!("{:?}", other()), "Secret(…)");
}
