//! Signing in at an OpenID provider: off to it, and back.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use sealpost_store::AuditEntry;

use super::account::{is_console_page, sign_in_page};
use super::session;
use super::view::EnteringPage;
use crate::app::App;
use crate::app::oidc::{AT_PROVIDER, Arrival, NotIn};
use crate::app::view::Origin;
use crate::pages::reader::{Reader, find_cookie};
use crate::problem::{Chain, Problem};
use crate::web;

/// Carries what the second step needs. `Lax`, because the browser comes back from another site.
const COOKIE: &str = "sealpost_oidc";

/// `GET /console/oidc`, with `?next=` a page of the console.
pub(crate) async fn depart(
    State(app): State<App>,
    reader: Reader,
    web::Query(mut query): web::Query,
) -> Response {
    let next = query.find_text("next", 1..=500).unwrap_or_default();
    let Some(provider) = app.provider() else {
        return reader.trouble(&Problem::not_found("path"));
    };
    match app.depart(provider, &next).await {
        Ok(departure) => {
            let cookie = cookie(&app, &departure.cookie, AT_PROVIDER / 1000);
            (
                [(header::SET_COOKIE, cookie)],
                Redirect::to(&departure.address),
            )
                .into_response()
        }
        Err(reason) => refuse(&app, reader, &next, reason).await,
    }
}

/// `GET /console/oidc/callback`, with what the provider has to say.
pub(crate) async fn arrive(
    State(app): State<App>,
    reader: Reader,
    origin: Origin,
    headers: HeaderMap,
    web::Query(mut query): web::Query,
) -> Response {
    let Some(provider) = app.provider() else {
        return reader.trouble(&Problem::not_found("path"));
    };
    let mut text = |name: &str| query.find_text(name, 1..=2048).unwrap_or_default();
    let (state, code, issuer, error) = (text("state"), text("code"), text("iss"), text("error"));
    let arrival = Arrival {
        cookie: find_cookie(&headers, COOKIE).unwrap_or_default(),
        state: &state,
        code: &code,
        issuer: Some(issuer.as_str()).filter(|issuer| !issuer.is_empty()),
    };
    let arrived = async {
        if !error.is_empty() {
            return Err(NotIn::Provider(format!("it answers {error:?}")));
        }
        let (operator, next) = app.arrive(provider, arrival, &origin).await?;
        let (cookie, session) = session::begin(&app, &operator, &origin)?;
        let entry = AuditEntry {
            at: app.now(),
            operator: operator.name,
            action: "sign_in".to_owned(),
            subject: None,
            detail: Some("single sign-on".to_owned()),
            address: Some(origin.address.to_string()),
        };
        app.store().begin_session(session, entry).await?;
        Ok((cookie, next))
    };
    match arrived.await {
        Ok((session, next)) => {
            // The session's cookie is `Strict`: a redirect that began at another site would not send it. So a page of ours
            // goes on by itself.
            let next = if is_console_page(&next) {
                next
            } else {
                "/console".to_owned()
            };
            let page = EnteringPage {
                lang: reader.lang,
                next,
            };
            let mut response = reader.respond(StatusCode::OK, &page);
            for cookie in [session, cookie(&app, "", 0)] {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(reason) => refuse(&app, reader, "", reason).await,
    }
}

/// Back to the sign-in page, with as much as helps whoever reads it. The rest is in the log.
async fn refuse(app: &App, reader: Reader, next: &str, reason: NotIn) -> Response {
    let (zh, en) = match &reason {
        NotIn::Ours(problem) => return reader.trouble(problem),
        NotIn::NotBegun => (
            "登录已过期或不是从这里发起的，请重试。",
            "This sign-in has expired, or was not begun here. Try again.",
        ),
        NotIn::Provider(_) => (
            "身份提供方暂时无法使用。",
            "The identity provider cannot be used at the moment.",
        ),
        NotIn::Token(_) => (
            "身份提供方的答复不可信，没有登录。",
            "The identity provider's answer is not to be believed; you are not signed in.",
        ),
        NotIn::Nobody(_) => (
            "您还不是这里的人员，请联系管理员邀请。",
            "You are no operator here. Ask an administrator to invite you.",
        ),
        NotIn::NameTaken(_) => (
            "您的用户名在这里属于另一个账号，请联系管理员。",
            "Your name belongs to another operator here. Ask an administrator.",
        ),
        NotIn::NoRole(_) => (
            "您的账号在这里没有角色，请联系管理员。",
            "Your account has no role here. Ask an administrator.",
        ),
        NotIn::Disabled(_) => ("您的账号已停用。", "Your account is disabled."),
    };
    tracing::warn!(reason = %Chain(&reason), "single sign-on was refused");
    let words = reader.lang.say(zh, en);
    sign_in_page(
        app,
        reader,
        next.to_owned(),
        StatusCode::FORBIDDEN,
        false,
        Some(words),
    )
    .await
}

fn cookie(app: &App, value: &str, seconds: i64) -> HeaderValue {
    let secure = if app.public_url().is_https() {
        "; Secure"
    } else {
        ""
    };
    let text = format!(
        "{COOKIE}={value}; Path=/console/oidc; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    );
    // Base64 and digits are always a header's value.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("sealpost_oidc="))
}
