//! Walks BER of definite length without deciding what it means, so that signed bytes are checked as they were sent.

/// One element: its tag octet, its content, and all its bytes.
#[derive(Clone, Copy)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) raw: &'a [u8],
}

/// The elements of a constructed value, one after the other; ends early where they are malformed.
#[derive(Clone)]
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
}

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// `[n]`, constructed.
pub(crate) const fn context(n: u8) -> u8 {
    0xa0 | n
}

impl<'a> Tlv<'a> {
    /// The element at the start of `bytes`, and what follows it.
    pub(crate) fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        // Tags above 30 take more octets, and nothing here has them.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (
                    octets
                        .iter()
                        .fold(0, |length, &octet| length << 8 | usize::from(octet)),
                    rest,
                )
            }
            // An indefinite length, or one beyond 4 GiB.
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let raw = &bytes[..bytes.len() - after.len()];
        Some((Self { tag, content, raw }, after))
    }

    pub(crate) fn elements(&self) -> Elements<'a> {
        Elements { rest: self.content }
    }
}

impl<'a> Elements<'a> {
    /// The next element, when it has this tag.
    pub(crate) fn tagged(&mut self, tag: u8) -> Option<Tlv<'a>> {
        let (found, rest) = Tlv::split(self.rest)?;
        if found.tag != tag {
            return None;
        }
        self.rest = rest;
        Some(found)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        let (found, rest) = Tlv::split(self.rest)?;
        self.rest = rest;
        Some(found)
    }
}
