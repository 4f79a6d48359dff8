//! `POST /v1/verify`: the signatures of a PDF, one by one.

use axum::Json as JsonAnswer;
use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse, Response};

use sealpost_pdf::Report;
use serde_json::Value;

use super::request::DOCUMENT_BODY;
use super::time;
use crate::app::App;
use crate::app::flows::Caller;
use crate::app::paper::MAX_PDF;
use crate::problem::{Kind, Problem};
use crate::web::Json;
use crate::web::body::{bounded, content_type};

/// `POST /v1/verify`: the PDF as the body, or in JSON.
pub(crate) async fn verify_pdf(
    State(app): State<App>,
    _: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let kind = content_type(&request)
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let pdf = match kind.as_str() {
        "application/pdf" => bounded(request, MAX_PDF).await?,
        "application/json" => {
            let Json { mut fields, .. } = Json::<DOCUMENT_BODY>::from_request(request, &()).await?;
            if !fields.has("pdf_base64") {
                fields.refuse("pdf_base64", "missing", "it is required");
            }
            let pdf = fields.find_base64("pdf_base64", MAX_PDF);
            fields.finish()?;
            pdf.unwrap_or_default()
        }
        _ => {
            let detail =
                "The body must be a PDF (`content-type: application/pdf`) or JSON with pdf_base64.";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
    };
    Ok(JsonAnswer(shown(&app.verify(pdf).await?)).into_response())
}

/// A report with its times as the rest of the API has them.
pub(crate) fn shown(report: &Report) -> Value {
    let mut shown = serde_json::to_value(report).unwrap_or_default();
    spell_times(&mut shown);
    shown
}

fn spell_times(value: &mut Value) {
    const TIMES: [&str; 6] = [
        "signed_at",
        "claimed_at",
        "not_before",
        "not_after",
        "as_of",
        "revoked_at",
    ];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_i64() {
                    Some(at) if TIMES.contains(&name.as_str()) => *member = time(at).into(),
                    _ => spell_times(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(spell_times),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
