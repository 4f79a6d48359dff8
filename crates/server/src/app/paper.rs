//! The document of a flow: drawn or taken as it is, with a signature field for each signer; and each signature put in.
//!
//! Everything here is a function of its arguments that takes milliseconds of CPU; the callers run it away from the async threads.

use jiff::tz::TimeZone;
use sealpost_contract::UtcMillis;
use sealpost_flow::{Flow, Party, Place, Signer, SignerNo};
use sealpost_pdf::{
    Credential, DrawError, DrawMeta, Field, Pending, PlaceKind, Receipt, RoundSeal, SignError,
    SignRequest, SignerLabel, Trust, Verdict, render, signature,
};

use super::details::Layout;
use crate::problem::{FieldError, Problem};

/// The most bytes of a PDF that is handed in.
pub(crate) const MAX_PDF: usize = 10 * 1024 * 1024;

/// A document that is ready for its signers.
pub(crate) struct Prepared {
    pub(crate) pdf: Vec<u8>,
    pub(crate) places: Vec<Place>,
    pub(crate) pages: u32,
    pub(crate) layout: Layout,
}

/// A receipt with its signature fields.
pub(crate) fn prepare_receipt(
    receipt: &Receipt,
    parties: &[Party],
    meta: &DrawMeta,
) -> Result<Prepared, Problem> {
    let labels: Vec<SignerLabel> = (1..)
        .zip(parties)
        .map(|(signer, party)| SignerLabel {
            signer,
            name: party.name().to_owned(),
            kind: match party {
                Party::Person { .. } => PlaceKind::Signature,
                Party::Organization { .. } => PlaceKind::Seal,
            },
        })
        .collect();
    let drawn = sealpost_pdf::draw(receipt, &labels, meta).map_err(draw_refused)?;
    let places: Vec<Place> = drawn
        .places
        .iter()
        .map(|place| Place {
            page: place.page as u32 + 1,
            rect: place.rect.map(|side| side as f32),
        })
        .collect();
    prepare_pdf(&drawn.pdf, places)
        .map_err(|problem| Problem::field("document.receipt", "cannot_be_drawn", problem.detail()))
}

/// A PDF with its signature fields.
pub(crate) fn prepare_pdf(pdf: &[u8], places: Vec<Place>) -> Result<Prepared, Problem> {
    let refused =
        |code: &str, message: String| Problem::field("document.pdf_base64", code, message);
    let frames =
        render::page_frames(pdf).map_err(|error| refused("not_a_pdf", error.to_string()))?;
    let fields: Vec<Field> = (1..)
        .zip(&places)
        .map(|(no, place)| Field {
            name: field_name(no),
            page: place.page.saturating_sub(1) as usize,
            rect: place.rect.map(f64::from),
        })
        .collect();
    let pdf = sealpost_pdf::add_fields(pdf, &fields).map_err(|error| match error {
        SignError::Unreadable(source) => refused(source.code(), source.to_string()),
        SignError::NoSuchPage { page, pages } => {
            let signer = places
                .iter()
                .position(|place| place.page as usize == page + 1)
                .unwrap_or_default();
            let message = format!("the document has no page {}; it has {pages}", page + 1);
            Problem::field(
                format!("signers[{signer}].place.page"),
                "no_such_page",
                message,
            )
        }
        other => refused("cannot_be_signed", other.to_string()),
    })?;
    Ok(Prepared {
        pdf,
        layout: Layout::of(&frames, &places),
        places,
        pages: u32::try_from(frames.len()).unwrap_or(u32::MAX),
    })
}

/// Why one signature could not be put in, in words for the record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("the seal cannot be drawn: {0}")]
    Seal(#[from] sealpost_pdf::SealError),
    #[error("the drawn signature cannot be used: {0}")]
    Mark(#[from] sealpost_pdf::SignatureImageError),
    #[error("the PDF could not be signed: {0}")]
    Sign(#[from] SignError),
}

/// A signer's signature in the document, or on the way there.
pub(crate) enum Applied {
    Signed(Vec<u8>),
    /// With room for a timestamp, which is still to be had.
    Pending(Box<Pending>),
}

/// Puts a signer's signature into the document. `mark` is the drawn signature of a person; `stamped` leaves room for a
/// timestamp.
pub(crate) fn apply(
    pdf: &[u8],
    flow: &Flow,
    signer: &Signer,
    mark: Option<&[u8]>,
    credential: &Credential,
    zone: &TimeZone,
    stamped: bool,
) -> Result<Applied, ApplyError> {
    let signed_at = signer
        .step
        .unapplied()
        .map_or(flow.created_at, |intent| intent.at);
    let name = signer.party.name();
    let (appearance, reason) = match (&signer.party, mark) {
        (Party::Person { .. }, Some(png)) => (signature::appearance(png)?, "确认收据内容"),
        (Party::Person { .. }, None) => {
            return Err(SignError::Crypto("find the drawn signature").into());
        }
        (Party::Organization { .. }, _) => {
            let seal = RoundSeal {
                organization: name.to_owned(),
                legend: Some("财务专用章".to_owned()),
            };
            (seal.draw()?, "开具收据")
        }
    };
    let location = None;
    let request = SignRequest {
        field: &field_name(signer.no),
        appearance: Some(&appearance),
        credential,
        signing_time: signed_at,
        zone_minutes: zone_minutes(zone, signed_at),
        reason: Some(reason),
        location,
        name: Some(name),
    };
    Ok(if stamped {
        Applied::Pending(Box::new(sealpost_pdf::prepare(pdf, &request)?))
    } else {
        Applied::Signed(sealpost_pdf::sign(pdf, &request)?)
    })
}

/// Verifies a finished document: the signature of each signer is in it and valid. Signatures that an uploaded document brought
/// along are not ours to judge, but must not have been broken. The error is in words for the record.
pub(crate) fn verify_complete(
    pdf: &[u8],
    flow: &Flow,
    trust: &Trust,
    now: UtcMillis,
) -> Result<(), String> {
    let report = sealpost_pdf::verify(pdf, trust, now)
        .map_err(|error| crate::problem::Chain(&error).to_string())?;
    for signer in &flow.signers {
        let name = field_name(signer.no);
        let signature = report
            .signatures
            .iter()
            .find(|signature| signature.field == name);
        let signature =
            signature.ok_or_else(|| format!("the signature of signer {} is missing", signer.no))?;
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

/// The name of a signer's field in the PDF.
fn field_name(no: SignerNo) -> String {
    format!("sealpost-signer-{no}")
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
        DrawError::MissingGlyph { field, .. } => {
            FieldError::new(field.clone(), "missing_glyph", error.to_string())
        }
        _ => FieldError::new("document.receipt", "cannot_be_drawn", error.to_string()),
    };
    Problem::fields(vec![refused])
}
