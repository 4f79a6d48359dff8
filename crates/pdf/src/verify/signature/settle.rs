//! What later signatures say of earlier ones: of fields that were added and can be seen, and of timestamps whose authority's key was
//! compromised later.

use super::{Examined, verdict};
use crate::verify::{
    changes::ShownField,
    report::{
        Change, ChangeKind, Clock, Code, Finding, Level, Severity, SignatureKind, SignatureReport,
        Verdict,
    },
    revocation::Compromise,
};

/// Judges the fields that were added after each signature and can be seen. Such a field is permitted when it shows a later
/// signer's own signature that is valid itself, because somebody answers for it; anything else could cover what was signed.
/// And judges timestamps of authorities whose keys were compromised later: they count when a valid document timestamp shows that
/// they were there before.
///
/// Signatures are taken from the last to the first, so that each relies on final verdicts alone.
pub(in crate::verify) fn settle(examined: &mut [Examined]) {
    examined.sort_by_key(|one| std::cmp::Reverse(one.report.covers_bytes));
    for n in 0..examined.len() {
        let (later, rest) = examined.split_at_mut(n);
        let one = &mut rest[0];
        if let Some(compromise) = one.compromised.take() {
            let was_there = later.iter().any(|signature| {
                signature.report.covers_bytes > one.report.covers_bytes
                    && signature.report.kind == SignatureKind::DocumentTimestamp
                    && signature.report.verdict == Verdict::Valid
                    && signature
                        .report
                        .signed_at
                        .is_some_and(|at| at < compromise.since)
            });
            if !was_there {
                distrust_timestamp(&mut one.report, &compromise);
            }
        }
        for ShownField { id, detail } in std::mem::take(&mut one.shown) {
            let permitted = later.iter().any(|signature| {
                signature.field == id
                    && signature.report.covers_bytes > one.report.covers_bytes
                    && signature.report.kind == SignatureKind::Signature
                    && signature.report.verdict == Verdict::Valid
            });
            if !permitted {
                one.report.findings.push(Finding {
                    severity: Severity::Failure,
                    code: Code::Modified,
                    detail: format!("{detail} and can be seen, but shows no valid signature"),
                });
                one.report.verdict = Verdict::Invalid;
            }
            one.report.changes.push(Change {
                kind: ChangeKind::FieldAdded,
                permitted,
                detail,
            });
        }
    }
}

/// Takes back what a timestamp has proven: whoever had its authority's key may have made it at any time.
fn distrust_timestamp(report: &mut SignatureReport, compromise: &Compromise) {
    report.findings.push(Finding {
        severity: Severity::Doubt,
        code: Code::Timestamp,
        detail: format!(
            "timestamp authority: a certificate was revoked later, for a reason that does not exclude that others know its key, and no other timestamp shows that this one was made before: {}",
            compromise.subject
        ),
    });
    if report.kind == SignatureKind::Signature {
        report.level = report.level.map(|_| Level::BB);
        report.signed_at = report.claimed_at;
        report.clock = match report.claimed_at {
            Some(_) => Clock::Signer,
            None => Clock::None,
        };
    }
    report.verdict = verdict(&report.findings);
}
