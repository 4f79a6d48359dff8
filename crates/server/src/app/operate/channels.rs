//! Channels: made and changed, their keys and secrets, paused and resumed, tried out.

use sealpost_contract::Schedule;
use sealpost_store::{AuditEntry, Channel, ContractCheck, IdempotencyKey, Role};

use super::Operate;
use crate::app::channels::{NewChannel, NewKey};
use crate::app::client_certificates::ClientCertificate;
use crate::app::rehearsal::Rehearsal;
use crate::problem::Problem;

/// Where and when a channel is to be told from now on; what is `None` stays.
#[derive(Debug, Default)]
pub(crate) struct ChannelChange {
    /// `Some(None)`: nowhere.
    pub(crate) callback_url: Option<Option<String>>,
    pub(crate) schedule: Option<Schedule>,
}

impl Operate<'_> {
    /// An entry of the audit log, for what is logged in the commit that does it.
    fn entry(&self, action: &str, subject: &str) -> AuditEntry {
        self.by.entry(self.app.now(), action, Some(subject), None)
    }

    /// Makes a channel with a key and a secret.
    pub(crate) async fn add_channel(
        &self,
        name: &str,
        callback_url: Option<&str>,
        schedule: Schedule,
    ) -> Result<NewChannel, Problem> {
        self.begin(Role::Administrator, "channel.add", None, Some(name))
            .await?;
        self.app.add_channel(name, callback_url, schedule).await
    }

    /// Changes where and when a channel is told.
    pub(crate) async fn change_channel(
        &self,
        id: &str,
        change: ChannelChange,
    ) -> Result<Channel, Problem> {
        self.by.permit(Role::Administrator)?;
        let channel = self.app.channel(id).await?;
        let url = change.callback_url.unwrap_or(channel.callback_url);
        let schedule = change.schedule.unwrap_or(channel.schedule);
        self.begin(
            Role::Administrator,
            "channel.delivery",
            Some(id),
            Some(&format!("{} {schedule}", url.as_deref().unwrap_or("-"))),
        )
        .await?;
        self.app
            .set_channel_delivery(id, url.as_deref(), schedule)
            .await?;
        self.app.channel(id).await
    }

    /// Lets a channel's deliveries rest.
    pub(crate) async fn pause_channel(&self, id: &str, reason: &str) -> Result<(), Problem> {
        self.by.permit(Role::Operator)?;
        self.app.channel(id).await?;
        self.begin(Role::Operator, "channel.pause", Some(id), Some(reason))
            .await?;
        self.app.pause_channel(id, reason).await
    }

    /// Lets them run again.
    pub(crate) async fn resume_channel(&self, id: &str) -> Result<(), Problem> {
        self.by.permit(Role::Operator)?;
        self.app.channel(id).await?;
        self.begin(Role::Operator, "channel.resume", Some(id), None)
            .await?;
        self.app.resume_channel(id).await
    }

    /// Gives a channel a new webhook secret. `None`: the key has done so before, and a secret is told once.
    pub(crate) async fn rotate_webhook_secret(
        &self,
        id: &str,
        key: Option<IdempotencyKey>,
    ) -> Result<Option<String>, Problem> {
        self.by.permit(Role::Administrator)?;
        self.app.channel(id).await?;
        let entry = self.entry("channel.rotate_secret", id);
        self.app.rotate_webhook_secret_once(id, key, entry).await
    }

    /// Gives a channel another API key. `Err` inside: the id of the one that the idempotency key has made before; a key is
    /// told once.
    pub(crate) async fn add_api_key(
        &self,
        channel: &str,
        key: Option<IdempotencyKey>,
    ) -> Result<Result<NewKey, String>, Problem> {
        self.by.permit(Role::Administrator)?;
        self.app.channel(channel).await?;
        let entry = self.entry("channel.add_key", channel);
        self.app.add_api_key_once(channel, key, entry).await
    }

    /// Revokes one of a channel's API keys.
    pub(crate) async fn revoke_api_key(&self, channel: &str, key: &str) -> Result<(), Problem> {
        self.by.permit(Role::Administrator)?;
        let keys = self.app.api_keys(channel).await?;
        if !keys.iter().any(|own| own.id == key) {
            return Err(Problem::not_found("API key"));
        }
        self.begin(
            Role::Administrator,
            "channel.revoke_key",
            Some(key),
            Some(channel),
        )
        .await?;
        self.app.revoke_api_key(key).await
    }

    /// Shows a channel's endpoint this certificate from now on; `None`: none.
    pub(crate) async fn set_client_certificate(
        &self,
        channel: &str,
        identity: Option<(String, String)>,
    ) -> Result<Option<ClientCertificate>, Problem> {
        self.by.permit(Role::Administrator)?;
        self.app.channel(channel).await?;
        let what = if identity.is_some() { "set" } else { "removed" };
        self.begin(
            Role::Administrator,
            "channel.client_certificate",
            Some(channel),
            Some(what),
        )
        .await?;
        self.app.set_client_certificate(channel, identity).await?;
        self.app.shown_client_certificate(channel).await
    }

    /// Sends a made-up callback to a channel's endpoint, once.
    pub(crate) async fn rehearse(&self, id: &str) -> Result<Rehearsal, Problem> {
        self.by.permit(Role::Operator)?;
        let channel = self.app.channel(id).await?;
        self.begin(Role::Operator, "channel.test", Some(id), None)
            .await?;
        self.app.rehearse(&channel).await
    }

    /// Begins to check whether a channel's endpoint keeps the contract.
    pub(crate) async fn begin_contract_check(
        &self,
        id: &str,
        read_only: bool,
    ) -> Result<ContractCheck, Problem> {
        self.by.permit(Role::Operator)?;
        let channel = self.app.channel(id).await?;
        let what = if read_only { "read only" } else { "everything" };
        self.begin(Role::Operator, "channel.check", Some(id), Some(what))
            .await?;
        self.app
            .begin_contract_check(&channel, read_only, &self.by.name)
            .await
    }
}
