//! A signature dictionary (ISO 32000-2 section 12.8.1) with blanks, and filling them once the file around it is written.

use std::ops::Range;

use super::SignError;
use crate::{
    increment::Updated,
    pki::{Digest, Hash},
    syntax::Id,
};

/// The width of each number of a byte range before it is known. Ten digits hold every offset of a file of at most 256 MiB.
const RANGE_DIGITS: usize = 10;

/// A signature dictionary whose byte range and contents are blank.
pub(super) struct Dictionary {
    pub(super) body: Vec<u8>,
    pub(super) places: Places,
}

/// Where the blanks of a dictionary are in it.
pub(super) struct Places {
    /// The byte range's numbers begin here.
    byte_range: usize,
    /// The contents, brackets included.
    contents: Range<usize>,
}

impl Dictionary {
    /// With these entries, and `room` bytes for the signature.
    pub(super) fn new(entries: Vec<u8>, room: usize) -> Self {
        let mut body = b"<< ".to_vec();
        body.extend_from_slice(&entries);
        body.extend_from_slice(b" /ByteRange [");
        let byte_range = body.len();
        body.resize(byte_range + 4 * (RANGE_DIGITS + 1), b' ');
        body.extend_from_slice(b" ] /Contents ");
        let start = body.len();
        body.push(b'<');
        body.resize(body.len() + room * 2, b'0');
        body.push(b'>');
        let contents = start..body.len();
        body.extend_from_slice(b" >>");
        Self {
            body,
            places: Places {
                byte_range,
                contents,
            },
        }
    }
}

/// A whole file in which only the signature itself is still blank.
pub(super) struct Blank {
    bytes: Vec<u8>,
    /// Where the contents are, brackets included.
    contents: Range<usize>,
}

impl Blank {
    /// Writes the byte range of the dictionary that was put into `updated` as `id`.
    pub(super) fn new(updated: Updated, id: Id, places: &Places) -> Self {
        // The increment has just put it there.
        let body = updated.bodies.get(&id).copied().unwrap_or_default();
        let contents = body + places.contents.start..body + places.contents.end;
        let mut blank = Self {
            bytes: updated.bytes,
            contents,
        };
        let [first, second] = blank.ranges();
        let numbers = [first.start, first.len(), second.start, second.len()];
        let place = &mut blank.bytes[body + places.byte_range..];
        for (place, number) in place.chunks_exact_mut(RANGE_DIGITS + 1).zip(numbers) {
            place.copy_from_slice(format!(" {number:<RANGE_DIGITS$}").as_bytes());
        }
        blank
    }

    /// The digest of everything but the signature.
    pub(super) fn digest(&self, hash: Hash) -> Digest {
        let [before, after] = self.ranges();
        hash.of(&[&self.bytes[before], &self.bytes[after]])
    }

    /// The finished file.
    pub(super) fn fill(mut self, signature: &[u8]) -> Result<Vec<u8>, SignError> {
        let place = self.contents.start + 1..self.contents.end - 1;
        let reserved = place.len() / 2;
        if signature.len() > reserved {
            return Err(SignError::NoRoom {
                needed: signature.len(),
                reserved,
            });
        }
        let place = &mut self.bytes[place.start..place.start + signature.len() * 2];
        hex::encode_to_slice(signature, place)
            .map_err(|_| SignError::Crypto("write a signature"))?;
        Ok(self.bytes)
    }

    fn ranges(&self) -> [Range<usize>; 2] {
        [0..self.contents.start, self.contents.end..self.bytes.len()]
    }
}
