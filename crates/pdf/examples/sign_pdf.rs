//! Signs a drawn receipt twice: `cargo run -p sealpost-pdf --example sign_pdf -- FOLDER` writes `signed.pdf`, `root.pem` (the
//! trust root to check it with) and `report.json`. A second argument names the suite of the keys: `rsa-2048`, `p-256` (the
//! default), `sm2`, …

use std::error::Error;
use std::path::PathBuf;

use sealpost_pdf::{
    Authority, DrawMeta, Field, KeyAlgorithm, PlaceKind, Receipt, RoundSeal, SignRequest,
    SignerLabel, Subject, Trust, Validity, add_fields, draw, sign, signature, verify,
};
use serde_json::json;

const YEAR: i64 = 365 * 24 * 3_600_000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let algorithm: KeyAlgorithm = match std::env::args().nth(2) {
        Some(name) => name.parse()?,
        None => KeyAlgorithm::P256,
    };
    let now = now()?;
    let flow = "587a2f4738d44391835198df570b6ee6";
    let receipt = Receipt::parse(&json!({
        "number": "XF-2026-0001873",
        "issued_on": "2026-11-24",
        "project": "翡翠湾花园",
        "building": "3 号楼",
        "unit": "2 单元",
        "room": "1801 室",
        "contract_number": "HT-2026-FCW-03-1801",
        "payer": {"name": "张三", "id_number": "110101199003071234"},
        "item": "首付款",
        "amount_fen": 164_090_250,
        "payment_method": "银行转账",
        "payee": "杭州翡翠湾房地产开发有限公司",
    }))
    .map_err(|errors| format!("{errors:?}"))?;
    let label = |signer, name: &str, kind| SignerLabel {
        signer,
        name: name.to_owned(),
        kind,
    };
    let signers = [
        label(1, &receipt.payee, PlaceKind::Seal),
        label(2, &receipt.payer.name, PlaceKind::Signature),
    ];
    let meta = DrawMeta {
        flow_id: flow.to_owned(),
        drawn_at: now,
        verify_url: None,
    };
    let drawn = draw(&receipt, &signers, &meta)?;

    let validity = |years| Validity {
        not_before: now - 60_000,
        not_after: now + years * YEAR,
    };
    let authority = Authority::generate("example", algorithm, validity(20))?;
    let organization = Subject::Organization {
        name: &receipt.payee,
        credit_code: Some("91330100MA2H00XX0X"),
    };
    let organization = authority.issue(organization, algorithm, validity(5))?;
    let person = authority.issue(
        Subject::Person {
            name: &receipt.payer.name,
            flow,
        },
        algorithm,
        validity(5),
    )?;

    let fields: Vec<Field> = drawn
        .places
        .iter()
        .map(|place| Field {
            name: format!("signer-{}", place.signer),
            page: place.page,
            rect: place.rect,
        })
        .collect();
    let mut pdf = add_fields(&drawn.pdf, &fields)?;
    let seal = RoundSeal {
        organization: receipt.payee.clone(),
        legend: Some("财务专用章".to_owned()),
    }
    .draw()?;
    let hand = signature::appearance(&scribble()?)?;
    for (field, credential, appearance, name) in [
        ("signer-1", &organization, &seal, &receipt.payee),
        ("signer-2", &person, &hand, &receipt.payer.name),
    ] {
        let request = SignRequest {
            field,
            appearance: Some(appearance),
            credential,
            signing_time: now,
            zone_minutes: 480,
            reason: Some("签署新房收据"),
            location: None,
            name: Some(name),
        };
        pdf = sign(&pdf, &request)?;
    }
    let report = verify(&pdf, &Trust::roots([authority.certificate().to_vec()]), now)?;
    println!(
        "{:?}, {} bytes (drawn: {})",
        report.verdict,
        pdf.len(),
        drawn.pdf.len()
    );
    std::fs::write(folder.join("signed.pdf"), &pdf)?;
    std::fs::write(folder.join("root.pem"), authority.certificate_pem())?;
    std::fs::write(
        folder.join("report.json"),
        serde_json::to_vec_pretty(&report)?,
    )?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "an example is a program, and reads the clock in one place"
)]
fn now() -> Result<i64, Box<dyn Error>> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}

/// A wave of ink on a transparent ground, instead of a hand.
fn scribble() -> Result<Vec<u8>, Box<dyn Error>> {
    let (width, height) = (360_u32, 140_u32);
    let mut pixels = vec![0_u8; (width * height * 4) as usize];
    for x in 20..340_u32 {
        let wave = (f64::from(x) / 23.0).sin() * 40.0 + (f64::from(x) / 7.0).sin() * 9.0 + 70.0;
        for y in 0..height {
            if (f64::from(y) - wave).abs() < 3.5 {
                let at = ((y * width + x) * 4) as usize;
                pixels[at..at + 4].copy_from_slice(&[10, 10, 60, 255]);
            }
        }
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(out)
}
