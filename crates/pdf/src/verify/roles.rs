//! What the objects of a signed revision are for: which a reader may show, and which may change for a known reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    document::{Document, Unreadable},
    form::{self, FormField},
    syntax::{Id, Value},
};

/// The most objects of a signed revision that are walked.
const MAX_OBJECTS: usize = 1_000_000;

/// What an object is in the signed revision, when a change of it could be permitted.
pub(super) enum Role {
    Catalog,
    Form,
    FormFields,
    Field(FormField),
    /// The widget of a field, where it is an object of its own.
    Widget(FormField),
    Page,
    Annotations,
    ValidationData,
    Metadata,
}

/// The objects that a document can use.
pub(super) struct Reachable {
    /// By what a reader may show.
    pub(super) shown: BTreeSet<Id>,
    /// By evidence, metadata and information alone.
    beside: BTreeSet<Id>,
}

impl Reachable {
    pub(super) fn of(document: &Document<'_>) -> Result<Self, Unreadable> {
        let root = document.trailer().root;
        let (mut shown, mut beside) = (Vec::new(), Vec::new());
        for (key, item) in &document.catalog()?.entries {
            let aside = matches!(key.as_slice(), b"DSS" | b"Metadata" | b"Extensions");
            item.value.references(&mut |id| {
                if aside {
                    beside.push(id)
                } else {
                    shown.push(id)
                }
            });
        }
        beside.extend(document.trailer().dict.value(b"Info").reference());
        let mut reachable = Self {
            shown: BTreeSet::from([root]),
            beside: BTreeSet::new(),
        };
        walk(document, shown, &mut reachable.shown, &BTreeSet::new())?;
        walk(document, beside, &mut reachable.beside, &reachable.shown)?;
        Ok(reachable)
    }

    pub(super) fn contains(&self, id: &Id) -> bool {
        self.shown.contains(id) || self.beside.contains(id)
    }
}

/// Follows every reference from `stack` on into `found`, but not into what is in `known`.
fn walk(
    document: &Document<'_>,
    mut stack: Vec<Id>,
    found: &mut BTreeSet<Id>,
    known: &BTreeSet<Id>,
) -> Result<(), Unreadable> {
    while let Some(id) = stack.pop() {
        if known.contains(&id) || !found.insert(id) {
            continue;
        }
        if found.len() > MAX_OBJECTS {
            return Err(Unreadable::TooLarge("the number of objects"));
        }
        if let Some(object) = document.object(id)? {
            object.item.value.references(&mut |id| stack.push(id));
        }
    }
    Ok(())
}

/// The roles of the objects of a document that have one.
pub(super) fn roles(document: &Document<'_>) -> Result<BTreeMap<Id, Role>, Unreadable> {
    let mut roles = BTreeMap::new();
    let catalog = document.catalog()?;
    for page in document.pages(usize::MAX)? {
        let dict = document.dict(&Value::Ref(page), "a page is not a dictionary")?;
        if let Some(id) = dict.value(b"Annots").reference() {
            roles.insert(id, Role::Annotations);
        }
        roles.insert(page, Role::Page);
    }
    validation_data(
        document,
        catalog.value(b"DSS"),
        0,
        &mut BTreeSet::new(),
        &mut roles,
    )?;
    for metadata in [
        catalog.value(b"Extensions"),
        catalog.value(b"Metadata"),
        document.trailer().dict.value(b"Info"),
    ] {
        if let Some(id) = metadata.reference() {
            roles.insert(id, Role::Metadata);
        }
    }
    if let Some(id) = catalog.value(b"AcroForm").reference() {
        roles.insert(id, Role::Form);
    }
    if let Value::Dict(form) = document.resolve(catalog.value(b"AcroForm"))?
        && let Some(id) = form.value(b"Fields").reference()
    {
        roles.insert(id, Role::FormFields);
    }
    for field in form::fields(document)? {
        for widget in field.widgets.iter().filter(|widget| **widget != field.id) {
            let field = FormField {
                id: field.id,
                name: field.name.clone(),
                dict: field.dict.clone(),
                is_signature: field.is_signature,
                widgets: Vec::new(),
            };
            roles.insert(*widget, Role::Widget(field));
        }
        roles.insert(field.id, Role::Field(field));
    }
    // Last, because whatever else claims to be the catalog, its own rule is the strictest.
    roles.insert(document.trailer().root, Role::Catalog);
    Ok(roles)
}

/// The dictionaries and arrays below `/DSS`, not the streams that they name.
fn validation_data(
    document: &Document<'_>,
    value: &Value,
    depth: usize,
    seen: &mut BTreeSet<Id>,
    roles: &mut BTreeMap<Id, Role>,
) -> Result<(), Unreadable> {
    if depth > 8 {
        return Ok(());
    }
    let children: Vec<Value> = match value {
        Value::Ref(id) => {
            if roles.contains_key(id) || !seen.insert(*id) {
                return Ok(());
            }
            let Some(object) = document.object(*id)? else {
                return Ok(());
            };
            if object.stream.is_some() {
                return Ok(());
            }
            roles.insert(*id, Role::ValidationData);
            vec![object.item.value]
        }
        Value::Dict(dict) => dict
            .entries
            .iter()
            .map(|(_, item)| item.value.clone())
            .collect(),
        Value::Array(items) => items.iter().map(|item| item.value.clone()).collect(),
        _ => return Ok(()),
    };
    for child in &children {
        validation_data(document, child, depth + 1, seen, roles)?;
    }
    Ok(())
}
