//! What a sign flow is at one moment.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use sealpost_contract::{EndStatus, SignFlowId, UtcMillis};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// A signer's number within its flow: its place in the list, from 1.
pub type SignerNo = u8;

/// How long after the start the signers are not reminded, and how long after a reminder not again, in milliseconds.
const REMINDER_AFTER_START: i64 = 30 * 60 * 1000;
const REMINDER_PAUSE: i64 = 10 * 60 * 1000;

/// A sign flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// 32 lower-case hex digits.
    pub id: SignFlowId,
    /// The initiator's own number for it, 1 to 64 characters.
    pub reference: String,
    /// What the signers are shown as its name, 1 to 128 characters.
    pub title: String,
    /// When the draft was made.
    pub created_at: UtcMillis,
    /// The deadline: from this moment on nobody can sign or reject.
    pub expires_at: UtcMillis,
    /// The document as it was handed in or drawn, without a signature.
    pub original: Digest,
    /// The document with the signatures applied so far.
    pub document: Digest,
    /// One to ten, numbered from 1 in this order.
    pub signers: Vec<Signer>,
    /// Where the flow stands.
    pub state: State,
    /// What the sealing worker has to do.
    pub sealing: Sealing,
    /// When the signers were last reminded.
    pub reminded_at: Option<UtcMillis>,
    /// The lowest level of the signatures so far.
    #[serde(default)]
    pub level: Option<Level>,
    /// Why a signature has a lower level than was wanted, if one has.
    #[serde(default)]
    pub downgrade: Option<Downgrade>,
    /// The completed document with its timestamps renewed; [`Flow::document`] stays what the flow ended with.
    #[serde(default)]
    pub archived: Option<Digest>,
    /// When the newest timestamp over the whole document must have been renewed.
    #[serde(default)]
    pub renew_by: Option<UtcMillis>,
    /// How many events the flow has, which is the last one's number.
    pub events: u64,
}

/// Where a flow stands. Each variant holds what is known only there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum State {
    /// `0`: made, but nobody can sign yet.
    Draft,
    /// `1`: signers sign, in their order.
    Signing {
        /// Since when.
        started_at: UtcMillis,
    },
    /// Still `1`: nobody has to act any more; signatures are being put into the PDF.
    Sealing {
        /// When the flow was started.
        started_at: UtcMillis,
        /// Since when only sealing is left.
        since: UtcMillis,
    },
    /// `2`: every signature is applied, and the document was verified afterwards.
    Completed {
        /// When.
        at: UtcMillis,
    },
    /// `3`: taken back by the initiator.
    Revoked {
        /// When.
        at: UtcMillis,
        /// Why, in the initiator's words.
        reason: String,
    },
    /// `5`: the deadline passed.
    Expired {
        /// When that was noticed; at or after the deadline.
        at: UtcMillis,
    },
    /// `7`: a signer rejected.
    Rejected {
        /// When.
        at: UtcMillis,
        /// Who.
        signer: SignerNo,
        /// Why, in the signer's words.
        reason: String,
    },
}

/// A [`State`] without its data, for queries and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// See [`State::Draft`].
    Draft,
    /// See [`State::Signing`].
    Signing,
    /// See [`State::Sealing`].
    Sealing,
    /// See [`State::Completed`].
    Completed,
    /// See [`State::Revoked`].
    Revoked,
    /// See [`State::Expired`].
    Expired,
    /// See [`State::Rejected`].
    Rejected,
}

/// Someone who has to sign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signer {
    /// From 1.
    pub no: SignerNo,
    /// Whose turn comes when: 1 to 10, lower ones first, the same one in parallel.
    pub order: u8,
    /// Who.
    pub party: Party,
    /// Where the signature or seal appears.
    pub place: Place,
    /// How far they are.
    pub step: Step,
}

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Party {
    /// A natural person, who signs by hand through a link.
    Person {
        /// 1 to 64 characters.
        name: String,
    },
    /// An organization.
    Organization {
        /// 1 to 64 characters.
        name: String,
        /// Whether its seal is applied by itself when its turn comes (静默签); otherwise someone signs for it through a link.
        automatic: bool,
    },
}

/// A rectangle on a page.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// From 1.
    pub page: u32,
    /// Left, bottom, right, top, in PDF points (1/72 inch) of the page's user space.
    pub rect: [f32; 4],
}

/// How far a signer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Its turn has not come.
    Waiting,
    /// It may sign or reject.
    Open {
        /// Since when.
        at: UtcMillis,
        /// When the signer first looked at the document.
        viewed_at: Option<UtcMillis>,
    },
    /// It has signed; the PDF does not carry the signature yet.
    Signed {
        /// What was signed.
        intent: Intent,
    },
    /// The PDF carries the signature.
    Applied {
        /// What was signed.
        intent: Intent,
        /// Since when.
        at: UtcMillis,
        /// The document with this signature in it.
        document: Digest,
        /// The serial number of the certificate, as the PDF's signature names it.
        certificate: String,
    },
    /// It has rejected, which ended the flow.
    Rejected {
        /// When.
        at: UtcMillis,
    },
}

/// A signer's will to sign, as evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// When they confirmed.
    pub at: UtcMillis,
    /// From where; `None` for an automatic seal.
    pub address: Option<IpAddr>,
    /// The picture of the signature; `None` for an automatic seal, which is drawn from the name.
    pub mark: Option<Digest>,
    /// The document that they were shown.
    pub document: Digest,
}

/// What a signature carries to be checked with later (ETSI EN 319 142-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Itself and its certificates.
    #[serde(rename = "B-B")]
    BB,
    /// A timestamp, too.
    #[serde(rename = "B-T")]
    BT,
    /// What says that no certificate was revoked, too.
    #[serde(rename = "B-LT")]
    BLT,
    /// A timestamp over all of that, too.
    #[serde(rename = "B-LTA")]
    BLTA,
}

/// That a signature has a lower level than was wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downgrade {
    /// The level that was wanted.
    pub wanted: Level,
    /// Why it was not reached, at most 200 characters.
    pub reason: String,
}

/// The sealing worker's task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealing {
    /// When to seal next; `None`: nothing to do.
    pub next_at: Option<UtcMillis>,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// Why the last of them failed.
    pub last_failure: Option<String>,
}

impl Flow {
    /// The signer of this number.
    pub fn signer(&self, no: SignerNo) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.no == no)
    }

    /// Whose signature is to be applied next: of those who have signed, whoever did first.
    pub fn next_to_apply(&self) -> Option<&Signer> {
        let signed = self
            .signers
            .iter()
            .filter_map(|signer| signer.step.unapplied().map(|intent| (intent.at, signer)));
        signed
            .min_by_key(|(at, signer)| (*at, signer.no))
            .map(|(_, signer)| signer)
    }

    /// From when on the signers may be reminded; `None` unless they sign. 30 minutes after the start and 10 after the last
    /// reminder at the earliest.
    pub fn remindable_at(&self) -> Option<UtcMillis> {
        let State::Signing { started_at } = self.state else {
            return None;
        };
        let after_start = started_at.saturating_add(REMINDER_AFTER_START);
        let after_last = self
            .reminded_at
            .map(|last| last.saturating_add(REMINDER_PAUSE));
        Some(after_last.map_or(after_start, |after_last| after_last.max(after_start)))
    }

    /// Whether the document carries everybody's signature.
    pub fn is_fully_applied(&self) -> bool {
        self.signers.iter().all(|signer| signer.step.is_applied())
    }

    /// The document as it is handed out: what the flow ended with, or that with its timestamps renewed.
    pub fn newest(&self) -> Digest {
        self.archived.unwrap_or(self.document)
    }

    /// Whether `document` is the original or one of the versions that a signature made.
    pub fn has_had(&self, document: &Digest) -> bool {
        let applied = |signer: &Signer| matches!(&signer.step, Step::Applied { document: made, .. } if made == document);
        self.original == *document || self.signers.iter().any(applied)
    }
}

impl State {
    /// The state without its data.
    pub fn status(&self) -> Status {
        match self {
            State::Draft => Status::Draft,
            State::Signing { .. } => Status::Signing,
            State::Sealing { .. } => Status::Sealing,
            State::Completed { .. } => Status::Completed,
            State::Revoked { .. } => Status::Revoked,
            State::Expired { .. } => Status::Expired,
            State::Rejected { .. } => Status::Rejected,
        }
    }

    /// How and when the flow ended, if it has.
    pub fn end(&self) -> Option<(EndStatus, UtcMillis)> {
        match self {
            State::Draft | State::Signing { .. } | State::Sealing { .. } => None,
            State::Completed { at } => Some((EndStatus::Completed, *at)),
            State::Revoked { at, .. } => Some((EndStatus::Revoked, *at)),
            State::Expired { at } => Some((EndStatus::Expired, *at)),
            State::Rejected { at, .. } => Some((EndStatus::Rejected, *at)),
        }
    }
}

impl Status {
    /// All of them, in the order of a flow's life.
    pub const ALL: [Status; 7] = [
        Status::Draft,
        Status::Signing,
        Status::Sealing,
        Status::Completed,
        Status::Revoked,
        Status::Expired,
        Status::Rejected,
    ];

    /// The name that the database and the API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Draft => "draft",
            Status::Signing => "signing",
            Status::Sealing => "sealing",
            Status::Completed => "completed",
            Status::Revoked => "revoked",
            Status::Expired => "expired",
            Status::Rejected => "rejected",
        }
    }

    /// The contract's number: sealing is still `1`.
    pub fn code(self) -> &'static str {
        match self {
            Status::Draft => "0",
            Status::Signing | Status::Sealing => "1",
            Status::Completed => EndStatus::Completed.code(),
            Status::Revoked => EndStatus::Revoked.code(),
            Status::Expired => EndStatus::Expired.code(),
            Status::Rejected => EndStatus::Rejected.code(),
        }
    }

    /// Whether nothing can change any more.
    pub fn is_final(self) -> bool {
        match self {
            Status::Draft | Status::Signing | Status::Sealing => false,
            Status::Completed | Status::Revoked | Status::Expired | Status::Rejected => true,
        }
    }
}

impl Level {
    /// All of them, from the lowest on.
    pub const ALL: [Level; 4] = [Level::BB, Level::BT, Level::BLT, Level::BLTA];

    /// The name of the standard.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::BB => "B-B",
            Level::BT => "B-T",
            Level::BLT => "B-LT",
            Level::BLTA => "B-LTA",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no [`Level`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a level is one of b-b, b-t, b-lt and b-lta")]
pub struct NotALevel;

impl FromStr for Level {
    type Err = NotALevel;

    fn from_str(text: &str) -> Result<Level, NotALevel> {
        Level::ALL
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text))
            .ok_or(NotALevel)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a status is one of draft, signing, sealing, completed, revoked, expired and rejected")]
pub struct NotAStatus;

impl FromStr for Status {
    type Err = NotAStatus;

    fn from_str(text: &str) -> Result<Status, NotAStatus> {
        Status::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(NotAStatus)
    }
}

impl Party {
    /// The name on the signature.
    pub fn name(&self) -> &str {
        match self {
            Party::Person { name } | Party::Organization { name, .. } => name,
        }
    }

    /// Whether the seal is applied without anybody's hand.
    pub fn is_automatic(&self) -> bool {
        match self {
            Party::Person { .. } => false,
            Party::Organization { automatic, .. } => *automatic,
        }
    }
}

impl Place {
    /// Whether the rectangle has an area, and finite sides.
    pub fn is_proper(&self) -> bool {
        let [left, bottom, right, top] = self.rect;
        self.page >= 1
            && self.rect.iter().all(|side| side.is_finite())
            && left < right
            && bottom < top
    }

    /// Whether the two cover common ground.
    pub fn overlaps(&self, other: &Place) -> bool {
        let [left, bottom, right, top] = self.rect;
        let [other_left, other_bottom, other_right, other_top] = other.rect;
        self.page == other.page
            && left < other_right
            && other_left < right
            && bottom < other_top
            && other_bottom < top
    }
}

impl Step {
    /// The intent that still has to be put into the PDF.
    pub fn unapplied(&self) -> Option<&Intent> {
        match self {
            Step::Signed { intent } => Some(intent),
            Step::Waiting | Step::Open { .. } | Step::Applied { .. } | Step::Rejected { .. } => {
                None
            }
        }
    }

    /// Whether the PDF carries the signature.
    pub fn is_applied(&self) -> bool {
        matches!(self, Step::Applied { .. })
    }
}
