//! The document of a flow: drawn or taken as it is, with a signature field for each seal and signature; and each put in.
//!
//! Everything here is a function of its arguments that takes milliseconds of CPU; the callers run it away from the async threads.

mod places;

use jiff::tz::TimeZone;
use sealpost_contract::UtcMillis;
use sealpost_flow::{Flow, Party, Place, Signer};
use sealpost_pdf::place::Spot;
use sealpost_pdf::{
    Appearance, Credential, DrawError, DrawMeta, Field, MarkError, Pending, PlaceKind, Receipt,
    SignError, SignRequest, SignerLabel, Trust, Verdict, mark, render,
};

use super::details::{Layout, Mark};
use super::seals::Seal;
use crate::problem::{FieldError, Problem};
use places::{Places, Put};

/// The most bytes of a PDF that is handed in.
pub(crate) const MAX_PDF: usize = 10 * 1024 * 1024;

/// What one signer of a new flow is to leave in its document.
pub(crate) struct NewMark {
    pub(crate) party: Party,
    /// Where the seal or the signature goes; a receipt has places of its own.
    pub(crate) place: Option<Spot>,
    /// Where else it goes.
    pub(crate) more: Vec<Spot>,
    /// Whether the seal goes across the edges of all pages, too.
    pub(crate) straddle: bool,
    pub(crate) seal: Option<Seal>,
    /// The seal, drawn.
    pub(crate) drawn: Option<Appearance>,
}

/// A document that is ready for its signers.
pub(crate) struct Prepared {
    pub(crate) pdf: Vec<u8>,
    /// Each signer's first place.
    pub(crate) places: Vec<Place>,
    pub(crate) pages: u32,
    pub(crate) layout: Layout,
    pub(crate) marks: Vec<Mark>,
}

/// A receipt with its signature fields.
pub(crate) fn prepare_receipt(
    receipt: &Receipt,
    mut signers: Vec<NewMark>,
    meta: &DrawMeta,
) -> Result<Prepared, Problem> {
    let labels: Vec<SignerLabel> = (1..)
        .zip(&signers)
        .map(|(signer, mark)| SignerLabel {
            signer,
            name: mark.party.name().to_owned(),
            kind: match mark.party {
                Party::Person { .. } => PlaceKind::Signature,
                Party::Organization { .. } => PlaceKind::Seal,
            },
        })
        .collect();
    let drawn = sealpost_pdf::draw(receipt, &labels, meta).map_err(draw_refused)?;
    for (signer, place) in signers.iter_mut().zip(&drawn.places) {
        signer.place = Some(Spot::Rect {
            page: i32::try_from(place.page + 1).unwrap_or(i32::MAX),
            rect: place.rect,
        });
    }
    prepare(&drawn.pdf, "document.receipt", &meta.flow_id, signers)
}

/// A PDF with its signature fields; `flow_id` is that of the flow.
pub(crate) fn prepare_pdf(
    pdf: &[u8],
    flow_id: &str,
    signers: Vec<NewMark>,
) -> Result<Prepared, Problem> {
    prepare(pdf, "document.pdf_base64", flow_id, signers)
}

/// `member` is the document in the request.
fn prepare(
    original: &[u8],
    member: &'static str,
    flow_id: &str,
    signers: Vec<NewMark>,
) -> Result<Prepared, Problem> {
    let refused = |code: &str, message: String| Problem::field(member, code, message);
    let put = Places::find(original, member, flow_id, &signers)?;
    let frames =
        render::page_frames(original).map_err(|error| refused("not_a_pdf", error.to_string()))?;

    let straddling: Vec<Appearance> = signers
        .iter()
        .filter(|signer| signer.straddle)
        .filter_map(|signer| signer.drawn.clone())
        .collect();
    let mut pdf = mark::straddle(original, &straddling).map_err(|error| match error {
        MarkError::Unreadable(source) => refused(source.code(), source.to_string()),
        other => {
            let first = signers.iter().position(|signer| signer.straddle);
            let path = format!("signers[{}].straddle", first.unwrap_or_default());
            Problem::field(path, "not_possible", other.to_string())
        }
    })?;
    let fields: Vec<Field> = put.new_fields().collect();
    if !fields.is_empty() {
        pdf = sealpost_pdf::add_fields(&pdf, &fields).map_err(|error| match error {
            SignError::Unreadable(source) => refused(source.code(), source.to_string()),
            other => refused("cannot_be_signed", other.to_string()),
        })?;
    }
    let places: Vec<Place> = put.firsts().map(Put::place).collect();
    Ok(Prepared {
        pdf,
        layout: Layout::of(&frames, &places),
        pages: u32::try_from(frames.len()).unwrap_or(u32::MAX),
        marks: signers
            .into_iter()
            .zip(put.names())
            .map(|(signer, fields)| Mark {
                fields,
                seal: signer.seal,
            })
            .collect(),
        places,
    })
}

/// Why one signature could not be put in, in words for the record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("the drawn signature cannot be used: {0}")]
    Mark(#[from] sealpost_pdf::SignatureImageError),
    #[error("the drawn signature is missing")]
    NoMark,
    #[error("the seal is missing")]
    NoSeal,
    #[error("the PDF could not be signed: {0}")]
    Sign(#[from] SignError),
}

/// How a signer's signature looks: a person's hand, with the name seal beside it if there is one, or an organization's seal.
/// `hand` is the drawn signature of a person.
pub(crate) fn appearance(
    party: &Party,
    hand: Option<Appearance>,
    seal: Option<Appearance>,
) -> Result<Appearance, ApplyError> {
    match party {
        Party::Person { .. } => {
            let hand = hand.ok_or(ApplyError::NoMark)?;
            Ok(match seal {
                Some(seal) => hand.beside(&seal),
                None => hand,
            })
        }
        Party::Organization { .. } => seal.ok_or(ApplyError::NoSeal),
    }
}

/// A signer's signature in the document, or on the way there.
pub(crate) enum Applied {
    Signed(Vec<u8>),
    /// With room for a timestamp, which is still to be had.
    Pending(Box<Pending>),
}

/// One signature that is to be put into the document.
pub(crate) struct Signing<'a> {
    pub(crate) flow: &'a Flow,
    pub(crate) signer: &'a Signer,
    /// Whether the document is a receipt.
    pub(crate) is_receipt: bool,
    /// The field that it fills.
    pub(crate) field: &'a str,
    pub(crate) appearance: &'a Appearance,
    pub(crate) credential: &'a Credential,
    pub(crate) zone: &'a TimeZone,
    /// Leaves room for a timestamp.
    pub(crate) stamped: bool,
}

impl Signing<'_> {
    /// Puts the signature into the document.
    pub(crate) fn apply(&self, pdf: &[u8]) -> Result<Applied, ApplyError> {
        let signed_at = self
            .signer
            .step
            .unapplied()
            .map_or(self.flow.created_at, |intent| intent.at);
        let reason = match (&self.signer.party, self.is_receipt) {
            (Party::Person { .. }, true) => "确认收据内容",
            (Party::Person { .. }, false) => "确认文件内容",
            (Party::Organization { .. }, true) => "开具收据",
            (Party::Organization { .. }, false) => "签章",
        };
        let request = SignRequest {
            field: self.field,
            appearance: Some(self.appearance),
            credential: self.credential,
            signing_time: signed_at,
            zone_minutes: zone_minutes(self.zone, signed_at),
            reason: Some(reason),
            location: None,
            name: Some(self.signer.party.name()),
        };
        Ok(if self.stamped {
            Applied::Pending(Box::new(sealpost_pdf::prepare(pdf, &request)?))
        } else {
            Applied::Signed(sealpost_pdf::sign(pdf, &request)?)
        })
    }
}

/// Verifies a finished document: every signature of each signer is in it and valid (`marks` has one for each). Signatures that an uploaded document brought
/// along are not ours to judge, but must not have been broken. The error is in words for the record.
pub(crate) fn verify_complete(
    pdf: &[u8],
    flow: &Flow,
    marks: &[Mark],
    trust: &Trust,
    now: UtcMillis,
) -> Result<(), String> {
    let report = sealpost_pdf::verify(pdf, trust, now)
        .map_err(|error| crate::problem::Chain(&error).to_string())?;
    for (signer, mark) in flow.signers.iter().zip(marks) {
        for field in &mark.fields {
            let signature = report
                .signatures
                .iter()
                .find(|signature| signature.field == *field);
            let signature = signature
                .ok_or_else(|| format!("the signature of signer {} is missing", signer.no))?;
            if signature.verdict != Verdict::Valid {
                let findings: Vec<&str> = signature
                    .findings
                    .iter()
                    .map(|finding| finding.detail.as_str())
                    .collect();
                return Err(format!(
                    "the signature of signer {} is {:?}: {}",
                    signer.no,
                    signature.verdict,
                    findings.join("; ")
                ));
            }
        }
    }
    match report
        .signatures
        .iter()
        .find(|signature| signature.verdict == Verdict::Invalid)
    {
        Some(broken) => Err(format!(
            "the signature {:?} is no longer valid",
            broken.field
        )),
        None => Ok(()),
    }
}

fn zone_minutes(zone: &TimeZone, at: UtcMillis) -> i16 {
    let offset =
        jiff::Timestamp::from_millisecond(at).map(|time| zone.to_offset(time).seconds() / 60);
    offset
        .ok()
        .and_then(|minutes| i16::try_from(minutes).ok())
        .unwrap_or_default()
}

fn draw_refused(error: DrawError) -> Problem {
    let refused = match &error {
        DrawError::TooLong { field, limit, .. } => {
            FieldError::new(field.clone(), "too_long", error.to_string()).limit(*limit)
        }
        DrawError::MissingGlyph {
            field, character, ..
        } => {
            let message = format!(
                "it contains “{}” (U+{:04X}), which the receipt's font cannot draw",
                character.escape_debug(),
                u32::from(*character)
            );
            FieldError::new(field.clone(), "missing_glyph", message)
        }
        _ => FieldError::new("document.receipt", "cannot_be_drawn", error.to_string()),
    };
    Problem::fields(vec![refused])
}
