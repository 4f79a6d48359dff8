//! What a content stream leaves open, which would move, clip or swallow whatever is drawn after it.

/// The most graphics states that are closed for a page that left them open.
const MAX_OPEN: usize = 64;

/// How many graphics states (`q` without `Q`) the content leaves open; `None` if it leaves anything else open (a string, an
/// inline image, a text object, marked content), or too many.
pub(super) fn open_states(content: &[u8]) -> Option<usize> {
    let mut lexer = Lexer {
        data: content,
        at: 0,
    };
    let (mut states, mut marked, mut text) = (0_usize, 0_usize, false);
    while let Some(token) = lexer.next()? {
        match token {
            b"q" => states += 1,
            b"Q" => states = states.saturating_sub(1),
            b"BMC" | b"BDC" => marked += 1,
            b"EMC" => marked = marked.saturating_sub(1),
            b"BT" => text = true,
            b"ET" => text = false,
            b"BI" => lexer.skip_image()?,
            _ => {}
        }
    }
    (marked == 0 && !text && states <= MAX_OPEN).then_some(states)
}

struct Lexer<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    /// The next operator or number, skipping all else; `Some(None)` at the end, `None` if the data ends inside something.
    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        while let Some(&byte) = self.data.get(self.at) {
            match byte {
                b'%' => self.skip_to(|byte| matches!(byte, b'\r' | b'\n')),
                b'(' => self.skip_string()?,
                b'<' if self.data.get(self.at + 1) != Some(&b'<') => {
                    self.skip_to(|byte| byte == b'>');
                    if self.at == self.data.len() {
                        return None;
                    }
                }
                b'/' => {
                    self.at += 1;
                    self.skip_to(|byte| !is_regular(byte));
                }
                _ if is_regular(byte) => {
                    let start = self.at;
                    self.skip_to(|byte| !is_regular(byte));
                    return Some(Some(&self.data[start..self.at]));
                }
                _ => self.at += 1,
            }
        }
        Some(None)
    }

    fn skip_to(&mut self, stop: impl Fn(u8) -> bool) {
        let rest = &self.data[self.at..];
        self.at += rest
            .iter()
            .position(|&byte| stop(byte))
            .unwrap_or(rest.len());
    }

    fn skip_string(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.data.get(self.at)? {
                b'\\' => self.at += 1,
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// From after `BI` to after the `EI` that ends the image's data.
    fn skip_image(&mut self) -> Option<()> {
        while self.next()?? != b"ID" {}
        loop {
            let rest = self.data.get(self.at..)?;
            let found = rest.windows(2).position(|pair| pair == b"EI")?;
            let bounded = |at: Option<&u8>| at.is_none_or(|&byte| !is_regular(byte));
            let before = found.checked_sub(1).and_then(|at| rest.get(at));
            self.at += found + 2;
            if bounded(before) && bounded(rest.get(found + 2)) {
                return Some(());
            }
        }
    }
}

/// Neither a blank nor a delimiter (ISO 32000-2 section 7.2.3).
fn is_regular(byte: u8) -> bool {
    !matches!(
        byte,
        0 | b'\t'
            | b'\n'
            | 12
            | b'\r'
            | b' '
            | b'('
            | b')'
            | b'<'
            | b'>'
            | b'['
            | b']'
            | b'{'
            | b'}'
            | b'/'
            | b'%'
    )
}

#[cfg(test)]
mod tests {
    use super::open_states;
    use proptest::prelude::*;

    #[test]
    fn counts_what_is_open() {
        for (content, open) in [
            ("", Some(0)),
            ("q 1 0 0 1 0 0 cm Q", Some(0)),
            ("Q Q q", Some(1)),
            ("q q\nq[(q)]TJ", Some(3)),
            ("(\\) q (q) q) Tj /q gs % q\n<71>Tj <</q 1>>", Some(0)),
            ("BI /W 1 ID q xEI q EI Q q", Some(1)),
            ("(", None),
            ("(\\)", None),
            ("<41", None),
            ("BI /W 1 ID q", None),
            ("BI /W", None),
            ("BT 1 Tr", None),
            ("/OC /MC0 BDC", None),
            ("/OC /MC0 BDC EMC", Some(0)),
        ] {
            assert_eq!(open_states(content.as_bytes()), open, "{content}");
        }
        assert_eq!(open_states("q ".repeat(65).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn reads_anything(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = open_states(&content);
        }
    }
}
