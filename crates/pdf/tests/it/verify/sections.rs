//! Cross-reference sections that say two things, have no end, or hide a revision.

use sealpost_pdf::{Unreadable, Verdict, VerifyError, add_fields, sign, verify};

use super::{SIGNED, judged, last_place, passes};
use crate::{
    parties::{BUYER, NOW, fields, request, signed_twice, trust},
    structures::{Sample, Structure, append, append_with, stream},
};

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
