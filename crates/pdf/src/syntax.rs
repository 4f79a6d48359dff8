//! The tokens and objects of PDF (ISO 32000-2 section 7.2 and 7.3), each with the place where it stands in its source.
//!
//! The places are what an incremental update splices around, and what a signature's byte range is checked against. Strict
//! where readers could disagree: a dictionary that names a key twice is refused. What the objects mean, and where they are
//! in a file, is the business of [`crate::document`].

use std::{collections::HashMap, ops::Range};

use crate::document::Unreadable;

/// How deep arrays and dictionaries may nest.
const MAX_DEPTH: usize = 64;
/// The most entries of one array or dictionary.
const MAX_ENTRIES: usize = 1 << 20;

/// The number and generation of an indirect object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    pub(crate) number: u32,
    pub(crate) generation: u16,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} R", self.number, self.generation)
    }
}

/// An object without its place. Two values are equal when they say the same, wherever they stand and however they are spelled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    String(Vec<u8>),
    Name(Vec<u8>),
    Array(Vec<Item>),
    Dict(Dict),
    Ref(Id),
}

/// A value and the range of its source in which it is spelled.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) value: Value,
    pub(crate) span: Range<usize>,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A dictionary: keys without their solidus, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dict {
    pub(crate) entries: Vec<(Vec<u8>, Item)>,
}

impl PartialEq for Dict {
    fn eq(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self
                .entries
                .iter()
                .all(|(key, item)| other.find(key).is_some_and(|theirs| theirs == item))
    }
}

impl Dict {
    pub(crate) fn find(&self, key: &[u8]) -> Option<&Item> {
        self.entries
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, item)| item)
    }

    pub(crate) fn value(&self, key: &[u8]) -> &Value {
        self.find(key).map_or(&Value::Null, |item| &item.value)
    }

    pub(crate) fn name(&self, key: &[u8]) -> Option<&[u8]> {
        match self.value(key) {
            Value::Name(name) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn int(&self, key: &[u8]) -> Option<i64> {
        self.value(key).int()
    }

    pub(crate) fn is(&self, key: &[u8], name: &[u8]) -> bool {
        self.name(key) == Some(name)
    }
}

impl Value {
    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "coordinates are far below 2^53")]
            Value::Int(value) => Some(*value as f64),
            Value::Real(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn reference(&self) -> Option<Id> {
        match self {
            Value::Ref(id) => Some(*id),
            _ => None,
        }
    }

    pub(crate) fn dict(&self) -> Option<&Dict> {
        match self {
            Value::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    pub(crate) fn array(&self) -> Option<&[Item]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn string(&self) -> Option<&[u8]> {
        match self {
            Value::String(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Every reference in this value, in order.
    pub(crate) fn references(&self, found: &mut impl FnMut(Id)) {
        match self {
            Value::Ref(id) => found(*id),
            Value::Array(items) => items.iter().for_each(|item| item.value.references(found)),
            Value::Dict(dict) => dict
                .entries
                .iter()
                .for_each(|(_, item)| item.value.references(found)),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Real(_)
            | Value::String(_)
            | Value::Name(_) => {}
        }
    }
}

/// Reads tokens and objects from `data`, from `at` on.
pub(crate) struct Parser<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) at: usize,
}

type Parsed<T> = Result<T, Unreadable>;

impl<'a> Parser<'a> {
    pub(crate) fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at }
    }

    pub(crate) fn damaged<T>(&self, what: &'static str) -> Parsed<T> {
        Err(Unreadable::Damaged { what, at: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.data.get(self.at).copied()
    }

    /// Skips white space and comments.
    pub(crate) fn skip_space(&mut self) {
        while let Some(byte) = self.peek() {
            if is_space(byte) {
                self.at += 1;
            } else if byte == b'%' {
                while self
                    .peek()
                    .is_some_and(|byte| byte != b'\n' && byte != b'\r')
                {
                    self.at += 1;
                }
            } else {
                break;
            }
        }
    }

    /// Consumes `keyword`, after white space, when it stands here as a whole token.
    pub(crate) fn keyword(&mut self, keyword: &[u8]) -> bool {
        let before = self.at;
        self.skip_space();
        let end = self.at + keyword.len();
        let here = self.data.get(self.at..end) == Some(keyword);
        if here && self.data.get(end).is_none_or(|&byte| !is_regular(byte)) {
            self.at = end;
            return true;
        }
        self.at = before;
        false
    }

    /// An unsigned integer token.
    pub(crate) fn unsigned(&mut self, what: &'static str) -> Parsed<u64> {
        self.skip_space();
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = &self.data[start..self.at];
        let value = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok());
        match value {
            Some(value) => Ok(value),
            None => self.damaged(what),
        }
    }

    /// `number generation obj`: the start of an indirect object.
    pub(crate) fn object_header(&mut self) -> Parsed<Id> {
        let number = self.unsigned("an object number was expected")?;
        let generation = self.unsigned("a generation number was expected")?;
        if !self.keyword(b"obj") {
            return self.damaged("`obj` was expected");
        }
        match (u32::try_from(number), u16::try_from(generation)) {
            (Ok(number), Ok(generation)) => Ok(Id { number, generation }),
            _ => self.damaged("an object number is out of range"),
        }
    }

    /// The object that starts here, after white space.
    pub(crate) fn item(&mut self) -> Parsed<Item> {
        self.item_within(MAX_DEPTH)
    }

    fn item_within(&mut self, depth: usize) -> Parsed<Item> {
        if depth == 0 {
            return Err(Unreadable::TooLarge("objects nest too deeply"));
        }
        self.skip_space();
        let start = self.at;
        let value = match self.peek() {
            Some(b'/') => Value::Name(self.name()?),
            Some(b'(') => Value::String(self.literal_string()?),
            Some(b'<') if self.data.get(self.at + 1) == Some(&b'<') => {
                Value::Dict(self.dict(depth)?)
            }
            Some(b'<') => Value::String(self.hex_string()?),
            Some(b'[') => Value::Array(self.array(depth)?),
            Some(b'+' | b'-' | b'.' | b'0'..=b'9') => self.number_or_reference()?,
            Some(b't') if self.keyword(b"true") => Value::Bool(true),
            Some(b'f') if self.keyword(b"false") => Value::Bool(false),
            Some(b'n') if self.keyword(b"null") => Value::Null,
            _ => return self.damaged("an object was expected"),
        };
        Ok(Item {
            value,
            span: start..self.at,
        })
    }

    fn name(&mut self) -> Parsed<Vec<u8>> {
        self.at += 1;
        let mut name = Vec::new();
        while let Some(byte) = self.peek().filter(|&byte| is_regular(byte)) {
            self.at += 1;
            let escaped = (byte == b'#')
                .then(|| self.data.get(self.at..self.at + 2))
                .flatten()
                .and_then(|digits| Some(hex_digit(digits[0])? << 4 | hex_digit(digits[1])?));
            match escaped {
                Some(byte) => {
                    self.at += 2;
                    name.push(byte);
                }
                None if byte == b'#' => {
                    return self.damaged("a name has a number sign without two digits");
                }
                None => name.push(byte),
            }
        }
        Ok(name)
    }

    fn literal_string(&mut self) -> Parsed<Vec<u8>> {
        self.at += 1;
        let mut out = Vec::new();
        let mut open = 1_usize;
        loop {
            let Some(byte) = self.peek() else {
                return self.damaged("a string has no end");
            };
            self.at += 1;
            match byte {
                b'(' => {
                    open += 1;
                    out.push(byte);
                }
                b')' => {
                    open -= 1;
                    if open == 0 {
                        return Ok(out);
                    }
                    out.push(byte);
                }
                b'\\' => self.escape(&mut out),
                // Any end of line in a string is a line feed (section 7.3.4.2).
                b'\r' => {
                    self.at += usize::from(self.peek() == Some(b'\n'));
                    out.push(b'\n');
                }
                _ => out.push(byte),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) {
        let Some(byte) = self.peek() else { return };
        self.at += 1;
        match byte {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'\n' => {}
            b'\r' => self.at += usize::from(self.peek() == Some(b'\n')),
            b'0'..=b'7' => {
                let mut code = u32::from(byte - b'0');
                for _ in 0..2 {
                    let Some(digit @ b'0'..=b'7') = self.peek() else {
                        break;
                    };
                    code = code * 8 + u32::from(digit - b'0');
                    self.at += 1;
                }
                // High-order overflow is ignored (section 7.3.4.2, table 3).
                out.push((code & 0xff) as u8);
            }
            other => out.push(other),
        }
    }

    fn hex_string(&mut self) -> Parsed<Vec<u8>> {
        self.at += 1;
        let start = self.at;
        let rest = &self.data[start..];
        let Some(length) = rest.iter().position(|&byte| byte == b'>') else {
            return self.damaged("a hexadecimal string has no end");
        };
        let mut out = Vec::with_capacity(length / 2);
        let mut high = None;
        for &byte in &rest[..length] {
            if is_space(byte) {
                continue;
            }
            let Some(digit) = hex_digit(byte) else {
                return self.damaged("a hexadecimal string holds other characters");
            };
            match high.take() {
                None => high = Some(digit),
                Some(high) => out.push(high << 4 | digit),
            }
        }
        if let Some(high) = high {
            out.push(high << 4);
        }
        self.at = start + length + 1;
        Ok(out)
    }

    fn array(&mut self, depth: usize) -> Parsed<Vec<Item>> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(items);
            }
            if items.len() == MAX_ENTRIES {
                return Err(Unreadable::TooLarge("an array has too many elements"));
            }
            items.push(self.item_within(depth - 1)?);
        }
    }

    fn dict(&mut self, depth: usize) -> Parsed<Dict> {
        self.at += 2;
        let mut dict = Dict::default();
        loop {
            self.skip_space();
            match self.peek() {
                Some(b'>') if self.data.get(self.at + 1) == Some(&b'>') => {
                    self.at += 2;
                    return no_key_twice(dict, self.at);
                }
                Some(b'/') if dict.entries.len() < MAX_ENTRIES => {
                    let key = self.name()?;
                    let item = self.item_within(depth - 1)?;
                    dict.entries.push((key, item));
                }
                Some(b'/') => {
                    return Err(Unreadable::TooLarge("a dictionary has too many entries"));
                }
                _ => return self.damaged("a dictionary's key was expected"),
            }
        }
    }

    fn number_or_reference(&mut self) -> Parsed<Value> {
        let value = self.number()?;
        let Value::Int(number) = value else {
            return Ok(value);
        };
        let Ok(number) = u32::try_from(number) else {
            return Ok(value);
        };
        // `12 0 R`: look ahead, and come back if it is not.
        let after = self.at;
        if let Some(generation) = self.generation()
            && self.keyword(b"R")
        {
            return Ok(Value::Ref(Id { number, generation }));
        }
        self.at = after;
        Ok(value)
    }

    fn generation(&mut self) -> Option<u16> {
        self.skip_space();
        let start = self.at;
        while self.at - start < 5 && self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        std::str::from_utf8(&self.data[start..self.at])
            .ok()?
            .parse()
            .ok()
    }

    fn number(&mut self) -> Parsed<Value> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|byte| matches!(byte, b'+' | b'-' | b'.' | b'0'..=b'9'))
        {
            self.at += 1;
        }
        let text = &self.data[start..self.at];
        // ASCII by the loop above.
        let text = std::str::from_utf8(text).unwrap_or_default();
        if self.peek().is_some_and(is_regular) {
            return self.damaged("a number runs into other characters");
        }
        if let Ok(value) = text.parse::<i64>() {
            return Ok(Value::Int(value));
        }
        match text.parse::<f64>() {
            Ok(value) => Ok(Value::Real(value)),
            Err(_) => self.damaged("a number is malformed"),
        }
    }
}

/// Readers disagree on which of two entries with one key counts, so a signed document could show different things. Some
/// writers repeat an entry as it is, which does no harm.
fn no_key_twice(dict: Dict, at: usize) -> Parsed<Dict> {
    let entries = &dict.entries;
    let clash = if entries.len() <= 16 {
        entries.iter().enumerate().any(|(n, (key, item))| {
            entries[..n]
                .iter()
                .any(|(other, earlier)| other == key && earlier != item)
        })
    } else {
        let mut seen = HashMap::with_capacity(entries.len());
        entries.iter().any(|(key, item)| {
            seen.insert(key.as_slice(), item)
                .is_some_and(|earlier| earlier != item)
        })
    };
    if clash {
        let what = "a dictionary names a key twice";
        Err(Unreadable::Damaged { what, at })
    } else {
        Ok(dict)
    }
}

pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | 9 | 10 | 12 | 13 | 32)
}

fn is_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%'
    )
}

fn is_regular(byte: u8) -> bool {
    !is_space(byte) && !is_delimiter(byte)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
