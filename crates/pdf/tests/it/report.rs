//! The report of facts: it says what it was given, in both languages, over as many pages as it takes.

use sealpost_pdf::{
    DrawError, FactGroup, FactSection, FactSheet, Field, RoundSeal, SignRequest, Verdict,
    add_fields, draw_facts, sign, verify,
};

use crate::{
    judges,
    parties::{DAY, Desk, NOW, SELLER, request, trust},
    tools,
};

fn report(groups: usize) -> FactSheet {
    let group = |n: usize| FactGroup {
        title: Some(format!("第 {n} 项")),
        facts: vec![
            ("时间".to_owned(), "2026-11-24 18:00:00 +08:00".to_owned()),
            (
                "文件摘要（SHA-256）".to_owned(),
                "0123456789abcdef".repeat(4),
            ),
            ("程序".to_owned(), "Mozilla/5.0 😀 \u{202e}exe".to_owned()),
        ],
    };
    FactSheet {
        title: "电子签署证据报告".to_owned(),
        language: "zh-CN",
        document_id: "587a2f4738d44391835198df570b6ee6".to_owned(),
        drawn_at: NOW,
        lead: vec!["本报告由系统根据签署流程的记录生成。".to_owned()],
        sections: vec![FactSection {
            heading: "事件记录".to_owned(),
            lead: Some("每个事件的链值由前一个链值与本事件的规范 JSON 算出。".to_owned()),
            groups: (1..=groups).map(group).collect(),
        }],
        foot: "签署流程 587a2f4738d44391835198df570b6ee6".to_owned(),
    }
}

#[test]
fn a_report_is_pdf_a_and_says_everything() {
    let drawn = draw_facts(&report(40)).unwrap();
    tools::assert_sound(&drawn.pdf);
    let text = tools::text(&drawn.pdf);
    for said in [
        "电子签署证据报告",
        "第 40 项",
        "第 1 页，共",
        "<U+1F600>",
        "<U+202E>exe",
    ] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    assert_eq!(text.matches(&"0123456789abcdef".repeat(4)).count(), 40);
    let metadata = String::from_utf8_lossy(&drawn.pdf);
    assert!(metadata.contains("<pdfaid:part>2") && metadata.contains("<pdfaid:conformance>B"));
    let mut long = report(1);
    long.sections[0].groups[0].title = Some("字段".repeat(50_000));
    let text = tools::text(&draw_facts(&long).unwrap().pdf);
    assert!(
        text.contains('…') && text.contains("第 1 页，共 1 页"),
        "{text}"
    );
    assert!(matches!(
        draw_facts(&report(5000)),
        Err(DrawError::TooLong { .. })
    ));
}

#[test]
fn a_report_is_sealed_and_everyone_accepts_the_seal() {
    let drawn = draw_facts(&report(2)).unwrap();
    let field = Field {
        name: "evidence".to_owned(),
        page: drawn.seal.page,
        rect: drawn.seal.rect,
    };
    let seal = RoundSeal {
        organization: "上海云锦置业有限公司".to_owned(),
        legend: Some("证据专用章".to_owned()),
    };
    let seal = seal.draw().unwrap();
    let pdf = add_fields(&drawn.pdf, &[field]).unwrap();
    let request = SignRequest {
        appearance: Some(&seal),
        ..request("evidence", &SELLER)
    };
    let signed = sign(&pdf, &request).unwrap();
    let report = verify(&signed, &trust(), NOW + DAY).unwrap();
    assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");
    let desk = Desk::new();
    let file = desk.put("report.pdf", &signed);
    let judged = judges::pyhanko(&desk.root(), &file).unwrap();
    assert!(judged.len() == 1 && judged[0].valid, "{judged:?}");
    assert_eq!(judges::pdfsig_valid(&file), 1);
}
