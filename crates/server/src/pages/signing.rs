//! The signing page and what it calls: `/s/{token}…`. Whoever holds the link is the signer.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use sealpost_flow::Consent;
use sealpost_pdf::typed::MAX_CHARS;
use sealpost_store::StoredFlow;
use serde_json::{Value, json};

use super::lang::Lang;
use super::present::{consent, present};
use super::reader::Reader;
use super::view::{SigningPage, View};
use crate::app::codes::VALID as CODE_VALID;
use crate::app::signing::{Mark, Proof};
use crate::app::view::{Origin, SigningView};
use crate::app::{App, PagePng};
use crate::problem::{Kind, Problem};
use crate::web;

/// The largest signature picture, in bytes.
const SIGNATURE_LIMIT: usize = web::body::MIB;

/// The largest body with one: base64 takes four characters for three bytes.
const SIGN_BODY_LIMIT: usize = SIGNATURE_LIMIT / 3 * 4 + 4096;

/// The widths in pixels that page images are made in: at once on a slow line, a phone, a sharp phone or desk, the enlarged
/// view. Few, so that they can be kept once made.
const IMAGE_WIDTHS: [u32; 4] = [400, 800, 1400, 2000];

/// The one that whoever names none gets.
const USUAL_WIDTH: u32 = 800;

/// `GET /s/{token}`: reads, signs or rejects; or says why that is not possible.
pub(crate) async fn show(
    State(app): State<App>,
    Path(token): Path<String>,
    reader: Reader,
    origin: Origin,
) -> Response {
    if let Err(problem) = app.note_view(&token, &origin).await {
        return reader.trouble(&problem);
    }
    match find_signing(&app, &token).await {
        Ok(signing) => {
            let view = view_of(&app, &signing, &token, reader);
            reader.respond(
                StatusCode::OK,
                &SigningPage {
                    lang: reader.lang,
                    view,
                },
            )
        }
        Err(problem) => reader.trouble(&problem),
    }
}

/// `GET /s/{token}/stage`: what a page that waits for others looks at.
pub(crate) async fn stage(
    State(app): State<App>,
    Path(token): Path<String>,
    reader: Reader,
) -> Result<Response, Problem> {
    let signing = find_signing(&app, &token).await?;
    Ok(answer(&app, &signing, &token, reader))
}

/// `GET /s/{token}/pages/{n}.png`, with `?width=` in pixels.
pub(crate) async fn page_image(
    State(app): State<App>,
    Path((token, file)): Path<(String, String)>,
    web::Query(mut query): web::Query,
    reader: Reader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = query.find_integer("width", 1..=4000);
    query.finish()?;
    let signing = find_signing(&app, &token).await?;
    if !view_of(&app, &signing, &token, reader)
        .stage
        .shows_document()
    {
        return Err(Problem::not_found("page"));
    }
    let (number, width) = image_asked_for(&file, wanted)?;
    image_answer(
        app.page_png(&token, number, width).await?,
        number,
        width,
        &headers,
    )
}

/// An image of a page as an answer, for the console as for the signing page. `file` is `{n}.png`.
pub(crate) async fn page_image_of(
    app: &App,
    stored: &StoredFlow,
    file: &str,
    wanted: Option<i64>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (number, width) = image_asked_for(file, wanted)?;
    image_answer(
        app.page_of(stored, number, width).await?,
        number,
        width,
        headers,
    )
}

/// Which page, from 1, and how wide.
fn image_asked_for(file: &str, wanted: Option<i64>) -> Result<(u32, u32), Problem> {
    let number = file
        .strip_suffix(".png")
        .and_then(|number| number.parse::<u32>().ok());
    let number = number
        .filter(|number| *number >= 1)
        .ok_or_else(|| Problem::not_found("page"))?;
    let wanted = wanted.unwrap_or(i64::from(USUAL_WIDTH));
    let width = IMAGE_WIDTHS
        .into_iter()
        .find(|width| i64::from(*width) >= wanted)
        .unwrap_or(IMAGE_WIDTHS[3]);
    Ok((number, width))
}

/// The browser keeps an image, but asks each time whether the document is still the same.
fn image_answer(
    image: PagePng,
    number: u32,
    width: u32,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let tag = format!("\"{}-{number}-{width}\"", image.document);
    let caching = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, [(header::CONTENT_TYPE, "image/png")], image.png).into_response())
}

/// `POST /s/{token}/sign`.
pub(crate) async fn sign(
    State(app): State<App>,
    Path(token): Path<String>,
    reader: Reader,
    origin: Origin,
    web::Json { mut fields, .. }: web::Json<SIGN_BODY_LIMIT>,
) -> Result<Response, Problem> {
    let given = ["signature_png_base64", "typed_name"].map(|name| fields.has(name));
    let drawn = fields.find_base64("signature_png_base64", SIGNATURE_LIMIT);
    let typed = fields.find_text("typed_name", 1..=MAX_CHARS);
    match given {
        [false, false] => fields.refuse(
            "signature_png_base64",
            "missing",
            "it is required, or typed_name instead",
        ),
        [true, true] => {
            let message = "it must be either signature_png_base64 or typed_name";
            fields.refuse("typed_name", "one_of", message);
        }
        _ => {}
    }
    let proof = Proof {
        code: fields.find_text("code", 6..=6),
        consent: fields
            .find_word("consent", &[("zh-CN", Lang::Zh), ("en", Lang::En)])
            .map(consent_in),
    };
    fields.finish()?;
    let mark = match typed {
        Some(name) => Mark::Typed(name.trim().to_owned()),
        None => Mark::Drawn(drawn.unwrap_or_default()),
    };
    let signing = app.sign(&token, mark, proof, origin).await?;
    Ok(answer(&app, &signing, &token, reader))
}

/// The words agreed to, as the page shows them in this language.
fn consent_in(lang: Lang) -> Consent {
    Consent {
        text: consent(lang).to_owned(),
        language: lang.tag().to_owned(),
    }
}

/// `GET /s/{token}/typed.png?name=`: how a typed name would look.
pub(crate) async fn typed_image(
    State(app): State<App>,
    Path(token): Path<String>,
    web::Query(mut query): web::Query,
) -> Result<Response, Problem> {
    let name = query.find_text("name", 1..=MAX_CHARS).unwrap_or_default();
    query.finish()?;
    let png = app.typed_preview(&token, &name).await?;
    let headers = [
        (header::CONTENT_TYPE, "image/png"),
        (header::CACHE_CONTROL, "private, no-store"),
    ];
    Ok((headers, png).into_response())
}

/// `POST /s/{token}/code`: sends the signer a code, where the flow asks for one.
pub(crate) async fn send_code(
    State(app): State<App>,
    Path(token): Path<String>,
    origin: Origin,
) -> Result<Response, Problem> {
    let sent_to = app.send_code(&token, &origin).await?;
    let body = json!({ "sent_to": sent_to, "valid_seconds": CODE_VALID / 1000 });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// `POST /s/{token}/reject`.
pub(crate) async fn reject(
    State(app): State<App>,
    Path(token): Path<String>,
    reader: Reader,
    origin: Origin,
    web::Json { mut fields, .. }: web::Json,
) -> Result<Response, Problem> {
    let reason = fields.text("reason", 1..=200);
    fields.finish()?;
    let signing = app.reject(&token, &reason, origin).await?;
    Ok(answer(&app, &signing, &token, reader))
}

async fn find_signing(app: &App, token: &str) -> Result<SigningView, Problem> {
    app.find_signer_by_token(token)
        .await?
        .ok_or_else(|| Problem::new(Kind::NotFound, "There is no such link."))
}

fn view_of(app: &App, signing: &SigningView, token: &str, reader: Reader) -> View {
    present(signing, token, reader.lang, &app.config().time_zone)
}

/// Where the flow stands, for the script and for programs that sign as the page does.
fn answer(app: &App, signing: &SigningView, token: &str, reader: Reader) -> Response {
    let flow = &signing.flow;
    let body: Value = json!({
        "sign_flow_id": flow.id.as_str(),
        "sign_flow_status": flow.state.status(),
        "stage": view_of(app, signing, token, reader).stage.name(),
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
