//! Drawn receipts, as other people's tools see them.

use proptest::prelude::*;
use sealpost_pdf::draw::MAX_SIGNERS;
use sealpost_pdf::{DrawError, PlaceKind, Receipt, SignerLabel, draw, render};
use serde_json::json;

use crate::samples::{meta, receipt, receipt_json, signer, signers};
use crate::tools::{assert_sound, run, text, with_file};

#[test]
fn a_receipt_says_what_its_json_says() {
    let drawn = draw(&receipt(), &signers(), &meta()).unwrap();
    assert_sound(&drawn.pdf);
    let text = text(&drawn.pdf);
    for part in [
        "新房收据",
        "XF-2026-0001873",
        "2026 年 11 月 24 日",
        "翡翠湾花园",
        "HT-2026-FCW-03-1801",
        "张三",
        "110***********1234",
        "首付款",
        "银行转账",
        "人民币壹佰陆拾肆万零玖佰零贰元伍角",
        "¥1,640,902.50",
        "2026112410293847561029",
        "商品房预售资金监管专户 3305 0161 7230 0000 1234",
        "李晓梅",
        "本款项已进入商品房预售资金监管账户。",
        "收款单位（盖章）",
        "交款人（签字）",
        "587a2f4738d44391835198df570b6ee6",
        "https://sign.example.com/verify",
        "第 1 页 / 共 1 页",
    ] {
        // How wide a gap counts as a blank is poppler's choice.
        let solid = |text: &str| text.replace(' ', "");
        let found = solid(&text).contains(&solid(part));
        assert!(found, "{part} is not in\n{text}");
    }
    assert!(!text.contains("19900307"));
}

#[test]
fn it_is_a_chinese_pdf_a_2b_on_a_half_sheet_and_small() {
    let drawn = draw(&receipt(), &signers(), &meta()).unwrap();
    let (info, meta_data) = with_file(&drawn.pdf, |path| {
        (run("pdfinfo", &[path]), run("pdfinfo", &["-meta", path]))
    });
    assert!(
        info.contains("新房收据 XF-2026-0001873") && info.contains("595.276 x 419.528 pts"),
        "{info}"
    );
    assert!(
        meta_data.contains("<pdfaid:part>2</pdfaid:part>"),
        "{meta_data}"
    );
    assert!(
        meta_data.contains("<pdfaid:conformance>B</pdfaid:conformance>"),
        "{meta_data}"
    );
    assert!(String::from_utf8_lossy(&drawn.pdf).contains("/Lang(zh-CN)"));
    assert!(drawn.pdf.len() < 40_000, "{} bytes", drawn.pdf.len());
    let fonts = with_file(&drawn.pdf, |path| run("pdffonts", &[path]));
    for line in fonts.lines().skip(2) {
        assert!(
            line.contains("yes yes yes"),
            "not embedded as a subset with Unicode: {line}"
        );
    }
}

#[test]
fn the_same_receipt_is_the_same_bytes() {
    let once = draw(&receipt(), &signers(), &meta()).unwrap();
    assert_eq!(once, draw(&receipt(), &signers(), &meta()).unwrap());
}

#[test]
fn each_signer_has_a_place_and_no_two_the_same() {
    for count in 1..=MAX_SIGNERS {
        for kinds in [
            [PlaceKind::Seal, PlaceKind::Signature],
            [PlaceKind::Signature, PlaceKind::Signature],
            [PlaceKind::Seal, PlaceKind::Seal],
        ] {
            let signers: Vec<SignerLabel> = (0..count)
                .map(|i| signer(i as u32 + 1, "杭州翡翠湾房地产开发有限公司", kinds[i % 2]))
                .collect();
            let drawn = draw(&receipt(), &signers, &meta()).unwrap();
            assert_places(&drawn.pdf, &drawn.places, &signers);
        }
    }
}

fn assert_places(pdf: &[u8], places: &[sealpost_pdf::Place], signers: &[SignerLabel]) {
    let pages = render::page_count(pdf).unwrap();
    assert!(pages <= 2, "{pages} pages");
    assert_eq!(places.len(), signers.len());
    for (i, (place, signer)) in places.iter().zip(signers).enumerate() {
        assert_eq!((place.signer, place.kind), (signer.signer, signer.kind));
        assert!(place.page < pages);
        let [left, bottom, right, top] = place.rect;
        assert!(
            left >= 40.0 && bottom >= 40.0 && right <= 556.0 && top <= 800.0,
            "{place:?}"
        );
        if place.kind == PlaceKind::Seal {
            assert!((right - left - 107.717).abs() < 0.01 && (top - bottom - 107.717).abs() < 0.01);
        }
        for other in &places[..i] {
            let apart = other.page != place.page
                || other.rect[2] <= left
                || right <= other.rect[0]
                || other.rect[3] <= bottom
                || top <= other.rect[1];
            assert!(apart, "{place:?} is on {other:?}");
        }
    }
}

#[test]
fn the_longest_values_stay_on_the_paper() {
    for filler in ["翡翠湾", "W", "0123456789", "ab cd ", "。」", "䶮𬱖"] {
        let fill = |limit: usize| -> String {
            let text: String = filler.chars().cycle().take(limit).collect();
            text.trim_end().to_owned()
        };
        let receipt = Receipt::parse(&json!({
            "number": fill(32), "issued_on": "2026-11-24", "project": fill(64), "building": fill(32),
            "unit": fill(16), "room": fill(32), "contract_number": fill(64),
            "payer": {"name": fill(64), "id_number": fill(32)}, "item": fill(32),
            "amount_fen": 999_999_999_999_u64, "payment_method": fill(32),
            "transaction_number": fill(64), "payee": fill(64), "supervised_account": fill(96),
            "handler": fill(32), "note": fill(200),
        }))
        .unwrap();
        let signers: Vec<_> = (1..=10)
            .map(|i| {
                signer(
                    i,
                    &fill(64),
                    [PlaceKind::Seal, PlaceKind::Signature][i as usize % 2],
                )
            })
            .collect();
        let drawn = draw(&receipt, &signers, &meta()).unwrap();
        assert_sound(&drawn.pdf);
        assert_places(&drawn.pdf, &drawn.places, &signers);
        assert_words_on_paper(&drawn.pdf);
    }
}

/// Poppler's bounding boxes of all words are within the margins.
fn assert_words_on_paper(pdf: &[u8]) {
    let boxes = with_file(pdf, |path| run("pdftotext", &["-bbox", path, "-"]));
    let mut height = 0.0;
    let mut words = 0;
    for line in boxes.lines() {
        let attribute = |name: &str| -> Option<f64> {
            let rest = &line[line.find(&format!("{name}=\""))? + name.len() + 2..];
            rest[..rest.find('"')?].parse().ok()
        };
        if line.contains("<page ") {
            height = attribute("height").unwrap();
        } else if line.contains("<word ") {
            words += 1;
            assert!(
                attribute("xMin").unwrap() >= 39.0 && attribute("xMax").unwrap() <= 556.5,
                "{line}"
            );
            assert!(
                attribute("yMin").unwrap() >= 10.0 && attribute("yMax").unwrap() <= height - 5.0,
                "{line}"
            );
        }
    }
    assert!(words > 20, "{boxes}");
}

#[test]
fn what_cannot_be_drawn_is_named() {
    let mut bad = signers();
    bad[1].name = "张😀".to_owned();
    let error = draw(&receipt(), &bad, &meta()).unwrap_err();
    assert_eq!(
        error,
        DrawError::MissingGlyph {
            field: "signers[1].name".to_owned(),
            character: '😀'
        }
    );
    assert!(error.to_string().contains("U+1F600"));

    assert_eq!(
        draw(&receipt(), &[], &meta()).unwrap_err(),
        DrawError::SignerCount(0)
    );
    let many = vec![signers()[0].clone(); 11];
    assert_eq!(
        draw(&receipt(), &many, &meta()).unwrap_err(),
        DrawError::SignerCount(11)
    );

    bad[1].name = "三".repeat(65);
    let error = draw(&receipt(), &bad, &meta()).unwrap_err();
    assert!(
        matches!(
            error,
            DrawError::TooLong {
                length: 65,
                limit: 64,
                ..
            }
        ),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever parses can be drawn as PDF/A.
    #[test]
    fn what_parses_is_drawn(
        note in "\\PC{1,200}",
        name in "[a-zA-Z·一-龥㐀-䶵]{1,64}",
        fen in 1..=999_999_999_999_u64,
        count in 1..=10_u32,
    ) {
        let mut json = receipt_json();
        json["note"] = json!(note);
        json["payer"]["name"] = json!(name);
        json["amount_fen"] = json!(fen);
        let Ok(receipt) = Receipt::parse(&json) else {
            json["note"] = json!("无");
            prop_assert!(Receipt::parse(&json).is_ok());
            return Ok(());
        };
        let signers: Vec<_> = (1..=count).map(|i| signer(i, &name, PlaceKind::Signature)).collect();
        prop_assert!(draw(&receipt, &signers, &meta()).is_ok());
    }
}
