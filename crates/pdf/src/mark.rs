//! Copies that no one can take for a signed document: each page marked with how the flow ended, or as a preview.
//!
//! The marks are appended to the document as an incremental update, twice on each page: in its content, where they are hard to
//! take off, and as an annotation, which no trick of the content can hide. They are vectors without fonts. The form goes, and
//! with it every signature field; so do the strips of straddling seals.

mod balance;
mod stamp;
mod straddle;

use std::collections::{HashMap, HashSet};
use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};

use crate::document::{Document, Object, Unreadable};
use crate::font;
use crate::form;
use crate::increment::Increment;
use crate::sight::Sight;
use crate::syntax::{Dict, Id, Value};
use crate::text;
use stamp::Stamp;

pub use straddle::straddle;

/// The most pages of a document that is marked.
const MAX_PAGES: usize = 20_000;

/// How a flow ended without being completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoidKind {
    /// 已撤销, status 3.
    Revoked,
    /// 已过期, status 5.
    Expired,
    /// 已拒签, status 7.
    Rejected,
}

/// What a void copy says on each page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Void {
    /// How the flow ended.
    pub kind: VoidKind,
    /// Id of the sign flow. At most 32 characters.
    pub flow_id: String,
    /// When it ended, as people read it: the callback's `sign_end_time`. At most 32 characters.
    pub ended: String,
}

/// Why a document cannot be marked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// Not a PDF that can be read.
    #[error("the document cannot be marked")]
    Unreadable(#[from] Unreadable),
    /// A text of the mark is too long or cannot be drawn.
    #[error("the mark's {0} is too long or has a character that the font cannot draw")]
    Text(&'static str),
    /// Somebody has signed the document, and the mark would break their signature.
    #[error("the document is signed already, and no page of it may change")]
    Signed,
    /// A seal has too much content, too many images or too large ones.
    #[error("the seal cannot be put on the pages: {0}")]
    Seal(String),
}

/// A copy of the unsigned document with every page marked as void and no signature fields left.
///
/// # Errors
/// If the document cannot be read.
pub fn void_copy(pdf: &[u8], void: &Void) -> Result<Vec<u8>, MarkError> {
    check("flow id", &void.flow_id)?;
    check("time", &void.ended)?;
    let (word, what) = match void.kind {
        VoidKind::Revoked => ("已撤销", "撤销时间"),
        VoidKind::Expired => ("已过期", "过期时间"),
        VoidKind::Rejected => ("已拒签", "拒签时间"),
    };
    let stamp = Stamp {
        word,
        line: format!(
            "{word} · 未完成签署，不具有签署效力 · 签署流程 {} · {what} {}",
            void.flow_id, void.ended
        ),
        color: [0xc8, 0x1e, 0x1e],
    };
    Ok(marked(pdf, &stamp)?)
}

/// A copy of the unsigned document with every page marked 仅供预览 and no signature fields left.
///
/// # Errors
/// If the document cannot be read.
pub fn preview_copy(pdf: &[u8]) -> Result<Vec<u8>, MarkError> {
    let stamp = Stamp {
        word: "仅供预览",
        line: "仅供预览 · 尚未完成签署，不具有签署效力".to_owned(),
        color: [0x5b, 0x6b, 0x7d],
    };
    Ok(marked(pdf, &stamp)?)
}

fn check(field: &'static str, text: &str) -> Result<(), MarkError> {
    if text.chars().count() > 32 || font::missing_glyph(text).is_some() {
        return Err(MarkError::Text(field));
    }
    Ok(())
}

fn marked(pdf: &[u8], stamp: &Stamp) -> Result<Vec<u8>, Unreadable> {
    let document = Document::parse(pdf)?;
    let pages = document.pages(MAX_PAGES + 1)?;
    if pages.len() > MAX_PAGES {
        return Err(Unreadable::TooLarge("the number of pages"));
    }
    let signature_widgets: HashSet<Id> = form::fields(&document)?
        .into_iter()
        .filter(|field| field.is_signature)
        .flat_map(|field| field.widgets)
        .collect();

    let mut increment = Increment::new(&document);
    let before = increment.add_stream("", b"q\n");
    // Pages of the same shape share their marks.
    let mut contents: HashMap<(Sight, usize), Id> = HashMap::new();
    let mut annotations: HashMap<Sight, Id> = HashMap::new();
    for &page in &pages {
        let (object, dict) = increment.dict_object(page)?;
        let sight = Sight::of(&document, page)?;
        let annotation = *annotations
            .entry(sight.clone())
            .or_insert_with(|| add_annotation(&mut increment, stamp, &sight));
        let strips = straddle::strips(&document, &dict);
        let gone = |id: &Id| signature_widgets.contains(id) || strips.contains(id);
        let mut kept = other_annotations(&document, &object, &dict, gone)?;
        kept.extend_from_slice(format!(" {annotation} ]").as_bytes());
        let mut edits = vec![("Annots", kept)];
        if let Some(open) = open_states(&document, &dict) {
            let mark = *contents.entry((sight.clone(), open)).or_insert_with(|| {
                let mut content = "Q\n".repeat(open + 1).into_bytes();
                content.extend_from_slice(&stamp.draw(&sight));
                increment.add_stream("/Filter /FlateDecode", &deflated(&content))
            });
            let mut parts = vec![before];
            parts.extend(content_streams(&document, &dict));
            parts.push(mark);
            edits.push(("Contents", references(&parts)));
        }
        increment.edit(page, &edits)?;
    }

    let catalog = document.catalog()?;
    let gone: Vec<_> = ["AcroForm", "Perms", "DSS"]
        .into_iter()
        .filter(|key| catalog.find(key.as_bytes()).is_some())
        .map(|key| (key, b"null".to_vec()))
        .collect();
    if !gone.is_empty() {
        increment.edit(document.trailer().root, &gone)?;
    }
    Ok(increment.finish().bytes)
}

/// The mark as an annotation, printed and locked. It is seen whatever the page's own content does, and programs can read
/// what it says.
fn add_annotation(increment: &mut Increment<'_, '_>, stamp: &Stamp, sight: &Sight) -> Id {
    let [left, bottom, right, top] = sight.corners();
    let rectangle = format!("[ {left} {bottom} {right} {top} ]");
    let form = format!(
        "/Type /XObject /Subtype /Form /BBox {rectangle} /Resources << >> /Filter /FlateDecode"
    );
    let appearance = increment.add_stream(&form, &deflated(&stamp.draw(sight)));
    let mut body = format!(
        "<< /Type /Annot /Subtype /Stamp /Rect {rectangle} /F 196 /AP << /N {appearance} >> /Contents "
    )
    .into_bytes();
    body.extend_from_slice(&text::encode(&stamp.line));
    body.extend_from_slice(b" >>");
    increment.add(body)
}

/// The streams of a page's content, as they are named.
fn content_streams(document: &Document<'_>, page: &Dict) -> Vec<Id> {
    let own = page.value(b"Contents");
    match document.resolve(own) {
        Ok(Value::Array(items)) => items
            .iter()
            .filter_map(|item| item.value.reference())
            .collect(),
        // A reference to a stream, or to nothing.
        _ => own.reference().into_iter().collect(),
    }
}

/// How many graphics states a page's content leaves open; `None` if that is not known, or it leaves more than those open.
fn open_states(document: &Document<'_>, page: &Dict) -> Option<usize> {
    let mut content = Vec::new();
    for id in content_streams(document, page) {
        if let Some(object) = document.object(id).ok()? {
            content.extend_from_slice(&document.decode(&object).ok()?);
            content.push(b'\n');
        }
    }
    balance::open_states(&content)
}

/// A page's annotations but for those that are to go, as the beginning of an array.
fn other_annotations(
    document: &Document<'_>,
    page: &Object,
    dict: &Dict,
    is_gone: impl Fn(&Id) -> bool,
) -> Result<Vec<u8>, Unreadable> {
    let mut out = b"[".to_vec();
    let Some(entry) = dict.find(b"Annots") else {
        return Ok(out);
    };
    let elsewhere = match entry.value {
        Value::Ref(id) => document.object(id)?,
        _ => None,
    };
    let (source, value) = match &elsewhere {
        Some(object) => (object, &object.item.value),
        None => (page, &entry.value),
    };
    for item in value.array().unwrap_or_default() {
        if !item.value.reference().is_some_and(|id| is_gone(&id)) {
            out.push(b' ');
            out.extend_from_slice(document.raw(source, &item.span));
        }
    }
    Ok(out)
}

fn references(ids: &[Id]) -> Vec<u8> {
    let mut out = b"[".to_vec();
    for id in ids {
        out.extend_from_slice(format!(" {id}").as_bytes());
    }
    out.extend_from_slice(b" ]");
    out
}

fn deflated(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(data);
    encoder.finish().unwrap_or_default()
}
