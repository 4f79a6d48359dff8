//! PDF/A, judged by PDFBox's preflight. It knows PDF/A-1b and not ours, A-2b, so that what it says against a document must be something
//! that the second part permits: a colour profile of version 4, transparency, and calling itself the second part.

use std::path::Path;

use sealpost_pdf::{
    FactGroup, FactSection, FactSheet, Field, PlaceKind, RoundSeal, SignRequest, add_fields, draw,
    draw_facts, sign, signature,
};

use crate::{
    judges,
    parties::{BUYER, Desk, NOW, SELLER, request},
    samples,
};

/// What preflight says against files, but for what PDF/A-1 alone forbids.
fn complaints(files: &[&Path]) -> Vec<String> {
    const INSTALL: &str =
        "apt-get install default-jdk-headless libpdfbox2-java libactivation-java libjaxb-api-java";
    const JARS: [&str; 8] = [
        "pdfbox2",
        "fontbox2",
        "xmpbox",
        "preflight",
        "commons-logging",
        "commons-io",
        "javax.activation",
        "jaxb-api",
    ];
    let jars = JARS
        .map(|jar| format!("/usr/share/java/{jar}.jar"))
        .join(":");
    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/PreflightJudge.java");
    let mut arguments = vec!["-cp", &jars, judge];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    let (fine, said) = judges::run("java", &arguments, INSTALL);
    assert!(fine, "{INSTALL}\n{said}");
    let permitted = |line: &&str| {
        !line.contains("\tInvalid graphics object, Invalid version of the ICCProfile")
            && !line.contains("\t7.11.2\tError on MetaData, part must be 1")
            && !line.contains("\t2.2.2\tInvalid graphics transparency, Soft Mask")
            && !line.starts_with("WARNING")
    };
    said.lines().filter(permitted).map(str::to_owned).collect()
}

#[test]
fn receipts_and_reports_are_pdf_a_before_and_after_signing() {
    let desk = Desk::new();
    let drawn = draw(&samples::receipt(), &samples::signers(), &samples::meta()).unwrap();
    let name = |kind| match kind {
        PlaceKind::Seal => "seller",
        PlaceKind::Signature => "buyer",
    };
    let fields: Vec<Field> = drawn
        .places
        .iter()
        .map(|place| Field {
            name: name(place.kind).to_owned(),
            page: place.page,
            rect: place.rect,
        })
        .collect();
    let seal = RoundSeal {
        organization: "杭州翡翠湾房地产开发有限公司".to_owned(),
        legend: Some("财务专用章".to_owned()),
    };
    let seal = seal.draw().unwrap();
    let hand = signature::appearance(&crate::signature::stroke(true)).unwrap();
    let mut signed = add_fields(&drawn.pdf, &fields).unwrap();
    for (field, credential, appearance) in [("seller", &*SELLER, &seal), ("buyer", &*BUYER, &hand)]
    {
        let request = SignRequest {
            appearance: Some(appearance),
            ..request(field, credential)
        };
        signed = sign(&signed, &request).unwrap();
    }
    let report = draw_facts(&FactSheet {
        title: "电子签署证据报告".to_owned(),
        language: "zh-CN",
        document_id: "evidence".to_owned(),
        drawn_at: NOW,
        lead: Vec::new(),
        sections: vec![FactSection {
            heading: "概要".to_owned(),
            lead: None,
            groups: vec![FactGroup {
                title: None,
                facts: vec![("编号".to_owned(), "1".to_owned())],
            }],
        }],
        foot: String::new(),
    })
    .unwrap();
    let files = [
        desk.put("receipt.pdf", &drawn.pdf),
        desk.put("signed.pdf", &signed),
        desk.put("report.pdf", &report.pdf),
    ];
    let files: Vec<&Path> = files.iter().map(std::path::PathBuf::as_path).collect();
    let complaints = complaints(&files);
    assert!(complaints.is_empty(), "{complaints:#?}");
}
