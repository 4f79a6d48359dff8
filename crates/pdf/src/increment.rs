//! Incremental updates (ISO 32000-2 section 7.5.6): what is appended to a PDF so that all its earlier bytes stay as they are.
//!
//! Changed dictionaries are spliced from their own bytes rather than written anew: a number spelled differently is a change
//! to whoever compares revisions. The new cross-reference section is of the kind of the one before it.

use std::{collections::BTreeMap, io::Write as _, ops::Range};

use crate::{
    document::{Document, Entry, Object, Unreadable, XrefKind, damaged},
    syntax::{Dict, Id, Item, Parser, Value},
};

/// The highest object number (ISO 32000-1 annex C).
const MAX_NUMBER: u32 = 8_388_607;

/// An update being put together.
pub(crate) struct Increment<'d, 'a> {
    document: &'d Document<'a>,
    objects: BTreeMap<Id, Vec<u8>>,
    next: u32,
}

/// A finished update: the whole file, and where each object's body (what stands between `obj` and `endobj`) begins in it.
pub(crate) struct Updated {
    pub(crate) bytes: Vec<u8>,
    pub(crate) bodies: BTreeMap<Id, usize>,
}

impl<'d, 'a> Increment<'d, 'a> {
    pub(crate) fn new(document: &'d Document<'a>) -> Self {
        Self {
            document,
            objects: BTreeMap::new(),
            next: document.trailer().size,
        }
    }

    /// Makes null of an object that is named but missing, which is what it is already (section 7.3.10): now nobody can add it.
    pub(crate) fn settle(&mut self, missing: Id) {
        // A number that is in use with another generation stays what it is.
        let number = self.document.entries().get(&missing.number);
        if matches!(number, None | Some(Entry::Free)) && missing.number < MAX_NUMBER {
            self.next = self.next.max(missing.number + 1);
            self.set(missing, "null");
        }
    }

    /// The id of a new object, whose body comes by [`Self::set`].
    pub(crate) fn reserve(&mut self) -> Id {
        let id = Id {
            number: self.next,
            generation: 0,
        };
        self.next += 1;
        id
    }

    /// A new object with this body.
    pub(crate) fn add(&mut self, body: impl Into<Vec<u8>>) -> Id {
        let id = self.reserve();
        self.set(id, body);
        id
    }

    /// A new stream; `dict` are its entries without `/Length` and without the brackets.
    pub(crate) fn add_stream(&mut self, dict: &str, data: &[u8]) -> Id {
        let mut body = format!("<< {dict} /Length {} >>\nstream\n", data.len()).into_bytes();
        body.extend_from_slice(data);
        body.extend_from_slice(b"\nendstream");
        self.add(body)
    }

    /// Gives an object this body, instead of any it had.
    pub(crate) fn set(&mut self, id: Id, body: impl Into<Vec<u8>>) {
        self.objects.insert(id, body.into());
    }

    /// Replaces or adds entries of a dictionary object, keeping the spelling of all the others.
    pub(crate) fn edit(&mut self, id: Id, edits: &[(&str, Vec<u8>)]) -> Result<(), Unreadable> {
        let body = match self.objects.get(&id) {
            // It was changed in this update already.
            Some(body) => {
                let Value::Dict(dict) = Parser::new(body, 0).item()?.value else {
                    return damaged("a dictionary was expected", 0);
                };
                splice(body, 0, &dict, edits)
            }
            None => {
                let (object, dict) = self.dict_object(id)?;
                let span = &object.item.span;
                splice(self.document.raw(&object, span), span.start, &dict, edits)
            }
        };
        self.set(id, body);
        Ok(())
    }

    /// Appends `elements` to an array that is an entry of a dictionary: the edit to be made of that entry, or `None` when the
    /// array is an object of its own, which is then changed instead.
    pub(crate) fn append(
        &mut self,
        owner: &Object,
        entry: Option<&Item>,
        elements: &[u8],
    ) -> Result<Option<Vec<u8>>, Unreadable> {
        match entry.map(|entry| (entry, &entry.value)) {
            None | Some((_, Value::Null)) => Ok(Some(appended(b"[ ]", elements))),
            Some((entry, Value::Array(_))) => Ok(Some(appended(
                self.document.raw(owner, &entry.span),
                elements,
            ))),
            Some((_, &Value::Ref(id))) => {
                let Some(object) = self.document.object(id)? else {
                    return Ok(Some(appended(b"[ ]", elements)));
                };
                if object.item.value.array().is_none() {
                    return damaged("an array was expected", 0);
                }
                // Pages may share the array, and then it was changed in this update already.
                let own = self.objects.get(&id).map(Vec::as_slice);
                let raw = own.unwrap_or_else(|| self.document.raw(&object, &object.item.span));
                let body = appended(raw, elements);
                self.set(id, body);
                Ok(None)
            }
            Some(_) => damaged("an array was expected", 0),
        }
    }

    pub(crate) fn dict_object(&self, id: Id) -> Result<(Object, Dict), Unreadable> {
        let Some(object) = self.document.object(id)? else {
            return damaged("an object is missing", 0);
        };
        let Value::Dict(dict) = object.item.value.clone() else {
            return damaged("a dictionary was expected", 0);
        };
        if object.stream.is_some() {
            return damaged("a dictionary was expected where a stream is", 0);
        }
        Ok((object, dict))
    }

    /// The file with the update appended.
    pub(crate) fn finish(mut self) -> Updated {
        let size: usize = self.objects.values().map(|body| body.len() + 64).sum();
        let data = self.document.data();
        let mut out = Vec::with_capacity(data.len() + size + 1024);
        out.extend_from_slice(data);
        if !matches!(data.last(), Some(b'\n' | b'\r')) {
            out.push(b'\n');
        }
        let mut places = BTreeMap::new();
        let mut bodies = BTreeMap::new();
        for (id, body) in std::mem::take(&mut self.objects) {
            places.insert(id, out.len());
            put(
                &mut out,
                format_args!("{} {} obj\n", id.number, id.generation),
            );
            bodies.insert(id, out.len());
            out.extend_from_slice(&body);
            out.extend_from_slice(b"\nendobj\n");
        }
        match self.document.trailer().kind {
            XrefKind::Table => self.put_table(&mut out, &places),
            XrefKind::Stream => self.put_stream(&mut out, places),
        }
        Updated { bytes: out, bodies }
    }

    fn put_table(&self, out: &mut Vec<u8>, places: &BTreeMap<Id, usize>) {
        let start = out.len();
        out.extend_from_slice(b"xref\n");
        for run in runs(places) {
            put(out, format_args!("{} {}\n", run[0].0.number, run.len()));
            for (id, offset) in run {
                put(out, format_args!("{offset:010} {:05} n \n", id.generation));
            }
        }
        put(out, format_args!("trailer\n<< /Size {}", self.next));
        self.put_carried(out);
        put(out, format_args!(" >>\nstartxref\n{start}\n%%EOF\n"));
    }

    fn put_stream(&mut self, out: &mut Vec<u8>, mut places: BTreeMap<Id, usize>) {
        let start = out.len();
        let id = self.reserve();
        places.insert(id, start);
        put(
            out,
            format_args!("{} 0 obj\n<< /Type /XRef /W [ 1 4 2 ] /Index [", id.number),
        );
        let runs = runs(&places);
        for run in &runs {
            put(out, format_args!(" {} {}", run[0].0.number, run.len()));
        }
        put(
            out,
            format_args!(" ] /Length {} /Size {}", places.len() * 7, self.next),
        );
        self.put_carried(out);
        out.extend_from_slice(b" >>\nstream\n");
        for (id, offset) in runs.iter().flatten() {
            out.push(1);
            // Files end at 256 MiB.
            out.extend_from_slice(&u32::try_from(*offset).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(&id.generation.to_be_bytes());
        }
        put(
            out,
            format_args!("\nendstream\nendobj\nstartxref\n{start}\n%%EOF\n"),
        );
    }

    /// What every trailer repeats: where the last section is, and the catalog, information and identity of the document.
    fn put_carried(&self, out: &mut Vec<u8>) {
        put(out, format_args!(" /Prev {}", self.document.sections()[0]));
        for key in [b"Root".as_slice(), b"Info", b"ID"] {
            if let Some(item) = self.document.trailer().dict.find(key) {
                out.extend_from_slice(b" /");
                out.extend_from_slice(key);
                out.push(b' ');
                // A trailer stands in the file itself, never in an object stream.
                out.extend_from_slice(&self.document.data()[item.span.clone()]);
            }
        }
    }
}

/// The bytes of a dictionary with some entries replaced or added; `start` is where its bytes begin in the source of its spans.
pub(crate) fn splice(raw: &[u8], start: usize, dict: &Dict, edits: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut replaced: Vec<(Range<usize>, &[u8])> = Vec::new();
    let mut added: Vec<u8> = Vec::new();
    for (key, value) in edits {
        match dict.find(key.as_bytes()) {
            Some(item) => replaced.push((item.span.start - start..item.span.end - start, value)),
            None => {
                put(&mut added, format_args!(" /{key} "));
                added.extend_from_slice(value);
            }
        }
    }
    replaced.sort_by_key(|(span, _)| span.start);
    let mut out = Vec::with_capacity(raw.len() + added.len() + 64);
    let mut at = 0;
    for (span, value) in replaced {
        out.extend_from_slice(&raw[at..span.start]);
        // A value may touch its key, as in `/V/Name` or `/Kids[…]`.
        out.push(b' ');
        out.extend_from_slice(value);
        at = span.end;
    }
    // The dictionary's closing brackets are its last two bytes.
    out.extend_from_slice(&raw[at..raw.len() - 2]);
    out.extend_from_slice(&added);
    out.extend_from_slice(b" >>");
    out
}

/// The bytes of an array with `elements` after its last one.
fn appended(raw: &[u8], elements: &[u8]) -> Vec<u8> {
    let mut out = raw[..raw.len() - 1].to_vec();
    out.push(b' ');
    out.extend_from_slice(elements);
    out.extend_from_slice(b" ]");
    out
}

/// Objects with consecutive numbers, which share a subsection.
fn runs(places: &BTreeMap<Id, usize>) -> Vec<Vec<(Id, usize)>> {
    let mut runs: Vec<Vec<(Id, usize)>> = Vec::new();
    for (&id, &offset) in places {
        match runs.last_mut() {
            Some(run)
                if run
                    .last()
                    .is_some_and(|(last, _)| last.number + 1 == id.number) =>
            {
                run.push((id, offset))
            }
            _ => runs.push(vec![(id, offset)]),
        }
    }
    runs
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(text);
}
