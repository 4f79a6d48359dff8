//! What the pages of the console show, as plain values, and their templates.

use askama::Template;
use sealpost_store::Role;

use crate::pages::assets;
use crate::pages::lang::Lang;

/// What every page of the console begins with.
pub(crate) struct Frame {
    pub(crate) lang: Lang,
    pub(crate) operator: String,
    pub(crate) role: Role,
    pub(crate) csrf: String,
    pub(crate) section: Section,
}

/// Which entry of the menu a page belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Overview,
    Flows,
    Callbacks,
    Channels,
    Signing,
    Operators,
    Audit,
    Account,
    None,
}

impl Frame {
    fn say<'a>(&self, zh: &'a str, en: &'a str) -> &'a str {
        self.lang.say(zh, en)
    }

    /// The menu: section, address, words.
    fn menu(&self) -> Vec<(bool, &'static str, &'static str)> {
        let all = [
            (
                Section::Overview,
                "/console",
                "概览",
                "Overview",
                Role::Viewer,
            ),
            (
                Section::Flows,
                "/console/flows",
                "签署流程",
                "Sign flows",
                Role::Viewer,
            ),
            (
                Section::Callbacks,
                "/console/callbacks",
                "回调",
                "Callbacks",
                Role::Viewer,
            ),
            (
                Section::Channels,
                "/console/channels",
                "渠道",
                "Channels",
                Role::Viewer,
            ),
            (
                Section::Signing,
                "/console/signing",
                "证书与印章",
                "Certificates",
                Role::Viewer,
            ),
            (
                Section::Operators,
                "/console/operators",
                "人员",
                "Operators",
                Role::Administrator,
            ),
            (
                Section::Audit,
                "/console/audit",
                "审计",
                "Audit log",
                Role::Administrator,
            ),
        ];
        let seen = all.into_iter().filter(|(.., role)| self.role >= *role);
        seen.map(|(section, address, zh, en, _)| {
            (section == self.section, address, self.lang.say(zh, en))
        })
        .collect()
    }
}

/// A state in a word, with the class that colours it.
pub(crate) struct Badge {
    pub(crate) class: &'static str,
    pub(crate) text: &'static str,
}

/// A number of the overview.
pub(crate) struct Tile {
    label: &'static str,
    value: u64,
    address: &'static str,
    note: Option<String>,
    alarm: bool,
}

impl Tile {
    pub(crate) fn new(label: &'static str, value: u64, address: &'static str) -> Self {
        Self {
            label,
            value,
            address,
            note: None,
            alarm: false,
        }
    }

    pub(crate) fn note(self, note: Option<String>) -> Self {
        Self { note, ..self }
    }

    pub(crate) fn alarm(self, alarm: bool) -> Self {
        Self { alarm, ..self }
    }
}

/// How a channel does.
pub(crate) struct ChannelLine {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) paused: bool,
    pub(crate) share: String,
    pub(crate) acknowledged: u64,
    pub(crate) waiting: u64,
    pub(crate) failed: u64,
    pub(crate) success: String,
    pub(crate) median: String,
    pub(crate) p95: String,
}

pub(crate) struct FlowRow {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) reference: String,
    pub(crate) place: String,
    pub(crate) payer: String,
    pub(crate) channel: String,
    pub(crate) status: Badge,
    pub(crate) created: String,
}

pub(crate) struct FactRow {
    pub(crate) label: &'static str,
    pub(crate) value: String,
}

pub(crate) struct SignerRow {
    pub(crate) order: u8,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) step: Badge,
    /// The link, while it can be used.
    pub(crate) sign_url: Option<String>,
}

pub(crate) struct TimelineRow {
    pub(crate) seq: u64,
    pub(crate) at: String,
    pub(crate) what: &'static str,
    pub(crate) more: String,
    pub(crate) by: String,
    pub(crate) address: String,
}

pub(crate) struct SignatureRow {
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) serial: String,
    pub(crate) verdict: Badge,
}

pub(crate) struct CallbackRow {
    pub(crate) id: String,
    pub(crate) flow: String,
    pub(crate) channel: String,
    pub(crate) state: Badge,
    pub(crate) attempts: u32,
    pub(crate) round: u32,
    pub(crate) created: String,
    pub(crate) next: String,
}

pub(crate) struct AttemptRow {
    pub(crate) round: u32,
    pub(crate) number: u32,
    pub(crate) at: String,
    pub(crate) took: String,
    pub(crate) http_status: String,
    pub(crate) acknowledged: bool,
    /// The stable code of why it did not acknowledge, and the same in words.
    pub(crate) reason: String,
    pub(crate) why: String,
    pub(crate) detail: String,
    pub(crate) answer: String,
}

pub(crate) struct KeyRow {
    pub(crate) id: String,
    pub(crate) since: String,
    pub(crate) revoked: Option<String>,
}

/// Something that is shown once.
pub(crate) struct ShownSecret {
    pub(crate) label: &'static str,
    pub(crate) value: String,
}

pub(crate) struct OperatorRow {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) role_word: &'static str,
    pub(crate) signs_in: &'static str,
    pub(crate) has_totp: bool,
    pub(crate) since: String,
    pub(crate) disabled: bool,
    pub(crate) you: bool,
}

pub(crate) struct OperatorKeyRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) since: String,
    pub(crate) by: String,
    pub(crate) revoked: Option<String>,
}

/// A redelivery of many.
pub(crate) struct RedeliveryRow {
    pub(crate) id: String,
    pub(crate) channel: String,
    pub(crate) since: String,
    pub(crate) started: String,
    pub(crate) finished: Option<String>,
    pub(crate) redelivered: u64,
    pub(crate) total: u64,
    pub(crate) percent: u64,
}

/// What a channel's endpoint is shown of us.
pub(crate) struct CertificateOfChannel {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) until: String,
    pub(crate) expired: bool,
    pub(crate) urgent: bool,
}

/// A contract check in a line.
pub(crate) struct CheckSummary {
    pub(crate) badge: Badge,
    pub(crate) at: String,
    pub(crate) running: bool,
    pub(crate) keeps: usize,
    pub(crate) may: usize,
    pub(crate) breaks: usize,
}

/// One case of a contract check.
pub(crate) struct FindingRow {
    pub(crate) verdict: Badge,
    pub(crate) rule: String,
    pub(crate) about: String,
    pub(crate) contract: String,
    pub(crate) came: String,
    pub(crate) answer: String,
    pub(crate) sent: String,
    pub(crate) remark: String,
}

pub(crate) struct AuditRow {
    pub(crate) at: String,
    pub(crate) operator: String,
    pub(crate) action: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
    pub(crate) address: String,
}

pub(crate) struct SessionRow {
    pub(crate) current: bool,
    pub(crate) since: String,
    pub(crate) seen: String,
    pub(crate) address: String,
    pub(crate) program: String,
}

#[derive(Template)]
#[template(path = "console/sign_in.html")]
pub(crate) struct SignInPage {
    pub(crate) lang: Lang,
    pub(crate) next: String,
    pub(crate) failed: bool,
    /// Why the OpenID provider's word was not enough.
    pub(crate) refused: Option<&'static str>,
    /// There are no operators yet.
    pub(crate) nobody: bool,
    /// The name of the OpenID provider, where operators may sign in there.
    pub(crate) provider: Option<String>,
}

#[derive(Template)]
#[template(path = "console/message.html")]
pub(crate) struct MessagePage {
    pub(crate) frame: Frame,
    pub(crate) text: String,
}

#[derive(Template)]
#[template(path = "console/overview.html")]
pub(crate) struct OverviewPage {
    pub(crate) frame: Frame,
    pub(crate) tiles: Vec<Tile>,
    pub(crate) chart: String,
    pub(crate) names: [&'static str; 3],
    pub(crate) channels: Vec<ChannelLine>,
    pub(crate) as_of: String,
}

#[derive(Template)]
#[template(path = "console/flows.html")]
pub(crate) struct FlowsPage {
    pub(crate) frame: Frame,
    pub(crate) rows: Vec<FlowRow>,
    pub(crate) next: Option<String>,
    pub(crate) channels: Vec<(String, String)>,
    pub(crate) text: String,
    pub(crate) status: String,
    pub(crate) channel: String,
    pub(crate) from: String,
    pub(crate) to: String,
}

#[derive(Template)]
#[template(path = "console/flow.html")]
pub(crate) struct FlowPage {
    pub(crate) frame: Frame,
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) status: Badge,
    pub(crate) reason: Option<String>,
    pub(crate) facts: Vec<FactRow>,
    pub(crate) signers: Vec<SignerRow>,
    pub(crate) timeline: Vec<TimelineRow>,
    pub(crate) chain_head: String,
    pub(crate) signatures: Vec<SignatureRow>,
    pub(crate) pages: Vec<u32>,
    pub(crate) callback: Option<(String, Badge)>,
    pub(crate) sealing_failure: Option<String>,
    pub(crate) can_revoke: bool,
    pub(crate) can_remind: bool,
    /// From when on, if not now.
    pub(crate) remind_from: Option<String>,
    pub(crate) done: Option<String>,
}

#[derive(Template)]
#[template(path = "console/callbacks.html")]
pub(crate) struct CallbacksPage {
    pub(crate) frame: Frame,
    pub(crate) rows: Vec<CallbackRow>,
    pub(crate) next: Option<String>,
    pub(crate) channels: Vec<(String, String)>,
    pub(crate) waiting: u64,
    pub(crate) failed: u64,
    /// Channels with an endpoint that this node leaves alone at the moment, and until when.
    pub(crate) resting: Vec<(String, String)>,
    pub(crate) can_redeliver: bool,
    pub(crate) redeliveries: Vec<RedeliveryRow>,
    pub(crate) state: String,
    pub(crate) channel: String,
}

#[derive(Template)]
#[template(path = "console/callback.html")]
pub(crate) struct CallbackPage {
    pub(crate) frame: Frame,
    pub(crate) row: CallbackRow,
    pub(crate) url: String,
    pub(crate) body: String,
    pub(crate) is_ours: bool,
    pub(crate) attempts: Vec<AttemptRow>,
    pub(crate) can_redeliver: bool,
    pub(crate) done: Option<String>,
}

#[derive(Template)]
#[template(path = "console/channels.html")]
pub(crate) struct ChannelsPage {
    pub(crate) frame: Frame,
    /// Id, name, callback URL, whether paused, since when.
    pub(crate) rows: Vec<(String, String, String, bool, String)>,
    pub(crate) can_change: bool,
}

#[derive(Template)]
#[template(path = "console/channel.html")]
pub(crate) struct ChannelPage {
    pub(crate) frame: Frame,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) callback_url: String,
    pub(crate) schedule: String,
    pub(crate) paused: Option<String>,
    pub(crate) keys: Vec<KeyRow>,
    /// Since when, and until when if it has been replaced.
    pub(crate) secrets: Vec<(String, Option<String>)>,
    pub(crate) certificate: Option<CertificateOfChannel>,
    pub(crate) check: Option<CheckSummary>,
    pub(crate) can_pause: bool,
    pub(crate) can_change: bool,
    pub(crate) done: Option<String>,
}

#[derive(Template)]
#[template(path = "console/check.html")]
pub(crate) struct CheckPage {
    pub(crate) frame: Frame,
    pub(crate) channel: String,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) by: String,
    pub(crate) read_only: bool,
    pub(crate) failure: Option<String>,
    pub(crate) rows: Vec<FindingRow>,
    pub(crate) can_check: bool,
    pub(crate) check: Option<CheckSummary>,
}

#[derive(Template)]
#[template(path = "console/redelivery.html")]
pub(crate) struct RedeliveryPage {
    pub(crate) frame: Frame,
    pub(crate) row: RedeliveryRow,
}

#[derive(Template)]
#[template(path = "console/entering.html")]
pub(crate) struct EnteringPage {
    pub(crate) lang: Lang,
    pub(crate) next: String,
}

#[derive(Template)]
#[template(path = "console/rehearsal.html")]
pub(crate) struct RehearsalPage {
    pub(crate) frame: Frame,
    pub(crate) channel: String,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) acknowledged: bool,
    pub(crate) reason: String,
    pub(crate) status: String,
    pub(crate) took: String,
    pub(crate) sent: String,
    pub(crate) answer: String,
}

#[derive(Template)]
#[template(path = "console/secret.html")]
pub(crate) struct SecretPage {
    pub(crate) frame: Frame,
    /// The page to go to afterwards.
    pub(crate) back: String,
    pub(crate) shown: Vec<ShownSecret>,
}

#[derive(Template)]
#[template(path = "console/signing.html")]
pub(crate) struct SigningPage {
    pub(crate) frame: Frame,
    pub(crate) certificates: Vec<CertificateRow>,
    /// The built-in authority's root.
    pub(crate) pem: String,
    /// The kind of the seal that is looked at.
    pub(crate) kind: String,
    /// The name on it; empty for none.
    pub(crate) seal: String,
    pub(crate) legend: String,
    pub(crate) number: String,
    pub(crate) seals: Vec<SealRow>,
    /// Ids and names.
    pub(crate) channels: Vec<(String, String)>,
    /// What the sample receipt says.
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) can_change: bool,
    pub(crate) done: Option<String>,
}

pub(crate) struct CertificateRow {
    pub(crate) of: &'static str,
    pub(crate) subject: String,
    pub(crate) from: String,
    pub(crate) until: String,
    /// None when it has expired.
    pub(crate) left: Option<String>,
    pub(crate) is_urgent: bool,
}

pub(crate) struct SealRow {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) kind: &'static str,
    /// Who may use it.
    pub(crate) owner: String,
    pub(crate) since: String,
}

#[derive(Template)]
#[template(path = "console/operators.html")]
pub(crate) struct OperatorsPage {
    pub(crate) frame: Frame,
    pub(crate) done: Option<String>,
    pub(crate) rows: Vec<OperatorRow>,
    pub(crate) keys: Vec<OperatorKeyRow>,
    /// Whether operators may sign in at an OpenID provider.
    pub(crate) has_provider: bool,
}

#[derive(Template)]
#[template(path = "console/audit.html")]
pub(crate) struct AuditPage {
    pub(crate) frame: Frame,
    pub(crate) rows: Vec<AuditRow>,
    pub(crate) more: Option<i64>,
}

#[derive(Template)]
#[template(path = "console/account.html")]
pub(crate) struct AccountPage {
    pub(crate) frame: Frame,
    pub(crate) done: Option<String>,
    pub(crate) has_totp: bool,
    pub(crate) sessions: Vec<SessionRow>,
}

#[derive(Template)]
#[template(path = "console/totp.html")]
pub(crate) struct TotpPage {
    pub(crate) frame: Frame,
    pub(crate) secret: String,
    pub(crate) sealed: String,
    pub(crate) qr_side: usize,
    pub(crate) qr_path: String,
    pub(crate) failed: bool,
}

/// Where the layout finds the files that every page needs.
trait Layout {
    fn css_url(&self) -> &'static str {
        &assets::CONSOLE_CSS.url
    }

    fn js_url(&self) -> &'static str {
        &assets::CONSOLE_JS.url
    }

    fn icon_url(&self) -> &'static str {
        &assets::ICON.url
    }
}

macro_rules! has_layout {
    ($($page:ty),*) => { $(impl Layout for $page {})* };
}

has_layout!(
    SignInPage,
    MessagePage,
    OverviewPage,
    FlowsPage,
    FlowPage,
    CallbacksPage,
    CallbackPage,
    ChannelsPage,
    ChannelPage,
    SecretPage,
    RehearsalPage,
    CheckPage,
    RedeliveryPage,
    EnteringPage,
    SigningPage,
    OperatorsPage,
    AuditPage,
    AccountPage,
    TotpPage
);
