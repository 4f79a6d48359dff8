//! The evidence as a report on paper: PDF/A, in Chinese or English, sealed by the platform.

mod checks;
mod facts;
mod parties;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sealpost_contract::UtcMillis;
use sealpost_flow::{Flow, Happening, Status};
use sealpost_pdf::{FactSection, FactSheet, Report, draw_facts};
use sealpost_store::{StoredEvent, StoredFlow};

use self::facts::Facts;
use super::timeline::{tell, tell_who};
use crate::app::App;
use crate::pages::lang::Lang;
use crate::problem::Problem;

/// How long a report is handed out again, in milliseconds: making one may take a timestamp.
const KEPT: i64 = 10 * 60 * 1000;

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

struct Words {
    lang: Lang,
    zone: TimeZone,
}

impl Words {
    fn say(&self, zh: &'static str, en: &'static str) -> &'static str {
        self.lang.say(zh, en)
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

impl Paper<'_> {
    fn say(&self, zh: &'static str, en: &'static str) -> &'static str {
        self.words.say(zh, en)
    }

    fn status(&self, status: Status) -> &'static str {
        match status {
            Status::Draft => self.say("草稿", "draft"),
            Status::Signing => self.say("签署中", "signing"),
            Status::Sealing => self.say("封印中", "sealing"),
            Status::Completed => self.say("已完成", "completed"),
            Status::Revoked => self.say("已撤销", "revoked"),
            Status::Expired => self.say("已过期", "expired"),
            Status::Rejected => self.say("已拒签", "rejected"),
        }
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
            format!("{} {}", status.code(), self.status(status)),
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
