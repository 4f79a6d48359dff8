//! Void and preview copies.

use sealpost_pdf::{RoundSeal, Void, VoidKind, draw, mark, render};

use crate::paper;
use crate::samples::{meta, receipt, signers};
use crate::tools::{assert_sound, path_str, run};

fn void(kind: VoidKind) -> Void {
    Void {
        kind,
        flow_id: meta().flow_id,
        ended: "2026-11-24 18:24:29".to_owned(),
    }
}

fn base() -> Vec<u8> {
    draw(&receipt(), &signers(), &meta()).unwrap().pdf
}

/// Pixels of a page by whether they are about of this colour: (x, y) from 0 to 1, from the upper left.
pub(crate) fn pixels_like(pdf: &[u8], page: usize, color: [u8; 3]) -> Vec<(f64, f64)> {
    let png = render::page_png(pdf, page, 1200).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(png))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let (width, height) = (info.width as usize, info.height as usize);
    pixels
        .chunks(3)
        .enumerate()
        .filter(|(_, p)| p.iter().zip(color).all(|(&a, b)| a.abs_diff(b) < 60))
        .map(|(i, _)| {
            (
                (i % width) as f64 / width as f64,
                (i / width) as f64 / height as f64,
            )
        })
        .collect()
}

const RED: [u8; 3] = [0xc8, 0x1e, 0x1e];

/// The word runs across the middle, the line is at the top.
fn assert_marked(pdf: &[u8], pages: usize) {
    assert_eq!(render::page_count(pdf).unwrap(), pages);
    for page in 0..pages {
        let red = pixels_like(pdf, page, RED);
        let across = |low: f64, high: f64| {
            red.iter()
                .filter(|(x, y)| (low..high).contains(x) && (0.12..0.95).contains(y))
                .count()
        };
        for (low, high) in [(0.1, 0.4), (0.4, 0.6), (0.6, 0.9)] {
            assert!(
                across(low, high) > 100,
                "page {page}: {low} to {high}: {}",
                across(low, high)
            );
        }
        let top = red.iter().filter(|(_, y)| *y < 0.12).count();
        assert!(top > 300, "page {page}: {top} at the top");
    }
}

#[test]
fn every_kind_is_marked_and_sound() {
    let pdf = base();
    for kind in [VoidKind::Revoked, VoidKind::Expired, VoidKind::Rejected] {
        let copy = mark::void_copy(&pdf, &void(kind)).unwrap();
        assert_sound(&copy);
        assert_marked(&copy, 1);
        assert!(copy.starts_with(&pdf), "what was drawn stays as it was");
    }
    let preview = mark::preview_copy(&pdf).unwrap();
    assert_sound(&preview);
    let gray = pixels_like(&preview, 0, [0x5b, 0x6b, 0x7d]);
    assert!(gray.len() > 3000, "{}", gray.len());
}

#[test]
fn pages_are_marked_upright_however_they_are_turned_and_cropped() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("base.pdf"), base()).unwrap();
    let base = at("base.pdf");
    let turned = at("turned.pdf");
    let (base, turned) = (path_str(&base), path_str(&turned));
    run(
        "qpdf",
        &[
            base,
            "--pages",
            base,
            "1",
            base,
            "1",
            base,
            "1",
            base,
            "1",
            "--",
            "--rotate=+90:2",
            "--rotate=+180:3",
            "--rotate=+270:4",
            turned,
        ],
    );
    let copy = mark::void_copy(&std::fs::read(turned).unwrap(), &void(VoidKind::Expired)).unwrap();
    assert_sound(&copy);
    assert_marked(&copy, 4);

    for rotate in [0, 90, 180, 270, -90, 450] {
        let page = format!("/MediaBox[-100 -50 500 750]/CropBox[0 100 400 900]/Rotate {rotate}");
        let odd = paper::page(&page, "1 0 0 1 5 5 cm 0.9 g 0 0 50 50 re f");
        let copy = mark::void_copy(&odd, &void(VoidKind::Revoked)).unwrap();
        assert_sound(&copy);
        assert_marked(&copy, 1);
    }
}

#[test]
fn what_a_page_leaves_open_does_not_move_the_mark() {
    for content in [
        "q 0.01 0 0 0.01 0 0 cm q q",
        "q 0 0 1 1 re W n",
        "",
        "Q Q q",
    ] {
        let odd = paper::page("/MediaBox[0 0 600 400]", content);
        let copy = mark::void_copy(&odd, &void(VoidKind::Revoked)).unwrap();
        assert_marked(&copy, 1);
    }
}

/// A page cannot be written so that its void copy looks unmarked.
#[test]
fn no_content_hides_the_mark() {
    for content in [
        "q 0 0 1 1 re W n (",
        "BI /W 1 /H 1 ID ",
        "0 0 1 1 re W n /OC /Hidden BDC",
        "BT 7 Tr",
        "<41",
        "[ (",
        "% and so on",
        "q 0 0 0 0 0 0 cm",
        "0 0 1 1 re W",
    ] {
        let odd = paper::page(
            "/MediaBox[0 0 600 400]/Annots[<</Type/Annot/Subtype/Link/Rect[0 0 9 9]>>]",
            content,
        );
        let copy = mark::void_copy(&odd, &void(VoidKind::Revoked)).unwrap();
        assert_marked(&copy, 1);
        let said = String::from_utf8_lossy(&copy).into_owned();
        assert!(said.contains("/Subtype /Stamp") && said.contains("/Subtype/Link"));
    }
}

#[test]
fn no_signature_field_is_left() {
    let field = sealpost_pdf::Field {
        name: "signer1".to_owned(),
        page: 0,
        rect: [50.0, 50.0, 150.0, 150.0],
    };
    let with_field = sealpost_pdf::add_fields(&base(), &[field]).unwrap();
    let copy = mark::void_copy(&with_field, &void(VoidKind::Rejected)).unwrap();
    assert_sound(&copy);
    let folder = tempfile::tempdir().unwrap();
    let (copy_path, plain) = (
        folder.path().join("copy.pdf"),
        folder.path().join("plain.pdf"),
    );
    std::fs::write(&copy_path, &copy).unwrap();
    // qpdf writes only what can still be reached.
    run("qpdf", &["--qdf", path_str(&copy_path), path_str(&plain)]);
    let plain = String::from_utf8_lossy(&std::fs::read(&plain).unwrap()).into_owned();
    assert!(
        !plain.contains("/Sig") && !plain.contains("/AcroForm"),
        "a field is left"
    );
}

#[test]
fn what_is_no_pdf_is_refused() {
    for bytes in [&b""[..], b"hello", &base()[..1000]] {
        assert!(mark::void_copy(bytes, &void(VoidKind::Revoked)).is_err());
        assert!(mark::preview_copy(bytes).is_err());
    }
    let long = Void {
        flow_id: "x".repeat(33),
        ..void(VoidKind::Revoked)
    };
    assert!(mark::void_copy(&base(), &long).is_err());
}

/// A document of so many pages, whose boxes and rotation are given.
fn pages(count: usize, entries: &str) -> Vec<u8> {
    let kids: String = (0..count)
        .map(|page| format!("{} 0 R ", page + 3))
        .collect();
    let mut objects = vec![
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        format!("<</Type/Pages/Kids[{kids}]/Count {count}{entries}/Resources<<>>>>").into_bytes(),
    ];
    objects.extend((0..count).map(|_| b"<</Type/Page/Parent 2 0 R>>".to_vec()));
    paper::file(&objects)
}

/// The strips of a seal across the edges, put side by side, are the seal again.
#[test]
fn a_seal_is_split_across_the_edges_of_all_pages() {
    let seal = RoundSeal {
        organization: "翠湾置业有限公司".to_owned(),
        legend: None,
    }
    .draw()
    .unwrap();
    for entries in [
        "/MediaBox[0 0 400 300]",
        "/MediaBox[0 0 300 400]/Rotate 90",
        "/MediaBox[-50 -50 400 300]/CropBox[0 0 400 300]/Rotate 180",
        "/MediaBox[0 0 300 400]/Rotate 270",
    ] {
        let sealed = mark::straddle(&pages(4, entries), std::slice::from_ref(&seal)).unwrap();
        assert_sound(&sealed);
        let mut red = 0;
        for page in 0..4 {
            let strip = pixels_like(&sealed, page, [0xd7, 0x14, 0x1a]);
            red += strip.len();
            // A quarter of 108 points, at the right edge of 400, half way up.
            assert!(strip.len() > 300, "{entries}: page {page}: {}", strip.len());
            for (x, y) in strip {
                assert!(
                    x > 1.0 - 27.5 / 400.0 && (0.3..0.7).contains(&y),
                    "{entries}: {x} {y}"
                );
            }
        }
        let whole = paper::sheet(400.0, 300.0, &[(200.0, 100.0, &seal)]);
        let whole = pixels_like(&whole, 0, [0xd7, 0x14, 0x1a]).len();
        assert!(
            (red as f64 / whole as f64 - 1.0).abs() < 0.05,
            "{entries}: {red} of {whole}"
        );
    }
}

#[test]
fn a_long_document_has_several_seals_and_a_single_page_none() {
    let seal = RoundSeal {
        organization: "翠湾置业有限公司".to_owned(),
        legend: None,
    }
    .draw()
    .unwrap();
    let long = pages(41, "/MediaBox[0 0 400 300]");
    let sealed = mark::straddle(&long, std::slice::from_ref(&seal)).unwrap();
    assert_sound(&sealed);
    // 14, 14 and 13 pages.
    for page in [0, 13, 14, 28, 40] {
        assert!(
            !pixels_like(&sealed, page, [0xd7, 0x14, 0x1a]).is_empty(),
            "page {page}"
        );
    }
    let single = pages(1, "/MediaBox[0 0 400 300]");
    assert_eq!(mark::straddle(&single, &[seal]).unwrap(), single);
}

/// Two seals have a half of the edge each; a document that somebody has signed has none; no void copy shows one.
#[test]
fn several_seals_share_the_edge_and_void_copies_have_none() {
    let seal = |organization: &str| RoundSeal {
        organization: organization.to_owned(),
        legend: None,
    };
    let seals = ["翠湾置业有限公司", "海棠湾置业有限公司"].map(|name| seal(name).draw().unwrap());
    let sealed = mark::straddle(&pages(3, "/MediaBox[0 0 400 300]"), &seals).unwrap();
    assert_sound(&sealed);
    let strip = pixels_like(&sealed, 1, [0xd7, 0x14, 0x1a]);
    let (upper, lower): (Vec<_>, Vec<_>) = strip.into_iter().partition(|(_, y)| *y < 0.5);
    assert!(upper.len() > 300 && lower.len() > 300);

    let copy = mark::preview_copy(&sealed).unwrap();
    assert_eq!(pixels_like(&copy, 1, [0xd7, 0x14, 0x1a]), []);

    let signed = crate::parties::signed_twice(&pages(2, "/MediaBox[0 0 400 300]"));
    assert_eq!(
        mark::straddle(&signed, &seals),
        Err(sealpost_pdf::MarkError::Signed)
    );
}
