//! Sign flows of any channel: found, fetched, revoked, reminded.

use axum::response::Response;
use sealpost_contract::SignFlowId;
use sealpost_flow::{Flow, Operation};
use sealpost_store::{IdempotencyKey, Role, StoredFlow};
use serde_json::Value;

use super::Operate;
use crate::api::evidence::{evidence, report_answer};
use crate::app::App;
use crate::app::files::Pdf;
use crate::app::flows::Outcome;
use crate::pages::lang::Lang;
use crate::problem::Problem;

impl App {
    /// The flow of this id, whichever channel's it is.
    pub(crate) async fn flow_of_any_channel(&self, id: &str) -> Result<StoredFlow, Problem> {
        let missing = || Problem::not_found("sign flow");
        let id = SignFlowId::try_from(id.to_owned()).map_err(|_| missing())?;
        self.store().find_flow(&id).await?.ok_or_else(missing)
    }
}

impl Operate<'_> {
    /// What may be handed out of a flow's document.
    pub(crate) async fn fetch_file(&self, id: &str) -> Result<Pdf, Problem> {
        let stored = self.app.flow_of_any_channel(id).await?;
        self.begin(Role::Viewer, "flow.file", Some(id), None)
            .await?;
        self.app.file(&stored).await
    }

    /// What an auditor needs of a flow.
    pub(crate) async fn fetch_evidence(&self, id: &str) -> Result<Value, Problem> {
        let stored = self.app.flow_of_any_channel(id).await?;
        self.begin(Role::Viewer, "flow.evidence", Some(id), None)
            .await?;
        evidence(self.app, &stored).await
    }

    /// The evidence as a sealed report.
    pub(crate) async fn fetch_report(&self, id: &str, lang: Lang) -> Result<Response, Problem> {
        let stored = self.app.flow_of_any_channel(id).await?;
        self.begin(Role::Viewer, "flow.evidence", Some(id), None)
            .await?;
        report_answer(self.app, &stored, lang).await
    }

    /// Ends a flow as revoked.
    pub(crate) async fn revoke_flow(
        &self,
        id: &str,
        reason: &str,
        key: Option<&IdempotencyKey>,
    ) -> Result<Outcome, Problem> {
        self.by.permit(Role::Operator)?;
        let stored = self.app.flow_of_any_channel(id).await?;
        self.begin(Role::Operator, "flow.revoke", Some(id), Some(reason))
            .await?;
        let revoke = |_: &Flow| Operation::Revoke {
            reason: reason.to_owned(),
        };
        self.app
            .change_flow(&stored.flow.id, &self.by.actor(), revoke, key)
            .await
    }

    /// Reminds the signers whose turn it is.
    pub(crate) async fn remind_signers(
        &self,
        id: &str,
        key: Option<&IdempotencyKey>,
    ) -> Result<Outcome, Problem> {
        self.by.permit(Role::Operator)?;
        let stored = self.app.flow_of_any_channel(id).await?;
        self.begin(Role::Operator, "flow.remind", Some(id), None)
            .await?;
        self.app
            .remind(&stored.flow.id, &self.by.actor(), key)
            .await
    }
}
