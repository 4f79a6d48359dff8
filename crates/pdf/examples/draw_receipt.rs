//! Draws a sample receipt: `cargo run -p sealpost-pdf --example draw_receipt -- FOLDER` writes `receipt.pdf`, the same signed by
//! both parties, its void and preview copies, and its signed page as `receipt.png`.

use std::error::Error;
use std::path::PathBuf;

use sealpost_pdf::{
    Authority, DrawMeta, Drawn, Field, KeyAlgorithm, PlaceKind, Receipt, RoundSeal, SignRequest,
    SignerLabel, Subject, Validity, Void, VoidKind, add_fields, draw, mark, render, sign,
    signature,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let receipt = Receipt::parse(&serde_json::from_str(include_str!("receipt.json"))?)
        .map_err(|errors| format!("{errors:?}"))?;
    let signers = [
        SignerLabel {
            signer: 1,
            name: receipt.payee.clone(),
            kind: PlaceKind::Seal,
        },
        SignerLabel {
            signer: 2,
            name: receipt.payer.name.clone(),
            kind: PlaceKind::Signature,
        },
    ];
    let meta = DrawMeta {
        flow_id: "587a2f4738d44391835198df570b6ee6".to_owned(),
        drawn_at: 1_795_540_800_000,
        verify_url: Some("https://sign.example.com/verify".to_owned()),
    };
    let drawn = draw(&receipt, &signers, &meta)?;
    for place in &drawn.places {
        println!("{place:?}");
    }
    let signed = signed(&receipt, &drawn, meta.drawn_at)?;
    let void = Void {
        kind: VoidKind::Revoked,
        flow_id: meta.flow_id,
        ended: "2026-11-24 18:24:29".to_owned(),
    };
    for (name, bytes) in [
        ("receipt.pdf", &drawn.pdf),
        ("void.pdf", &mark::void_copy(&drawn.pdf, &void)?),
        ("preview.pdf", &mark::preview_copy(&drawn.pdf)?),
        ("signed.pdf", &signed),
        ("receipt.png", &render::page_png(&signed, 0, 1200)?),
    ] {
        std::fs::write(folder.join(name), bytes)?;
        println!("{name}: {} bytes", bytes.len());
    }
    Ok(())
}

/// The receipt with the seller's seal and the buyer's signature.
fn signed(receipt: &Receipt, drawn: &Drawn, now: i64) -> Result<Vec<u8>, Box<dyn Error>> {
    let validity = Validity {
        not_before: now - 1000,
        not_after: now + 86_400_000,
    };
    let authority = Authority::generate("sample", KeyAlgorithm::P256, validity)?;
    let seal = RoundSeal {
        organization: receipt.payee.clone(),
        legend: Some("财务专用章".to_owned()),
    };
    let appearances = [seal.draw()?, signature::appearance(&handwriting()?)?];
    let subjects = [
        Subject::Organization {
            name: &receipt.payee,
            credit_code: None,
        },
        Subject::Person {
            name: &receipt.payer.name,
            flow: "587a2f4738d44391835198df570b6ee6",
        },
    ];

    let field = |signer: u32| format!("signer{signer}");
    let fields: Vec<_> = drawn
        .places
        .iter()
        .map(|place| Field {
            name: field(place.signer),
            page: place.page,
            rect: place.rect,
        })
        .collect();
    let mut pdf = add_fields(&drawn.pdf, &fields)?;
    for ((place, appearance), subject) in drawn.places.iter().zip(appearances).zip(subjects) {
        let [left, bottom, right, top] = place.rect;
        let credential = authority.issue(subject, KeyAlgorithm::P256, validity)?;
        pdf = sign(
            &pdf,
            &SignRequest {
                field: &field(place.signer),
                appearance: Some(&appearance.fitted(right - left, top - bottom)),
                credential: &credential,
                signing_time: now,
                zone_minutes: 480,
                reason: None,
                location: None,
                name: None,
            },
        )?;
    }
    Ok(pdf)
}

/// A PNG of 张三, as if drawn with a finger.
fn handwriting() -> Result<Vec<u8>, png::EncodingError> {
    const WIDTH: usize = 800;
    const HEIGHT: usize = 400;
    // Strokes through points in pixels.
    let strokes: &[&[(f32, f32)]] = &[
        &[
            (110., 110.),
            (190., 98.),
            (196., 112.),
            (180., 160.),
            (120., 168.),
        ],
        &[
            (122., 168.),
            (112., 214.),
            (180., 206.),
            (196., 218.),
            (182., 300.),
            (150., 330.),
            (128., 312.),
        ],
        &[(330., 88.), (300., 130.), (262., 160.)],
        &[(232., 206.), (300., 196.), (392., 178.)],
        &[
            (286., 92.),
            (276., 200.),
            (262., 318.),
            (300., 296.),
            (330., 272.),
        ],
        &[(286., 206.), (330., 264.), (404., 326.)],
        &[(490., 128.), (560., 120.), (640., 108.)],
        &[(510., 210.), (560., 204.), (616., 198.)],
        &[(452., 316.), (560., 296.), (700., 300.), (724., 310.)],
    ];
    let mut pixels = vec![255_u8; WIDTH * HEIGHT];
    for stroke in strokes {
        for (i, pair) in stroke.windows(2).enumerate() {
            for step in 0..=200 {
                let t = step as f32 / 200.0;
                let x = pair[0].0 + (pair[1].0 - pair[0].0) * t;
                let y = pair[0].1 + (pair[1].1 - pair[0].1) * t;
                let along = (i as f32 + t) / (stroke.len() - 1) as f32;
                let radius = 7.5 - 4.0 * along;
                for dy in -9..=9_i32 {
                    for dx in -9..=9_i32 {
                        let far = ((dx * dx + dy * dy) as f32).sqrt();
                        let ink = ((radius - far + 0.5).clamp(0.0, 1.0) * 235.0) as u8;
                        let at = (y as i32 + dy) as usize * WIDTH + (x as i32 + dx) as usize;
                        pixels[at] = pixels[at].min(255 - ink);
                    }
                }
            }
        }
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, WIDTH as u32, HEIGHT as u32);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(out)
}
