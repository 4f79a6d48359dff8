//! PDFs out: `/v1/sign-flows/{id}/file`, `/f/{token}`; and the built-in authority's certificate.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, Method};

use super::sign_flows::own_flow;
use crate::app::App;
use crate::app::files::Pdf;
use crate::app::flows::Caller;
use crate::problem::Problem;
use crate::web::partial;

/// `GET /v1/sign-flows/{id}/file`
pub(crate) async fn fetch_sign_flow_file(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    method: Method,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let stored = own_flow(&app, &caller, id).await?;
    Ok(answer(&method, &asked, app.file(&stored).await?))
}

/// `GET /f/{token}`: `sign_file_url`.
pub(crate) async fn fetch_signed_file(
    State(app): State<App>,
    Path(token): Path<String>,
    method: Method,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let pdf = app.find_file_by_token(&token).await?;
    let pdf = pdf.ok_or_else(|| Problem::not_found("file"))?;
    Ok(answer(&method, &asked, pdf))
}

/// `GET /ca.pem`
pub(crate) async fn fetch_authority(State(app): State<App>) -> Response {
    (
        [(CONTENT_TYPE, "application/x-pem-file")],
        app.authority_pem(),
    )
        .into_response()
}

/// `GET /pki/root.cer`: the built-in authority's certificate in DER (RFC 5280 section 4.2.2.1).
pub(crate) async fn fetch_root(State(app): State<App>) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/pkix-cert"),
        (CACHE_CONTROL, "public, max-age=86400"),
    ];
    (headers, app.authority_der().to_vec()).into_response()
}

/// `GET /pki/root.crl`: what it has revoked (section 4.2.1.13).
pub(crate) async fn fetch_revocation_list(State(app): State<App>) -> Result<Response, Problem> {
    let headers = [
        (CONTENT_TYPE, "application/pkix-crl"),
        (CACHE_CONTROL, "public, max-age=300"),
    ];
    Ok((headers, app.revocation_list().await?).into_response())
}

/// A PDF as an answer: all of it, the part that is asked for, or word that the asker has it already.
pub(super) fn answer(method: &Method, asked: &HeaderMap, pdf: Pdf) -> Response {
    let caching = if pdf.is_final {
        "private, max-age=3600"
    } else {
        "no-store"
    };
    let headers = [
        (CONTENT_TYPE, "application/pdf".to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("inline; filename=\"{}\"", pdf.name),
        ),
        (CACHE_CONTROL, caching.to_owned()),
    ];
    (headers, partial::answer(method, asked, pdf.bytes)).into_response()
}
