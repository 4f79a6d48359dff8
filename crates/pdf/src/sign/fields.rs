//! Creates signature fields.

use super::{SignError, number};
use crate::{
    document::Document,
    form::{self, Certification, Permissions},
    increment::{Increment, splice},
    syntax::{Id, Value},
    text,
};

/// The most characters of a field's name.
const MAX_NAME: usize = 128;
/// The most fields of one call.
const MAX_FIELDS: usize = 1000;

/// A signature field to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name: 1 to 128 characters without a full stop, unlike any other field's of the document.
    pub name: String,
    /// The page, counted from 0.
    pub page: usize,
    /// Left, bottom, right and top in points of the page's own coordinates, as in a PDF's `/Rect`.
    pub rect: [f64; 4],
}

/// Creates empty signature fields in one incremental update; without fields the document comes back as it was.
///
/// Every field shows an empty picture until it is signed, because PDF/A wants each annotation to have one.
///
/// # Errors
/// When the document is unreadable or certified, a page does not exist, or a name is taken or unfit.
pub fn add_fields(pdf: &[u8], fields: &[Field]) -> Result<Vec<u8>, SignError> {
    if fields.len() > MAX_FIELDS {
        return Err(SignError::TooLarge {
            what: "the number of fields",
            limit: MAX_FIELDS,
        });
    }
    let document = Document::parse(pdf)?;
    if fields.is_empty() {
        return Ok(pdf.to_vec());
    }
    let missing = document.check()?;
    refuse_certified(&document)?;
    let mut increment = Increment::new(&document);
    missing.into_iter().for_each(|id| increment.settle(id));
    let empty = increment.add_stream("/Type /XObject /Subtype /Form /BBox [ 0 0 0 0 ]", b"");
    place(
        &document,
        &mut increment,
        fields,
        &format!("/AP << /N {empty} >>"),
    )?;
    Ok(increment.finish().bytes)
}

/// Puts fields with these further entries on their pages and into the form.
pub(super) fn place(
    document: &Document<'_>,
    increment: &mut Increment<'_, '_>,
    fields: &[Field],
    entries: &str,
) -> Result<(), SignError> {
    refuse_names(document, fields)?;
    let last = fields.iter().map(|field| field.page).max().unwrap_or(0);
    let pages = document.pages(last.saturating_add(1))?;
    let mut ids = Vec::with_capacity(fields.len());
    for field in fields {
        let Some(&page) = pages.get(field.page) else {
            return Err(SignError::NoSuchPage {
                page: field.page,
                pages: pages.len(),
            });
        };
        ids.push((increment.add(widget(field, page, entries)?), page));
    }
    let mut by_page = ids.clone();
    by_page.sort_by_key(|(_, page)| *page);
    for annotations in by_page.chunk_by(|(_, one), (_, other)| one == other) {
        let page = annotations[0].1;
        let (object, dict) = increment.dict_object(page)?;
        let added = references(annotations.iter().map(|(id, _)| *id));
        if let Some(array) = increment.append(&object, dict.find(b"Annots"), &added)? {
            increment.edit(page, &[("Annots", array)])?;
        }
    }
    let added = references(ids.iter().map(|(id, _)| *id));
    add_to_form(document, increment, &added)
}

/// New fields break every certification, and are no business of ours where someone certified a form.
fn refuse_certified(document: &Document<'_>) -> Result<(), SignError> {
    for field in form::fields(document)? {
        if let (true, Some(value)) = (field.is_signature, field.value())
            && let Value::Dict(signature) = document.resolve(&value.value)?
            && let Some(certification) = Permissions::of(document, &signature)?.certification
        {
            let (Certification::NoChanges
            | Certification::FormFilling
            | Certification::Annotations) = certification;
            return Err(SignError::Certified);
        }
    }
    Ok(())
}

fn refuse_names(document: &Document<'_>, fields: &[Field]) -> Result<(), SignError> {
    let mut taken: std::collections::HashSet<String> = form::sound_fields(document)?
        .into_iter()
        .map(|field| field.name)
        .collect();
    for field in fields {
        let fits = (1..=MAX_NAME).contains(&field.name.chars().count())
            && !field.name.contains('.')
            && !field.name.chars().any(char::is_control);
        let inside = taken
            .iter()
            .any(|name| name.split('.').next() == Some(&field.name));
        if !fits || inside || !taken.insert(field.name.clone()) {
            return Err(SignError::FieldName(field.name.clone()));
        }
    }
    Ok(())
}

/// The field and its annotation, merged into one object (section 12.7.5.5 and 12.5.6.19).
fn widget(field: &Field, page: Id, entries: &str) -> Result<Vec<u8>, SignError> {
    // Before they are put in order, for that would drop what is not a number.
    for coordinate in field.rect {
        number(coordinate)?;
    }
    let [left, bottom, right, top] = field.rect;
    let mut body = b"<< /Type /Annot /Subtype /Widget /FT /Sig /T ".to_vec();
    body.extend_from_slice(&text::encode(&field.name));
    // Printed, and locked against being moved (section 12.5.3).
    let rest = format!(
        " /F 132 /Rect [ {} {} {} {} ] /P {page} {entries} >>",
        number(left.min(right))?,
        number(bottom.min(top))?,
        number(left.max(right))?,
        number(bottom.max(top))?,
    );
    body.extend_from_slice(rest.as_bytes());
    Ok(body)
}

/// Puts the fields into the form, which is made when there is none. SigFlags 3: signatures exist, append only.
fn add_to_form(
    document: &Document<'_>,
    increment: &mut Increment<'_, '_>,
    added: &[u8],
) -> Result<(), SignError> {
    let root = document.trailer().root;
    let (catalog_object, catalog) = increment.dict_object(root)?;
    match catalog.value(b"AcroForm") {
        Value::Ref(id) if document.object(*id)?.is_some() => {
            let (object, form) = increment.dict_object(*id)?;
            let mut edits = vec![("SigFlags", b"3".to_vec())];
            edits.extend(
                increment
                    .append(&object, form.find(b"Fields"), added)?
                    .map(|array| ("Fields", array)),
            );
            increment.edit(*id, &edits)?;
        }
        Value::Dict(form) => {
            let mut edits = vec![("SigFlags", b"3".to_vec())];
            edits.extend(
                increment
                    .append(&catalog_object, form.find(b"Fields"), added)?
                    .map(|array| ("Fields", array)),
            );
            // `value` found it, so `find` does.
            let span = catalog
                .find(b"AcroForm")
                .map(|item| item.span.clone())
                .unwrap_or_default();
            let spliced = splice(
                document.raw(&catalog_object, &span),
                span.start,
                form,
                &edits,
            );
            increment.edit(root, &[("AcroForm", spliced)])?;
        }
        _ => {
            let mut form = b"<< /SigFlags 3 /Fields [ ".to_vec();
            form.extend_from_slice(added);
            form.extend_from_slice(b" ] >>");
            let id = increment.add(form);
            increment.edit(root, &[("AcroForm", id.to_string().into_bytes())])?;
        }
    }
    Ok(())
}

fn references(ids: impl Iterator<Item = Id>) -> Vec<u8> {
    ids.map(|id| id.to_string())
        .collect::<Vec<_>>()
        .join(" ")
        .into_bytes()
}
