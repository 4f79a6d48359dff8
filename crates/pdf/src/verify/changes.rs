//! Judges what was changed in a document after one of its signatures.
//!
//! The signed revision and the whole file are two documents over the same bytes. Every object that the signed revision
//! could show and that is another now must have a reason: a signature field that was signed, a field that was added and
//! shows nothing but its own signature, evidence in `/DSS`, metadata. All else may change what a reader sees. Stricter than
//! readers that let forms be filled in: a receipt has no form to fill in.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    report::{Change, ChangeKind},
    roles::{Reachable, Role, roles},
};
use crate::{
    document::{Document, Entry, Unreadable},
    form::{self, Certification, FormField, Permissions},
    syntax::{Dict, Id, Item, Value},
};

/// What changed after a signature.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) judged: Vec<Change>,
    /// Added fields that a reader shows; what their own signatures are worth says whether they are permitted.
    pub(super) shown: Vec<ShownField>,
}

/// A signature field with something to see that was added after a signature.
pub(super) struct ShownField {
    pub(super) id: Id,
    pub(super) detail: String,
}

/// What changed from `old`, a signed revision, to `new`, the whole file. `permissions` is what the signature permits.
pub(super) fn between(
    old: &Document<'_>,
    new: &Document<'_>,
    permissions: &Permissions,
) -> Result<Changes, Unreadable> {
    let mut judge = Judge {
        old,
        new,
        permissions,
        changes: Changes::default(),
        new_fields: BTreeMap::new(),
        listable: BTreeSet::new(),
    };
    if old.trailer().root != new.trailer().root {
        judge.other("the catalog is another object".to_owned());
        return Ok(judge.changes);
    }
    let (changed, introduced) = judge.differences()?;
    if changed.is_empty() && introduced.is_empty() {
        return Ok(judge.changes);
    }
    let reachable = Reachable::of(old)?;
    for id in introduced.iter().filter(|id| reachable.contains(id)) {
        judge.other(format!(
            "object {id}, which the signed revision named but did not have, was added"
        ));
    }
    judge.new_fields = form::fields(new)?
        .into_iter()
        .map(|field| (field.id, field))
        .collect();
    judge.listable = judge.listable()?;
    let roles = roles(old)?;
    for id in changed {
        if !reachable.contains(&id) {
            continue;
        }
        match roles.get(&id) {
            // What a page shows does not become evidence by being called so as well.
            Some(Role::ValidationData | Role::Metadata) if reachable.shown.contains(&id) => {
                judge.other(format!("object {id} was changed"));
            }
            Some(role) => judge.object(id, role)?,
            None => judge.other(format!("object {id} was changed")),
        }
    }
    Ok(judge.changes)
}

struct Judge<'j, 'a> {
    old: &'j Document<'a>,
    new: &'j Document<'a>,
    permissions: &'j Permissions,
    changes: Changes,
    new_fields: BTreeMap<Id, FormField>,
    /// The widgets that a page may list now and that none did, each once.
    listable: BTreeSet<Id>,
}

impl Judge<'_, '_> {
    /// Ids of objects that are another now, and of objects that the signed revision did not have.
    fn differences(&self) -> Result<(BTreeSet<Id>, BTreeSet<Id>), Unreadable> {
        let (mut changed, mut introduced) = (BTreeSet::new(), BTreeSet::new());
        let numbers: BTreeSet<u32> = self
            .old
            .entries()
            .keys()
            .chain(self.new.entries().keys())
            .copied()
            .collect();
        for number in numbers {
            let (before, after) = (
                self.old.entries().get(&number),
                self.new.entries().get(&number),
            );
            if before == after && self.same_place(before) {
                continue;
            }
            let id = |entry: Option<&Entry>| match entry {
                Some(Entry::At { generation, .. }) => Some(Id {
                    number,
                    generation: *generation,
                }),
                Some(Entry::In { .. }) => Some(Id {
                    number,
                    generation: 0,
                }),
                Some(Entry::Free) | None => None,
            };
            match (id(before), id(after)) {
                (None, None) => {}
                (None, Some(after)) => {
                    introduced.insert(after);
                }
                (Some(before), after) => {
                    if after != Some(before) || !self.equal(before)? {
                        changed.insert(before);
                        introduced.extend(after.filter(|after| *after != before));
                    }
                }
            }
        }
        Ok((changed, introduced))
    }

    /// Whether equal entries lead to the same bytes: an object stream may have been replaced as a whole.
    fn same_place(&self, entry: Option<&Entry>) -> bool {
        match entry {
            Some(Entry::In { container, .. }) => {
                self.old.entries().get(container) == self.new.entries().get(container)
            }
            Some(Entry::At { .. } | Entry::Free) | None => true,
        }
    }

    /// Whether an object that was written again says the same.
    fn equal(&self, id: Id) -> Result<bool, Unreadable> {
        Ok(match (self.old.object(id)?, self.new.object(id)?) {
            (Some(old), Some(new)) => {
                // Streams may lie in one another, so that comparing them all takes longer than reading the file.
                self.new
                    .charge(new.stream.as_ref().map_or(0, ExactSizeIterator::len))?;
                let bytes = |stream: Option<std::ops::Range<usize>>| {
                    stream.map(|range| &self.new.data()[range])
                };
                old.item == new.item && bytes(old.stream) == bytes(new.stream)
            }
            (old, new) => old.is_none() && new.is_none(),
        })
    }

    /// The widgets of signature fields that no page of the signed revision lists, but for those of fields that were signed
    /// then: to show these somewhere else is to show a signature where it was not made.
    fn listable(&self) -> Result<BTreeSet<Id>, Unreadable> {
        let mut taken = BTreeSet::new();
        for page in self.old.pages(usize::MAX)? {
            let page = self
                .old
                .dict(&Value::Ref(page), "a page is not a dictionary")?;
            let listed = self
                .old
                .array(page.value(b"Annots"), "a page's annotations are malformed")?;
            taken.extend(listed.iter().filter_map(|item| item.value.reference()));
        }
        for field in form::fields(self.old)? {
            if field.value().is_some() {
                taken.extend(field.widgets);
            }
        }
        let signature = self.new_fields.values().filter(|field| field.is_signature);
        Ok(signature
            .flat_map(|field| field.widgets.iter().copied())
            .filter(|widget| !taken.contains(widget))
            .collect())
    }

    fn object(&mut self, id: Id, role: &Role) -> Result<(), Unreadable> {
        let value = |document: &Document<'_>| -> Result<Value, Unreadable> {
            Ok(document
                .object(id)?
                .map_or(Value::Null, |object| object.item.value))
        };
        let (old, new) = (value(self.old)?, value(self.new)?);
        match (role, &old, &new) {
            (Role::ValidationData, ..) => self.permit(
                ChangeKind::ValidationDataAdded,
                "evidence was added".to_owned(),
            ),
            (Role::Metadata, ..) => self.metadata(),
            (Role::Catalog, Value::Dict(old), Value::Dict(new)) => self.catalog(old, new)?,
            (Role::Form, Value::Dict(old), Value::Dict(new)) => self.form(old, new)?,
            (Role::FormFields, Value::Array(old), Value::Array(new)) => self.form_fields(old, new),
            (Role::Field(field), Value::Dict(old), Value::Dict(new)) => self.field(field, old, new),
            (Role::Widget(field), Value::Dict(old), Value::Dict(new)) => {
                self.widget(field, old, new)
            }
            (Role::Page, Value::Dict(old), Value::Dict(new)) => self.page(id, old, new)?,
            (Role::Annotations, Value::Array(old), Value::Array(new)) => self.annotations(old, new),
            _ => self.other(format!("object {id} was changed")),
        }
        Ok(())
    }

    fn catalog(&mut self, old: &Dict, new: &Dict) -> Result<(), Unreadable> {
        for key in differing(old, new) {
            match key.as_slice() {
                b"AcroForm" => {
                    let (before, after) = (
                        self.old.resolve(old.value(&key))?,
                        self.new.resolve(new.value(&key))?,
                    );
                    match (&before, &after) {
                        (Value::Dict(before), Value::Dict(after)) => self.form(before, after)?,
                        (Value::Null, Value::Dict(after)) => self.form(&Dict::default(), after)?,
                        _ => self.other("the form was replaced".to_owned()),
                    }
                }
                b"DSS" => self.permit(
                    ChangeKind::ValidationDataAdded,
                    "evidence was added".to_owned(),
                ),
                b"Metadata" => self.metadata(),
                // They say which extensions of PDF the file uses, as PAdES asks.
                b"Extensions" | b"Version" => self.metadata(),
                _ => self.other(format!("the catalog's {} was changed", shown(&key))),
            }
        }
        Ok(())
    }

    fn form(&mut self, old: &Dict, new: &Dict) -> Result<(), Unreadable> {
        for key in differing(old, new) {
            match key.as_slice() {
                b"Fields" => {
                    let before = self
                        .old
                        .array(old.value(&key), "the form's fields are malformed")?;
                    let after = self
                        .new
                        .array(new.value(&key), "the form's fields are malformed")?;
                    self.form_fields(&before, &after);
                }
                b"SigFlags" if new.int(&key).is_some() => {}
                // Resources for fields to be filled in: more of them, but none replaced.
                b"DR" if self.grows(old.value(&key), new.value(&key), 0)? => {}
                _ => self.other(format!("the form's {} was changed", shown(&key))),
            }
        }
        Ok(())
    }

    /// Whether `new` has everything that `old` has, as it was.
    fn grows(&self, old: &Value, new: &Value, depth: usize) -> Result<bool, Unreadable> {
        if old == new || old.is_null() {
            return Ok(true);
        }
        match (self.old.resolve(old)?, self.new.resolve(new)?) {
            (Value::Dict(old), Value::Dict(new)) if depth < 4 => {
                for (key, item) in &old.entries {
                    if !self.grows(&item.value, new.value(key), depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (old, new) => Ok(old == new),
        }
    }

    /// Fields may be added, after those that were there.
    fn form_fields(&mut self, old: &[Item], new: &[Item]) {
        if !new.starts_with(old) {
            self.other("fields of the form were removed or replaced".to_owned());
            return;
        }
        for added in &new[old.len()..] {
            let field = added
                .value
                .reference()
                .and_then(|id| self.new_fields.get(&id));
            match field {
                Some(field) if field.is_signature => {
                    let name = field.name.clone();
                    let detail = format!("signature field {name:?} was added");
                    // Certifications permit no new fields but invisible ones, which timestamps need.
                    if !self.shows(field) {
                        self.permit(ChangeKind::FieldAdded, detail);
                    } else if self.permissions.certification.is_some() {
                        self.forbid(ChangeKind::FieldAdded, detail);
                    } else {
                        let id = field.id;
                        self.changes.shown.push(ShownField { id, detail });
                    }
                }
                _ => self.other("a field that is no signature was added to the form".to_owned()),
            }
        }
    }

    /// Whether a reader may show something of a new field: of itself or of its widgets, where those are other objects. What
    /// cannot be read is taken for visible.
    fn shows(&self, field: &FormField) -> bool {
        let invisible = |id: &Id| {
            let object = self.new.object(*id).ok().flatten();
            object
                .as_ref()
                .filter(|object| object.stream.is_none())
                .and_then(|object| object.item.value.dict())
                .is_some_and(|widget| !is_visible(widget))
        };
        !field.widgets.iter().all(invisible)
    }

    fn field(&mut self, field: &FormField, old: &Dict, new: &Dict) {
        let was_empty = old.value(b"V").is_null();
        let is_signed = !new.value(b"V").is_null();
        let signed = field.is_signature && was_empty && is_signed;
        for key in differing(old, new) {
            match key.as_slice() {
                b"V" if signed => {
                    let detail = format!("signature field {:?} was signed", field.name);
                    let forbidden = self.permissions.certification
                        == Some(Certification::NoChanges)
                        || self
                            .permissions
                            .lock
                            .as_ref()
                            .is_some_and(|lock| lock.covers(&field.name));
                    if forbidden {
                        self.forbid(ChangeKind::FieldSigned, detail);
                    } else {
                        self.permit(ChangeKind::FieldSigned, detail);
                    }
                }
                b"AP" if signed => {}
                // Some writers lock the field on the page as they sign it; hiding it is another matter.
                b"F" if signed && new.int(&key).is_some_and(|flags| flags & HIDDEN == 0) => {}
                _ => self.other(format!(
                    "{} of field {:?} was changed",
                    shown(&key),
                    field.name
                )),
            }
        }
    }

    /// A widget shows a signature once its field has one.
    fn widget(&mut self, field: &FormField, old: &Dict, new: &Dict) {
        let is_signed = self
            .new_fields
            .get(&field.id)
            .is_some_and(|field| field.value().is_some());
        let signed = field.is_signature && field.value().is_none() && is_signed;
        for key in differing(old, new) {
            if key != b"AP" || !signed {
                self.other(format!(
                    "{} of field {:?} was changed",
                    shown(&key),
                    field.name
                ));
            }
        }
    }

    fn page(&mut self, id: Id, old: &Dict, new: &Dict) -> Result<(), Unreadable> {
        for key in differing(old, new) {
            if key != b"Annots" {
                self.other(format!("{} of page {id} was changed", shown(&key)));
                continue;
            }
            let before = self
                .old
                .array(old.value(&key), "a page's annotations are malformed")?;
            let after = self
                .new
                .array(new.value(&key), "a page's annotations are malformed")?;
            self.annotations(&before, &after);
        }
        Ok(())
    }

    /// The widgets of signature fields may be added, each to one page; the form says whether that is permitted.
    fn annotations(&mut self, old: &[Item], new: &[Item]) {
        if !new.starts_with(old) {
            self.other("annotations of a page were removed or replaced".to_owned());
            return;
        }
        for added in &new[old.len()..] {
            let widget = added.value.reference();
            if !widget.is_some_and(|id| self.listable.remove(&id)) {
                let detail = "an annotation that is no new signature was added to a page";
                self.other(detail.to_owned());
            }
        }
    }

    fn metadata(&mut self) {
        if self.permissions.certification == Some(Certification::NoChanges) {
            self.forbid(
                ChangeKind::Metadata,
                "the metadata was rewritten".to_owned(),
            );
        } else {
            self.permit(
                ChangeKind::Metadata,
                "the metadata was rewritten".to_owned(),
            );
        }
    }

    fn permit(&mut self, kind: ChangeKind, detail: String) {
        self.push(Change {
            kind,
            permitted: true,
            detail,
        });
    }

    fn forbid(&mut self, kind: ChangeKind, detail: String) {
        self.push(Change {
            kind,
            permitted: false,
            detail,
        });
    }

    fn other(&mut self, detail: String) {
        self.forbid(ChangeKind::Other, detail);
    }

    fn push(&mut self, change: Change) {
        if !self.changes.judged.contains(&change) {
            self.changes.judged.push(change);
        }
    }
}

/// The keys whose values differ.
fn differing(old: &Dict, new: &Dict) -> Vec<Vec<u8>> {
    let keys: BTreeSet<&Vec<u8>> = old
        .entries
        .iter()
        .chain(&new.entries)
        .map(|(key, _)| key)
        .collect();
    keys.into_iter()
        .filter(|key| old.value(key) != new.value(key))
        .cloned()
        .collect()
}

/// An annotation's flag (section 12.5.3).
const HIDDEN: i64 = 2;

/// Whether a reader may show something there. A line is as visible as an area: it can strike out an amount.
fn is_visible(widget: &Dict) -> bool {
    let rect: Vec<f64> = widget
        .value(b"Rect")
        .array()
        .unwrap_or_default()
        .iter()
        .filter_map(|n| n.value.number())
        .collect();
    let empty = matches!(rect[..], [left, bottom, right, top] if left == right && bottom == top);
    !empty && widget.int(b"F").unwrap_or(0) & HIDDEN == 0
}

fn shown(key: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(key))
}
