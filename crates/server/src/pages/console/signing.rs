//! What signs: the built-in certification authority, until when it is valid, and how a seal made from a name looks.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Words;
use super::session::Signed;
use super::view::{Section, SigningPage};
use crate::app::App;

/// `GET /console/signing`.
pub(crate) async fn show(State(app): State<App>, signed: Signed) -> Result<Response, Response> {
    let words = Words::of(&app, signed.reader.lang);
    let (subject, validity) = app.authority();
    let page = SigningPage {
        frame: signed.frame(Section::Signing),
        subject,
        from: words.date(validity.not_before),
        until: words.date(validity.not_after),
        left: words.span(validity.not_after - words.now),
        pem: app.authority_pem(),
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}
