//! Every route, in one place, with the frame around them.

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::StatusCode;
use http::header::ALLOW;
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::{callbacks, evidence, files, sign_flows, verify};
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
        route("post", "/v1/callbacks", post(callbacks::accept_callback)),
        route("get",  "/v1/callbacks", get(callbacks::list_callbacks)),
        route("get",  "/v1/callbacks/{id}", get(callbacks::show_callback)),
        route("post", "/v1/callbacks/{id}/redeliver", post(callbacks::redeliver_callback)),
        route("post", "/v1/callbacks/redeliver", post(callbacks::redeliver_failed)),
        route("get",  "/v1/callbacks/redeliveries/{id}", get(callbacks::show_redelivery)),
        route("post", "/v1/verify", post(verify::verify_pdf)),
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
        route("get",  "/openapi.json", get(docs::openapi)),
        route("get",  "/docs", get(docs::page)),
    ]
}

/// Everything that this server answers: the API, the pages, and problems for the rest.
pub(crate) fn router(app: App) -> Router {
    api()
        .into_iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, route.handler)
        })
        .merge(pages::routes())
        .fallback(unknown_path)
        .layer(axum::middleware::map_response(wrong_method))
        .layer(CatchPanicLayer::custom(frame::panicked))
        .layer(from_fn_with_state(app.clone(), frame::around))
        .with_state(app)
}

async fn unknown_path(_: Request) -> Problem {
    Problem::not_found("path")
}

/// axum answers a method that a path does not take with an empty 405; this makes it a problem and keeps `allow`.
async fn wrong_method(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED
        || response.headers().contains_key(http::header::CONTENT_TYPE)
    {
        return response;
    }
    let allow = response.headers().get(ALLOW);
    let detail = match allow.and_then(|allow| allow.to_str().ok()) {
        Some(methods) => format!("This path takes {methods}."),
        None => "This path does not take this method.".to_owned(),
    };
    Problem::new(Kind::MethodNotAllowed, detail)
        .allow(allow)
        .into_response()
}
