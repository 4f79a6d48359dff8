//! Whose certificates there are keys of, and until when they are valid.

use sealpost_pdf::Validity;
use sealpost_store::Store;

use super::kept::Kept;
use super::organizations::ORGANIZATION;
use super::timestamps::TIMESTAMP_AUTHORITY;
use super::{KeyError, Keys};
use crate::app::App;
use crate::problem::Problem;
use crate::secrets::Secrets;

/// Whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CertificateOf {
    Authority,
    Timestamps,
    Organization,
    /// An organization that has a key of the operator's own.
    Operator,
}

impl CertificateOf {
    /// The word that the API uses.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Timestamps => "timestamps",
            Self::Organization => "organization",
            Self::Operator => "operator",
        }
    }
}

/// A certificate whose key is kept here, or is the operator's own.
#[derive(Debug, Clone)]
pub(crate) struct KeptCertificate {
    pub(crate) of: CertificateOf,
    /// Its distinguished name.
    pub(crate) subject: String,
    pub(crate) validity: Validity,
}

impl Keys {
    /// The certificates whose keys are kept here: the authority's, our timestamp authority's, organizations'. Of the last
    /// those that were replaced are gone.
    pub(crate) async fn certificates(
        &self,
        store: &Store,
        secrets: &Secrets,
    ) -> Result<Vec<KeptCertificate>, KeyError> {
        let mut found = vec![KeptCertificate {
            of: CertificateOf::Authority,
            subject: self.authority.subject(),
            validity: self.authority.validity(),
        }];
        for (name, sealed) in store.credentials().await? {
            let of = match name.as_str() {
                TIMESTAMP_AUTHORITY => CertificateOf::Timestamps,
                name if name.starts_with(ORGANIZATION) => CertificateOf::Organization,
                _ => continue,
            };
            let credential = Kept::decrypt(secrets, &name, &sealed)?.credential()?;
            found.push(KeptCertificate {
                of,
                subject: credential.subject(),
                validity: credential.validity(),
            });
        }
        found.extend(
            self.operator
                .opened()
                .map(|(_, credential)| KeptCertificate {
                    of: CertificateOf::Operator,
                    subject: credential.subject(),
                    validity: credential.validity(),
                }),
        );
        found.sort_by_key(|kept| (kept.of, kept.validity.not_after));
        Ok(found)
    }
}

impl App {
    /// The certificates whose keys are kept here, and until when they are valid.
    pub(crate) async fn certificates(&self) -> Result<Vec<KeptCertificate>, Problem> {
        let found = self.0.keys.certificates(self.store(), self.secrets()).await;
        found.map_err(|error| Problem::internal("the keys that are kept cannot be read", &error))
    }
}
