//! The evidence as a report on paper: PDF/A, in Chinese or English, sealed by the platform.

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sealpost_contract::UtcMillis;
use sealpost_flow::{Digest, Flow, Happening, Method, Party, Signer, Step};
use sealpost_pdf::verify::{Clock, Finding, RevocationSource, RevocationStatus, SignatureReport};
use sealpost_pdf::{FactGroup, FactSection, FactSheet, Report, Verdict, draw_facts};
use sealpost_store::{StoredEvent, StoredFlow};

use super::timeline::{tell, tell_who};
use crate::app::App;
use crate::pages::lang::Lang;
use crate::problem::Problem;

/// How long a report is handed out again, in milliseconds: making one may take a timestamp.
const KEPT: i64 = 10 * 60 * 1000;

/// Findings that are shown of each signature, and characters of what others have written.
const MAX_FINDINGS: usize = 20;
const MAX_CHARACTERS: usize = 300;

/// The evidence of a flow as a sealed report.
pub(crate) async fn report(app: &App, stored: &StoredFlow, lang: Lang) -> Result<Bytes, Problem> {
    let now = app.now();
    let kept = format!("report-{}-{}-{}", stored.chain_head, lang.tag(), now / KEPT);
    app.kept_or_made(kept, async {
        let flow = &stored.flow;
        let events = app.store().events(&flow.id).await?;
        let document = app.store().document(&flow.newest()).await?;
        let signatures = app.verify(document.into()).await?;
        let channel = app.store().find_channel(&stored.channel_id).await?;
        let words = Words {
            lang,
            zone: app.config().time_zone.clone(),
        };
        let (authority, validity) = app.authority_subject();
        let paper = Paper {
            flow,
            stored,
            events: &events,
            signatures: &signatures,
            initiator: channel.map(|channel| channel.name).unwrap_or_default(),
            authority,
            authority_validity: (validity.not_before, validity.not_after),
            words,
            now,
        };
        let sheet = paper.sheet();
        let drawn = app.on_paper(move || draw_facts(&sheet)).await?;
        let drawn = drawn
            .map_err(|error| Problem::internal("the evidence report cannot be drawn", &error))?;
        app.seal_report(drawn).await
    })
    .await
}

/// As much of a text as one fact shows, which others have written.
fn brief(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

struct Words {
    lang: Lang,
    zone: TimeZone,
}

impl Words {
    fn say(&self, zh: &'static str, en: &'static str) -> &'static str {
        self.lang.say(zh, en)
    }

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

    /// To the millisecond, with the offset from UTC.
    fn time(&self, at: UtcMillis) -> String {
        let Ok(at) = Timestamp::from_millisecond(at) else {
            return String::new();
        };
        let local = at.to_zoned_datetime(self.zone.clone());
        local.strftime("%Y-%m-%d %H:%M:%S%.3f %:z").to_string()
    }
}

/// Everything that the report tells of.
struct Paper<'p> {
    flow: &'p Flow,
    stored: &'p StoredFlow,
    events: &'p [StoredEvent],
    signatures: &'p Report,
    initiator: String,
    authority: String,
    authority_validity: (UtcMillis, UtcMillis),
    words: Words,
    now: UtcMillis,
}

/// Facts being collected.
#[derive(Default)]
struct Facts(Vec<(String, String)>);

impl Facts {
    fn put(&mut self, label: &str, value: impl Into<String>) {
        self.0.push((label.to_owned(), value.into()));
    }

    fn put_some(&mut self, label: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.put(label, value);
        }
    }

    fn group(self, title: Option<String>) -> FactGroup {
        FactGroup {
            title,
            facts: self.0,
        }
    }
}

impl Paper<'_> {
    fn say(&self, zh: &'static str, en: &'static str) -> &'static str {
        self.words.say(zh, en)
    }

    fn time(&self, at: UtcMillis) -> String {
        self.words.time(at)
    }

    fn sheet(&self) -> FactSheet {
        let id = self.flow.id.as_str();
        let title = self.say("电子签署证据报告", "Evidence of an electronic signing");
        let lead = self.say(
            "本报告由签署平台根据签署流程的存证记录自动生成，并由平台的密钥签章。记录逐条以哈希链相连，任何改动均可发现；可用 sealpost verify --evidence 离线复算。",
            "The platform made this report from the record of the sign flow and sealed it with its key. The record is hash-chained, so that any change shows; sealpost verify --evidence recomputes it offline.",
        );
        let made = format!(
            "{}{}",
            self.say("生成时间：", "Made at "),
            self.time(self.now)
        );
        FactSheet {
            title: title.to_owned(),
            language: self.words.lang.tag(),
            document_id: format!("{id}-evidence"),
            drawn_at: self.now,
            lead: vec![lead.to_owned(), made],
            sections: vec![
                self.summary(),
                self.documents(),
                self.parties(),
                self.checks(),
                self.authority(),
                self.record(),
            ],
            foot: format!("{} {id}", self.say("签署流程", "Sign flow")),
        }
    }

    fn summary(&self) -> FactSection {
        let flow = self.flow;
        let mut facts = Facts::default();
        facts.put(self.say("签署流程编号", "Sign flow"), flow.id.as_str());
        facts.put(self.say("业务编号", "Reference"), flow.reference.as_str());
        facts.put(self.say("文件名称", "Title"), flow.title.as_str());
        facts.put(self.say("发起方", "Initiator"), self.initiator.as_str());
        let status = flow.state.status();
        facts.put(
            self.say("状态", "State"),
            format!("{} ({status})", status.code()),
        );
        facts.put(self.say("创建时间", "Created"), self.time(flow.created_at));
        facts.put(self.say("签署期限", "Deadline"), self.time(flow.expires_at));
        let ended = flow.state.end().map(|(_, at)| self.time(at));
        facts.put_some(self.say("结束时间", "Ended"), ended);
        let level = flow.level.map(|level| format!("PAdES {level}"));
        facts.put_some(self.say("签名级别", "Level of signatures"), level);
        let downgrade = flow.downgrade.as_ref().map(|downgrade| {
            format!(
                "{} → {}: {}",
                downgrade.wanted,
                flow.level.map_or("", |level| level.as_str()),
                downgrade.reason
            )
        });
        facts.put_some(self.say("级别降低的原因", "Why it is lower"), downgrade);
        FactSection {
            heading: self.say("概要", "Summary").to_owned(),
            lead: Some(
                self.say(
                    "除另有说明外，时间取自平台服务器的时钟。",
                    "Unless something else is said, times are by the clock of the platform's server.",
                )
                .to_owned(),
            ),
            groups: vec![facts.group(None)],
        }
    }

    /// Every version that the document had.
    fn documents(&self) -> FactSection {
        let mut facts = Facts::default();
        facts.put(
            self.say("原始文件", "Original"),
            self.flow.original.to_string(),
        );
        for StoredEvent { event, .. } in self.events {
            let digest = match &event.what {
                Happening::Applied { document, .. }
                | Happening::Preserved { document, .. }
                | Happening::Completed { document } => document,
                _ => continue,
            };
            let told = tell(self.flow, &event.what, self.words.lang);
            let label = [told.what, &told.more].join(" ");
            facts.put(label.trim(), format!("{digest} ({})", self.time(event.at)));
        }
        FactSection {
            heading: self
                .say("文件各版本的摘要", "Digests of each version")
                .to_owned(),
            lead: Some("SHA-256".to_owned()),
            groups: vec![facts.group(None)],
        }
    }

    fn parties(&self) -> FactSection {
        let signers = self.flow.signers.iter();
        FactSection {
            heading: self.say("签署方", "Parties").to_owned(),
            lead: None,
            groups: signers.map(|signer| self.party(signer)).collect(),
        }
    }

    fn party(&self, signer: &Signer) -> FactGroup {
        let mut facts = Facts::default();
        let kind = match &signer.party {
            Party::Person { .. } => self.say("个人", "Person"),
            Party::Organization {
                automatic: true, ..
            } => self.say("机构（自动盖章）", "Organization, sealed automatically"),
            Party::Organization { .. } => self.say("机构", "Organization"),
        };
        facts.put(self.say("类型", "Type"), kind);
        facts.put(self.say("签署顺序", "Order"), signer.order.to_string());
        // Whoever has not acted yet has proven nothing.
        if !matches!(signer.step, Step::Waiting | Step::Open { .. }) {
            let proven = self.authentication(signer);
            facts.put(self.say("身份认证", "Authentication"), proven);
        }
        let mut program = None;
        for StoredEvent { event, .. } in self.events {
            match &event.what {
                Happening::Agreed {
                    signer: no,
                    consent,
                    digest,
                    language,
                } if *no == signer.no => {
                    facts.put(
                        self.say("同意的文字", "Agreed to"),
                        format!("“{consent}” ({language}, {})", self.time(event.at)),
                    );
                    facts.put(
                        self.say("文字的摘要", "Digest of these words"),
                        digest.to_string(),
                    );
                }
                Happening::Signed {
                    signer: no, typed, ..
                } if *no == signer.no => {
                    program.clone_from(&event.user_agent);
                    facts.put_some(self.say("键入的姓名", "Typed name"), typed.clone());
                }
                _ => {}
            }
        }
        match &signer.step {
            Step::Signed { intent } | Step::Applied { intent, .. } => {
                facts.put(self.say("签署时间", "Signed"), self.time(intent.at));
                let address = intent.address.map(|address| address.to_string());
                facts.put_some(self.say("网络地址", "Address"), address);
                facts.put_some(self.say("所用程序", "Program"), program);
                facts.put(
                    self.say("所见文件的摘要", "Digest of what was shown"),
                    intent.document.to_string(),
                );
                let mark = intent.mark.as_ref().map(Digest::to_string);
                facts.put_some(self.say("签名图样的摘要", "Digest of the mark"), mark);
            }
            Step::Rejected { at } => facts.put(self.say("拒签时间", "Rejected"), self.time(*at)),
            Step::Waiting | Step::Open { .. } => {}
        }
        if let Step::Applied {
            at,
            document,
            certificate,
            ..
        } = &signer.step
        {
            facts.put(self.say("写入文件", "Put into the file"), self.time(*at));
            facts.put(
                self.say("写入后文件的摘要", "Digest of the file with it"),
                document.to_string(),
            );
            facts.put(
                self.say("证书序列号", "Certificate serial"),
                certificate.as_str(),
            );
        }
        facts.group(Some(format!("{}. {}", signer.no, signer.party.name())))
    }

    /// How the signer proved who they are.
    fn authentication(&self, signer: &Signer) -> String {
        if signer.party.is_automatic() {
            let said = self.say(
                "由发起方授权，自动盖章",
                "Sealed automatically, as the initiator is authorized to",
            );
            return said.to_owned();
        }
        let proven = self.events.iter().rev().find_map(|stored| {
            let Happening::Authenticated {
                signer: no,
                method,
                contact,
            } = &stored.event.what
            else {
                return None;
            };
            (*no == signer.no).then_some((method, contact, stored.event.at))
        });
        match proven {
            Some((method, contact, at)) => {
                let way = match method {
                    Method::Sms => self.say("短信验证码", "Code by SMS"),
                    Method::Email => self.say("邮件验证码", "Code by e-mail"),
                };
                format!("{way} {contact} ({})", self.time(at))
            }
            None => self
                .say("持有专属签署链接", "By having the secret link")
                .to_owned(),
        }
    }

    /// What verification says of each signature of the document.
    fn checks(&self) -> FactSection {
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
        let level = signature
            .level
            .and_then(|level| serde_json::to_value(level).ok());
        let level = level.as_ref().and_then(|level| level.as_str());
        facts.put_some(
            self.say("级别", "Level"),
            level.map(|level| format!("PAdES {level}")),
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

    fn authority(&self) -> FactSection {
        let mut facts = Facts::default();
        facts.put(
            self.say("内置机构", "Built-in authority"),
            self.authority.as_str(),
        );
        facts.put(
            self.say("是否持牌", "Licensed"),
            self.say(
                "否：不是持牌的电子认证服务机构",
                "No: it is not a licensed certification authority",
            ),
        );
        let (from, until) = self.authority_validity;
        facts.put(
            self.say("有效期", "Valid"),
            format!("{} – {}", self.time(from), self.time(until)),
        );
        FactSection {
            heading: self
                .say("证书颁发机构", "Certification authority")
                .to_owned(),
            lead: None,
            groups: vec![facts.group(None)],
        }
    }

    /// Every event with its place in the chain.
    fn record(&self) -> FactSection {
        let lang = self.words.lang;
        let group = |stored: &StoredEvent| {
            let StoredEvent { event, json, chain } = stored;
            let told = tell(self.flow, &event.what, lang);
            let mut facts = Facts::default();
            facts.put(self.say("时间", "Time"), self.time(event.at));
            facts.put(
                self.say("操作者", "By"),
                tell_who(self.flow, &event.by, lang),
            );
            let address = event.address.map(|address| address.to_string());
            facts.put_some(self.say("网络地址", "Address"), address);
            facts.put_some(self.say("所用程序", "Program"), event.user_agent.clone());
            facts.put(self.say("规范 JSON", "Canonical JSON"), json.as_str());
            facts.put(self.say("链值", "Chain value"), chain.to_string());
            let title = format!("{}. {} {}", event.seq, told.what, told.more);
            facts.group(Some(title.trim().to_owned()))
        };
        FactSection {
            heading: self.say("事件记录与哈希链", "Events and their hash chain").to_owned(),
            lead: Some(format!(
                "{} {}",
                self.say(
                    "链值(n) = SHA-256(链值(n-1) ‖ 规范 JSON(n))，链值(0) 为 32 个零字节，规范 JSON 依 RFC 8785。末值：",
                    "chain(n) = SHA-256(chain(n-1) || canonical JSON(n)); chain(0) is 32 zero bytes; canonical JSON after RFC 8785. Head:",
                ),
                self.stored.chain_head
            )),
            groups: self.events.iter().map(group).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use sealpost_pdf::verify::{Code, Severity};

    use super::*;

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
