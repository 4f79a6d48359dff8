//! Cross-reference tables and streams, and the chain that the revisions of a file make of them.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
};

use super::{Budget, Unreadable, damaged, filter, stream_start};
use crate::syntax::{Dict, Id, Parser, Value};

/// The most cross-reference sections that a file may have.
const MAX_SECTIONS: usize = 4096;
/// The highest object number (ISO 32000-1 annex C).
const MAX_NUMBER: u64 = 8_388_607;

/// Where an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nowhere: it was deleted.
    Free,
    /// In the file.
    At { offset: usize, generation: u16 },
    /// In an object stream.
    In { container: u32, index: u32 },
}

/// How a section is written; a new one is written as the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum XrefKind {
    Table,
    Stream,
}

pub(super) struct Table {
    pub(super) sections: Vec<usize>,
    pub(super) entries: BTreeMap<u32, Entry>,
    /// The newest section's.
    pub(super) trailer: Dict,
    pub(super) kind: XrefKind,
}

struct Section {
    entries: BTreeMap<u32, Entry>,
    trailer: Dict,
    kind: XrefKind,
}

impl Section {
    fn new(kind: XrefKind) -> Self {
        Self {
            entries: BTreeMap::new(),
            trailer: Dict::default(),
            kind,
        }
    }

    /// Adds an entry. Of two that differ some readers take the first, some the last.
    fn insert(
        &mut self,
        number: u32,
        entry: Entry,
        budget: &Budget,
        at: usize,
    ) -> Result<(), Unreadable> {
        budget.entry()?;
        let kept = *self.entries.entry(number).or_insert(entry);
        if kept == entry {
            Ok(())
        } else {
            damaged("one object stands twice in one cross-reference section", at)
        }
    }
}

/// Reads the chain of sections that starts where the last `startxref` says.
pub(super) fn read(data: &[u8], budget: &Budget) -> Result<Table, Unreadable> {
    let mut next = Some(start(data)?);
    let mut seen = HashSet::new();
    let mut sections = Vec::new();
    let mut entries = BTreeMap::new();
    let mut newest = None;
    while let Some(offset) = next {
        visit(&mut seen, offset)?;
        sections.push(offset);
        let mut section = section(data, offset, budget)?;
        // A hybrid file keeps what older readers must not see in a stream beside its table; the table calls it free.
        if let Some(at) = offset_of(&section.trailer, b"XRefStm", data)? {
            visit(&mut seen, at)?;
            let hidden = stream(Parser::new(data, at), budget)?;
            section.entries.retain(|_, entry| *entry != Entry::Free);
            for (number, entry) in hidden.entries {
                section.insert(number, entry, budget, at)?;
            }
        }
        for (number, entry) in section.entries {
            entries.entry(number).or_insert(entry);
        }
        next = offset_of(&section.trailer, b"Prev", data)?;
        newest.get_or_insert((section.trailer, section.kind));
    }
    // The loop ran at least once.
    let Some((trailer, kind)) = newest else {
        return damaged("there are no cross-references", 0);
    };
    Ok(Table {
        sections,
        entries,
        trailer,
        kind,
    })
}

/// Notes that a section is read. There is an end to them, and none is read twice.
fn visit(seen: &mut HashSet<usize>, offset: usize) -> Result<(), Unreadable> {
    if seen.len() == MAX_SECTIONS {
        return Err(Unreadable::TooLarge("the number of revisions"));
    }
    if !seen.insert(offset) {
        return damaged("the cross-references loop", offset);
    }
    Ok(())
}

/// Where the last `startxref` points. It stands in the last 1,024 bytes, as readers expect.
fn start(data: &[u8]) -> Result<usize, Unreadable> {
    const WORD: &[u8] = b"startxref";
    let tail = data.len().saturating_sub(1024);
    let Some(found) = data[tail..]
        .windows(WORD.len())
        .rposition(|window| window == WORD)
    else {
        return damaged("`startxref` is missing at the end", data.len());
    };
    let mut parser = Parser::new(data, tail + found + WORD.len());
    let offset = parser.unsigned("`startxref` names no offset")?;
    usize::try_from(offset)
        .ok()
        .filter(|&offset| offset < data.len())
        .map_or_else(
            || damaged("`startxref` points past the end of the file", tail + found),
            Ok,
        )
}

fn offset_of(trailer: &Dict, key: &[u8], data: &[u8]) -> Result<Option<usize>, Unreadable> {
    match trailer.value(key) {
        Value::Null => Ok(None),
        Value::Int(offset) => match usize::try_from(*offset)
            .ok()
            .filter(|&offset| offset < data.len())
        {
            Some(offset) => Ok(Some(offset)),
            None => damaged("a trailer points past the end of the file", 0),
        },
        _ => damaged("a trailer's offset is not a number", 0),
    }
}

fn section(data: &[u8], offset: usize, budget: &Budget) -> Result<Section, Unreadable> {
    let mut parser = Parser::new(data, offset);
    if parser.keyword(b"xref") {
        table(parser, budget)
    } else {
        stream(parser, budget)
    }
}

fn table(mut parser: Parser<'_>, budget: &Budget) -> Result<Section, Unreadable> {
    let mut section = Section::new(XrefKind::Table);
    while !parser.keyword(b"trailer") {
        let first = parser.unsigned("a cross-reference subsection was expected")?;
        let count = parser.unsigned("a cross-reference subsection has no length")?;
        parser.skip_space();
        // An entry has 20 bytes, but the last may lack its end of line.
        let room = (parser.data.len() - parser.at) as u64 / 18;
        if count > room || first > MAX_NUMBER || first + count > MAX_NUMBER + 1 {
            return parser.damaged("a cross-reference subsection is too long");
        }
        for number in first..first + count {
            parser.skip_space();
            let Some(entry) = parser.data.get(parser.at..parser.at + 18).and_then(entry) else {
                return parser.damaged("a cross-reference entry is malformed");
            };
            if matches!(entry, Entry::At { offset, .. } if offset == 0 || offset >= parser.data.len())
            {
                return parser.damaged("a cross-reference leads out of the file");
            }
            // Bounded by MAX_NUMBER above.
            section.insert(
                u32::try_from(number).unwrap_or(u32::MAX),
                entry,
                budget,
                parser.at,
            )?;
            parser.at += 18;
        }
    }
    let Value::Dict(trailer) = parser.item()?.value else {
        return parser.damaged("the trailer is not a dictionary");
    };
    section.trailer = trailer;
    Ok(section)
}

/// An entry of a table but for its end of line: `nnnnnnnnnn ggggg n`. Other spellings are read in other ways by other readers.
fn entry(text: &[u8]) -> Option<Entry> {
    let number = |range: Range<usize>| -> Option<u64> {
        let digits = text
            .get(range)
            .filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    if text[10] != b' ' || text[16] != b' ' {
        return None;
    }
    let (offset, generation) = (number(0..10)?, number(11..16)?);
    match text[17] {
        b'f' => Some(Entry::Free),
        b'n' => Some(Entry::At {
            offset: usize::try_from(offset).ok()?,
            generation: u16::try_from(generation).ok()?,
        }),
        _ => None,
    }
}

fn stream(mut parser: Parser<'_>, budget: &Budget) -> Result<Section, Unreadable> {
    let at = parser.at;
    let Id { .. } = parser.object_header()?;
    let Value::Dict(dict) = parser.item()?.value else {
        return parser.damaged("a cross-reference stream was expected");
    };
    let start = stream_start(&mut parser)?;
    // Its entries must be direct, for there is no telling yet where anything else is (section 7.5.8.2).
    let end = dict
        .int(b"Length")
        .and_then(|length| usize::try_from(length).ok())
        .and_then(|length| start.checked_add(length))
        .filter(|&end| end <= parser.data.len());
    let Some(end) = end.filter(|_| dict.is(b"Type", b"XRef")) else {
        return damaged("a cross-reference stream is malformed", at);
    };
    if !Parser::new(parser.data, end).keyword(b"endstream") {
        return damaged("a cross-reference stream is not as long as it says", end);
    }
    let decoded = filter::decode(&parser.data[start..end], &dict, budget, at)?;
    let mut section = Section::new(XrefKind::Stream);
    stream_entries(&mut section, &decoded, &dict, parser.data.len(), budget, at)?;
    section.trailer = dict;
    Ok(section)
}

fn stream_entries(
    section: &mut Section,
    decoded: &[u8],
    dict: &Dict,
    file_size: usize,
    budget: &Budget,
    at: usize,
) -> Result<(), Unreadable> {
    const MALFORMED: &str = "a cross-reference stream is malformed";
    let numbers = |value: &Value| -> Option<Vec<u64>> {
        value
            .array()?
            .iter()
            .map(|item| item.value.int().and_then(|int| u64::try_from(int).ok()))
            .collect()
    };
    let widths = numbers(dict.value(b"W"))
        .filter(|widths| widths.len() == 3 && widths.iter().all(|&width| width <= 8));
    let Some(widths) = widths else {
        return damaged(MALFORMED, at);
    };
    let widths = [widths[0] as usize, widths[1] as usize, widths[2] as usize];
    let ranges = match dict.value(b"Index") {
        Value::Null => dict
            .int(b"Size")
            .and_then(|size| u64::try_from(size).ok())
            .map(|size| vec![0, size]),
        index => numbers(index).filter(|index| index.len() % 2 == 0),
    };
    let Some(ranges) = ranges else {
        return damaged(MALFORMED, at);
    };
    let record = widths.iter().sum::<usize>();
    let mut records = decoded.chunks_exact(record.max(1));
    for range in ranges.chunks_exact(2) {
        let (first, count) = (range[0], range[1]);
        if first > MAX_NUMBER || count > MAX_NUMBER {
            return damaged(MALFORMED, at);
        }
        for number in first..first + count {
            let Some(record) = records.next() else {
                return damaged("a cross-reference stream is too short", at);
            };
            let (kind, rest) = record.split_at(widths[0]);
            let (second, third) = rest.split_at(widths[1]);
            let kind = if kind.is_empty() { 1 } else { big_endian(kind) };
            let (second, third) = (big_endian(second), big_endian(third));
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let entry = match kind {
                0 => Entry::Free,
                1 => match (usize::try_from(second), u16::try_from(third)) {
                    (Ok(offset), Ok(generation)) if offset < file_size => {
                        Entry::At { offset, generation }
                    }
                    _ => return damaged("a cross-reference points past the end of the file", at),
                },
                2 => match (u32::try_from(second), u32::try_from(third)) {
                    (Ok(container), Ok(index)) => Entry::In { container, index },
                    _ => return damaged(MALFORMED, at),
                },
                // Unknown kinds are references to null (section 7.5.8.3).
                _ => Entry::Free,
            };
            section.insert(number, entry, budget, at)?;
        }
    }
    Ok(())
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}
