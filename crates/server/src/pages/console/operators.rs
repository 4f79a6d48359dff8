//! Operators: listed, added, disabled; and how the command line makes the first.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use sealpost_store::{AuditEntry, Operator, Role, Store};

use super::account::is_fit;
use super::session::{Action, Signed};
use super::view::{OperatorRow, OperatorsPage, Section};
use super::{Words, password};
use crate::app::App;
use crate::problem::Problem;
use crate::secrets::random;
use crate::web;

/// Why an operator was not added or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The name is empty, over 64 characters, or has control characters or white space at its ends.
    #[error("a name is 1 to 64 characters")]
    Name,
    /// The password is too short or too long.
    #[error(
        "a password is {} to {} characters",
        password::MIN_CHARACTERS,
        password::MAX_CHARACTERS
    )]
    Password,
    /// Someone has this name.
    #[error("there is an operator of this name already")]
    Taken,
    /// Nobody has this name.
    #[error("there is no operator of this name")]
    Unknown,
    /// The password could not be hashed.
    #[error("the system gives no randomness or no memory for a password's hash")]
    Hash,
    /// The store does not take it.
    #[error("the store does not take it")]
    Store(#[from] sealpost_store::Error),
}

/// Adds an operator. `by` is who does it, for the audit log.
pub async fn add_operator(
    store: &Store,
    now: i64,
    name: &str,
    role: Role,
    password: String,
    by: AuditEntry,
) -> Result<(), OperatorError> {
    if name.is_empty()
        || name.trim() != name
        || name.chars().count() > 64
        || name.chars().any(char::is_control)
    {
        return Err(OperatorError::Name);
    }
    if !is_fit(&password) {
        return Err(OperatorError::Password);
    }
    let id = random::<8>().map_err(|_| OperatorError::Hash)?;
    let operator = Operator {
        id: format!("op_{}", hex::encode(id)),
        name: name.to_owned(),
        role,
        password_hash: password::hash(password).await.ok_or(OperatorError::Hash)?,
        totp_secret: None,
        totp_step: 0,
        failures: 0,
        locked_until: 0,
        created_at: now,
        disabled_at: None,
    };
    if store.create_operator(operator, by).await? {
        Ok(())
    } else {
        Err(OperatorError::Taken)
    }
}

/// Gives an operator a new password, without a second factor, and ends their sessions: what the machine's owner does for
/// someone who is locked out.
pub async fn set_operator_password(
    store: &Store,
    name: &str,
    password: String,
    by: AuditEntry,
) -> Result<(), OperatorError> {
    if !is_fit(&password) {
        return Err(OperatorError::Password);
    }
    let known = store
        .find_operator_by_name(name)
        .await?
        .ok_or(OperatorError::Unknown)?;
    let hash = password::hash(password).await.ok_or(OperatorError::Hash)?;
    if !store.reset_operator(&known.id, hash, by).await? {
        return Err(OperatorError::Unknown);
    }
    store.end_sessions(&known.id, None).await?;
    Ok(())
}

/// `GET /console/operators`.
pub(crate) async fn list(
    State(app): State<App>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    signed.permit(Role::Administrator)?;
    let done = query.find_text("done", 1..=32);
    let words = Words::of(&app, signed.reader.lang);
    let all = app
        .store()
        .operators()
        .await
        .map_err(|error| signed.problem(&Problem::from(error)))?;
    let row = |operator: Operator| OperatorRow {
        role: words.role(operator.role),
        has_totp: operator.totp_secret.is_some(),
        since: words.date(operator.created_at),
        disabled: operator.disabled_at.is_some(),
        you: operator.id == signed.operator.id,
        name: operator.name,
    };
    let page = OperatorsPage {
        frame: signed.frame(Section::Operators),
        done,
        rows: all.into_iter().map(row).collect(),
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

/// `POST /console/operators`.
pub(crate) async fn create(State(app): State<App>, action: Action) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Administrator)?;
    let role: Role = action.text("role").parse().unwrap_or(Role::Viewer);
    let name = action.text("name");
    let entry = signed.entry(app.now(), "operator.add", Some(name), Some(role.as_str()));
    let added = add_operator(
        app.store(),
        app.now(),
        name,
        role,
        action.raw("password").to_owned(),
        entry,
    )
    .await;
    let done = match added {
        Ok(()) => "added",
        Err(OperatorError::Taken) => "taken",
        Err(OperatorError::Name | OperatorError::Password) => "unfit",
        Err(OperatorError::Store(error)) => return Err(signed.problem(&Problem::from(error))),
        Err(error @ (OperatorError::Unknown | OperatorError::Hash)) => {
            return Err(
                signed.problem(&Problem::internal("an operator could not be added", &error))
            );
        }
    };
    Ok(Redirect::to(&format!("/console/operators?done={done}")).into_response())
}

/// `POST /console/operators/{name}/disable`: from now on they cannot sign in, and their sessions end.
pub(crate) async fn disable(
    State(app): State<App>,
    Path(name): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    signed.permit(Role::Administrator)?;
    if name == signed.operator.name {
        return Err(signed.message(
            StatusCode::CONFLICT,
            "不能停用自己。",
            "You cannot disable yourself.",
        ));
    }
    let done = async {
        let known = app
            .store()
            .find_operator_by_name(&name)
            .await?
            .ok_or_else(|| Problem::not_found("operator"))?;
        let entry = signed.entry(app.now(), "operator.disable", Some(&name), None);
        let disabled = app
            .store()
            .disable_operator(&known.id, app.now(), entry)
            .await?;
        if !disabled {
            return Err(Problem::not_found("operator"));
        }
        app.store().end_sessions(&known.id, None).await?;
        Ok::<_, Problem>(())
    };
    done.await.map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to("/console/operators?done=disabled").into_response())
}
