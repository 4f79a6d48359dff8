//! The pages that people use: HTML from templates, made on the server, with a little plain script.
//!
//! Handlers here ask [`App`] and decide nothing themselves. Every page is sent by [`respond`], with a
//! Content-Security-Policy that permits our own files only: no inline script or style, no other host.

mod assets;
mod lang;
mod present;
mod reader;
mod signing;
mod view;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

/// The routes of all pages.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/assets/{file}", get(assets::serve_asset))
        .route("/s/{token}", get(signing::show_signing_page))
        .route("/s/{token}/stage", get(signing::show_stage))
        .route("/s/{token}/pages/{file}", get(signing::show_page_image))
        .route("/s/{token}/sign", post(signing::sign))
        .route("/s/{token}/reject", post(signing::reject))
}
