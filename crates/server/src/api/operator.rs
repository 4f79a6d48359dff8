//! The HTTP API of operators, `/v1/operator`: everything that the console does, for programs. What is asked for is done by
//! [`App::operate`], as at the console; here requests are read and answers written.
//!
//! A key of a channel opens nothing here, and a key of an operator nothing that is a channel's.

pub(crate) mod callbacks;
pub(crate) mod channels;
pub(crate) mod checks;
pub(crate) mod flows;
pub(crate) mod operators;
pub(crate) mod overview;
pub(crate) mod seals;

use axum::extract::FromRequestParts;
use http::request::Parts;
use sealpost_flow::Digest;
use sealpost_store::{IdempotencyKey, Role};

use super::{Call, answer, bearer};
use crate::app::App;
use crate::app::operate::Principal;
use crate::app::view::Origin;
use crate::problem::{Kind, Problem};
use crate::secrets::sha256;
use crate::web::Fields;

/// A program with an operator key: who it is, and what it may do.
#[derive(Debug, Clone)]
pub(crate) struct OperatorCaller {
    /// As the audit log names it, and its role.
    pub(crate) principal: Principal,
    /// The key's id (not the key).
    pub(crate) key_id: String,
}

impl FromRequestParts<App> for OperatorCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let hash = Digest::from_bytes(sha256(bearer(&parts.headers).as_bytes()));
        let found = app.store().find_operator_key(&hash).await?;
        let Some(key) = found.filter(|key| key.revoked_at.is_none()) else {
            return Err(Problem::new(
                Kind::Unauthorized,
                "Send an operator key as `authorization: Bearer KEY`. This one is missing, unknown or revoked.",
            ));
        };
        let Ok(origin) = Origin::from_request_parts(parts, app).await;
        Ok(Self {
            principal: Principal {
                name: format!("{} ({})", key.name, key.id),
                role: key.role,
                origin,
            },
            key_id: key.id,
        })
    }
}

impl OperatorCaller {
    /// The request's idempotency key; each operator key has its own.
    fn idempotency(
        &self,
        app: &App,
        call: &Call,
        body: &[u8],
    ) -> Result<Option<IdempotencyKey>, Problem> {
        call.idempotency(&self.key_id, body, app.now())
    }
}

/// A role that must stand there.
fn role(fields: &mut Fields) -> Role {
    let roles = Role::ALL.map(|role| (role.as_str(), role));
    if !fields.has("role") {
        fields.refuse("role", "missing", "it is required");
    }
    fields.find_word("role", &roles).unwrap_or(Role::Viewer)
}
