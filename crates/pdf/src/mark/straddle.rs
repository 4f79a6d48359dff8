//! A seal across the edges of all pages (骑缝章): each page has a strip of it at its right edge, and only together and in order
//! do they make the seal.

use std::collections::HashSet;

use super::{MAX_PAGES, MarkError, other_annotations};
use crate::appearance::Appearance;
use crate::document::{Document, Unreadable};
use crate::form::{self, FormField};
use crate::increment::Increment;
use crate::sight::Sight;
use crate::sign::picture;
use crate::syntax::{Dict, Id, Value};

/// The most pages that share one seal; a longer document has several, one after the other.
const MAX_SHARE: usize = 20;
/// How annotations that are such strips are named (`/NM`), so that copies that must show no seal leave them out.
const NAME: &str = "sealpost-straddle";

/// The document with these seals across its pages: one half way up, several spread evenly from the top down. This changes the
/// pages, so it is done before anyone signs. A document of one page has no edges to bind and stays as it is.
///
/// # Errors
/// If the document cannot be read or is signed already, or a seal is too large to be added.
pub fn straddle(pdf: &[u8], seals: &[Appearance]) -> Result<Vec<u8>, MarkError> {
    let document = Document::parse(pdf)?;
    let pages = document.pages(MAX_PAGES + 1)?;
    if pages.len() > MAX_PAGES {
        return Err(Unreadable::TooLarge("the number of pages").into());
    }
    if pages.len() < 2 || seals.is_empty() {
        return Ok(pdf.to_vec());
    }
    let signed = |field: &FormField| field.is_signature && field.value().is_some();
    if form::fields(&document)?.iter().any(signed) {
        return Err(MarkError::Signed);
    }
    let mut increment = Increment::new(&document);
    let mut wholes = Vec::with_capacity(seals.len());
    for seal in seals {
        let whole = picture::add(&mut increment, seal, 0);
        wholes.push(whole.map_err(|error| MarkError::Seal(error.to_string()))?);
    }
    let groups = pages.len().div_ceil(MAX_SHARE);
    let mut left = pages.as_slice();
    for done in 0..groups {
        let (group, rest) = left.split_at(left.len().div_ceil(groups - done));
        left = rest;
        for (strip, &page) in group.iter().enumerate() {
            let (object, dict) = increment.dict_object(page)?;
            let sight = Sight::of(&document, page)?;
            let (width, height) = sight.size();
            let mut annotations = other_annotations(&document, &object, &dict, |_| false)?;
            // Each seal has a band of the page to itself.
            let band = height / seals.len() as f64;
            for (number, (seal, whole)) in seals.iter().zip(&wholes).enumerate() {
                let scale = (band * 0.9 / seal.height_pt).min(1.0);
                let share = seal.width_pt / group.len() as f64;
                let middle = height - band * (number as f64 + 0.5);
                let half = seal.height_pt * scale / 2.0;
                let seen = [width - share * scale, middle - half, width, middle + half];
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
                    "<< /Type /Annot /Subtype /Stamp /NM ({NAME}) /Rect [ {x1:.3} {y1:.3} {x2:.3} {y2:.3} ] /F 196 \
                     /AP << /N {appearance} >> >>",
                ));
                annotations.extend_from_slice(format!(" {annotation}").as_bytes());
            }
            annotations.extend_from_slice(b" ]");
            increment.edit(page, &[("Annots", annotations)])?;
        }
    }
    Ok(increment.finish().bytes)
}

/// The strips on a page. What cannot be read is none.
pub(super) fn strips(document: &Document<'_>, page: &Dict) -> HashSet<Id> {
    let is_strip = |id: &Id| {
        let object = document.object(*id).ok().flatten();
        object
            .as_ref()
            .and_then(|object| object.item.value.dict())
            .is_some_and(|annotation| {
                annotation.is(b"Subtype", b"Stamp")
                    && annotation.value(b"NM").string() == Some(NAME.as_bytes())
            })
    };
    let annotations = document
        .resolve(page.value(b"Annots"))
        .unwrap_or(Value::Null);
    annotations
        .array()
        .unwrap_or_default()
        .iter()
        .filter_map(|item| item.value.reference())
        .filter(is_strip)
        .collect()
}
