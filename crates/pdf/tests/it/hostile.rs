//! Small files that ask for more time or memory than there is.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use flate2::{Compression, write::ZlibEncoder};
use sealpost_pdf::{Void, VoidKind, draw, mark};

use crate::paper;
use crate::samples::{meta, receipt, signers};
use crate::tools::path_str;

/// Renders the first page with the example, whose pages are rendered in processes of their own.
fn render_isolated(pdf: &[u8]) -> Result<Vec<u8>, String> {
    let tests = std::env::current_exe().unwrap();
    let program = tests
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/render_page");
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("in.pdf"), folder.path().join("out.png"));
    std::fs::write(&file, pdf).unwrap();
    let output = Command::new(&program)
        .args([path_str(&file), "1", path_str(&out)])
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; `cargo build -p sealpost-pdf --examples` makes it",
                program.display()
            )
        });
    if output.status.success() {
        return Ok(std::fs::read(out).unwrap());
    }
    assert_eq!(
        output.status.code(),
        Some(1),
        "the process that asked died too"
    );
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// A page whose resources hold an XObject /X, followed by more objects from number 6.
fn page_with(content: &str, x: Vec<u8>, more: Vec<Vec<u8>>) -> Vec<u8> {
    let mut objects = vec![
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 400]/Contents 4 0 R/Resources<</XObject<</X 5 0 R>>>>>>".to_vec(),
        paper::stream("", content.as_bytes()),
        x,
    ];
    objects.extend(more);
    paper::file(&objects)
}

fn form(next: usize, times: usize) -> Vec<u8> {
    let entries = format!(
        "/Type/XObject/Subtype/Form/BBox[0 0 600 400]/Resources<</XObject<</X {next} 0 R>>>>"
    );
    paper::stream(&entries, "/X Do 0 0 5 5 re f ".repeat(times).as_bytes())
}

#[test]
fn an_honest_page_is_rendered_in_a_process_of_its_own() {
    let pdf = draw(&receipt(), &signers(), &meta()).unwrap().pdf;
    assert!(render_isolated(&pdf).unwrap().starts_with(b"\x89PNG"));
    let refused = render_isolated(b"%PDF-1.7 hello").unwrap_err();
    assert!(refused.contains("cannot be read"), "{refused}");
}

/// Ten forms, each drawn a hundred times by the one before: 10²⁰ rectangles.
#[test]
fn work_without_end_is_ended() {
    let forms = (0..10).map(|level| form(level + 7, 100)).collect();
    let pdf = page_with("/X Do", form(6, 100), forms);
    let start = Instant::now();
    let refused = render_isolated(&pdf).unwrap_err();
    assert!(refused.contains("the page cannot be shown"), "{refused}");
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}

/// An image of 40,000 × 40,000 pixels in 200 kB.
#[test]
fn memory_without_end_is_refused() {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..40_000 {
        encoder.write_all(&[0; 5000]).unwrap();
    }
    let data = encoder.finish().unwrap();
    let mut image = format!(
        "<</Type/XObject/Subtype/Image/Width 40000/Height 40000/BitsPerComponent 1/ColorSpace/DeviceGray\
         /Filter/FlateDecode/Length {}>>\nstream\n",
        data.len()
    )
    .into_bytes();
    image.extend_from_slice(&data);
    image.extend_from_slice(b"\nendstream");
    let pdf = page_with("600 0 0 400 0 0 cm /X Do", image, Vec::new());
    let start = Instant::now();
    if let Err(refused) = render_isolated(&pdf) {
        assert!(refused.contains("the page cannot be shown"), "{refused}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn depth_without_end_is_refused() {
    for content in [
        "[".repeat(1_000_000),
        "<<".repeat(1_000_000),
        "q ".repeat(1_000_000),
        "(".repeat(1_000_000),
    ] {
        let pdf = paper::page("/MediaBox[0 0 600 400]", &content);
        // Shown or refused, but only this page.
        let _ = render_isolated(&pdf);
        let void = Void {
            kind: VoidKind::Expired,
            flow_id: meta().flow_id,
            ended: String::new(),
        };
        mark::void_copy(&pdf, &void).unwrap();
    }
}

/// Marking reads a page's content only within a budget; beyond it the page is marked all the same.
#[test]
fn a_page_that_unpacks_to_gigabytes_is_marked() {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..300 {
        encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let data = encoder.finish().unwrap();
    let mut content =
        format!("<</Filter/FlateDecode/Length {}>>\nstream\n", data.len()).into_bytes();
    content.extend_from_slice(&data);
    content.extend_from_slice(b"\nendstream");
    let pdf = paper::file(&[
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 400]/Contents 4 0 R/Resources<<>>>>".to_vec(),
        content,
    ]);
    let start = Instant::now();
    let copy = mark::preview_copy(&pdf).unwrap();
    assert!(String::from_utf8_lossy(&copy).contains("/Subtype /Stamp"));
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}

/// Files with bytes flipped or cut are refused or rendered; nothing panics while marking.
#[test]
fn damage_is_refused_or_survived() {
    let whole = draw(&receipt(), &signers(), &meta()).unwrap().pdf;
    let void = Void {
        kind: VoidKind::Revoked,
        flow_id: meta().flow_id,
        ended: "2026".to_owned(),
    };
    for at in (0..whole.len()).step_by(389) {
        let mut flipped = whole.clone();
        flipped[at] = flipped[at].wrapping_add(1);
        let _ = mark::void_copy(&flipped, &void);
        let _ = mark::void_copy(&whole[..at], &void);
    }
}
