//! How much work reading one file may take, all of its revisions together.

use std::cell::Cell;

use super::{MAX_SIZE, Unreadable};

/// The most bytes that all compressed structures of a file may decode to.
const MAX_DECODED: usize = 128 << 20;
/// The most bytes of objects that are read, each object as often as it is asked for.
const MAX_READ: usize = 512 << 20;

/// What is left of the work that a file may ask for.
pub(super) struct Budget {
    decoded: Cell<usize>,
    read: Cell<usize>,
    entries: Cell<usize>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            decoded: Cell::new(MAX_DECODED),
            read: Cell::new(MAX_READ),
            entries: Cell::new(MAX_SIZE as usize),
        }
    }
}

impl Budget {
    /// How many bytes may still be decoded.
    pub(super) fn decodable(&self) -> usize {
        self.decoded.get()
    }

    /// Counts bytes that were decoded.
    pub(super) fn decode(&self, bytes: usize) -> Result<(), Unreadable> {
        spend(&self.decoded, bytes, "the decoded size")
    }

    /// Counts an entry of a cross-reference section, of which there may be as many as objects.
    pub(super) fn entry(&self) -> Result<(), Unreadable> {
        spend(&self.entries, 1, "the number of cross-references")
    }

    /// Counts bytes of an object that were read.
    pub(super) fn read(&self, bytes: usize) -> Result<(), Unreadable> {
        spend(
            &self.read,
            bytes,
            "the bytes of its objects, each as often as it is named",
        )
    }
}

/// Takes from what is left; once it is gone it stays gone.
fn spend(left: &Cell<usize>, amount: usize, what: &'static str) -> Result<(), Unreadable> {
    let rest = left.get().checked_sub(amount);
    left.set(rest.unwrap_or(0));
    rest.map(|_| ()).ok_or(Unreadable::TooLarge(what))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{document::Document, syntax::Id};

    const PDF: &[u8] =
        b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\nxref\n1 1\n0000000009 00000 n \n\
                         trailer\n<< /Size 2 /Root 1 0 R >>\nstartxref\n45\n%%EOF\n";

    /// Reading one object again and again comes to an end.
    #[test]
    fn every_read_of_an_object_counts() {
        let budget = Budget {
            read: Cell::new(100),
            ..Budget::default()
        };
        let document = Document::within(PDF, Rc::new(budget)).ok();
        let Some(document) = document else {
            panic!("the document cannot be read")
        };
        let id = Id {
            number: 1,
            generation: 0,
        };
        let reads = (0..10).map(|_| document.object(id).map(|object| object.is_some()));
        let reads: Vec<_> = reads.collect();
        assert_eq!(reads[..3], [Ok(true), Ok(true), Ok(true)]);
        assert!(matches!(reads[3..], [Err(Unreadable::TooLarge(_)), ..]));
        assert!(reads[3..].iter().all(Result::is_err));
    }
}
