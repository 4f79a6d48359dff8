//! What revocation lists and OCSP responses say of a certificate as of a given time, and what that does to a verdict.

use super::{
    chain::Pool,
    known::Known,
    ocsp::Status,
    report::{Code, Finding, Revocation, RevocationSource, RevocationStatus, Severity},
};
use crate::pki::utc_millis;

/// A certificate that was revoked for a reason that does not exclude that others know its key, who could have stamped any time with it.
#[derive(Clone, Debug)]
pub(super) struct Compromise {
    /// Since when that may be so, in UTC milliseconds.
    pub(super) since: i64,
    /// Whose certificate.
    pub(super) subject: String,
}

impl Pool<'_> {
    /// What the revocation lists and OCSP responses say of a certificate as of `at`: the newest of them, unless one knows of a
    /// revocation. One that is out of date clears nobody, but a revocation stays one unless something newer does not have it. With
    /// a revocation comes since when others may know the key.
    pub(super) fn revocation(
        &self,
        known: &Known,
        issuer: &Known,
        at: i64,
    ) -> (Revocation, Option<i64>) {
        let tbs = known.certificate.tbs_certificate();
        // Who has dropped a certificate because it had expired says nothing of it.
        let expired = utc_millis(tbs.validity().not_after).saturating_add(999);
        let lists = self.lists.iter().filter_map(|list| {
            let (stale, entry) = (list.is_stale(at), list.entry(known));
            let says = entry.is_some() || (!stale && list.covers(known));
            (says && list.speaks_for(known, issuer)).then_some((
                stale,
                RevocationSource::Crl,
                list.this_update(),
                entry,
            ))
        });
        let responses = self.responses.iter().filter_map(|response| {
            let said = response.statement(known, issuer, self.lists)?;
            let revoked = match said.status {
                Status::Good => None,
                Status::Revoked(revoked) => Some(revoked),
                Status::Unknown => return None,
            };
            let stale = said.is_stale(at);
            Some((stale, RevocationSource::Ocsp, said.this_update, revoked))
        });
        let mut all: Vec<_> = lists.chain(responses).collect();
        all.sort_by_key(|(stale, ..)| *stale);
        let mut newest = Revocation::UNKNOWN;
        let mut doubtful_since = None;
        for (stale, source, as_of, revoked) in all {
            let status = match revoked {
                Some(revoked) if revoked.since <= at => RevocationStatus::Revoked,
                Some(_) => RevocationStatus::RevokedLater,
                None if stale || as_of > expired => continue,
                None => RevocationStatus::Good,
            };
            let found = Revocation {
                status,
                source: Some(source),
                as_of: Some(as_of),
                revoked_at: revoked.map(|revoked| revoked.since),
                reason: revoked.and_then(|revoked| revoked.reason),
            };
            let outdone = stale && found.as_of <= newest.as_of;
            if !outdone && (found.status, found.as_of) > (newest.status, newest.as_of) {
                newest = found;
                doubtful_since = revoked.map(|revoked| revoked.doubtful_since());
            }
        }
        (newest, doubtful_since)
    }
}

/// What a revocation does to the verdict. `proven` says that the time of use is more than the signer's claim.
pub(super) fn against(known: &Known, revocation: &Revocation, proven: bool) -> Option<Finding> {
    let (severity, detail) = match revocation.status {
        RevocationStatus::Unknown | RevocationStatus::Good => return None,
        RevocationStatus::Revoked => (Severity::Failure, "a certificate had been revoked"),
        RevocationStatus::RevokedLater if proven => {
            (Severity::Note, "a certificate was revoked later")
        }
        RevocationStatus::RevokedLater => (
            Severity::Doubt,
            "a certificate was revoked later than the time that the signer claims",
        ),
    };
    let subject = known.certificate.tbs_certificate().subject();
    Some(Finding {
        severity,
        code: Code::Revoked,
        detail: format!("{detail}: {subject}"),
    })
}
