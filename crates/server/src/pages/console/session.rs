//! Signing in and being signed in: the cookie, the roles, and what every form must prove.
//!
//! A session is 32 random bytes in a cookie that no script reads and no other site sends; the store keeps their digest. It
//! ends after twelve hours, or two without use. Every form carries a token bound to its session, and must come from our own
//! origin.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Multipart, Request};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use sealpost_contract::UtcMillis;
use sealpost_flow::Digest;
use sealpost_store::{AuditEntry, Operator, OperatorSession, Role};

use super::view::{Frame, MessagePage, Section};
use crate::app::App;
use crate::app::client_certificates::MAX_FILE;
use crate::app::operate::Principal;
use crate::app::view::Origin;
use crate::pages::reader::{Reader, find_cookie};
use crate::problem::{Kind, Problem};
use crate::secrets::{random, sha256};
use crate::web::body::{bounded, content_type};

const COOKIE: &str = "sealpost_console";
const MINUTE: i64 = 60 * 1000;

/// How long a session lasts, and how long it lasts without use.
const LIFE: i64 = 12 * 60 * MINUTE;
const IDLE: i64 = 2 * 60 * MINUTE;

/// The most bytes of a form without files, and of one with.
const FORM_LIMIT: usize = 64 * 1024;
const FILE_FORM_LIMIT: usize = 2 * MAX_FILE + FORM_LIMIT;

/// Someone who is signed in, and their request.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) operator: Operator,
    pub(crate) session: OperatorSession,
    pub(crate) reader: Reader,
    /// The operator as the one who does things.
    pub(crate) principal: Principal,
    /// Stands in every form.
    pub(crate) csrf: String,
}

/// A form that someone signed in has sent, proven to be theirs.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) signed: Signed,
    form: Form,
}

/// The fields of a form; of a name that stands twice, the last.
#[derive(Debug, Default)]
pub(crate) struct Form {
    texts: BTreeMap<String, String>,
    files: BTreeMap<String, Bytes>,
}

/// A new session's cookie, as `Set-Cookie`, and what the store keeps.
pub(crate) fn begin(
    app: &App,
    operator: &Operator,
    origin: &Origin,
) -> Result<(HeaderValue, OperatorSession), Problem> {
    let token = URL_SAFE_NO_PAD.encode(random::<32>()?);
    let now = app.now();
    let session = OperatorSession {
        hash: Digest::from_bytes(sha256(token.as_bytes())),
        operator_id: operator.id.clone(),
        created_at: now,
        seen_at: now,
        expires_at: now + LIFE,
        address: origin.address.to_string(),
        user_agent: origin.user_agent.clone(),
    };
    Ok((cookie(app, &token, LIFE / 1000)?, session))
}

/// Takes the cookie back.
pub(crate) fn end_cookie(app: &App) -> Result<HeaderValue, Problem> {
    cookie(app, "", 0)
}

fn cookie(app: &App, token: &str, seconds: i64) -> Result<HeaderValue, Problem> {
    let secure = if app.public_url().is_https() {
        "; Secure"
    } else {
        ""
    };
    let text = format!(
        "{COOKIE}={token}; Path=/console; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    HeaderValue::from_str(&text)
        .map_err(|error| Problem::internal("a session's cookie cannot be written", &error))
}

impl FromRequestParts<App> for Signed {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let Ok(reader) = Reader::from_request_parts(parts, app).await;
        let Ok(origin) = Origin::from_request_parts(parts, app).await;
        let now = app.now();
        let found = match find_cookie(&parts.headers, COOKIE) {
            Some(token) if token.len() == 43 => {
                app.store()
                    .find_session(&Digest::from_bytes(sha256(token.as_bytes())), now)
                    .await
            }
            _ => Ok(None),
        };
        let found = found.map_err(|error| reader.trouble(&Problem::from(error)))?;
        let Some((session, operator)) = found.filter(|(session, _)| session.seen_at + IDLE > now)
        else {
            return Err(to_sign_in(parts));
        };
        if session.seen_at + MINUTE < now
            && let Err(error) = app.store().touch_session(&session.hash, now).await
        {
            return Err(reader.trouble(&Problem::from(error)));
        }
        let csrf = hex::encode(&app.secrets().mac("console form", session.hash.as_bytes())[..16]);
        let principal = Principal {
            name: operator.name.clone(),
            role: operator.role,
            origin,
        };
        Ok(Self {
            operator,
            session,
            reader,
            principal,
            csrf,
        })
    }
}

/// To the sign-in page, and from there back to what was asked for, if that can be asked for again.
fn to_sign_in(parts: &Parts) -> Response {
    let wanted = parts
        .uri
        .path_and_query()
        .map_or("/console", |path| path.as_str());
    if parts.method != http::Method::GET || wanted == "/console" {
        return Redirect::to("/console/sign-in").into_response();
    }
    let next: String = url::form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
    Redirect::to(&format!("/console/sign-in?next={next}")).into_response()
}

impl Signed {
    /// What every page of the console begins with.
    pub(crate) fn frame(&self, section: Section) -> Frame {
        Frame {
            lang: self.reader.lang,
            operator: self.operator.name.clone(),
            role: self.operator.role,
            csrf: self.csrf.clone(),
            section,
        }
    }

    /// Refuses those of a lesser role.
    #[expect(
        clippy::result_large_err,
        reason = "the refusal is the answer itself, made once and sent"
    )]
    pub(crate) fn permit(&self, role: Role) -> Result<(), Response> {
        self.principal
            .permit(role)
            .map_err(|problem| self.problem(&problem))
    }

    /// A page with one sentence, for what was not done.
    pub(crate) fn message(&self, status: StatusCode, zh: &str, en: &str) -> Response {
        let text = self.reader.lang.say(zh, en).to_owned();
        self.reader.respond(
            status,
            &MessagePage {
                frame: self.frame(Section::None),
                text,
            },
        )
    }

    /// A page that says why something was not done.
    pub(crate) fn problem(&self, problem: &Problem) -> Response {
        self.problem_because(problem, None)
    }

    /// As [`Signed::problem`], with the reason in Chinese where there is one.
    pub(crate) fn problem_because(&self, problem: &Problem, because: Option<&str>) -> Response {
        let (zh, en) = match problem.kind() {
            Kind::Forbidden => (
                "您的角色不能执行此操作。",
                "Your role does not permit this.",
            ),
            Kind::InvalidFields => (
                "填写有误，没有执行。",
                "Something is filled in wrongly; nothing was done.",
            ),
            Kind::NotFound => ("没有找到。", "There is no such thing."),
            Kind::Refused | Kind::Conflict => (
                "当前状态不允许，没有执行。",
                "The state does not permit this; nothing was done.",
            ),
            Kind::TooManyRequests => (
                "刚刚已经执行过，请稍后再试。",
                "This was done a moment ago. Try again later.",
            ),
            _ => ("没有执行。", "Nothing was done."),
        };
        let text = format!(
            "{} {} ({})",
            self.reader.lang.say(zh, en),
            self.reader
                .lang
                .say(because.unwrap_or(problem.detail()), problem.detail()),
            problem.stable_code()
        );
        self.reader.respond(
            problem.kind().status(),
            &MessagePage {
                frame: self.frame(Section::None),
                text,
            },
        )
    }

    /// An entry of the audit log.
    pub(crate) fn entry(
        &self,
        now: UtcMillis,
        action: &str,
        subject: Option<&str>,
        detail: Option<&str>,
    ) -> AuditEntry {
        self.principal.entry(now, action, subject, detail)
    }

    /// Writes down what is about to be done. If that fails, it must not be done: nothing happens that the log does not have.
    pub(crate) async fn log(
        &self,
        app: &App,
        action: &str,
        subject: Option<&str>,
        detail: Option<&str>,
    ) -> Result<(), Response> {
        let logged = self.principal.log(app, action, subject, detail).await;
        logged.map_err(|problem| self.problem(&problem))
    }
}

impl FromRequest<App> for Action {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let signed = Signed::from_request_parts(&mut parts, app).await?;
        let forged = || {
            signed.message(
                StatusCode::FORBIDDEN,
                "表单已失效，请返回刷新后重试。",
                "This form is no longer valid. Go back, reload and try again.",
            )
        };
        if !is_own_origin(&parts.headers) {
            return Err(forged());
        }
        let form = read_form(Request::from_parts(parts, body))
            .await
            .map_err(|problem| signed.problem(&problem))?;
        let given = form.raw("csrf").as_bytes();
        if aws_lc_rs::constant_time::verify_slices_are_equal(given, signed.csrf.as_bytes()).is_err()
        {
            return Err(forged());
        }
        Ok(Self { signed, form })
    }
}

impl Action {
    /// A field without the white space around it; empty when it does not stand there.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field as it was sent.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.form.raw(name)
    }

    /// The bytes of a file that was chosen; empty when none was.
    pub(crate) fn file(&self, name: &str) -> &[u8] {
        self.form
            .files
            .get(name)
            .map(Bytes::as_ref)
            .unwrap_or_default()
    }
}

impl Form {
    /// A field as it was sent; empty when it does not stand there.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.texts.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// Reads a form, with files or without.
pub(crate) async fn read_form(request: Request) -> Result<Form, Problem> {
    let mut form = Form::default();
    if !content_type(&request).starts_with("multipart/form-data") {
        let body = bounded(request, FORM_LIMIT).await?;
        form.texts = url::form_urlencoded::parse(&body).into_owned().collect();
        return Ok(form);
    }
    let (parts, body) = request.into_parts();
    let body = bounded(Request::from_parts(parts.clone(), body), FILE_FORM_LIMIT).await?;
    let malformed = |error: &dyn std::fmt::Display| {
        Problem::new(
            Kind::MalformedRequest,
            format!("The form cannot be read: {error}."),
        )
    };
    let request = Request::from_parts(parts, Body::from(body));
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| malformed(&error))?;
    while let Some(part) = parts
        .next_field()
        .await
        .map_err(|error| malformed(&error))?
    {
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some();
        let bytes = part.bytes().await.map_err(|error| malformed(&error))?;
        if is_file {
            form.files.insert(name, bytes);
        } else {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            form.texts.insert(name, text);
        }
    }
    Ok(form)
}

/// Whether a form was sent by a page of this server, as far as the browser says.
pub(crate) fn is_own_origin(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    match (
        text("sec-fetch-site"),
        text(header::ORIGIN.as_str()),
        text(header::HOST.as_str()),
    ) {
        (Some(site), _, _) => site == "same-origin" || site == "none",
        (None, Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, authority)| authority == host),
        (None, None, _) => true,
        (None, Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_other_sites_are_told_apart() {
        let own = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            is_own_origin(&headers)
        };
        assert!(own(&[("sec-fetch-site", "same-origin")]));
        assert!(!own(&[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://a.cn"),
            ("host", "a.cn")
        ]));
        assert!(!own(&[("sec-fetch-site", "same-site")]));
        assert!(own(&[
            ("origin", "https://a.cn:8443"),
            ("host", "a.cn:8443")
        ]));
        assert!(!own(&[("origin", "https://evil.cn"), ("host", "a.cn")]));
        assert!(!own(&[("origin", "null"), ("host", "a.cn")]));
        assert!(own(&[]));
    }
}
