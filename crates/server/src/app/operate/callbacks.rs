//! Callbacks of any channel: found, sent again one by one or all that failed since a time.

use sealpost_contract::UtcMillis;
use sealpost_store::{Attempt, CallbackId, IdempotencyKey, Redelivery, Role, StoredCallback};

use super::Operate;
use crate::app::App;
use crate::problem::Problem;

impl App {
    /// The callback of this id with its attempts, whichever channel's it is.
    pub(crate) async fn callback_of_any_channel(
        &self,
        id: &str,
    ) -> Result<(StoredCallback, Vec<Attempt>), Problem> {
        let missing = || Problem::not_found("callback");
        let id: CallbackId = id.parse().map_err(|_| missing())?;
        self.find_callback(None, id).await?.ok_or_else(missing)
    }

    /// The redelivery of this id, whichever channel's it is.
    pub(crate) async fn redelivery_of_any_channel(&self, id: &str) -> Result<Redelivery, Problem> {
        let missing = || Problem::not_found("redelivery");
        let id = id.parse().map_err(|_| missing())?;
        self.store().find_redelivery(id).await?.ok_or_else(missing)
    }
}

impl Operate<'_> {
    /// Starts a new round for a callback; whether the key has done so before.
    pub(crate) async fn redeliver(
        &self,
        id: &str,
        key: Option<IdempotencyKey>,
    ) -> Result<bool, Problem> {
        self.by.permit(Role::Operator)?;
        let (callback, _) = self.app.callback_of_any_channel(id).await?;
        self.begin(Role::Operator, "callback.redeliver", Some(id), None)
            .await?;
        self.app.redeliver_once(callback.id, key).await
    }

    /// Starts a new round for all that failed since a time, of one channel or of all.
    pub(crate) async fn redeliver_failed(
        &self,
        channel: Option<&str>,
        since: UtcMillis,
        key: Option<IdempotencyKey>,
    ) -> Result<(Redelivery, bool), Problem> {
        self.by.permit(Role::Operator)?;
        if let Some(id) = channel {
            self.app.channel(id).await?;
        }
        let since_text = crate::api::time(since);
        self.begin(
            Role::Operator,
            "callback.redeliver_failed",
            channel,
            Some(&since_text),
        )
        .await?;
        self.app
            .start_redelivery_once(channel.map(str::to_owned), since, key)
            .await
    }
}
