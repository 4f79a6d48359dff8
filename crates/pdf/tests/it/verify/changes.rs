//! What is changed after a signature: what is permitted, and what is found out.

use sealpost_pdf::{
    Authority, KeyAlgorithm, Subject, Verdict, add_fields, sign,
    verify::{ChangeKind, Code},
};

use super::{SIGNED, codes, judged, last_place, passes};
use crate::{
    judges,
    parties::{AUTHORITY, BUYER, Desk, FLOW, request, signed_twice, years},
    structures::{Sample, Structure, append, append_with, stream},
};

/// What people have tried in order to change a signed document without breaking its signature.
#[test]
fn later_changes_are_found() {
    let pdf = &*SIGNED;
    let number = |name: &str| {
        let text = String::from_utf8_lossy(pdf);
        let at = text.rfind(name).unwrap_or_else(|| panic!("{name}"));
        let header = text[..at].rfind(" 0 obj").unwrap();
        text[..header]
            .rsplit('\n')
            .next()
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    let (seller, buyer) = (number("/T (seller)"), number("/T (buyer)"));
    let last = |id: usize| {
        let text = String::from_utf8_lossy(pdf);
        let start =
            text.rfind(&format!("\n{id} 0 obj\n")).unwrap() + format!("\n{id} 0 obj\n").len();
        text[start..start + text[start..].find("\nendobj").unwrap()].to_owned()
    };
    let content = stream("", b"BT /F1 24 Tf 72 700 Td (Receipt 9999999.99) Tj ET");
    let note = "<< /Type /Annot /Subtype /FreeText /Rect [0 0 595 842] /Contents (9) >>";
    let changed = |id: usize, from: &str, to: &str| {
        let body = last(id);
        assert!(body.contains(from), "{from} is not in {body}");
        append(
            pdf,
            &[
                (id, body.replace(from, to).as_bytes()),
                (900, &content),
                (901, note.as_bytes()),
            ],
        )
    };
    let with = |dict: &str, entries: &str| {
        format!("{} {entries} >>", dict.trim_end().trim_end_matches(">>"))
    };
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("another content", append(pdf, &[(4, &content)])),
        (
            "another page",
            changed(3, "/Contents 4 0 R", "/Contents 900 0 R"),
        ),
        (
            "an annotation",
            changed(3, "/Annots [", "/Annots [ 901 0 R "),
        ),
        (
            "an annotation at the end",
            changed(3, "0 R ]", "0 R 901 0 R ]"),
        ),
        (
            "another page tree",
            append(
                pdf,
                &[(2, b"<< /Type /Pages /Kids [ 3 0 R 3 0 R ] /Count 2 >>")],
            ),
        ),
        (
            "a script",
            append(
                pdf,
                &[(
                    1,
                    with(
                        &last(1),
                        "/OpenAction << /S /JavaScript /JS (app.alert(1)) >>",
                    )
                    .as_bytes(),
                )],
            ),
        ),
        (
            "another font",
            append(
                pdf,
                &[(5, b"<< /Type /Font /Subtype /Type1 /BaseFont /Symbol >>")],
            ),
        ),
        ("another picture", changed(seller, "/N ", "/X ")),
        ("a moved field", changed(seller, "[ 60 ", "[ 10 ")),
        ("a removed signature", changed(buyer, "/V ", "/W ")),
        (
            "a copied signature",
            append(
                pdf,
                &[(
                    buyer,
                    {
                        let value = last(seller)
                            .split("/V ")
                            .nth(1)
                            .unwrap()
                            .split(" 0 R")
                            .next()
                            .unwrap()
                            .to_owned();
                        let own = last(buyer)
                            .split("/V ")
                            .nth(1)
                            .unwrap()
                            .split(" 0 R")
                            .next()
                            .unwrap()
                            .to_owned();
                        last(buyer).replace(&format!("/V {own} 0 R"), &format!("/V {value} 0 R"))
                    }
                    .as_bytes(),
                )],
            ),
        ),
        ("a text field", {
            let form = number("/SigFlags");
            let fields = last(form).replace(" ]", " 902 0 R ]");
            append(
                pdf,
                &[
                    (form, fields.as_bytes()),
                    (902, b"<< /FT /Tx /T (x) /V (9) >>"),
                ],
            )
        }),
        (
            "another catalog",
            append_with(pdf, &[(903, b"<< /Type /Catalog /Pages 2 0 R >>")], "")
                .replace_last("/Root 1 0 R", "/Root 903 0 R"),
        ),
        (
            "rubbish",
            [
                pdf.as_slice(),
                b"4 0 obj\n<< /Length 1 >>\nstream\nx\nendstream\nendobj\n",
            ]
            .concat(),
        ),
        (
            "rubbish that ends well",
            [pdf.as_slice(), b"4 0 obj null endobj\n%%EOF\n"].concat(),
        ),
        ("a deleted content", {
            let appended = append(pdf, &[(4, b"null")]);
            let text = appended
                .windows(8)
                .rposition(|window| window == b" 00000 n")
                .unwrap();
            let mut appended = appended;
            appended[text + 7] = b'f';
            appended
        }),
    ];
    let desk = Desk::new();
    let root = desk.root();
    let mut files = Vec::new();
    for (name, attack) in &attacks {
        let report = judged(attack);
        // Where the form itself is gone, there is no signature left to be seen.
        let expected = if *name == "another catalog" {
            Verdict::Unsigned
        } else {
            Verdict::Invalid
        };
        assert_eq!(report.verdict, expected, "{name}: {report:#?}");
        files.push(desk.put(&format!("{name}.pdf"), attack));
    }
    let paths: Vec<_> = files.iter().map(std::path::PathBuf::as_path).collect();
    for ((name, _), judged) in attacks.iter().zip(judges::pyhanko_all(&root, &paths)) {
        // pyHanko does not look at bytes that belong to no revision.
        let accepts =
            judged.is_ok_and(|found| found.len() == 2 && found.iter().all(|judged| judged.valid));
        assert!(
            !accepts || name.starts_with("rubbish"),
            "pyHanko accepts {name}"
        );
    }
}

trait ReplaceLast {
    fn replace_last(self, from: &str, to: &str) -> Vec<u8>;
}

impl ReplaceLast for Vec<u8> {
    fn replace_last(self, from: &str, to: &str) -> Vec<u8> {
        let at = last_place(&self, from);
        [&self[..at], to.as_bytes(), &self[at + from.len()..]].concat()
    }
}

/// What may follow a signature: the signature of a field that was there, a new field for one, evidence, metadata.
#[test]
fn permitted_changes_are_listed_and_leave_the_signature_valid() {
    let catalog = {
        let text = String::from_utf8_lossy(&SIGNED);
        let start = text.rfind("\n1 0 obj\n").unwrap() + 9;
        text[start..start + text[start..].find(" >>\nendobj").unwrap()].to_owned()
    };
    let evidence = append(
        &SIGNED,
        &[
            (
                1,
                format!("{catalog} /DSS 900 0 R /Metadata 902 0 R >>").as_bytes(),
            ),
            (900, b"<< /Type /DSS /Certs [ 901 0 R ] >>"),
            (901, &stream("", AUTHORITY.certificate())),
            (
                902,
                &stream(
                    "/Type /Metadata /Subtype /XML",
                    br#"<x:xmpmeta xmlns:x="adobe:ns:meta/"/>"#,
                ),
            ),
        ],
    );
    let report = judged(&evidence);
    assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");
    let kinds: Vec<_> = report.signatures[1]
        .changes
        .iter()
        .map(|change| change.kind)
        .collect();
    assert_eq!(
        kinds,
        [ChangeKind::ValidationDataAdded, ChangeKind::Metadata]
    );
    // Evidence may grow, and even be replaced.
    let grown = append(
        &evidence,
        &[(900, b"<< /Type /DSS /Certs [ 901 0 R 901 0 R ] >>")],
    );
    assert_eq!(judged(&grown).verdict, Verdict::Valid);
    let desk = Desk::new();
    let found = judges::pyhanko(&desk.root(), &desk.put("evidence.pdf", &evidence)).unwrap();
    assert!(found.iter().all(|judged| judged.valid), "{found:?}");
}

/// The number of the object that says `name` last.
fn number_of(pdf: &[u8], name: &str) -> usize {
    let text = String::from_utf8_lossy(pdf);
    let at = text.rfind(name).unwrap_or_else(|| panic!("{name}"));
    let header = text[..at].rfind(" 0 obj").unwrap();
    text[..header].rsplit('\n').next().unwrap().parse().unwrap()
}

/// The newest body of an object.
fn body_of(pdf: &[u8], id: usize) -> String {
    let text = String::from_utf8_lossy(pdf);
    let header = format!("\n{id} 0 obj\n");
    let start = text.rfind(&header).unwrap() + header.len();
    text[start..start + text[start..].find("\nendobj").unwrap()].to_owned()
}

/// A document with a field that was added after its signatures, and the widgets 910 and 911 on its page.
fn with_late_field(field: &str, widgets: [&str; 2], on_page: &str) -> Vec<u8> {
    let form = number_of(&SIGNED, "/SigFlags");
    let fields = body_of(&SIGNED, form).replace(" ]", " 900 0 R ]");
    let page = body_of(&SIGNED, 3).replace("0 R ]", &format!("0 R {on_page} ]"));
    append(
        &SIGNED,
        &[
            (form, fields.as_bytes()),
            (3, page.as_bytes()),
            (900, field.as_bytes()),
            (
                901,
                &stream(
                    "/Type /XObject /Subtype /Form /BBox [ 0 0 300 40 ]",
                    b"1 g 0 0 300 40 re f",
                ),
            ),
            (910, widgets[0].as_bytes()),
            (911, widgets[1].as_bytes()),
        ],
    )
}

/// An empty signature field with a picture over the amount, which other programs show without a word.
#[test]
fn a_field_that_is_added_later_covers_nothing() {
    let late = |entries: &str| {
        let field = format!(
            "<< /Type /Annot /Subtype /Widget /FT /Sig /T (late) /P 3 0 R /AP << /N 901 0 R >> {entries} >>"
        );
        with_late_field(&field, ["null", "null"], "900 0 R")
    };
    let report = judged(&late("/F 4 /Rect [ 72 690 372 730 ]"));
    assert_eq!(report.verdict, Verdict::Invalid, "{report:#?}");
    for signature in 0..2 {
        assert_eq!(codes(&report, signature), [Code::Modified]);
        assert!(
            report.signatures[signature]
                .changes
                .iter()
                .any(|change| change.kind == ChangeKind::FieldAdded && !change.permitted)
        );
    }
    // A line strikes the amount out.
    assert!(!passes(&late("/F 4 /Rect [ 72 710 372 710 ]")));
    assert!(passes(&late("/F 4 /Rect [ 0 0 0 0 ]")));
    assert!(passes(&late("/F 2 /Rect [ 72 690 372 730 ]")));
}

/// The field says that there is nothing to see, its widgets say otherwise.
#[test]
fn widgets_apart_from_their_field_are_judged_themselves() {
    let seen = "<< /Type /Annot /Subtype /Widget /Parent 900 0 R /P 3 0 R /F 4 /Rect [ 72 690 372 730 ] /AP << /N 901 0 R >> >>";
    let hidden =
        "<< /Type /Annot /Subtype /Widget /Parent 900 0 R /P 3 0 R /F 2 /Rect [ 0 0 0 0 ] >>";
    let late = |widgets: [&str; 2]| {
        let field = "<< /FT /Sig /T (late) /F 2 /Rect [ 0 0 0 0 ] /Kids [ 910 0 R 911 0 R ] >>";
        with_late_field(field, widgets, "910 0 R 911 0 R")
    };
    assert!(passes(&late([hidden, hidden])));
    for widgets in [
        [seen, hidden],
        [hidden, seen],
        [hidden, "null"],
        [hidden, "(x)"],
    ] {
        let report = judged(&late(widgets));
        assert_eq!(report.verdict, Verdict::Invalid, "{widgets:?}: {report:#?}");
        assert_eq!(codes(&report, 1), [Code::Modified]);
    }
    // An entry that is not spelled out where it belongs says nothing.
    let elsewhere = "<< /Type /Annot /Subtype /Widget /P 3 0 R /F 912 0 R /Rect 913 0 R /AP << /N 901 0 R >> >>";
    assert!(!passes(&late([hidden, elsewhere])));
}

/// Another signer may sign in a new field, and answers for what it shows; a signature that is not trusted answers for nothing.
#[test]
fn countersignatures_in_new_fields_are_permitted() {
    let field = sealpost_pdf::Field {
        name: "third".to_owned(),
        page: 0,
        rect: [60.0, 300.0, 180.0, 420.0],
    };
    let prepared = add_fields(&SIGNED, &[field]).unwrap();
    let signed = sign(&prepared, &request("third", &BUYER)).unwrap();
    let report = judged(&signed);
    assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");
    assert_eq!(report.signatures.len(), 3);
    let added = report.signatures[0]
        .changes
        .iter()
        .find(|change| change.kind == ChangeKind::FieldAdded);
    assert!(added.unwrap().permitted);
    assert!(report.signatures.is_sorted_by_key(|one| one.covers_bytes));

    let stranger = Authority::generate("stranger", KeyAlgorithm::P256, years(20)).unwrap();
    let person = Subject::Person {
        name: "张三",
        flow: FLOW,
    };
    let person = stranger
        .issue(person, KeyAlgorithm::P256, years(1))
        .unwrap();
    let report = judged(&sign(&prepared, &request("third", &person)).unwrap());
    let verdicts: Vec<_> = report.signatures.iter().map(|one| one.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Invalid, Verdict::Invalid, Verdict::Indeterminate]
    );
}

/// What a page shows is not evidence or metadata, whoever calls it so before signing.
#[test]
fn shown_objects_do_not_pass_for_evidence() {
    let content = stream("", b"BT /F1 24 Tf 72 700 Td (Receipt 9999999.99) Tj ET");
    for entry in ["/Metadata 4 0 R", "/DSS << /Certs [ 5 0 R ] /VRI 5 0 R >>"] {
        let sample =
            Sample::one_page().with(1, format!("<< /Type /Catalog /Pages 2 0 R {entry} >>"));
        let signed = signed_twice(&sample.write(Structure::Table));
        let changed = append(&signed, &[(4, &content)]);
        assert_eq!(judged(&changed).verdict, Verdict::Invalid, "{entry}");
        let changed = append(
            &signed,
            &[(5, b"<< /Type /Font /Subtype /Type1 /BaseFont /Symbol >>")],
        );
        assert_eq!(judged(&changed).verdict, Verdict::Invalid, "{entry}");
    }
}

/// A document may name an object that it does not have, so that whoever signs does not see it.
#[test]
fn objects_that_were_missing_when_signed_cannot_be_added() {
    let signed = signed_twice(
        &Sample::page("/Resources2 << /X 800 0 R >> /Group 801 0 R").write(Structure::Table),
    );
    assert_eq!(judged(&signed).verdict, Verdict::Valid);
    let completed = append(&signed, &[(801, b"<< /S /Transparency >>")]);
    let report = judged(&completed);
    assert_eq!(report.verdict, Verdict::Invalid);
    assert_eq!(codes(&report, 1), [Code::Modified]);
}

/// A signature that was made on one page is not shown on another.
#[test]
fn a_signed_fields_widget_stays_where_it_was_signed() {
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [ 0 0 595 842 ] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>";
    let sample = Sample::one_page()
        .with(2, "<< /Type /Pages /Kids [ 3 0 R 6 0 R ] /Count 2 >>")
        .with(6, page);
    let signed = signed_twice(&sample.write(Structure::Table));
    assert_eq!(judged(&signed).verdict, Verdict::Valid);
    let buyer = number_of(&signed, "/T (buyer)");
    let listed = page.replace(" >> >> >>", &format!(" >> >> /Annots [ {buyer} 0 R ] >>"));
    let report = judged(&append(&signed, &[(6, listed.as_bytes())]));
    assert_eq!(report.verdict, Verdict::Invalid);
    assert_eq!(codes(&report, 0), [Code::Modified]);
    assert_eq!(codes(&report, 1), [Code::Modified]);

    // Nor is one that is made later shown twice.
    let field = sealpost_pdf::Field {
        name: "third".to_owned(),
        page: 0,
        rect: [60.0, 300.0, 180.0, 420.0],
    };
    let prepared = add_fields(&signed, &[field]).unwrap();
    let third = number_of(&prepared, "/T (third)");
    let listed = page.replace(" >> >> >>", &format!(" >> >> /Annots [ {third} 0 R ] >>"));
    let twice = append(&prepared, &[(6, listed.as_bytes())]);
    let once = judged(&sign(&prepared, &request("third", &BUYER)).unwrap());
    assert_eq!(once.verdict, Verdict::Valid, "{once:#?}");
    let twice = judged(&sign(&twice, &request("third", &BUYER)).unwrap());
    assert_eq!(codes(&twice, 0), [Code::Modified], "{twice:#?}");
}
