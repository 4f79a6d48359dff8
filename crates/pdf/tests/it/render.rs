//! Pages as images.

use sealpost_pdf::{RenderError, draw, render};

use crate::paper;
use crate::samples::{meta, receipt, signers};

fn size(png: &[u8]) -> (u32, u32) {
    let reader = png::Decoder::new(std::io::Cursor::new(png))
        .read_info()
        .unwrap();
    reader.info().size()
}

#[test]
fn a_page_has_the_width_asked_for() {
    let pdf = draw(&receipt(), &signers(), &meta()).unwrap().pdf;
    assert_eq!(render::page_count(&pdf).unwrap(), 1);
    for width in [1, 320, 750, 1080, 1999, 2400] {
        let (w, h) = size(&render::page_png(&pdf, 0, width).unwrap());
        let height = f64::from(width) * 419.53 / 595.28;
        assert_eq!(w, width);
        assert!((f64::from(h) - height).abs() <= 1.0, "{width} × {h}");
    }
    assert_eq!(size(&render::page_png(&pdf, 0, 99_999).unwrap()).0, 2400);
    let missing = render::page_png(&pdf, 1, 100).unwrap_err();
    assert_eq!(missing, RenderError::NoSuchPage { page: 1, pages: 1 });
}

#[test]
fn odd_pages_stay_within_limits() {
    for (boxes, portrait) in [
        ("/MediaBox[0 0 14400 14400]", false),
        ("/MediaBox[0 0 3 14400]", true),
        ("/MediaBox[0 0 14400 3]", false),
        ("/MediaBox[0 0 0 0]", true),
        ("/MediaBox[0 0 600 400]/Rotate 90", true),
        ("/MediaBox[0 0 600 400]/CropBox[100 100 200 390]", true),
        ("/MediaBox[-1000000000000 0 1000000000000 10]", false),
    ] {
        let pdf = paper::page(boxes, "0 0 10 10 re f");
        match render::page_png(&pdf, 0, 2400) {
            Ok(png) => {
                let (w, h) = size(&png);
                assert!(w * h <= 12_100_000, "{boxes}: {w}×{h}");
                assert!(!portrait || h >= w, "{boxes}: {w}×{h}");
            }
            Err(error) => assert!(
                matches!(error, RenderError::TooLarge(_)),
                "{boxes}: {error}"
            ),
        }
    }
}

#[test]
fn what_is_no_pdf_is_refused() {
    for bytes in [&b""[..], b"hello", b"%PDF-1.7\n%%EOF"] {
        assert!(matches!(
            render::page_count(bytes),
            Err(RenderError::Unreadable(_))
        ));
        assert!(matches!(
            render::page_png(bytes, 0, 100),
            Err(RenderError::Unreadable(_))
        ));
    }
}
