//! A document's interactive form (ISO 32000-2 section 12.7), as far as signatures need it: its fields, and what the
//! signatures that are there permit to be changed (section 12.8.2).

use std::collections::{HashMap, HashSet};

use crate::{
    document::{Document, Unreadable, damaged},
    syntax::{Dict, Id, Item, Value},
    text,
};

/// The most fields of a form.
const MAX_FIELDS: usize = 20_000;
/// How deep fields may nest.
const MAX_DEPTH: usize = 32;

/// A terminal field.
pub(crate) struct FormField {
    pub(crate) id: Id,
    /// The fully qualified name: the partial names of its ancestors and its own, joined by full stops.
    pub(crate) name: String,
    pub(crate) dict: Dict,
    pub(crate) is_signature: bool,
    /// The annotations that show it; the field itself when the two are merged.
    pub(crate) widgets: Vec<Id>,
}

impl FormField {
    /// Its value, when it has one.
    pub(crate) fn value(&self) -> Option<&Item> {
        self.dict.find(b"V").filter(|item| !item.value.is_null())
    }
}

/// The fields of the form in the order of the form; none when there is no form.
pub(crate) fn fields(document: &Document<'_>) -> Result<Vec<FormField>, Unreadable> {
    walk(document, false)
}

/// Likewise, but refuses what readers could take in different ways: fields that are none, and two with one name.
pub(crate) fn sound_fields(document: &Document<'_>) -> Result<Vec<FormField>, Unreadable> {
    let fields = walk(document, true)?;
    let mut names = HashSet::new();
    if fields
        .iter()
        .any(|field| !names.insert(field.name.as_str()))
    {
        return damaged("two form fields have the same name", 0);
    }
    Ok(fields)
}

fn walk(document: &Document<'_>, strict: bool) -> Result<Vec<FormField>, Unreadable> {
    let catalog = document.catalog()?;
    let Value::Dict(form) = document.resolve(catalog.value(b"AcroForm"))? else {
        return Ok(Vec::new());
    };
    let mut walk = Walk {
        document,
        strict,
        seen: HashSet::new(),
        fields: Vec::new(),
    };
    for item in document.array(form.value(b"Fields"), "the form's fields are malformed")? {
        walk.visit(&item, "", false, 0)?;
    }
    Ok(walk.fields)
}

struct Walk<'w, 'a> {
    document: &'w Document<'a>,
    strict: bool,
    seen: HashSet<Id>,
    fields: Vec<FormField>,
}

impl Walk<'_, '_> {
    /// What is no field is passed over by readers, and refused before signing.
    fn pass_over(&self) -> Result<(), Unreadable> {
        if self.strict {
            return damaged("a form field is not a dictionary", 0);
        }
        Ok(())
    }

    fn visit(
        &mut self,
        item: &Item,
        parent: &str,
        inherited: bool,
        depth: usize,
    ) -> Result<(), Unreadable> {
        // A field that is not an object of its own is no field (section 12.7.4.1); readers pass over it.
        let Some(id) = item.value.reference() else {
            return self.pass_over();
        };
        if depth == MAX_DEPTH || self.seen.len() == MAX_FIELDS {
            return Err(Unreadable::TooLarge("the number of form fields"));
        }
        if !self.seen.insert(id) {
            return damaged("the form's fields loop", 0);
        }
        // A stream is no field, whatever its dictionary says.
        let object = self
            .document
            .object(id)?
            .filter(|object| object.stream.is_none());
        let Some(Value::Dict(dict)) = object.map(|object| object.item.value) else {
            return self.pass_over();
        };
        let partial = self.document.resolve(dict.value(b"T"))?;
        let name = match (partial.string().map(text::decode), parent) {
            (Some(own), "") => own,
            (Some(own), parent) => format!("{parent}.{own}"),
            (None, parent) => parent.to_owned(),
        };
        let is_signature = match dict.name(b"FT") {
            Some(kind) => kind == b"Sig",
            None => inherited,
        };
        let mut widgets = Vec::new();
        let mut children = Vec::new();
        // Whether each is a field. One that is named again is not read again.
        let mut kids: HashMap<Id, bool> = HashMap::new();
        for kid in self
            .document
            .array(dict.value(b"Kids"), "a form field's children are malformed")?
        {
            let reference = kid.value.reference();
            match reference.and_then(|id| kids.get(&id)) {
                Some(true) => return damaged("the form's fields loop", 0),
                Some(false) => continue,
                None => {}
            }
            let resolved = self.document.resolve(&kid.value)?;
            let is_field = resolved.dict().is_some_and(|kid| kid.find(b"T").is_some());
            kids.extend(reference.map(|id| (id, is_field)));
            match (is_field, reference) {
                (true, _) => children.push(kid),
                (false, Some(widget)) => widgets.push(widget),
                (false, None) => {}
            }
        }
        if !children.is_empty() {
            for kid in children {
                self.visit(&kid, &name, is_signature, depth + 1)?;
            }
            return Ok(());
        }
        if widgets.is_empty() {
            widgets.push(id);
        }
        self.fields.push(FormField {
            id,
            name,
            dict,
            is_signature,
            widgets,
        });
        Ok(())
    }
}

/// What a certifying signature still permits (DocMDP, section 12.8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Certification {
    /// 1: nothing.
    NoChanges,
    /// 2: filling in forms and signing.
    FormFilling,
    /// 3: annotations too.
    Annotations,
}

/// Which fields a signature locks (FieldMDP, section 12.8.2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    All,
    Include(Vec<String>),
    Exclude(Vec<String>),
}

impl Lock {
    /// Whether a field, or one of its ancestors, is locked.
    pub(crate) fn covers(&self, field: &str) -> bool {
        let named = |names: &[String]| {
            names.iter().any(|name| {
                field
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        match self {
            Lock::All => true,
            Lock::Include(names) => named(names),
            Lock::Exclude(names) => !named(names),
        }
    }

    /// The lock that a `/Lock` or a `/TransformParams` dictionary states.
    pub(crate) fn of(document: &Document<'_>, dict: &Dict) -> Result<Self, Unreadable> {
        let names = || -> Result<Vec<String>, Unreadable> {
            let items = document.array(dict.value(b"Fields"), "a lock's fields are malformed")?;
            let mut seen = HashSet::new();
            items
                .iter()
                .filter(|item| item.value.reference().is_none_or(|id| seen.insert(id)))
                .map(|item| {
                    Ok(document
                        .resolve(&item.value)?
                        .string()
                        .map(text::decode)
                        .unwrap_or_default())
                })
                .collect()
        };
        match dict.name(b"Action") {
            Some(b"Include") => Ok(Lock::Include(names()?)),
            Some(b"Exclude") => Ok(Lock::Exclude(names()?)),
            // An action that is missing or unknown locks everything, the safe reading.
            _ => Ok(Lock::All),
        }
    }
}

/// What one signature says about later changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions {
    pub(crate) certification: Option<Certification>,
    pub(crate) lock: Option<Lock>,
}

impl Permissions {
    /// Reads the `/Reference` of a signature dictionary.
    pub(crate) fn of(document: &Document<'_>, signature: &Dict) -> Result<Self, Unreadable> {
        let mut permissions = Self::default();
        let mut seen = HashSet::new();
        for reference in document.array(
            signature.value(b"Reference"),
            "a signature's references are malformed",
        )? {
            let named = reference.value.reference();
            if named.is_some_and(|id| !seen.insert(id)) {
                continue;
            }
            let Value::Dict(reference) = document.resolve(&reference.value)? else {
                continue;
            };
            let parameters = match document.resolve(reference.value(b"TransformParams"))? {
                Value::Dict(parameters) => parameters,
                _ => Dict::default(),
            };
            match reference.name(b"TransformMethod") {
                Some(b"DocMDP") => {
                    let level = match document.resolve(parameters.value(b"P"))?.int() {
                        Some(1) => Certification::NoChanges,
                        Some(3) => Certification::Annotations,
                        // 2 is the default.
                        _ => Certification::FormFilling,
                    };
                    let stricter = permissions
                        .certification
                        .map_or(level, |earlier| earlier.min(level));
                    permissions.certification = Some(stricter);
                }
                Some(b"FieldMDP") => permissions.lock = Some(Lock::of(document, &parameters)?),
                _ => {}
            }
        }
        Ok(permissions)
    }
}
