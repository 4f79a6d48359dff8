//! What signs: the built-in certification authority, until when it is valid, and how a seal made from a name looks.

use std::io::Write as _;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use sealpost_pdf::{Appearance, RoundSeal, render};

use super::Words;
use super::session::Signed;
use super::view::{Section, SigningPage};
use crate::app::App;
use crate::problem::Problem;
use crate::web;

/// The preview's width in pixels: 38 mm at some 400 to the inch.
const SEAL_PIXELS: u32 = 600;

/// `GET /console/signing`, with `?seal=` the name to draw a seal of.
pub(crate) async fn show(
    State(app): State<App>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    let words = Words::of(&app, signed.reader.lang);
    let (subject, validity) = app.authority_subject();
    let page = SigningPage {
        frame: signed.frame(Section::Signing),
        subject,
        from: words.date(validity.not_before),
        until: words.date(validity.not_after),
        left: words.span(validity.not_after - words.now),
        pem: app.authority_pem(),
        seal: query.find_text("seal", 1..=64).unwrap_or_default(),
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

/// `GET /console/signing/seal.png?name=`: the seal that an organization of this name would have.
pub(crate) async fn seal_image(
    State(app): State<App>,
    _: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Problem> {
    let name = query.text("name", 1..=64);
    query.finish()?;
    let seal = RoundSeal {
        organization: name,
        legend: Some("财务专用章".to_owned()),
    };
    let drawn = app.on_paper(move || {
        let appearance = seal
            .draw()
            .map_err(|error| Problem::field("name", "cannot_be_drawn", error.to_string()))?;
        render::page_png(&page_of(&appearance), 0, SEAL_PIXELS)
            .map_err(|error| Problem::internal("a seal's preview cannot be rendered", &error))
    });
    let png = drawn.await??;
    let headers = [
        (header::CONTENT_TYPE, "image/png"),
        (header::CACHE_CONTROL, "private, max-age=3600"),
    ];
    Ok((headers, png).into_response())
}

/// A PDF of one page that holds nothing but the appearance, which uses no resources as long as it has no images.
fn page_of(appearance: &Appearance) -> Vec<u8> {
    let (width, height) = (appearance.width_pt, appearance.height_pt);
    let objects = [
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        format!("<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width} {height}]/Resources<<>>/Contents 4 0 R>>").into_bytes(),
        [
            format!("<</Length {}>>\nstream\n", appearance.content.len()).as_bytes(),
            &appearance.content,
            b"\nendstream",
        ]
        .concat(),
    ];
    let mut pdf = b"%PDF-1.7\n".to_vec();
    let mut offsets = Vec::new();
    // Writing to a vector never fails.
    for (number, object) in (1..).zip(&objects) {
        offsets.push(pdf.len());
        let _ = writeln!(pdf, "{number} 0 obj");
        pdf.extend_from_slice(object);
        pdf.extend_from_slice(b"\nendobj\n");
    }
    let start = pdf.len();
    let _ = write!(pdf, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for offset in offsets {
        let _ = writeln!(pdf, "{offset:010} 00000 n ");
    }
    let _ = write!(
        pdf,
        "trailer\n<</Size {}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n",
        objects.len() + 1
    );
    pdf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_becomes_a_picture() {
        let seal = RoundSeal {
            organization: "上海云锦置业有限公司".to_owned(),
            legend: None,
        };
        let appearance = seal.draw().unwrap();
        assert!(appearance.images.is_empty());
        assert_eq!(render::page_count(&page_of(&appearance)).unwrap(), 1);
    }
}
