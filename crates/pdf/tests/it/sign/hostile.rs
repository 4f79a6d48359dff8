//! Files that are made to do harm are refused before anything is signed.

use sealpost_pdf::{SignError, add_fields, verify};

use crate::{
    parties::{NOW, fields, trust},
    structures::{Sample, Structure, append, append_with, stream},
};

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
