//! Words found in documents.

use sealpost_pdf::{draw, find::find_word};

use crate::paper;
use crate::samples::{meta, receipt, signers};
use crate::tools::{run, with_file};

/// A word is where poppler says it is.
#[test]
fn words_are_found_where_they_are() {
    let pdf = draw(&receipt(), &signers(), &meta()).unwrap().pdf;
    let boxes = with_file(&pdf, |path| run("pdftotext", &["-bbox", path, "-"]));
    for word in ["翡翠湾花园", "XF-2026-0001873", "李晓梅"] {
        let found = find_word(&pdf, word).unwrap();
        assert_eq!(found.len(), 1, "{word}: {found:?}");
        let line = boxes
            .lines()
            .find(|line| line.contains("<word") && line.contains(word))
            .unwrap();
        let attribute = |name: &str| -> f64 {
            let rest = &line[line.find(&format!("{name}=\"")).unwrap() + name.len() + 2..];
            rest[..rest.find('"').unwrap()].parse().unwrap()
        };
        let [left, bottom, right, top] = found[0].rect;
        let near = |a: f64, b: f64| (a - b).abs() < 3.0;
        assert!(
            near(left, attribute("xMin")) && near(right, attribute("xMax")),
            "{line} {found:?}"
        );
        let (middle, theirs) = (
            (bottom + top) / 2.0,
            (attribute("yMin") + attribute("yMax")) / 2.0,
        );
        assert!(near(419.53 - middle, theirs), "{line} {found:?}");
    }
}

#[test]
fn every_place_is_found_and_blanks_do_not_matter() {
    let pdf = draw(&receipt(), &signers(), &meta()).unwrap().pdf;
    assert_eq!(
        find_word(&pdf, "杭州翡翠湾房地产开发有限公司")
            .unwrap()
            .len(),
        2
    );
    assert_eq!(find_word(&pdf, "楼 栋").unwrap().len(), 1);
    assert_eq!(find_word(&pdf, "没有").unwrap(), []);
    // The end of one cell and the beginning of the next are no word.
    assert_eq!(find_word(&pdf, "花园合同").unwrap(), []);
}

/// In a font that is not embedded, on a turned page: the places are the page's own.
#[test]
fn standard_fonts_and_turned_pages() {
    let font =
        "/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>>>";
    let pdf = paper::file(&[
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        format!("<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 400]/Rotate 90/Contents 4 0 R/Resources<<{font}>>>>").into_bytes(),
        paper::stream("", b"BT /F 20 Tf 0 1 -1 0 100 50 Tm (Sign here) Tj ET"),
    ]);
    let found = find_word(&pdf, "here").unwrap();
    assert_eq!(found.len(), 1);
    let [left, bottom, right, top] = found[0].rect;
    assert!(
        (80.0..90.0).contains(&left) && (98.0..106.0).contains(&right),
        "{found:?}"
    );
    assert!(
        (90.0..104.0).contains(&bottom) && (130.0..150.0).contains(&top),
        "{found:?}"
    );
}

#[test]
fn words_have_limits() {
    let pdf = draw(&receipt(), &signers(), &meta()).unwrap().pdf;
    assert!(find_word(&pdf, " ").is_err());
    assert!(find_word(&pdf, &"字".repeat(65)).is_err());
    assert!(find_word(b"no PDF", "字").is_err());
}
