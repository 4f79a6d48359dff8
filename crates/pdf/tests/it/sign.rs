//! Signing: what other people's programs say of it, every structure of PDF, and what is refused.

use proptest::prelude::*;
use sealpost_pdf::{
    Appearance, Authority, Credential, Field, KeyAlgorithm, RgbaImage, RoundSeal, SignError,
    SignRequest, Subject, Trust, Unreadable, Verdict, add_fields, sign, verify,
};

use crate::{
    judges,
    parties::{
        AUTHORITY, BUYER, DAY, Desk, FLOW, NOW, SELLER, fields, picture, request, signed_twice,
        trust, years,
    },
    structures::{STRUCTURES, Sample, Structure, append, append_with, stream},
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

#[test]
fn an_authority_and_its_credentials_survive_being_kept() {
    let authority = Authority::generate("kept", KeyAlgorithm::P256, years(20)).unwrap();
    let kept = Authority::load(&authority.to_pkcs8().unwrap(), authority.certificate()).unwrap();
    assert_eq!(kept.certificate(), authority.certificate());
    let subject = kept.subject();
    assert!(
        subject.contains("not a licensed CA / 非持牌电子认证机构"),
        "it says what it is not: {subject}"
    );
    for algorithm in [
        KeyAlgorithm::P256,
        KeyAlgorithm::P384,
        KeyAlgorithm::Rsa2048,
    ] {
        let issued = kept
            .issue(
                Subject::Person {
                    name: "李四",
                    flow: FLOW,
                },
                algorithm,
                years(1),
            )
            .unwrap();
        let loaded =
            Credential::from_pkcs8(&issued.to_pkcs8().unwrap(), issued.chain().to_vec()).unwrap();
        assert_eq!(
            (loaded.algorithm(), loaded.serial_hex()),
            (algorithm, issued.serial_hex())
        );
        assert_eq!(loaded.serial_hex().len(), 32);
        assert_eq!(loaded.validity(), years(1));
        let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
        let signed = sign(&pdf, &request("buyer", &loaded)).unwrap();
        assert_eq!(
            verify(&signed, &Trust::roots([kept.certificate().to_vec()]), NOW)
                .unwrap()
                .verdict,
            Verdict::Valid
        );
    }
    let other = AUTHORITY
        .issue(
            Subject::Person {
                name: "李四",
                flow: FLOW,
            },
            KeyAlgorithm::P256,
            years(1),
        )
        .unwrap();
    let stolen = Credential::from_pkcs8(&other.to_pkcs8().unwrap(), BUYER.chain().to_vec());
    assert!(matches!(stolen, Err(SignError::Certificate(_))));
    assert!(matches!(
        Authority::load(&other.to_pkcs8().unwrap(), &other.chain()[0]),
        Err(SignError::Certificate(_))
    ));
    assert!(matches!(
        Credential::from_pkcs8(b"no key", Vec::new()),
        Err(SignError::Key(_))
    ));
}

#[test]
fn certificates_are_issued_for_fit_names_and_times_only() {
    let person = |name: &str| {
        AUTHORITY.issue(
            Subject::Person { name, flow: FLOW },
            KeyAlgorithm::P256,
            years(1),
        )
    };
    for name in [
        "张",
        "阿卜杜拉·买买提",
        "O'Neill, \"X\" + <y>; #z\\",
        &"长".repeat(64),
    ] {
        let issued = person(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
        let report = verify(
            &sign(&pdf, &request("buyer", &issued)).unwrap(),
            &trust(),
            NOW,
        )
        .unwrap();
        assert_eq!(
            report.signatures[0]
                .signer
                .as_ref()
                .unwrap()
                .common_name
                .as_deref(),
            Some(name)
        );
    }
    for name in ["", " 张三", "张\u{0}三", &"长".repeat(65)] {
        assert!(
            matches!(person(name), Err(SignError::Subject(_))),
            "{name:?}"
        );
    }
    let subject = Subject::Person {
        name: "张三",
        flow: FLOW,
    };
    assert!(matches!(
        AUTHORITY.issue(subject, KeyAlgorithm::P256, years(30)),
        Err(SignError::Certificate(_))
    ));
    let backwards = sealpost_pdf::Validity {
        not_before: NOW,
        not_after: NOW - 1000,
    };
    assert!(matches!(
        AUTHORITY.issue(subject, KeyAlgorithm::P256, backwards),
        Err(SignError::Time(_))
    ));
}

/// OpenSSL reads the certificates, and finds in them what readers look for.
#[test]
fn openssl_understands_the_certificates() {
    let desk = Desk::new();
    let leaf = desk.put("leaf.der", &SELLER.chain()[0]);
    let root = desk.root();
    let (_, text) = judges::run(
        "openssl",
        &[
            "x509",
            "-inform",
            "DER",
            "-in",
            leaf.to_str().unwrap(),
            "-noout",
            "-text",
            "-nameopt",
            "utf8",
        ],
        "apt-get install openssl",
    );
    for expected in [
        "Digital Signature, Non Repudiation",
        "CA:FALSE",
        "X509v3 Key Usage: critical",
        "上海某某置业有限公司",
        "E-mail Protection",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    let arguments = [
        "verify",
        "-x509_strict",
        "-purpose",
        "smimesign",
        "-attime",
        "1795514400",
        "-CAfile",
    ];
    let leaf_pem = desk.put("leaf.pem", {
        let (_, pem) = judges::run(
            "openssl",
            &["x509", "-inform", "DER", "-in", leaf.to_str().unwrap()],
            "",
        );
        pem
    });
    let arguments = [
        &arguments[..],
        &[root.to_str().unwrap(), leaf_pem.to_str().unwrap()],
    ]
    .concat();
    let (fine, text) = judges::run("openssl", &arguments, "apt-get install openssl");
    assert!(fine, "{text}");
}

/// Objects that lead nowhere, to themselves, or to very many others are refused within an instant.
#[test]
fn hostile_structures_are_refused() {
    let page = |entries: &str| Sample::page(entries);
    let deep = format!("/X {}{}", "[".repeat(200), "]".repeat(200));
    let loops = append(
        &Sample::one_page().write(Structure::Table),
        &[(2, b"<< /Type /Pages /Kids [ 2 0 R ] /Count 1 >>")],
    );
    let bomb = {
        let zeros = crate::structures::deflate(&vec![0; 200 << 20]);
        let mut out = b"%PDF-1.7\n".to_vec();
        let start = out.len();
        out.extend_from_slice(b"1 0 obj\n");
        out.extend(stream(
            "/Type /XRef /W [1 4 2] /Size 9 /Root 1 0 R /Filter /FlateDecode",
            &zeros,
        ));
        out.extend_from_slice(format!("\nendobj\nstartxref\n{start}\n%%EOF\n").as_bytes());
        out
    };
    let itself = append_with(&Sample::one_page().write(Structure::Table), &[], "");
    let itself = String::from_utf8_lossy(&itself).into_owned();
    let start = itself
        .rfind("xref\n1000")
        .or_else(|| itself[..itself.rfind("startxref").unwrap()].rfind("xref\n"))
        .unwrap();
    let previous = itself.rfind("/Prev ").unwrap() + 6;
    let end = previous + itself[previous..].find(' ').unwrap();
    let itself = format!("{}{start}{}", &itself[..previous], &itself[end..]).into_bytes();
    let size = append_with(
        &Sample::one_page().write(Structure::Table),
        &[(4_294_967_294, b"null")],
        "",
    );
    let samples = [
        ("deep", page(&deep).write(Structure::Table)),
        ("page loop", loops),
        ("bomb", bomb),
        ("section loop", itself),
        ("size", size),
        (
            "reference loop",
            page("/Annots 6 0 R")
                .with(6, "7 0 R")
                .with(7, "6 0 R")
                .write(Structure::Table),
        ),
        (
            "length of itself",
            Sample::one_page()
                .with(4, "<< /Length 4 0 R >>\nstream\nx\nendstream")
                .write(Structure::Table),
        ),
        ("key twice", page("/Type /Pages").write(Structure::Table)),
    ];
    for (name, pdf) in samples {
        let started = std::time::Instant::now();
        let outcome = add_fields(&pdf, &fields());
        if name != "length of itself" {
            assert!(
                matches!(outcome, Err(SignError::Unreadable(_))),
                "{name}: {:?}",
                outcome.map(|pdf| pdf.len())
            );
        }
        let _ = verify(&pdf, &trust(), NOW);
        assert!(started.elapsed().as_secs() < 20, "{name}");
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

/// What certification authorities hand out, made by OpenSSL: with modern and with legacy protection, and every kind of key.
#[test]
fn keys_are_read_from_pkcs12_files() {
    const OPENSSL: &str = "apt-get install openssl";
    let desk = Desk::new();
    let root = desk.root();
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let mut files = Vec::new();
    for (algorithm, legacy) in [
        (KeyAlgorithm::P256, false),
        (KeyAlgorithm::P384, true),
        (KeyAlgorithm::Rsa2048, true),
        (KeyAlgorithm::Rsa4096, false),
    ] {
        let subject = Subject::Organization {
            name: "上海某某置业有限公司",
            credit_code: None,
        };
        let issued = AUTHORITY.issue(subject, algorithm, years(5)).unwrap();
        let key = desk.put("key.der", issued.to_pkcs8().unwrap());
        let (key_pem, leaf, leaf_pem, file) = (
            desk.put("key.pem", ""),
            desk.put("leaf.der", &issued.chain()[0]),
            desk.put("leaf.pem", ""),
            desk.put("key.p12", ""),
        );
        let path = |path: &std::path::PathBuf| path.to_str().unwrap().to_owned();
        let openssl = |arguments: &[&str]| {
            let (fine, text) = judges::run("openssl", arguments, OPENSSL);
            assert!(fine, "{arguments:?}: {text}");
        };
        openssl(&[
            "pkey",
            "-inform",
            "DER",
            "-in",
            &path(&key),
            "-out",
            &path(&key_pem),
        ]);
        openssl(&[
            "x509",
            "-inform",
            "DER",
            "-in",
            &path(&leaf),
            "-out",
            &path(&leaf_pem),
        ]);
        let (key_pem, leaf_pem, root, out) =
            (path(&key_pem), path(&leaf_pem), path(&root), path(&file));
        let mut arguments = vec![
            "pkcs12",
            "-export",
            "-inkey",
            &key_pem,
            "-in",
            &leaf_pem,
            "-certfile",
            &root,
            "-out",
            &out,
            "-passout",
            "pass:密码 secret",
        ];
        if legacy {
            arguments.push("-legacy");
        }
        openssl(&arguments);

        let file = std::fs::read(&file).unwrap();
        let credential = Credential::from_pkcs12(&file, "密码 secret").unwrap();
        assert_eq!(credential.algorithm(), algorithm);
        assert_eq!(credential.chain(), issued.chain());
        for wrong in [
            Credential::from_pkcs12(&file, "guess"),
            Credential::from_pkcs12(&file[..99], "密码 secret"),
        ] {
            assert!(matches!(wrong, Err(SignError::Pkcs12)));
        }
        let signed = sign(&pdf, &request("seller", &credential)).unwrap();
        assert_eq!(
            verify(&signed, &trust(), NOW).unwrap().verdict,
            Verdict::Valid
        );
        files.push(desk.put(&format!("{algorithm:?}.pdf"), &signed));
    }
    let paths: Vec<_> = files.iter().map(std::path::PathBuf::as_path).collect();
    for (file, judged) in files.iter().zip(judges::pyhanko_all(&desk.root(), &paths)) {
        assert!(judged.unwrap()[0].valid, "{}", file.display());
        assert_eq!(judges::pdfsig_valid(file), 1, "{}", file.display());
    }
}
