//! Every route, in one place, with the frame around them.

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use http::StatusCode;
use http::header::ALLOW;
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::{callbacks, evidence, files, operator, seals, sign_flows, verify};
use crate::app::App;
use crate::pages;
use crate::problem::{Kind, Problem};
use crate::web::frame;
use crate::{docs, health};

/// One route of the API: the method as OpenAPI writes it, the path, and what answers.
pub(crate) struct Route {
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "the test that compares the routes with openapi.json reads it"
        )
    )]
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    handler: MethodRouter<App>,
}

/// The API's routes. A test proves that `openapi.json` describes exactly these.
#[rustfmt::skip]
pub(crate) fn api() -> Vec<Route> {
    let route = |method, path, handler| Route { method, path, handler };
    vec![
        route("post", "/v1/sign-flows", post(sign_flows::create_sign_flow)),
        route("get",  "/v1/sign-flows", get(sign_flows::list_sign_flows)),
        route("get",  "/v1/sign-flows/{id}", get(sign_flows::show_sign_flow)),
        route("post", "/v1/sign-flows/{id}/start", post(sign_flows::start_sign_flow)),
        route("post", "/v1/sign-flows/{id}/revoke", post(sign_flows::revoke_sign_flow)),
        route("post", "/v1/sign-flows/{id}/remind", post(sign_flows::remind_signers)),
        route("get",  "/v1/sign-flows/{id}/file", get(files::fetch_sign_flow_file)),
        route("get",  "/v1/sign-flows/{id}/evidence", get(evidence::show_evidence)),
        route("get",  "/v1/seals", get(seals::list_seals)),
        route("post", "/v1/seals", post(seals::create_seal)),
        route("get",  "/v1/seals/{id}", get(seals::show_seal)),
        route("delete", "/v1/seals/{id}", delete(seals::remove_seal)),
        route("get",  "/v1/seals/{id}/preview.png", get(seals::preview_seal)),
        route("post", "/v1/callbacks", post(callbacks::accept_callback)),
        route("get",  "/v1/callbacks", get(callbacks::list_callbacks)),
        route("get",  "/v1/callbacks/{id}", get(callbacks::show_callback)),
        route("post", "/v1/callbacks/{id}/redeliver", post(callbacks::redeliver_callback)),
        route("post", "/v1/callbacks/redeliver", post(callbacks::redeliver_failed)),
        route("get",  "/v1/callbacks/redeliveries/{id}", get(callbacks::show_redelivery)),
        route("post", "/v1/verify", post(verify::verify_pdf)),
        route("get",  "/v1/operator/overview", get(operator::overview::show_overview)),
        route("get",  "/v1/operator/sign-flows", get(operator::flows::list_flows)),
        route("get",  "/v1/operator/sign-flows/{id}", get(operator::flows::show_flow)),
        route("get",  "/v1/operator/sign-flows/{id}/pages/{page}", get(operator::flows::show_page)),
        route("get",  "/v1/operator/sign-flows/{id}/file", get(operator::flows::fetch_file)),
        route("get",  "/v1/operator/sign-flows/{id}/evidence", get(operator::flows::fetch_evidence)),
        route("post", "/v1/operator/sign-flows/{id}/revoke", post(operator::flows::revoke_flow)),
        route("post", "/v1/operator/sign-flows/{id}/remind", post(operator::flows::remind_signers)),
        route("get",  "/v1/operator/callbacks", get(operator::callbacks::list_callbacks)),
        route("get",  "/v1/operator/callbacks/{id}", get(operator::callbacks::show_callback)),
        route("post", "/v1/operator/callbacks/{id}/redeliver", post(operator::callbacks::redeliver_callback)),
        route("get",  "/v1/operator/redeliveries", get(operator::callbacks::list_redeliveries)),
        route("post", "/v1/operator/redeliveries", post(operator::callbacks::start_redelivery)),
        route("get",  "/v1/operator/redeliveries/{id}", get(operator::callbacks::show_redelivery)),
        route("get",  "/v1/operator/channels", get(operator::channels::list_channels)),
        route("post", "/v1/operator/channels", post(operator::channels::create_channel)),
        route("get",  "/v1/operator/channels/{id}", get(operator::channels::show_channel)),
        route("patch", "/v1/operator/channels/{id}", patch(operator::channels::change_channel)),
        route("post", "/v1/operator/channels/{id}/pause", post(operator::channels::pause_channel)),
        route("post", "/v1/operator/channels/{id}/resume", post(operator::channels::resume_channel)),
        route("post", "/v1/operator/channels/{id}/rotate-secret", post(operator::channels::rotate_secret)),
        route("get",  "/v1/operator/channels/{id}/keys", get(operator::channels::list_keys)),
        route("post", "/v1/operator/channels/{id}/keys", post(operator::channels::add_key)),
        route("post", "/v1/operator/channels/{id}/keys/{key}/revoke", post(operator::channels::revoke_key)),
        route("get",  "/v1/operator/channels/{id}/client-certificate", get(operator::channels::show_client_certificate)),
        route("put",  "/v1/operator/channels/{id}/client-certificate", put(operator::channels::set_client_certificate)),
        route("delete", "/v1/operator/channels/{id}/client-certificate", delete(operator::channels::remove_client_certificate)),
        route("post", "/v1/operator/channels/{id}/test", post(operator::checks::send_test)),
        route("get",  "/v1/operator/channels/{id}/check", get(operator::checks::show_check)),
        route("post", "/v1/operator/channels/{id}/check", post(operator::checks::begin_check)),
        route("get",  "/v1/operator/operators", get(operator::operators::list_operators)),
        route("post", "/v1/operator/operators", post(operator::operators::add_operator)),
        route("patch", "/v1/operator/operators/{name}", patch(operator::operators::set_role)),
        route("post", "/v1/operator/operators/{name}/disable", post(operator::operators::disable_operator)),
        route("get",  "/v1/operator/keys", get(operator::operators::list_keys)),
        route("post", "/v1/operator/keys", post(operator::operators::add_key)),
        route("post", "/v1/operator/keys/{id}/revoke", post(operator::operators::revoke_key)),
        route("get",  "/v1/operator/seals", get(operator::seals::list_seals)),
        route("post", "/v1/operator/seals", post(operator::seals::create_seal)),
        route("delete", "/v1/operator/seals/{id}", delete(operator::seals::remove_seal)),
        route("get",  "/v1/operator/seals/{id}/preview.png", get(operator::seals::preview_seal)),
        route("get",  "/v1/operator/certificates", get(operator::seals::list_certificates)),
        route("get",  "/v1/operator/audit", get(operator::operators::list_audit)),
        route("get",  "/s/{token}", get(pages::signing::show)),
        route("get",  "/s/{token}/pages/{page}", get(pages::signing::page_image)),
        route("post", "/s/{token}/sign", post(pages::signing::sign)),
        route("post", "/s/{token}/code", post(pages::signing::send_code)),
        route("post", "/s/{token}/reject", post(pages::signing::reject)),
        route("get",  "/f/{token}", get(files::fetch_signed_file)),
        route("get",  "/healthz", get(health::healthz)),
        route("get",  "/readyz", get(health::readyz)),
        route("get",  "/metrics", get(health::metrics)),
        route("get",  "/ca.pem", get(files::fetch_authority)),
        route("get",  "/pki/root.cer", get(files::fetch_root)),
        route("get",  "/pki/root.crl", get(files::fetch_revocation_list)),
        route("get",  "/openapi.json", get(docs::openapi)),
        route("get",  "/docs", get(docs::page)),
    ]
}

/// Everything that this server answers: the API, the pages, and problems for the rest.
pub(crate) fn router(app: App) -> Router {
    let inner = api()
        .into_iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, route.handler)
        })
        .merge(pages::routes())
        .fallback(unknown_path)
        .layer(CatchPanicLayer::custom(frame::panicked))
        .layer(from_fn_with_state(app.clone(), frame::around))
        .with_state(app);
    // A router writes `allow` after all of its own layers, so what reads it stands around the whole router.
    Router::new()
        .fallback_service(inner)
        .layer(axum::middleware::map_response(wrong_method))
}

async fn unknown_path(_: Request) -> Problem {
    Problem::not_found("path")
}

/// axum answers a method that a path does not take with an empty 405; this makes it a problem and keeps the headers.
async fn wrong_method(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED
        || response.headers().contains_key(http::header::CONTENT_TYPE)
    {
        return response;
    }
    let allow = response.headers().get(ALLOW);
    let detail = match allow.and_then(|allow| allow.to_str().ok()) {
        Some(methods) => format!("This path takes {}.", methods.replace(',', ", ")),
        None => "This path does not take this method.".to_owned(),
    };
    let mut problem = Problem::new(Kind::MethodNotAllowed, detail).into_response();
    for (name, value) in response.headers() {
        problem
            .headers_mut()
            .entry(name)
            .or_insert_with(|| value.clone());
    }
    problem.headers_mut().remove(http::header::CONTENT_LENGTH);
    problem
}
