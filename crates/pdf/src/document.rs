//! Reads a PDF's structure (ISO 32000-2 section 7.5): cross-references, revisions, objects.
//!
//! Objects are read when they are asked for, within fixed limits, and nothing is repaired: a repair is a guess, and other
//! readers guess differently. What is appended to a document is [`crate::increment`]'s business.

mod budget;
mod check;
mod filter;
mod xref;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    rc::Rc,
};

use crate::syntax::{Dict, Id, Item, Parser, Value};
use budget::Budget;
pub(crate) use xref::{Entry, XrefKind};

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 256 << 20;
/// The most references that are followed from one to the next.
const MAX_HOPS: usize = 32;
/// One more than the highest object number (ISO 32000-1 annex C).
const MAX_SIZE: u32 = 8_388_608;
/// The most pages.
const MAX_PAGES: usize = 100_000;

/// Why bytes cannot be read as a PDF that may be signed or verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The bytes are no PDF at all.
    #[error("it is not a PDF")]
    NotPdf,
    /// The document is encrypted; its protection must be removed first.
    #[error("the PDF is encrypted")]
    Encrypted,
    /// The structure breaks the rules of ISO 32000. Damaged files are refused, never repaired, because a repair is a guess.
    #[error("the PDF is damaged: {what} (byte {at})")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Near which byte.
        at: usize,
    },
    /// The document is beyond a limit that keeps reading it within fixed time and memory.
    #[error("the PDF is beyond a limit: {0}")]
    TooLarge(&'static str),
}

impl Unreadable {
    /// A stable code for interfaces.
    pub fn code(&self) -> &'static str {
        match self {
            Unreadable::NotPdf => "not_pdf",
            Unreadable::Encrypted => "encrypted",
            Unreadable::Damaged { .. } => "damaged",
            Unreadable::TooLarge(_) => "too_large",
        }
    }
}

pub(crate) fn damaged<T>(what: &'static str, at: usize) -> Result<T, Unreadable> {
    Err(Unreadable::Damaged { what, at })
}

/// A PDF in memory, with its cross-references read.
pub(crate) struct Document<'a> {
    data: &'a [u8],
    /// Where the cross-reference sections of the revisions start, newest first.
    sections: Vec<usize>,
    entries: BTreeMap<u32, Entry>,
    trailer: Trailer,
    streams: RefCell<HashMap<u32, Rc<ObjectStream>>>,
    /// Lengths of streams being looked up, so that a length that needs itself is found.
    pending: RefCell<HashSet<u32>>,
    budget: Rc<Budget>,
}

/// The newest section's trailer.
pub(crate) struct Trailer {
    pub(crate) kind: XrefKind,
    pub(crate) dict: Dict,
    pub(crate) root: Id,
    /// One more than the highest object number in use anywhere.
    pub(crate) size: u32,
}

/// An indirect object with its source at hand.
pub(crate) struct Object {
    pub(crate) item: Item,
    /// Where the bytes of its stream are in the file, still encoded.
    pub(crate) stream: Option<Range<usize>>,
    /// The decoded object stream that it is in, when it is not in the file itself.
    source: Option<Rc<ObjectStream>>,
}

struct ObjectStream {
    decoded: Vec<u8>,
    /// Object numbers with where each starts in `decoded`.
    objects: Vec<(u32, usize)>,
}

impl<'a> Document<'a> {
    /// Reads the cross-references of `data`; its last revision is the document.
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, Unreadable> {
        Self::within(data, Rc::default())
    }

    /// The revision that ends at `end`. What is read of it counts as read of the whole document.
    pub(crate) fn revision(&self, end: usize) -> Result<Self, Unreadable> {
        Self::within(&self.data[..end], Rc::clone(&self.budget))
    }

    fn within(data: &'a [u8], budget: Rc<Budget>) -> Result<Self, Unreadable> {
        if data.len() > MAX_FILE {
            return Err(Unreadable::TooLarge("the file's size"));
        }
        let head = &data[..data.len().min(1024)];
        let header = head.windows(8).find(|window| window.starts_with(b"%PDF-"));
        let version = header.is_some_and(|header| {
            header[5].is_ascii_digit() && header[6] == b'.' && header[7].is_ascii_digit()
        });
        if !version {
            return Err(Unreadable::NotPdf);
        }
        let table = xref::read(data, &budget)?;
        let trailer = table.trailer;
        if !trailer.value(b"Encrypt").is_null() {
            return Err(Unreadable::Encrypted);
        }
        let Value::Ref(root) = *trailer.value(b"Root") else {
            return damaged("the trailer names no catalog", 0);
        };
        let highest = table.entries.keys().next_back().copied().unwrap_or(0);
        let stated = trailer
            .int(b"Size")
            .and_then(|size| u32::try_from(size).ok());
        let Some(stated) = stated else {
            return damaged("the trailer states no size", 0);
        };
        let size = stated.max(highest + 1);
        if size > MAX_SIZE {
            return Err(Unreadable::TooLarge("the number of objects"));
        }
        let trailer = Trailer {
            kind: table.kind,
            dict: trailer,
            root,
            size,
        };
        Ok(Self {
            data,
            sections: table.sections,
            entries: table.entries,
            trailer,
            streams: RefCell::default(),
            pending: RefCell::default(),
            budget,
        })
    }

    /// Counts further bytes that were read for the objects' sake.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), Unreadable> {
        self.budget.read(bytes)
    }

    pub(crate) fn data(&self) -> &'a [u8] {
        self.data
    }

    pub(crate) fn trailer(&self) -> &Trailer {
        &self.trailer
    }

    /// Where the cross-reference sections of the revisions start, newest first. The first is what `startxref` names.
    pub(crate) fn sections(&self) -> &[usize] {
        &self.sections
    }

    pub(crate) fn entries(&self) -> &BTreeMap<u32, Entry> {
        &self.entries
    }

    /// The object with this id; `None` when it is free or missing, which is the same as null (section 7.3.10).
    pub(crate) fn object(&self, id: Id) -> Result<Option<Object>, Unreadable> {
        match self.entries.get(&id.number) {
            None | Some(Entry::Free) => Ok(None),
            Some(&Entry::At { offset, generation }) if generation == id.generation => {
                self.object_at(id, offset).map(Some)
            }
            Some(Entry::At { .. }) => Ok(None),
            Some(&Entry::In { container, index }) if id.generation == 0 => {
                self.object_in(id.number, container, index)
            }
            Some(Entry::In { .. }) => Ok(None),
        }
    }

    /// The value behind any number of references.
    pub(crate) fn resolve(&self, value: &Value) -> Result<Value, Unreadable> {
        let mut value = value.clone();
        for _ in 0..MAX_HOPS {
            let Value::Ref(id) = value else {
                return Ok(value);
            };
            value = self
                .object(id)?
                .map_or(Value::Null, |object| object.item.value);
        }
        damaged("references lead to references without end", 0)
    }

    /// The dictionary behind `value`; an error naming `what` when it is something else.
    pub(crate) fn dict(&self, value: &Value, what: &'static str) -> Result<Dict, Unreadable> {
        match self.resolve(value)? {
            Value::Dict(dict) => Ok(dict),
            _ => damaged(what, 0),
        }
    }

    /// The array behind `value`; empty when it is null, an error naming `what` when it is something else.
    pub(crate) fn array(&self, value: &Value, what: &'static str) -> Result<Vec<Item>, Unreadable> {
        match self.resolve(value)? {
            Value::Array(items) => Ok(items),
            Value::Null => Ok(Vec::new()),
            _ => damaged(what, 0),
        }
    }

    pub(crate) fn catalog(&self) -> Result<Dict, Unreadable> {
        self.dict(
            &Value::Ref(self.trailer.root),
            "the catalog is not a dictionary",
        )
    }

    /// The bytes that `span` names in the source of `object`.
    pub(crate) fn raw<'o>(&'o self, object: &'o Object, span: &Range<usize>) -> &'o [u8] {
        match &object.source {
            None => &self.data[span.clone()],
            Some(stream) => &stream.decoded[span.clone()],
        }
    }

    /// Whether an object stands in the file itself, so that its places are places of the file.
    pub(crate) fn in_file(&self, object: &Object) -> bool {
        object.source.is_none()
    }

    /// The decoded bytes of a stream: unfiltered or FlateDecode.
    pub(crate) fn decode(&self, object: &Object) -> Result<Vec<u8>, Unreadable> {
        let (Value::Dict(dict), Some(range)) = (&object.item.value, &object.stream) else {
            return damaged("a stream was expected", 0);
        };
        filter::decode(
            &self.data[range.clone()],
            &self.resolve_entries(dict)?,
            &self.budget,
            range.start,
        )
    }

    /// The dictionary with the references of its own entries followed.
    fn resolve_entries(&self, dict: &Dict) -> Result<Dict, Unreadable> {
        let resolved = dict.entries.iter().map(|(key, item)| {
            Ok((
                key.clone(),
                Item {
                    value: self.resolve(&item.value)?,
                    span: item.span.clone(),
                },
            ))
        });
        Ok(Dict {
            entries: resolved.collect::<Result<_, Unreadable>>()?,
        })
    }

    /// The ids of the pages in order, at most `most` of them.
    pub(crate) fn pages(&self, most: usize) -> Result<Vec<Id>, Unreadable> {
        let root = self.catalog()?.value(b"Pages").reference();
        let Some(root) = root else {
            return damaged("the catalog names no pages", 0);
        };
        let mut pages = Vec::new();
        let mut seen = HashSet::new();
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            if pages.len() == most.min(MAX_PAGES) {
                break;
            }
            if !seen.insert(id) {
                return damaged("the page tree loops", 0);
            }
            if seen.len() > 2 * MAX_PAGES {
                return Err(Unreadable::TooLarge("the number of pages"));
            }
            let node = self.dict(&Value::Ref(id), "a page is not a dictionary")?;
            if node.value(b"Kids").is_null() {
                if id == root {
                    return damaged("the page tree has no root", 0);
                }
                pages.push(id);
                continue;
            }
            for kid in self
                .array(node.value(b"Kids"), "the page tree is malformed")?
                .iter()
                .rev()
            {
                let Some(kid) = kid.value.reference() else {
                    return damaged("the page tree is malformed", 0);
                };
                stack.push(kid);
            }
        }
        Ok(pages)
    }

    fn object_at(&self, id: Id, offset: usize) -> Result<Object, Unreadable> {
        let mut parser = Parser::new(self.data, offset);
        if parser.object_header()? != id {
            return damaged("a cross-reference leads to another object", offset);
        }
        let item = parser.item();
        self.budget.read(parser.at - offset)?;
        let item = item?;
        if parser.keyword(b"endobj") {
            return Ok(Object {
                item,
                stream: None,
                source: None,
            });
        }
        let Value::Dict(dict) = &item.value else {
            return parser.damaged("`endobj` was expected");
        };
        let start = stream_start(&mut parser)?;
        let length = self.stream_length(id, dict, start)?;
        let end = start
            .checked_add(length)
            .filter(|&end| end <= self.data.len());
        let Some(end) = end else {
            return damaged("a stream runs past the end of the file", start);
        };
        let mut parser = Parser::new(self.data, end);
        if !parser.keyword(b"endstream") || !parser.keyword(b"endobj") {
            return parser.damaged("a stream is not as long as it says");
        }
        Ok(Object {
            item,
            stream: Some(start..end),
            source: None,
        })
    }

    fn stream_length(&self, id: Id, dict: &Dict, at: usize) -> Result<usize, Unreadable> {
        let length = match dict.value(b"Length") {
            Value::Ref(length) => {
                if !self.pending.borrow_mut().insert(id.number)
                    || self.pending.borrow().len() > MAX_HOPS
                {
                    return damaged("a stream's length depends on itself", at);
                }
                let resolved = self.resolve(&Value::Ref(*length));
                self.pending.borrow_mut().remove(&id.number);
                resolved?.int()
            }
            direct => direct.int(),
        };
        match length.and_then(|length| usize::try_from(length).ok()) {
            Some(length) => Ok(length),
            None => damaged("a stream has no length", at),
        }
    }

    fn object_in(
        &self,
        number: u32,
        container: u32,
        index: u32,
    ) -> Result<Option<Object>, Unreadable> {
        let stream = self.object_stream(container)?;
        let Some(&(found, start)) = stream.objects.get(index as usize) else {
            return damaged(
                "a cross-reference leads past the end of an object stream",
                0,
            );
        };
        if found != number {
            return damaged(
                "a cross-reference leads to another object of an object stream",
                0,
            );
        }
        let mut parser = Parser::new(&stream.decoded, start);
        let item = parser.item();
        self.budget.read(parser.at - start)?;
        let item = item?;
        Ok(Some(Object {
            item,
            stream: None,
            source: Some(stream),
        }))
    }

    fn object_stream(&self, number: u32) -> Result<Rc<ObjectStream>, Unreadable> {
        if let Some(stream) = self.streams.borrow().get(&number) {
            return Ok(Rc::clone(stream));
        }
        let Some(&Entry::At {
            offset,
            generation: 0,
        }) = self.entries.get(&number)
        else {
            return damaged("an object stream is missing", 0);
        };
        let object = self.object_at(
            Id {
                number,
                generation: 0,
            },
            offset,
        )?;
        let (Value::Dict(dict), Some(range)) = (&object.item.value, object.stream) else {
            return damaged("an object stream is not a stream", offset);
        };
        if !dict.is(b"Type", b"ObjStm") {
            return damaged("an object stream has another type", offset);
        }
        let resolved = self.resolve_entries(dict)?;
        let decoded = filter::decode(&self.data[range], &resolved, &self.budget, offset)?;
        let stream = Rc::new(ObjectStream::parse(decoded, &resolved, offset)?);
        self.streams.borrow_mut().insert(number, Rc::clone(&stream));
        Ok(stream)
    }
}

impl ObjectStream {
    fn parse(decoded: Vec<u8>, dict: &Dict, at: usize) -> Result<Self, Unreadable> {
        let count = dict.int(b"N").and_then(|count| usize::try_from(count).ok());
        let first = dict
            .int(b"First")
            .and_then(|first| usize::try_from(first).ok());
        let (Some(count), Some(first)) = (count, first) else {
            return damaged("an object stream has no index", at);
        };
        // Each entry of the index takes at least four bytes.
        if first > decoded.len() || count > decoded.len() / 4 + 1 {
            return damaged("an object stream's index is longer than the stream", at);
        }
        let mut parser = Parser::new(&decoded[..first], 0);
        let mut objects = Vec::with_capacity(count);
        for _ in 0..count {
            let number = parser.unsigned("an object stream's index is malformed")?;
            let offset = parser.unsigned("an object stream's index is malformed")?;
            let start = usize::try_from(offset)
                .ok()
                .and_then(|offset| offset.checked_add(first));
            match (u32::try_from(number), start) {
                (Ok(number), Some(start)) if start < decoded.len() => objects.push((number, start)),
                _ => return damaged("an object stream's index is out of range", at),
            }
        }
        Ok(Self { decoded, objects })
    }
}

/// Consumes `stream` and its end of line (section 7.3.8.1: a carriage return alone is not one).
fn stream_start(parser: &mut Parser<'_>) -> Result<usize, Unreadable> {
    if !parser.keyword(b"stream") {
        return parser.damaged("`endobj` or `stream` was expected");
    }
    match parser.data.get(parser.at..) {
        Some([b'\r', b'\n', ..]) => Ok(parser.at + 2),
        Some([b'\n', ..]) => Ok(parser.at + 1),
        _ => parser.damaged("`stream` is not followed by an end of line"),
    }
}
