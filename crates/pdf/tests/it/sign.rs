//! Signing: what other people's programs say of it, every structure of PDF, and what is refused.

mod hostile;
mod keys;

use proptest::prelude::*;
use sealpost_pdf::{
    Appearance, Authority, Field, KeyAlgorithm, RgbaImage, RoundSeal, SignError, SignRequest,
    Subject, Trust, Unreadable, Verdict, add_fields, sign, verify,
};

use crate::{
    judges,
    parties::{
        BUYER, DAY, Desk, FLOW, NOW, SELLER, fields, picture, request, signed_twice, trust, years,
    },
    structures::{STRUCTURES, Sample, Structure, append_with},
};

/// The receipt of the story, signed by the seller's seal and the buyer's hand, is what every judge calls valid.
#[test]
fn a_receipt_signed_twice_is_valid_to_everyone() {
    for algorithm in [
        KeyAlgorithm::P256,
        KeyAlgorithm::Rsa2048,
        KeyAlgorithm::P384,
        KeyAlgorithm::Rsa3072,
    ] {
        let authority = Authority::generate("judges", algorithm, years(20)).unwrap();
        let seller = Subject::Organization {
            name: "上海某某置业有限公司",
            credit_code: None,
        };
        let seller = authority.issue(seller, algorithm, years(10)).unwrap();
        let buyer = authority
            .issue(
                Subject::Person {
                    name: "𠮷野䶮",
                    flow: FLOW,
                },
                algorithm,
                years(10),
            )
            .unwrap();
        let seal = RoundSeal {
            organization: "上海某某置业有限公司".to_owned(),
            legend: None,
        }
        .draw()
        .unwrap();
        let hand = Appearance {
            content: b"q 100 0 0 100 0 0 cm /Im0 Do Q".to_vec(),
            images: vec![RgbaImage {
                width: 2,
                height: 1,
                pixels: vec![0, 0, 0, 255, 0, 0, 0, 0],
            }],
            ..picture()
        };

        let drawn = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
        let seller = SignRequest {
            appearance: Some(&seal),
            reason: Some("签署新房收据"),
            location: Some("上海"),
            name: Some("上海某某置业有限公司"),
            ..request("seller", &seller)
        };
        let once = sign(&drawn, &seller).unwrap();
        let twice = sign(
            &once,
            &SignRequest {
                appearance: Some(&hand),
                ..request("buyer", &buyer)
            },
        )
        .unwrap();
        assert!(
            once.starts_with(&drawn) && twice.starts_with(&once),
            "no earlier byte changes"
        );

        let desk = Desk::new();
        let root = desk.put("root.pem", authority.certificate_pem());
        let file = desk.put("receipt.pdf", &twice);
        for judgement in judges::pyhanko(&root, &file).unwrap() {
            assert!(judgement.valid, "{algorithm:?}: {}", judgement.summary);
        }
        let said = judges::pyhanko_validate(&root, &file);
        assert_eq!(said.matches("INTACT:TRUSTED").count(), 2, "{said}");
        assert!(
            said.contains("ACCEPTABLE_MODIFICATIONS") && said.contains("UNTOUCHED"),
            "{said}"
        );
        assert_eq!(judges::pdfsig_valid(&file), 2);
        judges::qpdf_accepts(&file);
        judges::mutool_draws(&file);

        let report = verify(
            &twice,
            &Trust::roots([authority.certificate().to_vec()]),
            NOW + DAY,
        )
        .unwrap();
        assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");
        assert_eq!(report.signatures[0].reason.as_deref(), Some("签署新房收据"));
        let names = report
            .signatures
            .iter()
            .map(|signature| signature.signer.as_ref().unwrap().common_name.as_deref());
        assert_eq!(
            names.collect::<Vec<_>>(),
            [Some("上海某某置业有限公司"), Some("𠮷野䶮")]
        );
    }
}

/// Whatever the structure, the form and the page, both signatures hold and the file is as sound as before.
#[test]
fn every_structure_of_pdf_is_signed_twice() {
    let annotation = "<< /Type /Annot /Subtype /Link /Rect [0 0 9 9] /Border [0 0 0] >>";
    let text_field =
        "<< /Type /Annot /Subtype /Widget /FT /Tx /T (note) /Rect [0 0 9 9] /P 3 0 R /F 4 >>";
    let catalog = |entries: &str| format!("<< /Type /Catalog /Pages 2 0 R {entries} >>");
    let samples = [
        ("plain", Sample::one_page()),
        ("rotated", Sample::page("/Rotate 90")),
        (
            "upside-down",
            Sample::page("/Rotate -180 /CropBox [10 10 500 700]"),
        ),
        (
            "direct-annotations",
            Sample::page(&format!("/Annots [{annotation}]")),
        ),
        (
            "indirect-annotations",
            Sample::page("/Annots 6 0 R").with(6, format!("[{annotation}]")),
        ),
        ("missing-annotations", Sample::page("/Annots 99 0 R")),
        (
            "direct-form",
            Sample::page("/Annots [6 0 R]")
                .with(1, catalog("/AcroForm<</Fields[6 0 R]>>/Lang(zh)"))
                .with(6, text_field),
        ),
        (
            "indirect-form",
            Sample::page("/Annots [6 0 R]")
                .with(1, catalog("/AcroForm 7 0 R"))
                .with(6, text_field)
                .with(7, "<< /Fields 8 0 R /SigFlags 0 >>")
                .with(8, "[ 6 0 R ]"),
        ),
    ];
    let desk = Desk::new();
    let mut files = Vec::new();
    for (name, sample) in &samples {
        for structure in STRUCTURES {
            let label = format!("{name}-{structure:?}.pdf");
            let before = sample.write(structure);
            judges::qpdf_accepts(&desk.put("before.pdf", &before));
            let signed = signed_twice(&before);
            assert!(signed.starts_with(&before), "{label}");
            let report = verify(&signed, &trust(), NOW).unwrap();
            assert_eq!(report.verdict, Verdict::Valid, "{label}: {report:#?}");
            let file = desk.put(&label, &signed);
            judges::qpdf_accepts(&file);
            files.push(file);
        }
    }
    let paths: Vec<_> = files.iter().map(std::path::PathBuf::as_path).collect();
    for (file, judged) in files.iter().zip(judges::pyhanko_all(&desk.root(), &paths)) {
        let judged = judged.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(judged.len(), 2, "{}", file.display());
        assert!(
            judged.iter().all(|judgement| judgement.valid),
            "{}: {judged:?}",
            file.display()
        );
    }
}

/// A document that somebody else signed first keeps that signature, and gets ours.
#[test]
fn signatures_are_added_to_a_document_that_is_signed_already() {
    let first = signed_twice(&Sample::one_page().write(Structure::ObjectStreams));
    let field = Field {
        name: "witness".to_owned(),
        page: 0,
        rect: [0.0; 4],
    };
    let third = sign(
        &add_fields(&first, &[field]).unwrap(),
        &request("witness", &SELLER),
    )
    .unwrap();
    let report = verify(&third, &trust(), NOW).unwrap();
    assert_eq!(
        (report.verdict, report.signatures.len()),
        (Verdict::Valid, 3),
        "{report:#?}"
    );
    let desk = Desk::new();
    let judged = judges::pyhanko(&desk.root(), &desk.put("third.pdf", &third)).unwrap();
    assert!(
        judged
            .iter()
            .all(|judgement| judgement.intact && judgement.valid),
        "{judged:?}"
    );
}

/// A field's lock is signed with it, and later signatures keep to it.
#[test]
fn locks_are_signed_and_kept() {
    let locked = |name: &str, lock: &str| {
        format!(
            "<< /Type /Annot /Subtype /Widget /FT /Sig /T ({name}) /Rect [0 0 0 0] /P 3 0 R /F 132 /Lock << /Type /SigFieldLock {lock} >> >>"
        )
    };
    let sample = |lock: &str| {
        Sample::page("/Annots [6 0 R 7 0 R]")
            .with(1, "<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R 7 0 R] /SigFlags 3 >> >>")
            .with(6, locked("seller", lock))
            .with(7, locked("buyer", "/Action /All"))
            .write(Structure::Table)
    };
    let once = sign(
        &sample("/Action /Include /Fields [(buyer)]"),
        &request("seller", &SELLER),
    )
    .unwrap();
    assert!(matches!(
        sign(&once, &request("buyer", &BUYER)),
        Err(SignError::Certified)
    ));
    let once = sign(
        &sample("/Action /Exclude /Fields [(buyer)]"),
        &request("seller", &SELLER),
    )
    .unwrap();
    let twice = sign(&once, &request("buyer", &BUYER)).unwrap();
    assert_eq!(
        verify(&twice, &trust(), NOW).unwrap().verdict,
        Verdict::Valid
    );
    let desk = Desk::new();
    let judged = judges::pyhanko(&desk.root(), &desk.put("locked.pdf", &twice)).unwrap();
    assert!(judged.iter().all(|judgement| judgement.valid), "{judged:?}");
}

#[test]
fn what_cannot_be_signed_is_refused_with_its_reason() {
    let plain = Sample::one_page().write(Structure::Table);
    let drawn = add_fields(&plain, &fields()).unwrap();
    let once = sign(&drawn, &request("seller", &SELLER)).unwrap();
    let refused = |pdf: &[u8], field: &str| sign(pdf, &request(field, &SELLER)).unwrap_err();
    assert!(matches!(refused(&drawn, "nobody"), SignError::NoSuchField(name) if name == "nobody"));
    assert!(matches!(refused(&once, "seller"), SignError::AlreadySigned(name) if name == "seller"));
    assert!(matches!(
        refused(b"hello", "seller"),
        SignError::Unreadable(Unreadable::NotPdf)
    ));
    assert!(matches!(
        refused(b"", "seller"),
        SignError::Unreadable(Unreadable::NotPdf)
    ));
    let encrypted = append_with(
        &plain,
        &[(6, b"<< /Filter /Standard /V 1 >>")],
        "/Encrypt 6 0 R",
    );
    assert!(matches!(
        refused(&encrypted, "seller"),
        SignError::Unreadable(Unreadable::Encrypted)
    ));
    let cut = &drawn[..drawn.len() - 200];
    assert!(matches!(
        refused(cut, "seller"),
        SignError::Unreadable(Unreadable::Damaged { .. } | Unreadable::NotPdf)
            | SignError::NoSuchField(_)
    ));

    let named = |name: &str| {
        add_fields(
            &drawn,
            &[Field {
                name: name.to_owned(),
                page: 0,
                rect: [0.0; 4],
            }],
        )
        .unwrap_err()
    };
    for name in ["", "a.b", "seller", "line\nbreak", &"x".repeat(129)] {
        assert!(matches!(named(name), SignError::FieldName(_)), "{name:?}");
    }
    let twice = [fields(), fields()].concat();
    assert!(matches!(
        add_fields(&plain, &twice),
        Err(SignError::FieldName(_))
    ));
    let far = Field {
        name: "far".to_owned(),
        page: 7,
        rect: [0.0; 4],
    };
    assert!(matches!(
        add_fields(&plain, &[far]),
        Err(SignError::NoSuchPage { page: 7, pages: 1 })
    ));
    let nowhere = Field {
        name: "nowhere".to_owned(),
        page: 0,
        rect: [f64::NAN, 0.0, 1.0, 1.0],
    };
    assert!(matches!(
        add_fields(&plain, &[nowhere]),
        Err(SignError::TooLarge { .. })
    ));

    let long = "长".repeat(513);
    let request = |change: &dyn Fn(&mut SignRequest<'_>)| {
        let mut request = request("seller", &SELLER);
        change(&mut request);
        sign(&drawn, &request).map(|_| ()).unwrap_err()
    };
    assert!(matches!(
        request(&|request| request.signing_time = i64::MAX),
        SignError::Time(i64::MAX)
    ));
    let reason: &'static str = long.leak();
    assert!(matches!(
        request(&|request| request.reason = Some(reason)),
        SignError::TooLarge { limit: 512, .. }
    ));
}

/// An author's certification that permits no changes is respected.
#[test]
fn a_certified_document_is_left_alone() {
    let certified = |level: u8| {
        let signature = format!(
            "<< /Type /Sig /Filter /Adobe.PPKLite /SubFilter /adbe.pkcs7.detached /Reference [ << /TransformMethod /DocMDP \
             /TransformParams << /P {level} >> >> ] /ByteRange [0 1 2 3] /Contents <00> >>"
        );
        let field = |name: &str, value: &str| {
            format!(
                "<< /Type /Annot /Subtype /Widget /FT /Sig /T ({name}) /Rect [0 0 0 0] /P 3 0 R {value} >>"
            )
        };
        Sample::page("/Annots [6 0 R 7 0 R]")
            .with(1, "<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R 7 0 R] /SigFlags 3 >> >>")
            .with(6, field("author", "/V 8 0 R"))
            .with(7, field("seller", ""))
            .with(8, signature)
            .write(Structure::Table)
    };
    for level in [1, 2, 3] {
        assert!(
            matches!(
                add_fields(&certified(level), &fields()[1..]),
                Err(SignError::Certified)
            ),
            "{level}"
        );
        let signed = sign(&certified(level), &request("seller", &SELLER));
        assert_eq!(signed.is_ok(), level > 1, "{level}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens to the bytes, nothing panics or hangs.
    #[test]
    fn mutated_documents_are_signed_or_refused(
        structure in prop::sample::select(&STRUCTURES[..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut pdf = add_fields(&Sample::page("/Annots [ ]").write(structure), &fields()).unwrap();
        for (place, byte) in edits {
            let place = place.index(pdf.len());
            pdf[place] = byte;
        }
        if let Some(cut) = cut {
            pdf.truncate(cut.index(pdf.len()));
        }
        let _ = add_fields(&pdf, &[Field { name: "other".to_owned(), page: 0, rect: [0.0; 4] }]);
        if let Ok(signed) = sign(&pdf, &request("buyer", &BUYER)) {
            let report = verify(&signed, &trust(), NOW);
            prop_assert!(report.is_ok_and(|report| report.verdict == Verdict::Valid));
        }
    }
}
