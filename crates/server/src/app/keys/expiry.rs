//! Until when what signs is valid: said at every start, said again daily while it is short, and shown in the metrics.
//!
//! Keys that the built-in authority issues to organizations are not watched: they are renewed a month before they end.

use sealpost_contract::UtcMillis;

use super::Keys;
use crate::api::time;
use crate::app::App;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// A certificate that expires sooner than this is worth a warning, in milliseconds: 60 days.
pub(crate) const SOON: i64 = 60 * DAY;

/// A chain of certificates that somebody has to renew.
pub(crate) struct Watched {
    /// Whose: `built-in authority`, or the organization that an own key is for.
    pub(crate) whose: String,
    /// The name of the key's certificate.
    pub(crate) subject: String,
    /// When the first certificate of the chain ends.
    pub(crate) not_after: UtcMillis,
}

impl Watched {
    /// Whole days that are left; negative once it has expired.
    pub(crate) fn days_left(&self, now: UtcMillis) -> i64 {
        (self.not_after - now).div_euclid(DAY)
    }
}

impl Keys {
    /// The built-in authority, and the operator's own keys as far as they have been opened.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let authority = Watched {
            whose: "built-in authority".to_owned(),
            subject: self.authority.subject(),
            not_after: self.authority.validity().not_after,
        };
        let own = self.operator.opened().map(|(whose, credential)| Watched {
            whose,
            subject: credential.subject(),
            not_after: credential.chain_not_after(),
        });
        std::iter::once(authority).chain(own).collect()
    }
}

impl App {
    /// What somebody has to renew one day.
    pub(crate) fn watched_certificates(&self) -> Vec<Watched> {
        self.0.keys.watched()
    }

    /// Says of each certificate when it ends, or, with `short` alone, of those that end soon.
    pub(crate) fn log_certificates(&self, short: bool) {
        let now = self.now();
        for Watched {
            whose,
            subject,
            not_after,
        } in self.watched_certificates()
        {
            let until = time(not_after);
            if not_after < now {
                tracing::error!(whose, subject, until, "a certificate has expired");
            } else if not_after < now + SOON {
                tracing::warn!(whose, subject, until, "a certificate expires soon");
            } else if !short {
                tracing::info!(whose, subject, until, "a certificate is valid");
            }
        }
    }
}
