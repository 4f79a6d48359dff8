//! Whether a document is sound enough to be signed.
//!
//! Readers repair what is damaged, each in its own way; a signature over a document that shows different things to different
//! readers is worth nothing. So everything that can be reached is read before the first signature.

use std::collections::HashSet;

use super::{Document, Unreadable, damaged};
use crate::syntax::{Id, Value};

/// The most objects that are read.
const MAX_OBJECTS: usize = 1_000_000;
/// The most objects that may be named but missing.
const MAX_MISSING: usize = 10_000;

impl Document<'_> {
    /// Reads every object that can be reached and every page. Gives the ids that are named but missing: as long as they are,
    /// anybody can add what they name.
    pub(crate) fn check(&self) -> Result<Vec<Id>, Unreadable> {
        if !matches!(
            self.trailer.dict.value(b"Info"),
            Value::Null | Value::Ref(_)
        ) {
            return damaged("the trailer's /Info is not a reference", 0);
        }
        self.pages(usize::MAX)?;
        let mut missing = Vec::new();
        let mut seen: HashSet<Id> = HashSet::new();
        let mut stack = Vec::new();
        for (_, item) in &self.trailer.dict.entries {
            item.value.references(&mut |id| stack.push(id));
        }
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            if seen.len() > MAX_OBJECTS {
                return Err(Unreadable::TooLarge("the number of objects"));
            }
            match self.object(id)? {
                Some(object) => object.item.value.references(&mut |id| stack.push(id)),
                None if missing.len() == MAX_MISSING => {
                    return Err(Unreadable::TooLarge("the number of missing objects"));
                }
                None => missing.push(id),
            }
        }
        Ok(missing)
    }
}
