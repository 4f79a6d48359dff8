//! A seal across the edges of all pages (骑缝章): each page has a strip of it at its right edge, and only together and in order
//! do they make the seal.

use std::collections::HashSet;

use super::{MAX_PAGES, MarkError, other_annotations};
use crate::appearance::Appearance;
use crate::document::{Document, Unreadable};
use crate::increment::Increment;
use crate::sight::Sight;
use crate::sign::picture;

/// The most pages that share one seal; a longer document has several, one after the other.
const MAX_SHARE: usize = 20;

/// The document with the seal across its pages, half way up. This changes the pages, so it is done before anyone signs. A
/// document of one page has no edges to bind and stays as it is.
///
/// # Errors
/// If the document cannot be read, or the seal is too large to be added.
pub fn straddle(pdf: &[u8], seal: &Appearance) -> Result<Vec<u8>, MarkError> {
    let document = Document::parse(pdf)?;
    let pages = document.pages(MAX_PAGES + 1)?;
    if pages.len() > MAX_PAGES {
        return Err(Unreadable::TooLarge("the number of pages").into());
    }
    if pages.len() < 2 {
        return Ok(pdf.to_vec());
    }
    let mut increment = Increment::new(&document);
    let whole = picture::add(&mut increment, seal, 0)
        .map_err(|error| MarkError::Seal(error.to_string()))?;
    let seals = pages.len().div_ceil(MAX_SHARE);
    let mut left = pages.as_slice();
    for done in 0..seals {
        let (group, rest) = left.split_at(left.len().div_ceil(seals - done));
        left = rest;
        for (strip, &page) in group.iter().enumerate() {
            let (object, dict) = increment.dict_object(page)?;
            let sight = Sight::of(&document, page)?;
            let (width, height) = sight.size();
            let scale = (height * 0.9 / seal.height_pt).min(1.0);
            let share = seal.width_pt / group.len() as f64;
            let middle = (height / 2.0, seal.height_pt * scale / 2.0);
            let seen = [
                width - share * scale,
                middle.0 - middle.1,
                width,
                middle.0 + middle.1,
            ];
            let [x1, y1, x2, y2] = sight.seen_to_page().bounds(seen);

            let (from, to) = (share * strip as f64, share * (strip + 1) as f64);
            let form = format!(
                "/Type /XObject /Subtype /Form /BBox [ {from:.3} 0 {to:.3} {:.3} ] /Matrix {} \
                 /Resources << /XObject << /Seal {whole} >> >>",
                seal.height_pt,
                sight.upright(),
            );
            let appearance = increment.add_stream(&form, b"/Seal Do");
            let annotation = increment.add(format!(
                "<< /Type /Annot /Subtype /Stamp /Rect [ {x1:.3} {y1:.3} {x2:.3} {y2:.3} ] /F 196 \
                 /AP << /N {appearance} >> >>"
            ));
            let mut annotations = other_annotations(&document, &object, &dict, &HashSet::new())?;
            annotations.extend_from_slice(format!(" {annotation} ]").as_bytes());
            increment.edit(page, &[("Annots", annotations)])?;
        }
    }
    Ok(increment.finish().bytes)
}
