//! Verification: a flipped byte is found wherever it is, later changes are judged as pyHanko judges them, and hostile files
//! do no harm.

use std::sync::LazyLock;

use proptest::prelude::*;
use sealpost_pdf::{
    Authority, KeyAlgorithm, Subject, Trust, Unreadable, Validity, Verdict, VerifyError,
    add_fields, sign, verify,
    verify::{ChangeKind, Clock, Code, Level, Report},
};

use crate::{
    judges,
    parties::{
        AUTHORITY, BUYER, DAY, Desk, FLOW, NOW, SELLER, fields, request, signed_twice, trust, years,
    },
    structures::{STRUCTURES, Sample, Structure, append, append_with, stream},
};

/// Signed twice, with everything in plain sight.
static SIGNED: LazyLock<Vec<u8>> =
    LazyLock::new(|| signed_twice(&Sample::one_page().write(Structure::Table)));

fn judged(pdf: &[u8]) -> Report {
    verify(pdf, &trust(), NOW).unwrap()
}

/// Whether a document would pass for signed.
fn passes(pdf: &[u8]) -> bool {
    verify(pdf, &trust(), NOW).is_ok_and(|report| report.verdict == Verdict::Valid)
}

fn codes(report: &Report, signature: usize) -> Vec<Code> {
    let findings = report.signatures[signature].findings.iter();
    findings
        .map(|finding| finding.code)
        .filter(|code| *code != Code::RevocationUnknown)
        .collect()
}

/// The ranges of the file that its last signature signs.
fn signed_ranges(pdf: &[u8]) -> [std::ops::Range<usize>; 2] {
    let text = String::from_utf8_lossy(pdf);
    let numbers = text
        .rsplit("/ByteRange [")
        .next()
        .unwrap()
        .split(']')
        .next()
        .unwrap()
        .to_owned();
    let numbers: Vec<usize> = numbers
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    [
        numbers[0]..numbers[0] + numbers[1],
        numbers[2]..numbers[2] + numbers[3],
    ]
}

/// Where something stands last.
fn last_place(pdf: &[u8], needle: &str) -> usize {
    let place = pdf
        .windows(needle.len())
        .rposition(|window| window == needle.as_bytes());
    place.unwrap_or_else(|| panic!("{needle} is missing"))
}

#[test]
fn a_report_says_who_when_and_by_whose_clock() {
    let report = judged(&SIGNED);
    assert_eq!(report.verdict, Verdict::Valid);
    assert_eq!(report.file_bytes, SIGNED.len());
    assert_eq!(report.empty_fields, Vec::<String>::new());
    let [seller, buyer] = &report.signatures[..] else {
        panic!("{report:#?}")
    };
    assert_eq!(
        (seller.field.as_str(), buyer.field.as_str()),
        ("seller", "buyer")
    );
    assert_eq!((seller.revision, buyer.revision), (3, 4));
    assert_eq!(
        (seller.covers_whole_file, buyer.covers_whole_file),
        (false, true)
    );
    assert_eq!(
        (seller.level, seller.clock, seller.signed_at),
        (Some(Level::BB), Clock::Signer, Some(NOW))
    );
    assert_eq!(
        (
            seller.digest_algorithm.as_str(),
            seller.signature_algorithm.as_str()
        ),
        ("sha256", "ecdsa-p256")
    );
    let party = seller.signer.as_ref().unwrap();
    assert_eq!(party.organization.as_deref(), Some("上海某某置业有限公司"));
    assert_eq!(party.serial, SELLER.serial_hex());
    assert_eq!(seller.chain.len(), 1);
    assert_eq!(seller.changes.len(), 1);
    assert_eq!(
        (seller.changes[0].kind, seller.changes[0].permitted),
        (ChangeKind::FieldSigned, true)
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "valid");
    assert_eq!(
        json["signatures"][0]["findings"][0]["code"],
        "revocation_unknown"
    );
    assert_eq!(json["signatures"][0]["level"], "B-B");
}

#[test]
fn documents_without_signatures_are_unsigned() {
    let plain = Sample::one_page().write(Structure::ObjectStreams);
    assert_eq!(judged(&plain).verdict, Verdict::Unsigned);
    let report = judged(&add_fields(&plain, &fields()).unwrap());
    assert_eq!(
        (report.verdict, report.empty_fields),
        (
            Verdict::Unsigned,
            vec!["seller".to_owned(), "buyer".to_owned()]
        )
    );
    let nothing = verify(b"nothing", &trust(), NOW);
    assert_eq!(nothing, Err(VerifyError::Unreadable(Unreadable::NotPdf)));
}

#[test]
fn what_cannot_be_trusted_is_indeterminate_and_what_is_wrong_is_invalid() {
    let stranger = Authority::generate("stranger", KeyAlgorithm::P256, years(20)).unwrap();
    let unknown = verify(
        &SIGNED,
        &Trust::roots([stranger.certificate().to_vec()]),
        NOW,
    )
    .unwrap();
    assert_eq!(unknown.verdict, Verdict::Indeterminate);
    assert_eq!(codes(&unknown, 0), [Code::Untrusted]);
    assert_eq!(
        verify(&SIGNED, &Trust::default(), NOW).unwrap().verdict,
        Verdict::Indeterminate
    );

    let short = |not_before, not_after| {
        let validity = Validity {
            not_before,
            not_after,
        };
        let person = Subject::Person {
            name: "张三",
            flow: FLOW,
        };
        let person = AUTHORITY
            .issue(person, KeyAlgorithm::P256, validity)
            .unwrap();
        let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
        sign(&pdf, &request("buyer", &person)).unwrap()
    };
    let at = |pdf: &[u8], now| {
        let report = verify(pdf, &trust(), now).unwrap();
        (report.verdict, codes(&report, 0))
    };
    let a_day = short(NOW - 1000, NOW + DAY);
    assert_eq!(at(&a_day, NOW), (Verdict::Valid, vec![]));
    // Later, nobody but the signer says when it was signed.
    assert_eq!(
        at(&a_day, NOW + 2 * DAY),
        (Verdict::Indeterminate, vec![Code::Expired])
    );
    assert_eq!(
        at(&short(NOW + 1000, NOW + DAY), NOW),
        (Verdict::Invalid, vec![Code::NotYetValid])
    );
    assert_eq!(
        at(&short(NOW - DAY, NOW - 1000), NOW),
        (Verdict::Invalid, vec![Code::Expired])
    );
    // A clock that runs ahead.
    assert_eq!(
        at(&a_day, NOW - DAY),
        (Verdict::Indeterminate, vec![Code::ClaimedTime])
    );
}

/// One bit, in each region of the file: the judges agree that it is no longer what was signed.
#[test]
fn judges_agree_on_flipped_bytes() {
    let find = |needle: &str| last_place(&SIGNED, needle);
    let places = [
        ("header", 6),
        ("content", find("1640902") + 2),
        ("page", find("595.303937") + 8),
        ("field", find("/T (seller)") + 5),
        ("date", find("/M (D:2026") + 8),
        ("range", find("/ByteRange [") + 14),
        ("last trailer", find("/Size ") + 6),
    ];
    let desk = Desk::new();
    for (name, place) in places {
        let mut flipped = SIGNED.clone();
        flipped[place] ^= 1;
        assert!(!passes(&flipped), "{name}");
        let file = desk.put("flipped.pdf", &flipped);
        let valid = judges::pyhanko(&desk.root(), &file)
            .is_ok_and(|found| found.iter().all(|judged| judged.valid));
        assert!(!valid, "pyHanko accepts {name}");
        assert!(judges::pdfsig_valid(&file) < 2, "pdfsig accepts {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// Every byte that is signed counts.
    #[test]
    fn a_flipped_byte_is_found(place in any::<prop::sample::Index>(), flip in 1_u8..) {
        let [first, second] = signed_ranges(&SIGNED);
        let place = place.index(first.len() + second.len());
        let place = if place < first.end { place } else { second.start + place - first.len() };
        let mut flipped = SIGNED.clone();
        flipped[place] ^= flip;
        prop_assert!(!passes(&flipped), "byte {place}");
    }
}

/// Each byte around the edges, where an off-by-one would hide.
#[test]
fn every_byte_at_an_edge_counts() {
    let [first, second] = signed_ranges(&SIGNED);
    let edges = (0..32)
        .chain(first.end - 32..first.end)
        .chain(second.start..second.start + 32)
        .chain(second.end - 32..second.end);
    for place in edges {
        for flip in [1, 0x20, 0x80] {
            let mut flipped = SIGNED.clone();
            flipped[place] ^= flip;
            assert!(!passes(&flipped), "byte {place}");
        }
    }
    for length in second.end - 64..second.end {
        assert!(!passes(&SIGNED[..length]), "cut to {length}");
    }
}

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

/// A later revision prepared inside of what was signed, and switched to with a few bytes at the end.
#[test]
fn hidden_revisions_are_found() {
    let plain = Sample::one_page().write(Structure::Table);
    let content = stream("", b"BT /F1 24 Tf 72 700 Td (Receipt 9999999.99) Tj ET");
    let prepared = append(&plain, &[(4, &content)]);
    let hidden_start: usize = {
        let text = String::from_utf8_lossy(&prepared);
        text.rsplit("startxref\n")
            .next()
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let plain_start: usize = {
        let text = String::from_utf8_lossy(&plain);
        text.rsplit("startxref\n")
            .next()
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    // The hidden section is in the file, but the last `startxref` leads past it.
    let innocent = [
        prepared.as_slice(),
        format!("startxref\n{plain_start}\n%%EOF\n").as_bytes(),
    ]
    .concat();
    let signed = signed_twice(&innocent);
    assert_eq!(judged(&signed).verdict, Verdict::Valid);
    let switched = [
        signed.as_slice(),
        format!("startxref\n{hidden_start}\n%%EOF\n").as_bytes(),
    ]
    .concat();
    // Without the form there is no signature to be seen, or one that does not cover the revision; never a valid one.
    assert!(!passes(&switched));
}

/// The update again, with these lines for its cross-reference section.
fn with_section(pdf: &[u8], lines: &str) -> Vec<u8> {
    let start = last_place(pdf, "\nxref\n") + 6;
    let end = last_place(pdf, "trailer\n");
    [&pdf[..start], lines.as_bytes(), &pdf[end..]].concat()
}

/// Of two entries for one object some readers take the first, and others the last.
#[test]
fn an_object_has_one_entry_in_a_section() {
    let content = stream("", b"BT /F1 24 Tf 72 700 Td (Receipt 9999999.99) Tj ET");
    let note: &[u8] = b"<< /Nothing true >>";
    let updated = append(&SIGNED, &[(900, note), (4, &content)]);
    let new = last_place(&updated, "\n4 0 obj") + 1;
    let header = b"\n4 0 obj";
    let old = SIGNED
        .windows(header.len())
        .position(|window| window == header);
    let old = old.unwrap() + 1;
    let unused = last_place(&updated, "\n900 0 obj") + 1;
    let section = |entries: &[(u32, usize)]| {
        let lines: String = entries
            .iter()
            .map(|(number, offset)| format!("{number} 1\n{offset:010} 00000 n \n"))
            .collect();
        verify(&with_section(&updated, &lines), &trust(), NOW)
    };
    let ambiguous = |entries: &[(u32, usize)]| {
        matches!(
            section(entries),
            Err(VerifyError::Unreadable(Unreadable::Damaged { what, .. }))
                if what == "one object stands twice in one cross-reference section"
        )
    };
    assert!(ambiguous(&[(900, unused), (4, old), (4, new)]));
    assert!(ambiguous(&[(900, unused), (4, new), (4, old)]));
    assert_eq!(
        section(&[(900, unused), (900, unused), (4, old), (4, old)])
            .unwrap()
            .verdict,
        Verdict::Valid
    );
    let deleted = with_section(
        &updated,
        &format!("4 1\n{old:010} 00000 n \n4 1\n0000000000 00000 f \n"),
    );
    assert!(verify(&deleted, &trust(), NOW).is_err());
}

/// A hybrid file's table and the stream beside it are one section too.
#[test]
fn a_table_and_the_stream_beside_it_agree() {
    let plain = Sample::one_page().write(Structure::Hybrid);
    assert!(add_fields(&plain, &fields()).is_ok());
    let place = last_place(&plain, "0000000000 00000 f");
    let mut both = plain;
    let font = last_place(&both, "4 0 obj");
    both[place..place + 18].copy_from_slice(format!("{font:010} 00000 n").as_bytes());
    assert!(matches!(
        verify(&both, &trust(), NOW),
        Err(VerifyError::Unreadable(Unreadable::Damaged { what, .. }))
            if what == "one object stands twice in one cross-reference section"
    ));
}

/// A cross-reference stream that names every object a few times, in a few kilobytes.
#[test]
fn cross_references_without_end_are_refused() {
    let with = |ranges: usize| {
        let size = 8_000_000;
        let records = crate::structures::deflate(&vec![0; ranges * size]);
        let index = format!("0 {size} ").repeat(ranges);
        let mut out = b"%PDF-1.7\n1 0 obj\n".to_vec();
        out.extend(stream(
            &format!("/Type /XRef /W [1 0 0] /Index [{index}] /Size {size} /Root 2 0 R /Filter /FlateDecode"),
            &records,
        ));
        out.extend_from_slice(b"\nendobj\nstartxref\n9\n%%EOF\n");
        verify(&out, &trust(), NOW)
    };
    assert!(matches!(
        with(2),
        Err(VerifyError::Unreadable(Unreadable::TooLarge(
            "the number of cross-references"
        )))
    ));
}

/// What a table hides from old readers stands in a stream, which no other section uses.
#[test]
fn the_stream_beside_a_table_is_a_stream_of_its_own() {
    let hybrid = Sample::one_page().write(Structure::Hybrid);
    let beside = {
        let text = String::from_utf8_lossy(&hybrid);
        let place = text.rfind("/XRefStm ").unwrap() + 9;
        text[place..place + text[place..].find(' ').unwrap()].to_owned()
    };
    let damaged = |pdf: &[u8]| {
        matches!(
            verify(pdf, &trust(), NOW),
            Err(VerifyError::Unreadable(Unreadable::Damaged { .. }))
        )
    };
    let note = [(900, b"null".as_slice())];
    assert!(!damaged(&append(&hybrid, &note)));
    assert!(damaged(&append_with(
        &hybrid,
        &note,
        &format!("/XRefStm {beside}")
    )));
    let plain = Sample::one_page().write(Structure::Table);
    let table = last_place(&plain, "\nxref\n") + 1;
    assert!(damaged(&append_with(
        &plain,
        &note,
        &format!("/XRefStm {table}")
    )));
    // The first section again, by an offset of its own that leads to the same table.
    let before = table - 1;
    assert!(damaged(&append_with(
        &plain,
        &note,
        &format!("/XRefStm {before}")
    )));
}

/// A large object that is named again and again is read once.
#[test]
fn naming_an_object_again_and_again_takes_no_time() {
    let large = format!("[ {}]", "(x) ".repeat(500_000));
    let often = "6 0 R ".repeat(100_000);
    let catalog = |entries: &str| {
        Sample::one_page()
            .with(1, format!("<< /Type /Catalog /Pages 2 0 R {entries} >>"))
            .with(6, large.as_bytes())
    };
    let form = "/AcroForm << /SigFlags 3 /Fields [ 7 0 R ] >>";
    let started = std::time::Instant::now();
    let kids = catalog(form)
        .with(7, format!("<< /FT /Sig /T (x) /Kids [ {often}] >>"))
        .write(Structure::Table);
    assert_eq!(judged(&kids).empty_fields, ["x"]);
    let lock = catalog(form)
        .with(
            7,
            format!(
                "<< /Type /Annot /Subtype /Widget /FT /Sig /T (x) /Rect [0 0 0 0] \
                 /Lock << /Type /SigFieldLock /Action /Include /Fields [ {often}] >> >>"
            ),
        )
        .write(Structure::Table);
    let locked = sign(&lock, &request("x", &BUYER)).unwrap();
    assert!(passes(&locked));
    let evidence = catalog(&format!("/DSS << /VRI [ {often}] >>")).write(Structure::Table);
    let signed = signed_twice(&evidence);
    assert!(passes(&signed));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// Another signature put where the byte range leaves a gap, or a range that leaves more out.
#[test]
fn byte_ranges_leave_out_the_signature_alone() {
    let place = last_place(&SIGNED, "/ByteRange [") + 12;
    let width = SIGNED[place..]
        .iter()
        .position(|&byte| byte == b']')
        .unwrap();
    let numbers = String::from_utf8_lossy(&SIGNED[place..place + width]).into_owned();
    let numbers: Vec<usize> = numbers
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let with = |numbers: &[usize]| {
        let mut pdf = SIGNED.clone();
        let joined = numbers
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ");
        pdf[place..place + width].copy_from_slice(format!("{joined:<width$}").as_bytes());
        pdf
    };
    assert!(passes(&SIGNED));
    for wrong in [
        vec![0, numbers[1], numbers[2], numbers[3] - 3],
        vec![0, numbers[1] - 1, numbers[2], numbers[3]],
        vec![0, numbers[1], numbers[2] + 1, numbers[3] - 1],
        vec![1, numbers[1] - 1, numbers[2], numbers[3]],
        vec![0, numbers[1], numbers[2], usize::MAX >> 1],
        vec![0, numbers[1], numbers[2]],
        vec![0, 0, 0, 0],
        vec![],
    ] {
        let report = judged(&with(&wrong));
        let buyer = report
            .signatures
            .iter()
            .position(|signature| signature.field == "buyer")
            .unwrap();
        assert_eq!(codes(&report, buyer)[0], Code::ByteRange, "{wrong:?}");
        assert_eq!(report.verdict, Verdict::Invalid, "{wrong:?}");
    }
}

/// A certificate for web servers signs no receipts; a root's own key does not either.
#[test]
fn certificates_are_used_for_what_they_are_for() {
    let root = sealpost_pdf::Credential::from_pkcs8(
        &AUTHORITY.to_pkcs8().unwrap(),
        vec![AUTHORITY.certificate().to_vec()],
    )
    .unwrap();
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let report = judged(&sign(&pdf, &request("seller", &root)).unwrap());
    assert_eq!(
        (report.verdict, codes(&report, 0)),
        (Verdict::Invalid, vec![Code::KeyUsage])
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// Whatever is done to a signed document, verification answers, and never calls it valid unless nothing signed changed.
    #[test]
    fn mutated_documents_are_judged(
        structure in prop::sample::select(&STRUCTURES[..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..10),
        copies in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_usize..200), 0..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        static DOCUMENTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
            STRUCTURES.iter().map(|structure| signed_twice(&Sample::one_page().write(*structure))).collect()
        });
        let which = STRUCTURES.iter().position(|other| *other == structure).unwrap();
        let original = &DOCUMENTS[which];
        let mut pdf = original.clone();
        for (place, byte) in edits {
            let place = place.index(pdf.len());
            pdf[place] = byte;
        }
        for (from, to, length) in copies {
            let from = from.index(pdf.len());
            let piece = pdf[from..pdf.len().min(from + length)].to_vec();
            let to = to.index(pdf.len());
            pdf.splice(to..to, piece);
        }
        if let Some(cut) = cut {
            pdf.truncate(cut.index(pdf.len()));
        }
        if let Ok(report) = verify(&pdf, &trust(), NOW)
            && report.verdict == Verdict::Valid
        {
            // What a signature leaves out is its own hexadecimal digits alone.
            let mut rest = original.as_slice();
            while let Some(start) = rest.windows(11).position(|window| window == b"/Contents <") {
                let place = original.len() - rest.len();
                let gap = place + start + 11..place + start + rest[start..].iter().position(|&byte| byte == b'>').unwrap();
                prop_assert_eq!(&pdf[place..gap.start], &original[place..gap.start]);
                rest = &original[gap.end..];
            }
            let place = original.len() - rest.len();
            prop_assert_eq!(&pdf[place..original.len()], rest);
        }
    }
}

/// The signer's own text cannot make a report large or unreadable.
#[test]
fn texts_of_signers_are_repeated_within_limits() {
    let long = "理由".repeat(256);
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let signed = sign(
        &pdf,
        &sealpost_pdf::SignRequest {
            reason: Some(&long),
            ..request("buyer", &BUYER)
        },
    )
    .unwrap();
    assert_eq!(
        judged(&signed).signatures[0].reason.as_deref(),
        Some(long.as_str())
    );
}
