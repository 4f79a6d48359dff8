//! Draws a receipt on paper: one PDF/A-2b document, with a place for each signer's seal or signature.
//!
//! The places are only drawn here; the signature fields over them are [`crate::sign`]'s.

mod layout;
mod pdf;
mod report;
mod sheet;
mod text;

pub use report::{DrawnFacts, FactGroup, FactSection, FactSheet, draw_facts};

use crate::font;
use crate::receipt::Receipt;

/// The most signers that a receipt has places for.
pub const MAX_SIGNERS: usize = 10;

/// A signer as the paper names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerLabel {
    /// The signer's number in the sign flow, from 1; comes back in [`Place::signer`].
    pub signer: u32,
    /// Name of the person or the organization. At most 64 characters.
    pub name: String,
    /// What the signer leaves on the paper.
    pub kind: PlaceKind,
}

/// What is left in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// An organization's seal, 38 mm across.
    Seal,
    /// A person's hand-drawn signature.
    Signature,
}

/// Where a signer's seal or signature goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// The number given as [`SignerLabel::signer`].
    pub signer: u32,
    /// The page, counted from 0.
    pub page: usize,
    /// Left, bottom, right and top in points, from the page's lower left corner, as in a PDF's `/Rect`.
    pub rect: [f64; 4],
    /// What goes there.
    pub kind: PlaceKind,
}

/// What the paper says beside the receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawMeta {
    /// Id of the sign flow, printed in the footer. At most 32 characters.
    pub flow_id: String,
    /// When the document is made, in UTC milliseconds; goes into the metadata.
    pub drawn_at: i64,
    /// Where a reader can check the signatures, printed in the footer. At most 128 characters.
    pub verify_url: Option<String>,
}

/// A drawn receipt.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The document: PDF/A-2b, unsigned, without form fields.
    pub pdf: Vec<u8>,
    /// One place for each signer, in the order given.
    pub places: Vec<Place>,
}

/// Why a receipt was not drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrawError {
    /// There were no signers, or more than [`MAX_SIGNERS`].
    #[error("a receipt has 1 to {MAX_SIGNERS} signers, not {0}")]
    SignerCount(usize),
    /// A text is longer than the paper allows.
    #[error("{field} has {length} characters; the limit is {limit}")]
    TooLong {
        /// The field, as in `signers[1].name`.
        field: String,
        /// Its length in characters.
        length: usize,
        /// The limit in characters.
        limit: usize,
    },
    /// Our fonts have no glyph for a character.
    #[error("{field} contains {character:?} (U+{:04X}), which the receipt's font cannot draw", u32::from(*character))]
    MissingGlyph {
        /// The field, as in `signers[1].name`.
        field: String,
        /// The character.
        character: char,
    },
    /// The finished document did not pass as PDF/A-2b; this is our fault.
    #[error("the receipt could not be written as PDF/A-2b: {0}")]
    Document(String),
}

/// Draws a receipt.
///
/// # Errors
/// See [`DrawError`]; for a [`Receipt`] and sane labels there are none.
pub fn draw(
    receipt: &Receipt,
    signers: &[SignerLabel],
    meta: &DrawMeta,
) -> Result<Drawn, DrawError> {
    if !(1..=MAX_SIGNERS).contains(&signers.len()) {
        return Err(DrawError::SignerCount(signers.len()));
    }
    for (i, signer) in signers.iter().enumerate() {
        check(|| format!("signers[{i}].name"), &signer.name, 64)?;
    }
    check(|| "flow_id".to_owned(), &meta.flow_id, 32)?;
    check(
        || "verify_url".to_owned(),
        meta.verify_url.as_deref().unwrap_or_default(),
        128,
    )?;

    let (sheets, places) = layout::lay_out(receipt, signers, meta);
    let title = format!("新房收据 {}", receipt.number);
    let about = pdf::About {
        title: &title,
        language: "zh-CN",
        id: &meta.flow_id,
        drawn_at: meta.drawn_at,
    };
    let pdf = pdf::write(&sheets, &about)?;
    Ok(Drawn { pdf, places })
}

/// A text that is printed is short enough and has glyphs.
fn check(field: impl Fn() -> String, text: &str, limit: usize) -> Result<(), DrawError> {
    let length = text.chars().count();
    if length > limit {
        return Err(DrawError::TooLong {
            field: field(),
            length,
            limit,
        });
    }
    match font::missing_glyph(text) {
        Some(character) => Err(DrawError::MissingGlyph {
            field: field(),
            character,
        }),
        None => Ok(()),
    }
}
