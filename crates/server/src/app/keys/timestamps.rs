//! The key of our own timestamp authority: renewed so early that there is always one that ends later.

use sealpost_contract::UtcMillis;
use sealpost_pdf::{Credential, Subject, Validity};
use sealpost_store::Store;

use super::kept::{find_kept, keep};
use super::{KeyError, Keys, SLACK, YEAR};
use crate::secrets::Secrets;

/// How long the key of our own timestamp authority is valid.
const TIMESTAMP_YEARS: i64 = 15;

/// The name of our own timestamp authority's key in the store.
pub(super) const TIMESTAMP_AUTHORITY: &str = "timestamp-authority";

impl Keys {
    /// The key of our own timestamp authority: the one that is kept, or a new one when there is none, it is at half its life and
    /// the new one ends later, or its root is no longer the authority's. So timestamps over documents can always be renewed by others that end later.
    pub(crate) async fn timestamp_authority(
        &self,
        store: &Store,
        secrets: &Secrets,
        now: UtcMillis,
    ) -> Result<Credential, KeyError> {
        const NAME: &str = TIMESTAMP_AUTHORITY;
        let kept = find_kept(store, secrets, NAME).await?;
        let kept = kept.map(|kept| kept.credential()).transpose()?;
        let was_kept = kept.is_some();
        let root = Some(self.authority.certificate());
        // Nothing outlives the root.
        let validity = Validity {
            not_before: now - SLACK,
            not_after: (now + TIMESTAMP_YEARS * YEAR).min(self.authority.validity().not_after),
        };
        if let Some(kept) = kept
            && (!is_half_over(kept.validity(), now)
                || validity.not_after <= kept.validity().not_after)
            && kept.chain().last().map(Vec::as_slice) == root
        {
            return Ok(kept);
        }
        let subject = Subject::TimestampAuthority {
            name: "Sealpost built-in timestamps",
        };
        let made = self.authority.issue(subject, self.person_suite, validity)?;
        keep(store, secrets, NAME, made, was_kept, now).await
    }
}

/// Whether less than half of a certificate's life is left.
fn is_half_over(validity: Validity, now: UtcMillis) -> bool {
    now - validity.not_before > validity.not_after - now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_life_is_over_after_the_middle() {
        let validity = Validity {
            not_before: 1000,
            not_after: 3000,
        };
        for (now, over) in [(0, false), (2000, false), (2001, true), (4000, true)] {
            assert_eq!(is_half_over(validity, now), over, "{now}");
        }
    }
}
