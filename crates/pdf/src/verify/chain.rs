//! Builds and checks certificate chains (RFC 5280 section 6), as of a given time.
//!
//! A chain leads from a certificate over others to a trusted root. Its certificates come from the signature, the document
//! and the verifier. Names are compared byte by byte, as issuers copy them.

use super::{
    crl::RevocationList,
    fitness::{Purpose, unfit, unknown_critical, validity},
    known::Known,
    ocsp::OcspResponse,
    report::{Code, Finding, Revocation, RevocationReason, RevocationStatus, Severity},
    revocation::{Compromise, against},
};

/// The most certificates between a leaf and its root.
const MAX_DEPTH: usize = 8;
/// The most public-key operations that building one chain may take.
const MAX_CHECKS: usize = 64;

/// Where the certificates of a verification come from, and what says which were revoked.
pub(super) struct Pool<'p> {
    pub(super) roots: &'p [Known],
    pub(super) others: Vec<&'p Known>,
    pub(super) lists: &'p [&'p RevocationList],
    pub(super) responses: &'p [OcspResponse],
}

/// What is to be thought of a certificate that was used for something.
pub(super) struct Judged {
    pub(super) findings: Vec<Finding>,
    /// Whether revocation is known for a chain up to a trusted root.
    pub(super) lasting: bool,
    /// What is known of the leaf's revocation.
    pub(super) revocation: Revocation,
    /// What was revoked later in a way that makes what a timestamp authority has stamped before doubtful.
    pub(super) compromised: Option<Compromise>,
}

/// A chain from a leaf (not in it) up to a root, or as far as it goes.
pub(super) struct Chain {
    pub(super) above: Vec<Known>,
    pub(super) trusted: bool,
}

impl Pool<'_> {
    /// The chain of `leaf`: a trusted one when there is one.
    pub(super) fn chain(&self, leaf: &Known) -> Chain {
        if self.roots.iter().any(|root| root.der == leaf.der) {
            return Chain {
                above: Vec::new(),
                trusted: true,
            };
        }
        let mut path = Vec::new();
        let mut checks = MAX_CHECKS;
        if self.climb(leaf, &mut path, &mut checks) {
            return Chain {
                above: path.into_iter().cloned().collect(),
                trusted: true,
            };
        }
        // Not trusted: show the first issuers all the same.
        let mut above: Vec<Known> = Vec::new();
        while above.len() < MAX_DEPTH {
            let below = above.last().unwrap_or(leaf);
            let next = self
                .others
                .iter()
                .find(|known| known.is_issuer_of(below) && known.der != below.der);
            match next {
                Some(next) if above.iter().all(|known| known.der != next.der) => {
                    above.push((*next).clone())
                }
                _ => break,
            }
        }
        Chain {
            above,
            trusted: false,
        }
    }

    fn climb<'c>(&'c self, below: &Known, path: &mut Vec<&'c Known>, checks: &mut usize) -> bool {
        if path.len() == MAX_DEPTH {
            return false;
        }
        let candidates = self.roots.iter().map(|root| (root, true));
        let candidates = candidates.chain(self.others.iter().map(|known| (*known, false)));
        for (candidate, is_root) in candidates {
            if !candidate.is_issuer_of(below)
                || !candidate.is_authority(path.len())
                || path.iter().any(|known| known.der == candidate.der)
            {
                continue;
            }
            let Some(left) = checks.checked_sub(1) else {
                return false;
            };
            *checks = left;
            if !candidate.signed(below) {
                continue;
            }
            path.push(candidate);
            if is_root || self.climb(candidate, path, checks) {
                return true;
            }
            path.pop();
        }
        false
    }

    /// Everything that stands against using `leaf` for `purpose` at `at` (UTC milliseconds). `proven` says that `at` is more
    /// than the signer's claim; otherwise `now` counts too.
    pub(super) fn judge(
        &self,
        leaf: &Known,
        chain: &Chain,
        purpose: Purpose,
        (at, proven, now): (i64, bool, i64),
    ) -> Judged {
        let mut findings = Vec::new();
        if !chain.trusted {
            let detail = "the certificate does not lead to a trusted root".to_owned();
            findings.push(Finding {
                severity: Severity::Doubt,
                code: Code::Untrusted,
                detail,
            });
        }
        if let Some(detail) = unfit(leaf, purpose) {
            findings.push(Finding {
                severity: Severity::Failure,
                code: Code::KeyUsage,
                detail,
            });
        }
        let mut revocation_known = true;
        let mut of_leaf = None;
        let mut compromised: Option<Compromise> = None;
        let all: Vec<&Known> = std::iter::once(leaf).chain(&chain.above).collect();
        for (n, known) in all.iter().enumerate() {
            findings.extend(unknown_critical(known));
            findings.extend(validity(known, at, proven, now));
            let issuer = all.get(n + 1);
            // A root is trusted by decision; nobody can revoke it but the verifier. And what strangers say of their own is worth
            // nothing, while there may be so much of it that checking it takes hours.
            if let Some(issuer) = issuer {
                let (revocation, doubtful_since) = match chain.trusted {
                    true => self.revocation(known, issuer, at),
                    false => (Revocation::UNKNOWN, None),
                };
                findings.extend(against(known, &revocation, proven));
                if revocation.status == RevocationStatus::RevokedLater
                    && !RevocationReason::leaves_timestamps(revocation.reason)
                    && let Some(since) = doubtful_since
                    && compromised.as_ref().is_none_or(|other| since < other.since)
                {
                    let subject = known.certificate.tbs_certificate().subject();
                    compromised = Some(Compromise {
                        since,
                        subject: subject.to_string(),
                    });
                }
                revocation_known &= revocation.status != RevocationStatus::Unknown;
                of_leaf.get_or_insert(revocation);
            }
        }
        if !revocation_known {
            let detail = "nothing says whether the certificate was revoked".to_owned();
            findings.push(Finding {
                severity: Severity::Note,
                code: Code::RevocationUnknown,
                detail,
            });
        }
        Judged {
            findings,
            lasting: revocation_known && chain.trusted,
            revocation: of_leaf.unwrap_or(Revocation::UNKNOWN),
            compromised,
        }
    }
}
