//! The four members: what they say about themselves, and the times.

use jiff::civil::date;
use jiff::tz::TimeZone;
use sealpost_contract::{
    Callback, EndStatus, Malformed, Member, SignEndTime, SignFileUrl, SignFlowId,
};

#[test]
fn a_callback_is_sent_in_the_pages_order_and_form() {
    let callback = Callback {
        sign_end_time: "2021-03-22 18:24:29".parse().unwrap(),
        sign_flow_status: EndStatus::Completed,
        sign_flow_id: SignFlowId::from_bytes([0x58; 16]),
        sign_file_url: "https://seal.example/f/\"收\"".parse().unwrap(),
    };
    let json = concat!(
        r#"{"sign_end_time":"2021-03-22 18:24:29","sign_flow_status":"2","#,
        r#""sign_flow_id":"58585858585858585858585858585858","sign_file_url":"https://seal.example/f/\"收\""}"#
    );
    assert_eq!(callback.to_json(), json);
    // `Serialize` is the same, so that an API may show a callback as it is sent.
    assert_eq!(serde_json::to_string(&callback).unwrap(), json);
}

#[test]
fn the_reason_names_the_member_and_the_rule_but_not_the_value() {
    let body = |status: &str| {
        format!(
            r#"{{"sign_end_time":"2021-03-22 18:24:29","sign_flow_status":{status},"sign_flow_id":"1","sign_file_url":"u"}}"#
        )
    };
    let refusal = |status: &str| Callback::parse(body(status).as_bytes()).unwrap_err();
    assert_eq!(refusal("\"\""), Malformed::Empty(Member::SignFlowStatus));
    assert_eq!(
        refusal("null"),
        Malformed::NotAString(Member::SignFlowStatus)
    );
    assert_eq!(refusal("\"9\""), Malformed::UnknownStatus);
    let long = format!("\"{}\"", "9".repeat(33));
    assert_eq!(
        refusal(&long).to_string(),
        "sign_flow_status is longer than 32 characters"
    );
    let missing = Callback::parse(b"{}").unwrap_err();
    assert_eq!(missing.to_string(), "sign_end_time is missing");
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let body = b"{\"sign_end_time\":\"2021-03-22 18:24:29\",\"sign_flow_status\":\"2\",\"sign_flow_id\":\"\xff\",\"sign_file_url\":\"u\"}";
    assert!(matches!(Callback::parse(body), Err(Malformed::Json(_))));
}

#[test]
fn the_end_is_told_by_the_platforms_clocks_and_cut_to_the_second() {
    let shanghai = TimeZone::get("Asia/Shanghai").unwrap();
    let at = |at, zone: &TimeZone| SignEndTime::at(at, zone).to_string();
    assert_eq!(at(1_616_408_669_999, &shanghai), "2021-03-22 18:24:29");
    assert_eq!(at(1_616_408_669_999, &TimeZone::UTC), "2021-03-22 10:24:29");
    assert_eq!(at(-1, &TimeZone::UTC), "1969-12-31 23:59:59");
    assert_eq!(at(i64::MAX, &TimeZone::UTC), "9999-12-30 22:00:00");
    assert_eq!(at(i64::MIN, &TimeZone::UTC), "0001-01-01 00:00:00");
    // Shanghai put its clocks back at 1991-09-15 02:00; before that it was an hour ahead.
    assert_eq!(at(684_867_599_000, &shanghai), "1991-09-15 01:59:59");
    assert_eq!(at(684_867_600_000, &shanghai), "1991-09-15 01:00:00");
}

#[test]
fn whatever_moment_it_is_the_time_parses_again() {
    let shanghai = TimeZone::get("Asia/Shanghai").unwrap();
    for at in [
        i64::MIN,
        -62_135_596_800_001,
        -1,
        0,
        1_616_408_669_000,
        253_402_207_200_999,
        i64::MAX,
    ] {
        let time = SignEndTime::at(at, &shanghai);
        assert_eq!(time.as_str().parse(), Ok(time.clone()));
    }
    let time: SignEndTime = "2024-02-29 23:59:59".parse().unwrap();
    assert_eq!(time.to_civil(), date(2024, 2, 29).at(23, 59, 59, 0));
}

#[test]
fn a_senders_link_is_told_from_the_pages_sample() {
    let absolute = |url: &str| url.parse::<SignFileUrl>().unwrap().is_absolute_http();
    assert!(absolute("https://seal.example/f/abc"));
    assert!(absolute("http://127.0.0.1:8080/f/abc"));
    for other in [
        "http://",
        "http:///f",
        "https://?x",
        "ftp://a/b",
        "/f/abc",
        "https://a b",
        "https://a\n",
    ] {
        assert!(!absolute(other), "{other}");
    }
}

#[test]
fn an_id_of_ours_is_hex_and_anothers_is_kept_as_it_came() {
    assert!(SignFlowId::from_bytes([0xab; 16]).is_hex());
    assert!(!"42".parse::<SignFlowId>().unwrap().is_hex());
    let odd: SignFlowId = "../收\0".parse().unwrap();
    assert_eq!(odd.as_str(), "../收\0");
}
