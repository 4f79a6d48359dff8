//! What the signing page shows, as plain values, and its templates.
//!
//! [`super::present`] makes these from a stored flow; nothing here reads a clock or a database.

use askama::Template;

use super::assets;
use super::lang::Lang;

/// The signing page of one signer, whatever the state of the flow.
pub(crate) struct View {
    /// Path of the page and prefix of what it calls: `/s/{token}`.
    pub(crate) base: String,
    /// The document's title.
    pub(crate) title: String,
    /// Who wants it signed: the receipt's payee, or the channel.
    pub(crate) asked_by: String,
    /// Whose link this is.
    pub(crate) signer_name: String,
    /// What the money is for.
    pub(crate) item: Option<String>,
    /// The sum, for receipts.
    pub(crate) amount: Option<Amount>,
    /// The document's facts as text, in the order to read them.
    pub(crate) facts: Vec<Fact>,
    /// Those that are shown on demand.
    pub(crate) more_facts: Vec<Fact>,
    /// The document's pages; empty once nobody may sign it any more.
    pub(crate) pages: Vec<Page>,
    /// Everyone who signs.
    pub(crate) signers: Vec<SignerLine>,
    /// The last moment to sign, while that matters.
    pub(crate) deadline: Option<String>,
    /// The words agreed to; recorded with the signature.
    pub(crate) consent: &'static str,
    /// Whether the signature may be typed instead of drawn.
    pub(crate) may_type: bool,
    /// Where the code goes that this signer must enter, masked.
    pub(crate) code_to: Option<String>,
    /// Where the flow stands, as it concerns this signer.
    pub(crate) stage: Stage,
}

/// A sum of money.
pub(crate) struct Amount {
    /// `50,000.00`.
    pub(crate) figure: String,
    /// `伍万元整`, with its currency.
    pub(crate) capitals: String,
}

/// A line of the facts.
pub(crate) struct Fact {
    pub(crate) label: &'static str,
    pub(crate) value: String,
}

/// A page as an image with the places to sign on it. Lengths are PDF points, from the upper left corner.
pub(crate) struct Page {
    pub(crate) url: String,
    pub(crate) alt: String,
    pub(crate) width: f32,
    pub(crate) height: f32,
    pub(crate) marks: Vec<Mark>,
}

/// A place to sign on a page.
#[derive(Clone)]
pub(crate) struct Mark {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) width: f32,
    pub(crate) height: f32,
    pub(crate) label: &'static str,
    pub(crate) mine: bool,
}

impl Mark {
    fn center_x(&self) -> f32 {
        self.x + self.width / 2.0
    }

    fn center_y(&self) -> f32 {
        self.y + self.height / 2.0
    }
}

/// The part of a page around the reader's place, shown with the signature in it before confirming.
pub(crate) struct CloseUp {
    url: String,
    page_width: f32,
    page_height: f32,
    left: f32,
    top: f32,
    width: f32,
    height: f32,
    mark: Mark,
}

/// Someone who signs.
pub(crate) struct SignerLine {
    pub(crate) name: String,
    pub(crate) you: bool,
    pub(crate) progress: Progress,
    pub(crate) progress_text: &'static str,
}

/// How far a signer is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Waiting,
    Open,
    Done,
    Rejected,
}

impl Progress {
    fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Open => "open",
            Self::Done => "done",
            Self::Rejected => "rejected",
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Where the flow stands for the reader. Times are already in words.
pub(crate) enum Stage {
    /// The reader may sign or reject now.
    Open,
    /// Others come first.
    Waiting,
    /// The reader has signed and the flow goes on; `sealing` when it only waits for the sealed file.
    Signed { at: String, sealing: bool },
    /// Everyone has signed and the file is ready.
    Completed { at: String, file_url: String },
    /// The reader rejected.
    RejectedByYou { at: String, reason: String },
    /// Someone else rejected; their reason is between them and the initiator.
    RejectedByAnother { at: String, who: String },
    /// The initiator revoked.
    Revoked { at: String, reason: String },
    /// The deadline passed.
    Expired { at: String },
}

impl Stage {
    /// A stable name: the page reloads when it changes.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Waiting => "waiting",
            Self::Signed { sealing: false, .. } => "signed",
            Self::Signed { sealing: true, .. } => "sealing",
            Self::Completed { .. } => "completed",
            Self::RejectedByYou { .. } => "rejected",
            Self::RejectedByAnother { .. } => "rejected_by_another",
            Self::Revoked { .. } => "revoked",
            Self::Expired { .. } => "expired",
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Whether the page looks for news by itself.
    fn watches(&self) -> bool {
        matches!(self, Self::Waiting | Self::Signed { .. })
    }

    /// Whether the document may still be shown: never once the flow has ended without being completed, when only the
    /// voided copy may leave the house.
    pub(crate) fn shows_document(&self) -> bool {
        match self {
            Self::Open | Self::Waiting | Self::Signed { .. } | Self::Completed { .. } => true,
            Self::RejectedByYou { .. }
            | Self::RejectedByAnother { .. }
            | Self::Revoked { .. }
            | Self::Expired { .. } => false,
        }
    }
}

impl View {
    /// The number of the page on which the reader signs, where it is worth telling.
    fn my_page(&self) -> Option<usize> {
        let is_mine = |page: &Page| page.marks.iter().any(|mark| mark.mine);
        let place = self.pages.iter().position(is_mine)?;
        (self.pages.len() > 1).then_some(place + 1)
    }

    fn close_up(&self) -> Option<CloseUp> {
        const WIDTH: f32 = 330.0;
        const HEIGHT: f32 = 120.0;
        let (page, mark) = self
            .pages
            .iter()
            .find_map(|page| Some((page, page.marks.iter().find(|mark| mark.mine)?)))?;
        let width = WIDTH.max(mark.width * 1.2).min(page.width);
        let height = HEIGHT.max(mark.height * 1.4).min(page.height);
        Some(CloseUp {
            url: page.url.clone(),
            page_width: page.width,
            page_height: page.height,
            left: (mark.center_x() - width / 2.0).clamp(0.0, page.width - width),
            top: (mark.center_y() - height / 2.0).clamp(0.0, page.height - height),
            width,
            height,
            mark: mark.clone(),
        })
    }
}

/// `GET /s/{token}`.
#[derive(Template)]
#[template(path = "sign/page.html")]
pub(crate) struct SigningPage {
    pub(crate) lang: Lang,
    pub(crate) view: View,
}

/// What a wrong link leads to.
#[derive(Template)]
#[template(path = "sign/missing.html")]
pub(crate) struct MissingPage {
    pub(crate) lang: Lang,
}

/// What is shown when a page cannot be: ours to mend, the reader's to try again.
#[derive(Template)]
#[template(path = "sign/trouble.html")]
pub(crate) struct TroublePage {
    pub(crate) lang: Lang,
    pub(crate) status: u16,
}

/// Where the layout finds the files that every page needs.
trait Layout {
    fn css_url(&self) -> &'static str {
        &assets::SIGN_CSS.url
    }

    fn icon_url(&self) -> &'static str {
        &assets::ICON.url
    }
}

impl Layout for SigningPage {}
impl Layout for MissingPage {}
impl Layout for TroublePage {}

impl SigningPage {
    fn sign_js_url(&self) -> &'static str {
        &assets::SIGN_JS.url
    }

    fn viewer_js_url(&self) -> &'static str {
        &assets::VIEWER_JS.url
    }

    fn pad_js_url(&self) -> &'static str {
        &assets::PAD_JS.url
    }
}
