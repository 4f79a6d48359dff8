//! Hand-drawn signatures: good PNGs and bad ones.

use sealpost_pdf::SignatureImageError;
use sealpost_pdf::signature::{MAX_BYTES, appearance};

use crate::paper;
use crate::tools::assert_sound;

/// A PNG of 8-bit pixels.
fn png(width: u32, height: u32, color: png::ColorType, pixels: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    out
}

/// A blue stroke 3 pixels thick from (100, 80) to (299, 179), on white paper or on nothing.
pub(crate) fn stroke(transparent: bool) -> Vec<u8> {
    let (width, height) = (600_u32, 300_u32);
    let paper = if transparent { [0, 0, 0, 0] } else { [255; 4] };
    let mut pixels = paper.repeat((width * height) as usize);
    for x in 100..300_u32 {
        for thick in 0..3 {
            let y = 80 + (x - 100) / 2 + thick - 1;
            let at = ((y * width + x) * 4) as usize;
            pixels[at..at + 4].copy_from_slice(&[20, 40, 160, 255]);
        }
    }
    png(width, height, png::ColorType::Rgba, &pixels)
}

#[test]
fn ink_is_cropped_and_white_is_transparent() {
    for transparent in [true, false] {
        let signature = appearance(&stroke(transparent)).unwrap();
        let image = &signature.images[0];
        assert_eq!(
            (image.width, image.height),
            (200, 102),
            "transparent: {transparent}"
        );
        let opaque = image.pixels.chunks(4).filter(|p| p[3] > 200).count();
        let clear = image.pixels.chunks(4).filter(|p| p[3] == 0).count();
        assert_eq!((opaque, clear), (600, 200 * 102 - 600));
        assert_eq!(&image.pixels[..3], [20, 40, 160]);
        assert!((signature.width_pt / signature.height_pt - 200.0 / 102.0).abs() < 0.01);
        assert_sound(&paper::sheet(300.0, 200.0, &[(10.0, 10.0, &signature)]));
    }
}

#[test]
fn gray_palette_and_sixteen_bit_images_are_read_too() {
    let gray: Vec<u8> = (0..100 * 100)
        .map(|i| if i % 100 == 50 { 0 } else { 255 })
        .collect();
    let from_gray = appearance(&png(100, 100, png::ColorType::Grayscale, &gray)).unwrap();
    assert_eq!(
        (from_gray.images[0].width, from_gray.images[0].height),
        (1, 100)
    );

    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 100, 100);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::One);
    encoder.set_palette(vec![255, 255, 255, 0, 0, 0]);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[0b0001_1000; 13 * 100]).unwrap();
    writer.finish().unwrap();
    assert!(appearance(&out).is_ok());
}

#[test]
fn a_large_drawing_is_reduced() {
    let mut pixels = vec![255; 2000 * 1000];
    for i in 0..1000 {
        pixels[i * 2000 + 2 * i..i * 2000 + 2 * i + 2].fill(0);
    }
    let signature = appearance(&png(2000, 1000, png::ColorType::Grayscale, &pixels)).unwrap();
    let image = &signature.images[0];
    assert!(image.width <= 900 && image.height <= 400, "{image:?}");
    assert!(image.pixels.chunks(4).any(|p| p[3] == 255));
}

#[test]
fn no_ink_is_no_signature() {
    let blank = vec![255; 400 * 200];
    let mut dot = blank.clone();
    dot[100 * 400 + 200..][..4].fill(0);
    let dust: Vec<u8> = (0..400 * 200)
        .map(|i| if i % 7 == 0 { 240 } else { 255 })
        .collect();
    for pixels in [blank, dot, dust] {
        let refused = appearance(&png(400, 200, png::ColorType::Grayscale, &pixels));
        assert_eq!(refused.unwrap_err(), SignatureImageError::NoInk);
    }
    let clear = png(400, 200, png::ColorType::Rgba, &[0; 400 * 200 * 4]);
    assert_eq!(appearance(&clear).unwrap_err(), SignatureImageError::NoInk);
}

#[test]
fn limits_are_named() {
    let wide = png(2001, 10, png::ColorType::Grayscale, &[0; 20_010]);
    assert_eq!(
        appearance(&wide).unwrap_err(),
        SignatureImageError::TooLarge {
            width: 2001,
            height: 10
        }
    );
    let high = png(10, 1001, png::ColorType::Grayscale, &[0; 10_010]);
    assert!(
        appearance(&high)
            .unwrap_err()
            .to_string()
            .contains("2000×1000")
    );
    let long = vec![0; MAX_BYTES + 1];
    assert_eq!(
        appearance(&long).unwrap_err(),
        SignatureImageError::TooManyBytes(MAX_BYTES + 1)
    );
}

#[test]
fn a_huge_image_in_a_small_file_is_not_unpacked() {
    // 60,000 × 60,000 pixels in its header, and nothing of it in the file.
    let mut bomb = png(1, 1, png::ColorType::Grayscale, &[0]);
    bomb[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    let crc = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    let refused = appearance(&bomb).unwrap_err();
    assert_eq!(
        refused,
        SignatureImageError::TooLarge {
            width: 60_000,
            height: 60_000
        }
    );
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[test]
fn a_broken_png_is_refused_wherever_it_breaks() {
    let whole = stroke(false);
    for bytes in [&b""[..], b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a"] {
        assert!(matches!(
            appearance(bytes),
            Err(SignatureImageError::NotPng(_))
        ));
    }
    for length in 0..whole.len() {
        let refused = appearance(&whole[..length]).unwrap_err();
        assert!(
            matches!(refused, SignatureImageError::NotPng(_)),
            "{length}: {refused}"
        );
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        // Most flips are found by a checksum; those in optional parts may pass. None may panic.
        let _ = appearance(&flipped);
    }
}
