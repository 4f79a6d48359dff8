//! Receipts from JSON: what is taken, what is refused and how it is said.

use sealpost_pdf::{FieldError, Receipt};
use serde_json::{Value, json};

use crate::samples::{receipt, receipt_json};

/// The errors of the sample with one member changed; a member of `payer` is named `payer.x`.
fn errors_with(field: &str, value: Value) -> Vec<FieldError> {
    let mut json = receipt_json();
    match field.split_once('.') {
        Some((outer, inner)) => json[outer][inner] = value,
        None => json[field] = value,
    }
    Receipt::parse(&json).unwrap_err()
}

fn assert_refused(field: &str, value: Value, code: &str, says: &str) {
    let errors = errors_with(field, value.clone());
    assert_eq!(errors.len(), 1, "{field} = {value}: {errors:?}");
    assert_eq!(
        (errors[0].field.as_str(), errors[0].code),
        (field, code),
        "{value}"
    );
    assert!(errors[0].message.contains(says), "{errors:?}");
}

const TEXTS: &[(&str, usize)] = &[
    ("number", 32),
    ("project", 64),
    ("building", 32),
    ("unit", 16),
    ("room", 32),
    ("contract_number", 64),
    ("payer.name", 64),
    ("payer.id_number", 32),
    ("item", 32),
    ("payment_method", 32),
    ("transaction_number", 64),
    ("payee", 64),
    ("supervised_account", 96),
    ("handler", 32),
    ("note", 200),
];

#[test]
fn every_text_has_a_limit_in_characters_that_is_named() {
    for &(field, limit) in TEXTS {
        let limit_text = limit.to_string();
        assert_refused(
            field,
            json!("收".repeat(limit + 1)),
            "too_long",
            &limit_text,
        );
        let errors = errors_with(field, json!("收".repeat(limit + 1)));
        assert_eq!(errors[0].limit, Some(limit as u64), "{field}");
        let mut json = receipt_json();
        match field.split_once('.') {
            Some((outer, inner)) => json[outer][inner] = json!("收".repeat(limit)),
            None => json[field] = json!("收".repeat(limit)),
        }
        Receipt::parse(&json).unwrap();
    }
}

#[test]
fn every_text_is_a_string_with_something_in_it() {
    for &(field, _) in TEXTS {
        assert_refused(field, json!(" \u{3000}"), "empty", "1 to");
        assert_refused(field, json!(7), "wrong_type", "a string, not a number");
        assert_refused(
            field,
            json!("第一行\n第二行"),
            "control_character",
            "U+000A",
        );
        assert_refused(
            field,
            json!("好的收据😀"),
            "missing_glyph",
            "“😀” (U+1F600)",
        );
    }
}

#[test]
fn required_fields_are_missed_and_others_are_not() {
    let errors = Receipt::parse(&json!({})).unwrap_err();
    let missing: Vec<_> = errors.iter().map(|e| (e.field.as_str(), e.code)).collect();
    let required = [
        "number",
        "issued_on",
        "project",
        "payer",
        "item",
        "amount_fen",
        "payee",
    ];
    assert_eq!(missing, required.map(|field| (field, "missing")));

    let sparse = Receipt::parse(&json!({
        "number": "1", "issued_on": "2026-02-28", "project": "翠湾", "payer": {"name": "张三"},
        "item": "定金", "amount_fen": 1, "payee": "翠湾置业", "note": null,
    }))
    .unwrap();
    assert_eq!((sparse.note, sparse.payer.id_number), (None, None));
}

#[test]
fn amounts_are_whole_fen_within_the_limit() {
    for fen in [1, 999_999_999_999_u64] {
        let mut json = receipt_json();
        json["amount_fen"] = json!(fen);
        assert_eq!(Receipt::parse(&json).unwrap().amount_fen, fen);
    }
    for bad in [
        json!(0),
        json!(-1),
        json!(1_000_000_000_000_u64),
        json!(u64::MAX),
        json!(i64::MIN),
    ] {
        assert_refused("amount_fen", bad, "out_of_range", "1 to 999999999999 fen");
    }
    for bad in [
        json!(1.0),
        json!("100"),
        json!(true),
        json!([1]),
        json!(1e30),
    ] {
        assert_refused("amount_fen", bad, "wrong_type", "an integer (fen)");
    }
}

#[test]
fn days_are_days() {
    for bad in [
        "2026-13-01",
        "2026-02-30",
        "20261124",
        "2026/11/24",
        "2026-1-1",
        "今天",
    ] {
        assert_refused("issued_on", json!(bad), "bad_format", "YYYY-MM-DD");
    }
    assert_refused("issued_on", json!("1900-01-01"), "out_of_range", "1949");
}

#[test]
fn unknown_fields_are_named_with_their_path() {
    assert_refused("amount", json!(1), "unknown_field", "amount_fen");
    assert_refused("payer.phone", json!("139"), "unknown_field", "id_number");
}

#[test]
fn all_errors_are_told_at_once_but_not_without_end() {
    let errors = Receipt::parse(&json!({
        "number": "", "issued_on": "?", "payer": {"name": 1}, "amount_fen": 0, "x": 1
    }))
    .unwrap_err();
    let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "number",
            "issued_on",
            "project",
            "payer.name",
            "item",
            "amount_fen",
            "payee",
            "x"
        ]
    );

    let many: serde_json::Map<_, _> = (0..10_000).map(|i| (format!("x{i}"), json!(0))).collect();
    assert_eq!(Receipt::parse(&Value::Object(many)).unwrap_err().len(), 50);
}

#[test]
fn what_is_no_object_is_refused() {
    for bad in [json!(null), json!([]), json!("收据"), json!(1)] {
        let errors = Receipt::parse(&bad).unwrap_err();
        assert_eq!(
            (errors[0].field.as_str(), errors[0].code),
            ("", "wrong_type")
        );
    }
    assert_refused(
        "payer",
        json!("张三"),
        "wrong_type",
        "must be an object, not a string",
    );
}

#[test]
fn the_identity_number_is_kept_only_masked() {
    let receipt = receipt();
    assert_eq!(
        receipt.payer.id_number.as_deref(),
        Some("110***********1234")
    );
    let shown = format!("{receipt:?} {}", serde_json::to_string(&receipt).unwrap());
    assert!(!shown.contains("19900307"));

    // Nor is it repeated in an error.
    for (value, code) in [
        ("11010119900307123\t4", "control_character"),
        ("1234", "too_short"),
    ] {
        let errors = errors_with("payer.id_number", json!(value));
        assert_eq!(errors[0].code, code);
        assert!(!format!("{errors:?}").contains("1234"));
    }
}
