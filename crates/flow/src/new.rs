//! A new flow: what may be asked for, and the draft that comes of it.

use std::fmt;

use sealpost_contract::{SignFlowId, UtcMillis};

use crate::Digest;
use crate::apply::Change;
use crate::event::Happening;
use crate::operation::Actor;
use crate::recorder::Recorder;
use crate::state::{Flow, Party, Place, Sealing, Signer, SignerNo, State, Step};

/// The limits of a new flow. Lengths count characters (Unicode scalar values).
pub mod limits {
    /// Signers at most; at least one is needed.
    pub const SIGNERS: usize = 10;
    /// The highest order.
    pub const ORDER: u8 = 10;
    /// A signer's name at most.
    pub const NAME_CHARS: usize = 64;
    /// A reference at most.
    pub const REFERENCE_CHARS: usize = 64;
    /// A title at most.
    pub const TITLE_CHARS: usize = 128;
    /// A reason (of revoking, rejecting) at most.
    pub const REASON_CHARS: usize = 200;
    /// The words that a signer agrees to, at most.
    pub const CONSENT_CHARS: usize = 500;
    /// The tag of their language, at most.
    pub const LANGUAGE_CHARS: usize = 35;
    /// What is kept of a client's `user-agent`.
    pub const USER_AGENT_CHARS: usize = 256;
    /// How far ahead a deadline may be, in milliseconds: 366 days.
    pub const DEADLINE_AHEAD: i64 = 366 * 24 * 60 * 60 * 1000;
}

/// A flow that someone wants.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFlow {
    /// A fresh id.
    pub id: SignFlowId,
    /// The initiator's own number for it.
    pub reference: String,
    /// What the signers are shown as its name.
    pub title: String,
    /// The document, already stored.
    pub document: Digest,
    /// The signers, in the order of their numbers.
    pub signers: Vec<NewSigner>,
    /// The deadline.
    pub expires_at: UtcMillis,
}

/// A signer of a new flow.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSigner {
    /// Lower ones first; the same in parallel.
    pub order: u8,
    /// Who.
    pub party: Party,
    /// Where the signature or seal appears.
    pub place: Place,
}

/// A field of a new flow that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Which, as a path: `signers[0].name`.
    pub field: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a field; its `Display` is a sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing, or nothing but white space.
    Blank,
    /// More characters or items than this.
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Control characters, line breaks among them.
    ControlCharacters,
    /// Not between 1 and this.
    OutOfRange {
        /// The limit.
        limit: u8,
    },
    /// The deadline is not in the future.
    NotInFuture,
    /// The deadline is more than 366 days ahead.
    TooFarAhead,
    /// The rectangle has no area, or its page is 0.
    NoArea,
    /// The place overlaps that of another signer.
    PlaceTaken {
        /// Whose.
        by: SignerNo,
    },
}

impl Problem {
    /// A name for programs, which never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Problem::Blank => "blank",
            Problem::TooLong { .. } => "too_long",
            Problem::ControlCharacters => "control_characters",
            Problem::OutOfRange { .. } => "out_of_range",
            Problem::NotInFuture => "not_in_future",
            Problem::TooFarAhead => "too_far_ahead",
            Problem::NoArea => "no_area",
            Problem::PlaceTaken { .. } => "place_taken",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Blank => write!(f, "must not be empty"),
            Problem::TooLong { limit } => write!(f, "must not be longer than {limit}"),
            Problem::ControlCharacters => {
                write!(f, "must not contain control characters or line breaks")
            }
            Problem::OutOfRange { limit } => write!(f, "must be between 1 and {limit}"),
            Problem::NotInFuture => write!(f, "must be in the future"),
            Problem::TooFarAhead => write!(f, "must be at most 366 days ahead"),
            Problem::NoArea => write!(
                f,
                "must be a rectangle with an area, on a page counted from 1"
            ),
            Problem::PlaceTaken { by } => write!(f, "overlaps the place of signer {by}"),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.problem)
    }
}

/// Makes a draft of what was asked for.
///
/// # Errors
/// Everything that is not as it should be, in the order of the fields.
pub fn create(new: NewFlow, actor: &Actor, now: UtcMillis) -> Result<Change, Vec<Invalid>> {
    let invalid = check(&new, now);
    if !invalid.is_empty() {
        return Err(invalid);
    }
    let signers = (1..).zip(new.signers).map(|(no, signer)| Signer {
        no,
        order: signer.order,
        party: signer.party,
        place: signer.place,
        step: Step::Waiting,
    });
    let flow = Flow {
        id: new.id,
        reference: new.reference,
        title: new.title,
        created_at: now,
        expires_at: new.expires_at,
        original: new.document,
        document: new.document,
        signers: signers.collect(),
        state: State::Draft,
        sealing: Sealing::default(),
        reminded_at: None,
        level: None,
        downgrade: None,
        archived: None,
        renew_by: None,
        events: 0,
    };
    let created = Happening::Created {
        sign_flow_id: flow.id.clone(),
        reference: flow.reference.clone(),
        document: flow.document,
        signers: flow
            .signers
            .iter()
            .map(|signer| signer.party.name().to_owned())
            .collect(),
        expires_at: flow.expires_at,
    };
    let mut recorder = Recorder::new(flow, now);
    recorder.record(actor, created);
    Ok(recorder.finish())
}

/// Whether `reason` can stand in the record.
pub(crate) fn is_reason(reason: &str) -> bool {
    text_problem(reason, limits::REASON_CHARS).is_none()
}

fn check(new: &NewFlow, now: UtcMillis) -> Vec<Invalid> {
    let mut invalid = Vec::new();
    let mut report = |field: String, problem: Option<Problem>| {
        invalid.extend(problem.map(|problem| Invalid { field, problem }))
    };
    report(
        "reference".into(),
        text_problem(&new.reference, limits::REFERENCE_CHARS),
    );
    report(
        "title".into(),
        text_problem(&new.title, limits::TITLE_CHARS),
    );
    report("signers".into(), count_problem(new.signers.len()));
    // Beyond the limit there is nothing to be learned from each of them.
    for (index, signer) in new.signers.iter().take(limits::SIGNERS).enumerate() {
        let at = |field: &str| format!("signers[{index}].{field}");
        report(
            at("name"),
            text_problem(signer.party.name(), limits::NAME_CHARS),
        );
        report(at("order"), order_problem(signer.order));
        report(
            at("place"),
            place_problem(&signer.place, &new.signers[..index]),
        );
    }
    report("expires_at".into(), deadline_problem(new.expires_at, now));
    invalid
}

fn text_problem(text: &str, limit: usize) -> Option<Problem> {
    if text.trim().is_empty() {
        Some(Problem::Blank)
    } else if text.chars().nth(limit).is_some() {
        Some(Problem::TooLong { limit })
    } else if text.chars().any(char::is_control) {
        Some(Problem::ControlCharacters)
    } else {
        None
    }
}

fn count_problem(signers: usize) -> Option<Problem> {
    match signers {
        0 => Some(Problem::Blank),
        1..=limits::SIGNERS => None,
        _ => Some(Problem::TooLong {
            limit: limits::SIGNERS,
        }),
    }
}

fn order_problem(order: u8) -> Option<Problem> {
    let in_range = (1..=limits::ORDER).contains(&order);
    (!in_range).then_some(Problem::OutOfRange {
        limit: limits::ORDER,
    })
}

fn place_problem(place: &Place, earlier: &[NewSigner]) -> Option<Problem> {
    if !place.is_proper() {
        return Some(Problem::NoArea);
    }
    let taken = (1..)
        .zip(earlier)
        .find(|(_, other)| other.place.overlaps(place));
    taken.map(|(by, _)| Problem::PlaceTaken { by })
}

fn deadline_problem(expires_at: UtcMillis, now: UtcMillis) -> Option<Problem> {
    if expires_at <= now {
        Some(Problem::NotInFuture)
    } else if expires_at > now.saturating_add(limits::DEADLINE_AHEAD) {
        Some(Problem::TooFarAhead)
    } else {
        None
    }
}
