//! Seals that are kept under a name, any channel's and those for all.

use sealpost_store::Role;

use super::Operate;
use crate::app::seals::{KeptSeal, WantedSeal};
use crate::problem::Problem;

impl Operate<'_> {
    /// Keeps a seal, for one channel or for all.
    pub(crate) async fn add_seal(
        &self,
        channel: Option<&str>,
        label: &str,
        wanted: &WantedSeal,
    ) -> Result<KeptSeal, Problem> {
        self.by.permit(Role::Administrator)?;
        if let Some(id) = channel {
            self.app.channel(id).await?;
        }
        self.begin(Role::Administrator, "seal.add", channel, Some(label))
            .await?;
        self.app.add_seal(channel, label, wanted).await
    }

    /// Forgets a seal; flows that use it go on with it.
    pub(crate) async fn remove_seal(&self, id: &str) -> Result<(), Problem> {
        self.by.permit(Role::Administrator)?;
        let missing = || Problem::not_found("seal");
        let kept = self.app.find_seal(None, id).await?.ok_or_else(missing)?;
        self.begin(
            Role::Administrator,
            "seal.remove",
            Some(id),
            Some(&kept.label),
        )
        .await?;
        match self.app.remove_seal(id).await? {
            true => Ok(()),
            false => Err(missing()),
        }
    }
}
