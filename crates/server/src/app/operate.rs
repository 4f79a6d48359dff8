//! Operating the installation: everything that the console and the operator API do, once. Each operation asks for a role, is
//! in the audit log before it is done, and then does what `App` can.
//!
//! What is only looked at needs no operation: whoever has any role may see it, and lists come from `App` itself. The exceptions
//! are in [`Operate`] too: operators, their keys and the audit log, which are for administrators.

mod callbacks;
mod channels;
mod flows;
mod operators;
mod seals;

use sealpost_contract::UtcMillis;
use sealpost_flow::Actor;
use sealpost_store::{AuditEntry, Role};

use super::App;
use super::view::Origin;
use crate::problem::{Kind, Problem};

pub(crate) use channels::ChannelChange;
pub(crate) use operators::{
    NAME_CHARS, OperatorError, add_operator, add_operator_key, keep_operator, set_operator_password,
};

/// What is kept of an audit entry's detail, in characters.
pub(super) const DETAIL_CHARS: usize = 300;

/// Someone who operates this installation: a person at the console, or a program with an operator key.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    /// As the audit log names them.
    pub(crate) name: String,
    /// What they may do.
    pub(crate) role: Role,
    /// From where they do it.
    pub(crate) origin: Origin,
}

impl Principal {
    /// Refuses those of a lesser role.
    pub(crate) fn permit(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        let detail = format!("This takes the role {role}; yours is {}.", self.role);
        Err(Problem::new(Kind::Forbidden, detail).code("role_too_low"))
    }

    /// As a flow's record knows them: from where and with what; by name they are in the audit log.
    pub(crate) fn actor(&self) -> Actor {
        Actor::OPERATOR.from_client(self.origin.address, self.origin.user_agent.as_deref())
    }

    /// An entry of the audit log.
    pub(crate) fn entry(
        &self,
        now: UtcMillis,
        action: &str,
        subject: Option<&str>,
        detail: Option<&str>,
    ) -> AuditEntry {
        AuditEntry {
            at: now,
            operator: self.name.clone(),
            action: action.to_owned(),
            subject: subject.map(str::to_owned),
            detail: detail.map(|text| text.chars().take(DETAIL_CHARS).collect()),
            address: Some(self.origin.address.to_string()),
        }
    }

    /// Writes down what is about to be done. If that fails, it must not be done: nothing happens that the log does not have.
    pub(crate) async fn log(
        &self,
        app: &App,
        action: &str,
        subject: Option<&str>,
        detail: Option<&str>,
    ) -> Result<(), Problem> {
        let entry = self.entry(app.now(), action, subject, detail);
        Ok(app.store().log_audit(entry).await?)
    }
}

/// The operations, as someone's.
#[derive(Clone, Copy)]
pub(crate) struct Operate<'a> {
    app: &'a App,
    by: &'a Principal,
}

impl App {
    /// The operations of the console and the operator API, done by `by`.
    pub(crate) fn operate<'a>(&'a self, by: &'a Principal) -> Operate<'a> {
        Operate { app: self, by }
    }
}

impl Operate<'_> {
    /// What every operation begins with: the role it takes, and its entry in the audit log.
    async fn begin(
        &self,
        role: Role,
        action: &str,
        subject: Option<&str>,
        detail: Option<&str>,
    ) -> Result<(), Problem> {
        self.by.permit(role)?;
        self.by.log(self.app, action, subject, detail).await
    }
}
