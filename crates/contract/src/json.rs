//! Strict JSON: one object, its members once each at every level, nesting bounded. Built on `serde_json`, which
//! already refuses a byte order mark, trailing text, lone surrogates and bytes that are not UTF-8.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The most levels of objects and arrays in one body; the body's own object is the first.
pub const MAX_NESTING: usize = 64;

/// A member's value, as far as the contract cares: a string, or something else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    String(String),
    Other,
}

/// Reads one JSON object.
///
/// # Errors
/// The parser's own words, with line and column, when `body` is anything else, repeats a member, or nests deeper
/// than [`MAX_NESTING`].
pub(crate) fn object(body: &[u8]) -> Result<BTreeMap<String, Value>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let members = deserializer.deserialize_map(Object)?;
    deserializer.end()?;
    Ok(members)
}

/// The outermost object, whose members are kept.
struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = BTreeMap<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Skim { level: 1 })?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member appears twice"));
            }
        }
        Ok(members)
    }
}

/// Any value below the outermost object: strings are kept, the rest is only checked.
#[derive(Clone, Copy)]
struct Skim {
    /// How many objects and arrays enclose the value.
    level: usize,
}

impl Skim {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.level >= MAX_NESTING {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self {
            level: self.level + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Skim {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skim {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        while sequence.next_element_seed(inner)?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut names = std::collections::BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value_seed(inner)?;
            if !names.insert(name) {
                return Err(A::Error::custom("a member appears twice"));
            }
        }
        Ok(Value::Other)
    }
}
