//! Where the seals and signatures of a new flow go in its document, and the signature fields that they fill.

use std::collections::HashSet;

use sealpost_flow::{Party, Place};
use sealpost_pdf::place::{SpotError, Spotted, Words, locate};
use sealpost_pdf::{Field, Unreadable};

use super::NewMark;
use crate::problem::{FieldError, Problem};

/// Width and height of a signature by hand where its place has no size of its own, in points.
const HAND: (f64, f64) = (130.0, 50.0);
/// Between a signature and the name seal beside it, in points.
const GAP: f64 = 4.0;

/// All places of a document, signer by signer, each signer's first place first.
pub(super) struct Places(Vec<Vec<Put>>);

/// One place, and the field that is there or is to be made there.
pub(super) struct Put {
    spotted: Spotted,
    name: String,
}

impl Places {
    /// Finds them all, or says which are not to be found. `member` is the document in the request, `flow_id` that of the flow.
    pub(super) fn find(
        pdf: &[u8],
        member: &'static str,
        flow_id: &str,
        signers: &[NewMark],
    ) -> Result<Self, Problem> {
        let (mut found, mut wrong) = (Vec::with_capacity(signers.len()), Vec::new());
        let (mut taken, mut words) = (HashSet::new(), Words::default());
        for (index, signer) in signers.iter().enumerate() {
            let mut puts = Vec::with_capacity(1 + signer.more.len());
            let first = signer.place.iter().map(|spot| ("place".to_owned(), spot));
            let more = signer.more.iter().enumerate();
            let more = more.map(|(at, spot)| (format!("more_places[{at}]"), spot));
            for (at, (member_of_signer, spot)) in first.chain(more).enumerate() {
                let path = format!("signers[{index}].{member_of_signer}.");
                let spotted = match locate(pdf, spot, size(signer), &mut words) {
                    Ok(spotted) => spotted,
                    Err(SpotError::Unreadable(source)) => {
                        return Err(unreadable(member, &source));
                    }
                    Err(error) => {
                        wrong.push(not_found(&path, &error));
                        continue;
                    }
                };
                let [left, bottom, right, top] = spotted.rect;
                if at > 0 && !(left < right && bottom < top) {
                    let message = "it must be left, bottom, right and top of an area";
                    wrong.push(FieldError::new(format!("{path}rect"), "no_area", message));
                }
                let name = spotted
                    .field
                    .clone()
                    .unwrap_or_else(|| name(flow_id, index, at));
                if !taken.insert(name.clone()) {
                    let message = "another place is this field already";
                    wrong.push(FieldError::new(
                        format!("{path}field"),
                        "place_taken",
                        message,
                    ));
                }
                puts.push(Put { spotted, name });
            }
            found.push(puts);
        }
        if wrong.is_empty() {
            Ok(Self(found))
        } else {
            Err(Problem::fields(wrong))
        }
    }

    /// The fields that are to be made.
    pub(super) fn new_fields(&self) -> impl Iterator<Item = Field> {
        let all = self.0.iter().flatten();
        all.filter(|put| put.spotted.field.is_none())
            .map(|put| Field {
                name: put.name.clone(),
                page: put.spotted.page,
                rect: put.spotted.rect,
            })
    }

    /// Each signer's first place.
    pub(super) fn firsts(&self) -> impl Iterator<Item = &Put> {
        self.0.iter().filter_map(|puts| puts.first())
    }

    /// The names of each signer's fields.
    pub(super) fn names(&self) -> impl Iterator<Item = Vec<String>> {
        let names = |puts: &Vec<Put>| puts.iter().map(|put| put.name.clone()).collect();
        self.0.iter().map(names)
    }
}

impl Put {
    pub(super) fn place(&self) -> Place {
        Place {
            page: u32::try_from(self.spotted.page + 1).unwrap_or(u32::MAX),
            rect: self.spotted.rect.map(|side| side as f32),
        }
    }
}

/// `sealpost-1f102192-1`, and for further places `sealpost-1f102192-1-2`: a document that was signed in another flow has fields
/// of that flow already.
fn name(flow_id: &str, signer: usize, at: usize) -> String {
    let flow: String = flow_id.chars().take(8).collect();
    let first = format!("sealpost-{flow}-{}", signer + 1);
    match at {
        0 => first,
        _ => format!("{first}-{}", at + 1),
    }
}

/// How large what a signer leaves is where its place has no size of its own, in points.
fn size(signer: &NewMark) -> (f64, f64) {
    let seal = signer.drawn.as_ref();
    let seal = seal.map(|seal| (seal.width_pt, seal.height_pt));
    match (&signer.party, seal) {
        (Party::Person { .. }, None) => HAND,
        (Party::Person { .. }, Some((width, height))) => (HAND.0 + GAP + width, HAND.1.max(height)),
        (Party::Organization { .. }, seal) => seal.unwrap_or(HAND),
    }
}

/// A document that cannot be read, as a problem of the member that it came in.
fn unreadable(member: &str, source: &Unreadable) -> Problem {
    let code = match source {
        Unreadable::NotPdf => "not_a_pdf",
        other => other.code(),
    };
    Problem::field(member, code, source.to_string())
}

/// `path` is that of the place, with a dot at its end.
fn not_found(path: &str, error: &SpotError) -> FieldError {
    let (member, code) = match error {
        SpotError::NoSuchPage { .. } => ("page", "no_such_page"),
        SpotError::OffPage { .. } => ("center", "off_page"),
        SpotError::NoSuchField(_) => ("field", "no_such_field"),
        SpotError::FieldSigned(_) => ("field", "already_signed"),
        SpotError::FieldNotShown(_) => ("field", "not_shown"),
        SpotError::NoSuchWord { times: 0, .. } => ("keyword", "no_such_word"),
        SpotError::NoSuchWord { .. } => ("occurrence", "out_of_range"),
        SpotError::TooManyWords => ("keyword", "too_many"),
        _ => ("keyword", "unreadable_text"),
    };
    let message = crate::problem::Chain(error).to_string();
    FieldError::new(format!("{path}{member}"), code, message)
}
