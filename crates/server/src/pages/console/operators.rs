//! Operators and operator keys: listed, added, disabled, revoked.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use sealpost_store::{Operator, OperatorKey, Role};

use super::Words;
use super::session::{Action, Signed};
use super::view::{OperatorKeyRow, OperatorRow, OperatorsPage, SecretPage, Section, ShownSecret};
use crate::app::App;
use crate::problem::Kind;
use crate::web;

/// `GET /console/operators`.
pub(crate) async fn list(
    State(app): State<App>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    let done = query.find_text("done", 1..=32);
    let words = Words::of(&app, signed.reader.lang);
    let operate = app.operate(&signed.principal);
    let found = async {
        Ok::<_, crate::problem::Problem>((
            operate.operators().await?,
            operate.operator_keys().await?,
        ))
    };
    let (all, keys) = found.await.map_err(|problem| signed.problem(&problem))?;
    let row = |operator: Operator| OperatorRow {
        role: words.role(operator.role),
        role_word: operator.role.as_str(),
        has_totp: operator.totp_secret.is_some(),
        signs_in: match (&operator.subject, operator.password_hash.is_empty()) {
            (Some(_), _) => words.say("单点登录", "Single sign-on"),
            (None, true) => words.say("已邀请", "Invited"),
            (None, false) => words.say("密码", "Password"),
        },
        since: words.date(operator.created_at),
        disabled: operator.disabled_at.is_some(),
        you: operator.id == signed.operator.id,
        name: operator.name,
    };
    let key_row = |key: OperatorKey| OperatorKeyRow {
        role: words.role(key.role),
        since: words.time(key.created_at),
        revoked: key.revoked_at.map(|at| words.time(at)),
        id: key.id,
        name: key.name,
        by: key.created_by,
    };
    let page = OperatorsPage {
        frame: signed.frame(Section::Operators),
        done,
        rows: all.into_iter().map(row).collect(),
        keys: keys.into_iter().map(key_row).collect(),
        has_provider: app.config().oidc.is_some(),
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

/// `POST /console/operators`: without a password, where single sign-on is set up, an invitation.
pub(crate) async fn create(State(app): State<App>, action: Action) -> Result<Response, Response> {
    let signed = &action.signed;
    let role: Role = action.text("role").parse().unwrap_or(Role::Viewer);
    let password = action.raw("password").to_owned();
    let is_invitation = password.is_empty() && app.config().oidc.is_some();
    let added = app
        .operate(&signed.principal)
        .add_operator(
            action.text("name"),
            role,
            (!is_invitation).then_some(password),
        )
        .await;
    let done = match added {
        Ok(_) => "added",
        Err(problem) if problem.kind() == Kind::Conflict => "taken",
        Err(problem) if problem.kind() == Kind::InvalidFields => "unfit",
        Err(problem) => return Err(signed.problem(&problem)),
    };
    Ok(back(done))
}

/// `POST /console/operators/{name}/role`.
pub(crate) async fn set_role(
    State(app): State<App>,
    Path(name): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let role: Role = action.text("role").parse().unwrap_or(Role::Viewer);
    let set = app.operate(&signed.principal).set_role(&name, role).await;
    set.map_err(|problem| signed.problem(&problem))?;
    Ok(back("role"))
}

/// `POST /console/operators/{name}/disable`: from now on they cannot sign in, and their sessions end.
pub(crate) async fn disable(
    State(app): State<App>,
    Path(name): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let disabled = app.operate(&signed.principal).disable_operator(&name).await;
    disabled.map_err(|problem| signed.problem(&problem))?;
    Ok(back("disabled"))
}

/// `POST /console/operators/keys`: a key for a program, shown once.
pub(crate) async fn create_key(
    State(app): State<App>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let role: Role = action.text("role").parse().unwrap_or(Role::Viewer);
    let made = app
        .operate(&signed.principal)
        .add_operator_key(action.text("name"), role, None)
        .await;
    let Ok(new) = made.map_err(|problem| signed.problem(&problem))? else {
        return Ok(back("key"));
    };
    let page = SecretPage {
        frame: signed.frame(Section::Operators),
        back: "/console/operators".to_owned(),
        shown: vec![ShownSecret {
            label: signed.reader.lang.say("运营密钥", "Operator key"),
            value: new.secret,
        }],
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

/// `POST /console/operators/keys/{id}/revoke`.
pub(crate) async fn revoke_key(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let revoked = app
        .operate(&signed.principal)
        .revoke_operator_key(&id)
        .await;
    revoked.map_err(|problem| signed.problem(&problem))?;
    Ok(back("key_revoked"))
}

fn back(done: &str) -> Response {
    Redirect::to(&format!("/console/operators?done={done}")).into_response()
}
