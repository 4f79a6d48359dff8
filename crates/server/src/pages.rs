//! The pages that people use: HTML from templates, made on the server, with a little plain script.
//!
//! Handlers here ask [`App`] and decide nothing themselves. Every page is sent by [`respond`], with a
//! Content-Security-Policy that permits our own files only: no inline script or style, no other host.

mod assets;
pub mod console;
pub(crate) mod lang;
mod present;
mod reader;
pub(crate) mod signing;
mod verify;
mod view;

use axum::Router;
use axum::routing::get;

use crate::app::App;

/// The routes of the pages that are no part of the API; the signing page itself is in [`crate::router`].
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/assets/{file}", get(assets::serve_asset))
        .route("/s/{token}/stage", get(signing::stage))
        .route("/s/{token}/typed.png", get(signing::typed_image))
        .route("/verify", get(verify::show).post(verify::check))
        .merge(console::routes())
}
