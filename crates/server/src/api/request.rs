//! Reads the body of `POST /v1/sign-flows`, as JSON or as a form with the PDF beside it, and says all that is wrong with it.

mod place;
pub(super) mod seal;

use axum::extract::{FromRequest as _, Multipart, Request};
use bytes::Bytes;
use sealpost_flow::{Party, limits};
use sealpost_pdf::Receipt;
use sealpost_pdf::place::Spot;

use crate::app::App;
use crate::app::flows::{NewDocument, NewSignFlow, NewSigner, SignerSeal};
use crate::app::notify::Contact;
use crate::app::paper::MAX_PDF;
use crate::problem::{FieldError, Kind, Problem};
use crate::web::body::{MIB, bounded, content_type};
use crate::web::{Fields, Json};

/// The most bytes of a body that carries a document.
pub(crate) const DOCUMENT_BODY: usize = 16 * MIB;

/// A request to make a flow, and its bytes for the idempotency key.
pub(crate) struct CreateRequest {
    pub(crate) new: NewSignFlow,
    pub(crate) bytes: Bytes,
}

/// Reads the request, whichever form it has.
pub(crate) async fn read_create(app: &App, request: Request) -> Result<CreateRequest, Problem> {
    let (fields, bytes, file) = if content_type(&request).starts_with("multipart/form-data") {
        read_form(request).await?
    } else {
        let Json { fields, bytes } = Json::<DOCUMENT_BODY>::from_request(request, &()).await?;
        (fields, bytes, None)
    };
    Ok(CreateRequest {
        new: read_fields(app, fields, file)?,
        bytes,
    })
}

/// The parts `request` (JSON) and `file` (the PDF).
async fn read_form(request: Request) -> Result<(Fields, Bytes, Option<Bytes>), Problem> {
    let unreadable = |error: axum::extract::multipart::MultipartError| {
        Problem::new(
            Kind::MalformedRequest,
            format!("The form cannot be read: {}.", error.body_text()),
        )
    };
    let (parts, body) = request.into_parts();
    let bytes = bounded(Request::from_parts(parts.clone(), body), DOCUMENT_BODY).await?;
    let request = Request::from_parts(parts, axum::body::Body::from(bytes.clone()));
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| Problem::new(Kind::MalformedRequest, error.body_text()))?;
    let (mut fields, mut file) = (None, None);
    while let Some(part) = form.next_field().await.map_err(unreadable)? {
        match part.name() {
            Some("request") if fields.is_none() => {
                let json = part.bytes().await.map_err(unreadable)?;
                fields = Some((Fields::parse(&json)?, json));
            }
            Some("file") if file.is_none() => file = Some(part.bytes().await.map_err(unreadable)?),
            name => {
                let name = name
                    .unwrap_or_default()
                    .chars()
                    .take(64)
                    .collect::<String>();
                return Err(Problem::field(
                    name,
                    "unknown_field",
                    "the form has the parts `request` and `file`, each once",
                ));
            }
        }
    }
    let missing = |part: &str| Problem::field(part, "missing", "it is required");
    let file = file.ok_or_else(|| missing("file"))?;
    if file.len() > MAX_PDF {
        return Err(Problem::fields(vec![too_large("file", file.len())]));
    }
    let (fields, request) = fields.ok_or_else(|| missing("request"))?;
    // The boundary differs each time a client sends the same form again; the request's digest must not.
    Ok((fields, [request, file.clone()].concat().into(), Some(file)))
}

fn read_fields(app: &App, mut body: Fields, file: Option<Bytes>) -> Result<NewSignFlow, Problem> {
    let reference = body.find_text("reference", 1..=limits::REFERENCE_CHARS);
    let title = body.find_text("title", 1..=limits::TITLE_CHARS);
    let document = match file {
        Some(pdf) => Some(NewDocument::Pdf(pdf)),
        None => read_document(&mut body),
    };
    let drawn = matches!(document, Some(NewDocument::Receipt(_)));
    let signers = read_signers(app, &mut body, document.is_some() && !drawn);
    let expires_at = body.find_time("expires_at");
    if expires_at.is_some_and(|at| at <= app.now()) {
        body.refuse("expires_at", "not_in_future", "it must be in the future");
    }
    let callback_url = read_callback_url(app, &mut body);
    let draft = body.switch("draft");
    let drawn_only =
        body.find_word("signatures", &[("drawn_or_typed", false), ("drawn", true)]) == Some(true);
    let receipt_number = match &document {
        Some(NewDocument::Receipt(receipt)) => Some(receipt.number.clone()),
        _ => None,
    };
    let reference = reference.or_else(|| receipt_number.clone());
    if reference.is_none() && document.is_some() && body.is_sound() {
        body.refuse("reference", "missing", "it is required with a PDF");
    }
    let title = title
        .or_else(|| receipt_number.map(|number| format!("新房收据 {number}")))
        .or_else(|| reference.clone());
    body.finish()?;
    match (document, reference, title) {
        (Some(document), Some(reference), Some(title)) => Ok(NewSignFlow {
            reference,
            title,
            document,
            signers,
            expires_at,
            callback_url,
            drawn_only,
            draft,
        }),
        _ => Err(Problem::field("document", "missing", "it is required")),
    }
}

fn read_document(body: &mut Fields) -> Option<NewDocument> {
    if !body.has("document") {
        body.find_value("document");
        body.refuse("document", "missing", "it is required");
        return None;
    }
    let mut document = body.find_object("document")?;
    let read = match (document.has("receipt"), document.has("pdf_base64")) {
        (true, false) => read_receipt(&mut document),
        (false, true) => document
            .find_base64("pdf_base64", MAX_PDF)
            .map(NewDocument::Pdf),
        _ => {
            document.find_value("receipt");
            document.find_value("pdf_base64");
            document.note(FieldError::new(
                "document",
                "one_of",
                "it must have either receipt or pdf_base64",
            ));
            None
        }
    };
    body.absorb(document);
    read
}

fn read_receipt(document: &mut Fields) -> Option<NewDocument> {
    let value = document.find_value("receipt")?;
    match Receipt::parse(&value) {
        Ok(receipt) => Some(NewDocument::Receipt(Box::new(receipt))),
        Err(errors) => {
            for error in errors {
                let path = [document.path("receipt"), error.field]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join(".");
                let refused = FieldError::new(path, error.code, error.message);
                document.note(match error.limit {
                    Some(limit) => refused.limit(limit),
                    None => refused,
                });
            }
            None
        }
    }
}

/// `placed`: each needs a place, because the document has none of its own.
fn read_signers(app: &App, body: &mut Fields, placed: bool) -> Vec<NewSigner> {
    let mut signers = Vec::new();
    for mut signer in body.objects("signers", 1..=limits::SIGNERS) {
        if !signer.has("type") {
            signer.refuse("type", "missing", "it is required");
        }
        let is_person = signer.find_word("type", &[("person", true), ("organization", false)]);
        let name = signer.text("name", 1..=limits::NAME_CHARS);
        let order = signer
            .find_integer("order", 1..=limits::ORDER.into())
            .unwrap_or(1);
        let automatic = signer.switch("automatic");
        if automatic && is_person == Some(true) {
            signer.refuse(
                "automatic",
                "not_permitted",
                "only an organization's seal can be applied by itself",
            );
        }
        let place = read_place(&mut signer, placed);
        let more = place::find_places(&mut signer, "more_places");
        let seal = read_seal(&mut signer, &name);
        let straddle = signer.switch("straddle");
        if straddle && is_person == Some(true) && seal.is_none() {
            let message = "a person straddles the pages with a seal, not with a signature";
            signer.refuse("straddle", "not_permitted", message);
        }
        let contact = read_contact(&mut signer);
        let code = signer.find_word("verify", &[("link", false), ("code", true)]) == Some(true);
        if code && automatic {
            signer.refuse(
                "verify",
                "not_permitted",
                "an automatic seal enters no code",
            );
        } else if code && !contact.as_ref().is_some_and(|contact| app.reaches(contact)) {
            let message = "a code needs a mobile number or mail address, and a gateway or mail server that this installation has configured";
            signer.refuse("verify", "no_way", message);
        }
        body.absorb(signer);
        let party = if is_person == Some(false) {
            Party::Organization { name, automatic }
        } else {
            Party::Person { name }
        };
        signers.push(NewSigner {
            order: u8::try_from(order).unwrap_or(1),
            party,
            place,
            more,
            seal,
            straddle,
            contact,
            code,
        });
    }
    signers
}

/// A mobile number or a mail address, whichever is given.
fn read_contact(signer: &mut Fields) -> Option<Contact> {
    let mobile = signer
        .find_text("mobile", 1..=20)
        .map(|text| Contact::mobile(&text));
    let email = signer
        .find_text("email", 1..=254)
        .map(|text| Contact::email(&text));
    if mobile == Some(None) {
        signer.refuse(
            "mobile",
            "bad_format",
            "it must be a number of 5 to 15 digits, with an optional + in front",
        );
    }
    if email == Some(None) {
        signer.refuse("email", "bad_format", "it must be a mail address");
    }
    if mobile.is_some() && email.is_some() {
        signer.refuse("email", "one_of", "it must be either mobile or email");
    }
    mobile.flatten().or(email.flatten())
}

/// The seal of a signer; `name` is the signer's.
fn read_seal(signer: &mut Fields, name: &str) -> Option<SignerSeal> {
    let mut fields = signer.find_object("seal")?;
    let seal = if fields.has("id") {
        fields.find_text("id", 1..=64).map(SignerSeal::Kept)
    } else {
        seal::read_seal(&mut fields, Some(name)).map(SignerSeal::Own)
    };
    signer.absorb(fields);
    seal
}

fn read_place(signer: &mut Fields, placed: bool) -> Option<Spot> {
    if !placed {
        if signer.has("place") {
            signer.find_value("place");
            signer.refuse(
                "place",
                "not_permitted",
                "a receipt is drawn with its own places",
            );
        }
        return None;
    }
    if !signer.has("place") {
        signer.refuse("place", "missing", "it is required with a PDF");
        return None;
    }
    place::find_place(signer, "place")
}

fn read_callback_url(app: &App, body: &mut Fields) -> Option<String> {
    let url = body.find_http_url("callback_url")?;
    match app.check_callback_url(&url) {
        Ok(target) => Some(target.as_str().to_owned()),
        Err(refused) => {
            body.refuse("callback_url", "not_permitted", refused.to_string());
            None
        }
    }
}

fn too_large(field: &str, bytes: usize) -> FieldError {
    FieldError::new(
        field,
        "too_long",
        format!("it has {bytes} bytes; at most {MAX_PDF} are possible"),
    )
    .limit(MAX_PDF)
}
