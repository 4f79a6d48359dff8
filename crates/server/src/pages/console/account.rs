//! Signing in and out, and what operators set for themselves: the password, the second factor, their sessions.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, header};
use sealpost_store::{AuditEntry, Counted, Operator};
use tokio::sync::Semaphore;

use super::session::{self, Action, Signed};
use super::view::{AccountPage, Section, SessionRow, SignInPage, TotpPage};
use super::{Words, totp};
use crate::app::App;
use crate::app::codes::{keyed, network};
use crate::app::passwords;
use crate::app::view::Origin;
use crate::pages::reader::Reader;
use crate::problem::Problem;
use crate::secrets::random;
use crate::web;

/// Sign-ins in a row that may fail before the operator is locked, and for how long.
const FAILURES: u32 = 8;
const LOCK: i64 = 15 * 60 * 1000;

/// Sign-ins that may fail from one address, whatever names they give, and within which time.
const FAILURES_FROM: u32 = 30;
const WINDOW: i64 = 15 * 60 * 1000;

/// Sign-ins that are looked at at one moment, and so may fail beyond [`FAILURES_FROM`]. Few passwords are hashed at once in any case.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// Where the second factor's secret is encrypted for.
fn totp_place(operator: &Operator) -> String {
    format!("operator/{}/totp", operator.id)
}

/// `GET /console/sign-in`.
pub(crate) async fn show_sign_in(
    State(app): State<App>,
    reader: Reader,
    web::Query(mut query): web::Query,
) -> Response {
    let next = query.find_text("next", 1..=500).unwrap_or_default();
    sign_in_page(&app, reader, next, StatusCode::OK, false, None).await
}

/// The sign-in page: after a password that did not fit (`failed`), or with the reason why the OpenID provider's word was not
/// enough.
pub(super) async fn sign_in_page(
    app: &App,
    reader: Reader,
    next: String,
    status: StatusCode,
    failed: bool,
    refused: Option<&'static str>,
) -> Response {
    let nobody = app
        .store()
        .operators()
        .await
        .is_ok_and(|all| all.is_empty());
    reader.respond(
        status,
        &SignInPage {
            lang: reader.lang,
            next,
            failed,
            refused,
            nobody,
            provider: app.provider_label().map(str::to_owned),
        },
    )
}

/// Whether a sign-in may lead there: only ever to a page of the console, since anything else could send the operator anywhere.
pub(super) fn is_console_page(next: &str) -> bool {
    next.starts_with("/console")
        && !next.contains(['\\', '\r', '\n', ';', '"'])
        && !next.starts_with("/console/sign-")
        && !next.starts_with("/console/oidc")
}

/// `POST /console/sign-in`. What was wrong is not said: name, password, code, or a locked account.
pub(crate) async fn sign_in(
    State(app): State<App>,
    reader: Reader,
    origin: Origin,
    request: Request,
) -> Response {
    if !session::is_own_origin(request.headers()) {
        return reader.respond(
            StatusCode::FORBIDDEN,
            &SignInPage {
                lang: reader.lang,
                next: String::new(),
                failed: true,
                refused: None,
                nobody: false,
                provider: None,
            },
        );
    }
    let form = match session::read_form(request).await {
        Ok(form) => form,
        Err(problem) => return reader.trouble(&problem),
    };
    let field = |name: &str| form.raw(name).trim().to_owned();
    let next = field("next");
    let password = form.raw("password").to_owned();
    match try_sign_in(&app, &field("name"), password, &field("code"), &origin).await {
        Ok(Tried::Right(cookie)) => {
            let to = if is_console_page(&next) {
                next
            } else {
                "/console".to_owned()
            };
            ([(header::SET_COOKIE, cookie)], Redirect::to(&to)).into_response()
        }
        Ok(Tried::Wrong) => {
            sign_in_page(&app, reader, next, StatusCode::UNAUTHORIZED, true, None).await
        }
        Ok(Tried::TooOften { seconds }) => {
            let why = reader.lang.say(
                "从您的网络地址登录失败的次数过多，请 15 分钟后再试。",
                "Too many sign-ins from your address have failed. Try again in 15 minutes.",
            );
            let status = StatusCode::TOO_MANY_REQUESTS;
            let page = sign_in_page(&app, reader, next, status, false, Some(why)).await;
            ([(header::RETRY_AFTER, seconds)], page).into_response()
        }
        Err(problem) => reader.trouble(&problem),
    }
}

/// What became of a sign-in.
enum Tried {
    /// The new session's cookie.
    Right(header::HeaderValue),
    Wrong,
    /// Nothing was looked at, and nothing will be for so long.
    TooOften {
        seconds: u32,
    },
}

/// Looks at a sign-in, unless too many from its address have failed lately. Whoever gets in does not count, however many do at once;
/// nor does anybody behind a proxy on this machine that the operator has not named, since all would seem to be one.
async fn try_sign_in(
    app: &App,
    name: &str,
    password: String,
    code: &str,
    origin: &Origin,
) -> Result<Tried, Problem> {
    let _permit = AT_ONCE.acquire().await;
    let (store, now) = (app.store(), app.now());
    let subscriber = network(origin.address).to_string();
    let from = keyed(app.secrets(), "sign-ins from an address", &subscriber);
    let refused = async || store.find_limit(&from, FAILURES_FROM, now).await;
    if !origin.is_unnamed_proxy
        && let Some(until) = refused().await?
    {
        let seconds = Problem::seconds_until(until, now);
        return Ok(Tried::TooOften { seconds });
    }
    if let Some(cookie) = find_operator(app, name, password, code, origin).await? {
        return Ok(Tried::Right(cookie));
    }
    if !origin.is_unnamed_proxy {
        let counted = store
            .count_within(&from, WINDOW, FAILURES_FROM, now)
            .await?;
        if counted == Counted::Within && refused().await?.is_some() {
            tracing::warn!(address = %origin.address, "too many sign-ins have failed from an address");
        }
    }
    Ok(Tried::Wrong)
}

/// Signs in whose name, password and code these are; `None`: nobody's.
async fn find_operator(
    app: &App,
    name: &str,
    password: String,
    code: &str,
    origin: &Origin,
) -> Result<Option<header::HeaderValue>, Problem> {
    let now = app.now();
    let fits = |text: &str, limit: usize| text.chars().nth(limit).is_none();
    // A name that nobody can have is not asked for.
    if !fits(name, 64)
        || name.chars().any(char::is_control)
        || !fits(&password, passwords::MAX_CHARACTERS)
    {
        return Ok(None);
    }
    // Counted before it is looked at: however many come at once, no more passwords are tried than may be.
    let counted = app
        .store()
        .count_sign_in(name, FAILURES, now, now + LOCK)
        .await?;
    let hash = counted
        .as_ref()
        .map(|operator| operator.password_hash.clone());
    let right = passwords::verify(password, hash).await;
    let Some(operator) = counted else {
        return Ok(None);
    };
    let entry = |action: &str| AuditEntry {
        at: now,
        operator: operator.name.clone(),
        action: action.to_owned(),
        subject: None,
        detail: None,
        address: Some(origin.address.to_string()),
    };
    if !right || !second_factor_fits(app, &operator, code).await? {
        app.store().log_audit(entry("sign_in.failed")).await?;
        return Ok(None);
    }
    let (cookie, session) = session::begin(app, &operator, origin)?;
    app.store().begin_session(session, entry("sign_in")).await?;
    Ok(Some(cookie))
}

/// Whether the code is right, if one is needed; each is good once.
async fn second_factor_fits(app: &App, operator: &Operator, code: &str) -> Result<bool, Problem> {
    let Some(sealed) = &operator.totp_secret else {
        return Ok(true);
    };
    let secret = app.secrets().decrypt(&totp_place(operator), sealed)?;
    match totp::step_of(&secret, code, app.now()) {
        Some(step) => Ok(app.store().use_totp_step(&operator.id, step).await?),
        None => Ok(false),
    }
}

/// `POST /console/sign-out`.
pub(crate) async fn sign_out(State(app): State<App>, action: Action) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.log(&app, "sign_out", None, None).await?;
    let ended = async {
        app.store().end_session(&signed.session.hash).await?;
        session::end_cookie(&app)
    };
    let cookie = ended.await.map_err(|problem| signed.problem(&problem))?;
    Ok((
        [(header::SET_COOKIE, cookie)],
        Redirect::to("/console/sign-in"),
    )
        .into_response())
}

/// `GET /console/account`.
pub(crate) async fn show_account(
    State(app): State<App>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    let done = query.find_text("done", 1..=32);
    let words = Words::of(&app, signed.reader.lang);
    let sessions = app
        .store()
        .sessions_of(&signed.operator.id, app.now())
        .await;
    let sessions = sessions.map_err(|error| signed.problem(&Problem::from(error)))?;
    let rows = sessions.into_iter().map(|session| SessionRow {
        current: session.hash == signed.session.hash,
        since: words.time(session.created_at),
        seen: words.time(session.seen_at),
        address: session.address,
        program: session.user_agent.unwrap_or_default(),
    });
    let page = AccountPage {
        frame: signed.frame(Section::Account),
        done,
        has_totp: signed.operator.totp_secret.is_some(),
        sessions: rows.collect(),
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

/// `POST /console/account/password`. Ends the operator's other sessions.
pub(crate) async fn change_password(
    State(app): State<App>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let (current, wanted) = (
        action.raw("current").to_owned(),
        action.raw("wanted").to_owned(),
    );
    if !passwords::is_fit(&wanted)
        || !passwords::verify(current, Some(signed.operator.password_hash.clone())).await
    {
        return Ok(Redirect::to("/console/account?done=password_refused").into_response());
    }
    let Some(password_hash) = passwords::hash(wanted).await else {
        return Err(signed.message(
            StatusCode::SERVICE_UNAVAILABLE,
            "没有执行。",
            "Nothing was done.",
        ));
    };
    let entry = signed.entry(app.now(), "account.password", None, None);
    let (id, known) = (&signed.operator.id, signed.operator.password_hash.clone());
    let done = async {
        let changed = app
            .store()
            .change_password(id, known, password_hash, entry)
            .await?;
        if changed {
            app.store()
                .end_sessions(id, Some(&signed.session.hash))
                .await?;
        }
        Ok::<_, Problem>(changed)
    };
    if done.await.map_err(|problem| signed.problem(&problem))? {
        Ok(Redirect::to("/console/account?done=password").into_response())
    } else {
        Err(changed_meanwhile(signed))
    }
}

/// For an operator whom somebody else disabled, or whose password somebody else changed, while they changed something.
fn changed_meanwhile(signed: &Signed) -> Response {
    signed.message(
        StatusCode::CONFLICT,
        "您的账号刚刚被更改，没有执行。",
        "Your account was changed a moment ago; nothing was done.",
    )
}

/// `GET /console/account/totp`: a new secret, shown until it is confirmed by its first code. It travels in the form,
/// encrypted for this operator, so that nothing is kept before it is confirmed.
pub(crate) async fn show_totp(
    State(app): State<App>,
    signed: Signed,
) -> Result<Response, Response> {
    let made = (|| {
        let secret = random::<{ totp::SECRET_BYTES }>()?;
        let sealed = app
            .secrets()
            .encrypt(&totp_place(&signed.operator), &secret)?;
        Ok::<_, Problem>((secret, sealed))
    })();
    let (secret, sealed) = made.map_err(|problem| signed.problem(&problem))?;
    Ok(totp_page(&signed, &secret, &sealed, false))
}

fn totp_page(signed: &Signed, secret: &[u8], sealed: &[u8], failed: bool) -> Response {
    let (side, path) = totp::qr(&totp::address(&signed.operator.name, secret)).unwrap_or_default();
    let page = TotpPage {
        frame: signed.frame(Section::Account),
        secret: totp::base32(secret),
        sealed: STANDARD.encode(sealed),
        qr_side: side,
        qr_path: path,
        failed,
    };
    signed.reader.respond(StatusCode::OK, &page)
}

/// `POST /console/account/totp`: confirms the new secret.
pub(crate) async fn keep_totp(
    State(app): State<App>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let sealed = STANDARD.decode(action.text("sealed")).unwrap_or_default();
    let secret = app
        .secrets()
        .decrypt(&totp_place(&signed.operator), &sealed);
    let secret = secret.map_err(|error| signed.problem(&Problem::from(error)))?;
    let Some(step) = totp::step_of(&secret, action.text("code"), app.now()) else {
        return Ok(totp_page(signed, &secret, &sealed, true));
    };
    let entry = signed.entry(app.now(), "account.second_factor", None, None);
    let kept = app
        .store()
        .set_totp(&signed.operator.id, sealed, step, entry)
        .await;
    if !kept.map_err(|error| signed.problem(&Problem::from(error)))? {
        return Err(changed_meanwhile(signed));
    }
    Ok(Redirect::to("/console/account?done=totp").into_response())
}

/// `POST /console/account/sessions/end`: ends the operator's other sessions.
pub(crate) async fn end_other_sessions(
    State(app): State<App>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.log(&app, "account.end_sessions", None, None).await?;
    let ended = app
        .store()
        .end_sessions(&signed.operator.id, Some(&signed.session.hash))
        .await;
    ended.map_err(|error| signed.problem(&Problem::from(error)))?;
    Ok(Redirect::to("/console/account?done=sessions").into_response())
}
