//! The console: what an operator sees of flows, callbacks, channels and certificates, and what they may do to them.
//!
//! Pages are tables and forms that work without a script; `console.js` only keeps live parts fresh. Every POST is an
//! [`session::Action`]: signed in, from our own page, with its form's token; and is in the audit log before it is done.

mod account;
mod audit;
mod callbacks;
mod channels;
mod chart;
mod checks;
mod flows;
mod oidc;
mod operators;
mod overview;
mod rehearsal;
mod session;
mod signing;
mod totp;
mod view;
mod words;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;
use words::Words;

/// The routes below `/console`.
#[rustfmt::skip]
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/console", get(overview::show))
        .route("/console/sign-in", get(account::show_sign_in).post(account::sign_in))
        .route("/console/oidc", get(oidc::depart))
        .route("/console/oidc/callback", get(oidc::arrive))
        .route("/console/sign-out", post(account::sign_out))
        .route("/console/account", get(account::show_account))
        .route("/console/account/password", post(account::change_password))
        .route("/console/account/totp", get(account::show_totp).post(account::keep_totp))
        .route("/console/account/sessions/end", post(account::end_other_sessions))
        .route("/console/flows", get(flows::list))
        .route("/console/flows/{id}", get(flows::show))
        .route("/console/flows/{id}/pages/{file}", get(flows::page_image))
        .route("/console/flows/{id}/file", get(flows::fetch_file))
        .route("/console/flows/{id}/evidence", get(flows::fetch_evidence))
        .route("/console/flows/{id}/revoke", post(flows::revoke))
        .route("/console/flows/{id}/remind", post(flows::remind))
        .route("/console/callbacks", get(callbacks::list))
        .route("/console/callbacks/redeliver", post(callbacks::redeliver_failed))
        .route("/console/callbacks/redeliveries/{id}", get(callbacks::show_redelivery))
        .route("/console/callbacks/{id}", get(callbacks::show))
        .route("/console/callbacks/{id}/redeliver", post(callbacks::redeliver))
        .route("/console/channels", get(channels::list).post(channels::create))
        .route("/console/channels/{id}", get(channels::show))
        .route("/console/channels/{id}/delivery", post(channels::set_delivery))
        .route("/console/channels/{id}/test", post(rehearsal::send))
        .route("/console/channels/{id}/check", get(checks::show).post(checks::begin))
        .route("/console/channels/{id}/client-certificate", post(channels::set_client_certificate))
        .route("/console/channels/{id}/client-certificate/remove", post(channels::remove_client_certificate))
        .route("/console/channels/{id}/pause", post(channels::pause))
        .route("/console/channels/{id}/resume", post(channels::resume))
        .route("/console/channels/{id}/rotate-secret", post(channels::rotate_secret))
        .route("/console/channels/{id}/keys", post(channels::add_key))
        .route("/console/channels/{id}/keys/{key}/revoke", post(channels::revoke_key))
        .route("/console/signing", get(signing::show))
        .route("/console/signing/seal.png", get(signing::seal_image))
        .route("/console/signing/receipt.png", get(signing::receipt_image))
        .route("/console/signing/seals", post(signing::keep_seal))
        .route("/console/signing/seals/{id}/preview.png", get(signing::kept_image))
        .route("/console/signing/seals/{id}/remove", post(signing::remove_seal))
        .route("/console/operators", get(operators::list).post(operators::create))
        .route("/console/operators/{name}/role", post(operators::set_role))
        .route("/console/operators/{name}/disable", post(operators::disable))
        .route("/console/operators/keys", post(operators::create_key))
        .route("/console/operators/keys/{id}/revoke", post(operators::revoke_key))
        .route("/console/audit", get(audit::list))
}
