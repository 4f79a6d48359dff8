//! What verification says of each signature of the document.

use sealpost_pdf::verify::{Clock, Finding, RevocationSource, RevocationStatus, SignatureReport};
use sealpost_pdf::{FactGroup, FactSection, Verdict};

use super::facts::{Facts, brief};
use super::{Paper, Words};

/// Findings that are shown of each signature.
const MAX_FINDINGS: usize = 20;

impl Paper<'_> {
    /// What verification says of each signature of the document.
    pub(super) fn checks(&self) -> FactSection {
        let groups = self.signatures.signatures.iter();
        FactSection {
            heading: self
                .say("签名核验结果", "Verification of the signatures")
                .to_owned(),
            lead: Some(format!(
                "{} {} · SHA-256 {}",
                self.say("核验时间", "Verified at"),
                self.time(self.now),
                self.signatures.file_sha256
            )),
            groups: groups.map(|signature| self.check(signature)).collect(),
        }
    }

    fn check(&self, signature: &SignatureReport) -> FactGroup {
        let mut facts = Facts::default();
        let verdict = match signature.verdict {
            Verdict::Valid => self.say("有效", "Valid"),
            Verdict::Indeterminate => self.say("无法判定", "Indeterminate"),
            Verdict::Unsigned | Verdict::Invalid => self.say("无效", "Invalid"),
        };
        facts.put(self.say("结论", "Verdict"), verdict);
        if let Some(signer) = &signature.signer {
            facts.put(self.say("签名证书", "Certificate"), brief(&signer.subject));
            facts.put(self.say("颁发者", "Issuer"), brief(&signer.issuer));
            facts.put(self.say("序列号", "Serial"), signer.serial.as_str());
            facts.put(
                self.say("证书有效期", "Valid"),
                format!(
                    "{} – {}",
                    self.time(signer.not_before),
                    self.time(signer.not_after)
                ),
            );
        }
        if let Some(at) = signature.signed_at {
            let clock = match signature.clock {
                Clock::TimestampAuthority => self.say("时间戳机构", "timestamp authority's clock"),
                Clock::Signer | Clock::None => self.say("签署平台", "platform's clock"),
            };
            facts.put(
                self.say("签名时间", "Signed"),
                format!("{} ({clock})", self.time(at)),
            );
        }
        let stamped = signature.timestamp_authority.as_ref();
        facts.put_some(
            self.say("时间戳机构", "Timestamp authority"),
            stamped.map(|party| brief(&party.subject)),
        );
        let level = signature.level;
        facts.put_some(
            self.say("级别", "Level"),
            level.map(|level| format!("PAdES {}", level.as_str())),
        );
        facts.put(
            self.say("算法", "Algorithm"),
            format!(
                "{} / {}",
                signature.signature_algorithm, signature.digest_algorithm
            ),
        );
        let revocation = signature.revocation;
        let status = match revocation.status {
            RevocationStatus::Good => self.say("未吊销", "not revoked"),
            RevocationStatus::RevokedLater => self.say("签名之后被吊销", "revoked later"),
            RevocationStatus::Revoked => self.say("已吊销", "revoked"),
            RevocationStatus::Unknown => self.say("未知", "unknown"),
        };
        let source = match revocation.source {
            Some(RevocationSource::Crl) => " (CRL",
            Some(RevocationSource::Ocsp) => " (OCSP",
            None => "",
        };
        let as_of = revocation.as_of.map(|at| format!(", {})", self.time(at)));
        facts.put(
            self.say("签名时的吊销状态", "Revocation when signed"),
            format!("{status}{source}{}", as_of.unwrap_or_default()),
        );
        self.words.findings(&signature.findings, &mut facts);
        facts.group(Some(signature.field.clone()))
    }
}

impl Words {
    /// What was found about a signature. Of a document that somebody made for it there may be thousands: the worst come first.
    fn findings(&self, findings: &[Finding], facts: &mut Facts) {
        let mut findings: Vec<&Finding> = findings.iter().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let (shown, more) = findings.split_at(findings.len().min(MAX_FINDINGS));
        for finding in shown {
            facts.put(self.say("说明", "Finding"), brief(&finding.detail));
        }
        if !more.is_empty() {
            let (before, after) = (self.say("另有 ", "and "), self.say(" 条", " more"));
            let more = format!("{before}{}{after}", more.len());
            facts.put(self.say("说明", "Finding"), more);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use sealpost_pdf::verify::{Code, Severity};

    use super::*;
    use crate::pages::lang::Lang;

    #[test]
    fn of_thousands_of_findings_the_worst_are_shown_and_the_rest_counted() {
        let finding = |severity, detail: String| Finding {
            severity,
            code: Code::Modified,
            detail,
        };
        let mut findings: Vec<Finding> = (0..5000)
            .map(|n| finding(Severity::Note, format!("note {n}")))
            .collect();
        findings.push(finding(Severity::Failure, "坏".repeat(70_000)));
        for (lang, says) in [(Lang::Zh, "另有 4981 条"), (Lang::En, "and 4981 more")] {
            let words = Words {
                lang,
                zone: TimeZone::UTC,
            };
            let mut facts = Facts::default();
            words.findings(&findings, &mut facts);
            let shown: Vec<&str> = facts.0.iter().map(|(_, value)| value.as_str()).collect();
            assert_eq!(shown.len(), 21);
            assert_eq!(shown[0], format!("{}…", "坏".repeat(300)));
            assert_eq!((shown[1], shown[20]), ("note 0", says));
            let mut facts = Facts::default();
            words.findings(&findings[..20], &mut facts);
            assert_eq!(facts.0.len(), 20);
        }
    }
}
