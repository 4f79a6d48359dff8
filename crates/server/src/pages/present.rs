//! From what the flow is to what the signing page shows: words, times and places, in the reader's language.

use jiff::tz::TimeZone;
use sealpost_contract::UtcMillis;

use super::lang::Lang;
use super::view::{Amount, Fact, Mark, Page, Progress, SignerLine, Stage, View};
use crate::app::view::{
    self, FlowState, FlowView, PlaceView, SignerKind, SignerView, SigningView, StepView,
};

/// A4, for pages whose size is not known.
const USUAL_PAGE: [f32; 2] = [595.28, 841.89];

/// More pages than this are read in the downloaded file.
const PAGES_SHOWN: u32 = 60;

/// The facts that are shown in another form than a line of their own.
const ELSEWHERE: [&str; 7] = [
    "amount_fen",
    "amount_capitals",
    "item",
    "project",
    "building",
    "unit",
    "room",
];

/// The lines that everyone should read, in this order; the others are one tap away.
const FIRST: [&str; 4] = ["payer", "payee", "number", "issued_on"];

/// What the signer whose link has this token is shown.
pub(crate) fn present(signing: &SigningView, token: &str, lang: Lang, zone: &TimeZone) -> View {
    let flow = &signing.flow;
    let words = Words { lang, zone };
    let stage = words.stage(signing);
    let base = format!("/s/{token}");
    let pages = if stage.shows_document() {
        words.pages(signing, &base)
    } else {
        Vec::new()
    };
    let value = |key: &str| {
        let fact = flow.facts.iter().find(|fact| fact.key == key)?;
        Some(fact.value.clone())
    };
    let (facts, more_facts) = facts(flow, lang);
    View {
        title: flow.title.clone(),
        asked_by: value("payee").unwrap_or_else(|| flow.requested_by.clone()),
        signer_name: signing
            .signer()
            .map(|signer| signer.name.clone())
            .unwrap_or_default(),
        item: value("item"),
        amount: value("amount_fen").map(|figure| Amount {
            figure: figure.trim_start_matches(['¥', '￥', ' ']).to_owned(),
            capitals: value("amount_capitals").unwrap_or_default(),
        }),
        facts,
        more_facts,
        pages,
        signers: flow
            .signers
            .iter()
            .map(|signer| words.signer(signer, signing.me))
            .collect(),
        deadline: (!flow.state.is_final())
            .then_some(flow.expires_at)
            .flatten()
            .map(|at| words.time(at)),
        consent: consent(lang),
        may_type: signing.may_type,
        code_to: signing.code_goes_to.clone(),
        stage,
        base,
    }
}

/// The words that a signer agrees to. A change of meaning is a new version.
pub(crate) fn consent(lang: Lang) -> &'static str {
    lang.say(
        "我已核对文件内容，同意以电子签名签署；知悉签名、签署时间和网络地址会作为凭证保存。",
        "I have checked the document and agree to sign it electronically. I know that my signature, the time and my network \
         address are kept as evidence.",
    )
}

/// The facts as lines: what everyone should read, beginning with the property; and the others.
fn facts(flow: &FlowView, lang: Lang) -> (Vec<Fact>, Vec<Fact>) {
    let find = |key: &&str| flow.facts.iter().find(|fact| fact.key == *key);
    let line = |fact: &view::Fact| Fact {
        label: lang.say(fact.label_zh, fact.label_en),
        value: fact.value.clone(),
    };
    let parts = ["project", "building", "unit", "room"];
    let parts: Vec<&str> = parts
        .iter()
        .filter_map(find)
        .map(|fact| fact.value.as_str())
        .collect();
    let property = (!parts.is_empty()).then(|| Fact {
        label: lang.say("房屋", "Property"),
        value: parts.join(" "),
    });
    let first = property
        .into_iter()
        .chain(FIRST.iter().filter_map(find).map(line));
    let rest = flow
        .facts
        .iter()
        .filter(|fact| !ELSEWHERE.contains(&fact.key) && !FIRST.contains(&fact.key));
    (first.collect(), rest.map(line).collect())
}

struct Words<'a> {
    lang: Lang,
    zone: &'a TimeZone,
}

impl Words<'_> {
    fn time(&self, at: UtcMillis) -> String {
        let Ok(time) = jiff::Timestamp::from_millisecond(at) else {
            return String::new();
        };
        let form = self.lang.say("%Y年%-m月%-d日 %H:%M", "%-d %b %Y, %H:%M");
        self.zone.to_datetime(time).strftime(form).to_string()
    }

    fn stage(&self, signing: &SigningView) -> Stage {
        let flow = &signing.flow;
        let end = flow.end.as_ref();
        let at = end.map(|end| self.time(end.at)).unwrap_or_default();
        let reason = end.and_then(|end| end.reason.clone()).unwrap_or_default();
        match flow.state {
            FlowState::Completed => Stage::Completed {
                at,
                file_url: end.map(|end| end.file_url.clone()).unwrap_or_default(),
            },
            FlowState::Revoked => Stage::Revoked { at, reason },
            FlowState::Expired => Stage::Expired { at },
            FlowState::Rejected => match end.and_then(|end| end.rejected_by) {
                Some(by) if by == signing.me => Stage::RejectedByYou { at, reason },
                by => Stage::RejectedByAnother {
                    at,
                    who: self.name_of(flow, by),
                },
            },
            FlowState::Draft => Stage::Waiting,
            FlowState::Signing | FlowState::Sealing => {
                match signing.signer().map(|signer| &signer.step) {
                    Some(StepView::Open) => Stage::Open,
                    Some(StepView::Signed { at } | StepView::Applied { at }) => Stage::Signed {
                        at: self.time(*at),
                        sealing: flow.state == FlowState::Sealing,
                    },
                    Some(StepView::Waiting | StepView::Rejected { .. }) | None => Stage::Waiting,
                }
            }
        }
    }

    fn name_of(&self, flow: &FlowView, number: Option<u32>) -> String {
        let signer = flow
            .signers
            .iter()
            .find(|signer| Some(signer.number) == number);
        signer.map_or_else(
            || self.lang.say("另一签署方", "Another signer").to_owned(),
            |signer| signer.name.clone(),
        )
    }

    fn signer(&self, signer: &SignerView, me: u32) -> SignerLine {
        let seals = matches!(signer.kind, SignerKind::Organization { .. });
        let (progress, word) = match &signer.step {
            StepView::Waiting => (Progress::Waiting, self.lang.say("等待中", "Waiting")),
            StepView::Open if seals => (Progress::Open, self.lang.say("待盖章", "To seal")),
            StepView::Open => (Progress::Open, self.lang.say("待签名", "To sign")),
            StepView::Signed { .. } | StepView::Applied { .. } if seals => {
                (Progress::Done, self.lang.say("已盖章", "Sealed"))
            }
            StepView::Signed { .. } | StepView::Applied { .. } => {
                (Progress::Done, self.lang.say("已签名", "Signed"))
            }
            StepView::Rejected { .. } => (Progress::Rejected, self.lang.say("已拒签", "Rejected")),
        };
        SignerLine {
            name: signer.name.clone(),
            you: signer.number == me,
            progress,
            progress_text: word,
        }
    }

    fn pages(&self, signing: &SigningView, base: &str) -> Vec<Page> {
        let flow = &signing.flow;
        let page = |number: u32| {
            let [width, height] = *flow
                .page_sizes
                .get(number as usize - 1)
                .unwrap_or(&USUAL_PAGE);
            let unsigned = flow
                .signers
                .iter()
                .filter(|signer| matches!(signer.step, StepView::Waiting | StepView::Open));
            let here =
                unsigned.filter(|signer| signer.place.page == number && signer.place.rect[2] > 0.0);
            Page {
                url: format!("{base}/pages/{number}.png"),
                alt: match self.lang {
                    Lang::Zh => format!("文件第 {number} 页"),
                    Lang::En => format!("Page {number} of the document"),
                },
                width,
                height,
                marks: here
                    .map(|signer| self.mark(&signer.place, signer.number == signing.me))
                    .collect(),
            }
        };
        (1..=flow.pages.min(PAGES_SHOWN)).map(page).collect()
    }

    fn mark(&self, place: &PlaceView, mine: bool) -> Mark {
        let [x, y, width, height] = place.rect;
        Mark {
            x,
            y,
            width,
            height,
            label: self.lang.say("您在此签名", "You sign here"),
            mine,
        }
    }
}
