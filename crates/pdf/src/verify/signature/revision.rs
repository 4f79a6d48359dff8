//! Which bytes a signature covers, and what was changed in the file after them.

use super::{Examination, Found};
use crate::{
    document::Unreadable,
    form::Permissions,
    verify::{
        changes,
        report::{Change, Code},
    },
};

impl Examination<'_, '_, '_> {
    /// Checks that the byte range leaves out the contents and nothing else; gives where it ends.
    pub(super) fn byte_range(&mut self, found: &Found) -> Option<usize> {
        let numbers: Option<Vec<usize>> =
            found.dict.value(b"ByteRange").array().and_then(|items| {
                items
                    .iter()
                    .map(|item| item.value.int().and_then(|int| usize::try_from(int).ok()))
                    .collect()
            });
        let fits = match numbers.as_deref() {
            Some(&[0, first, second, length]) => {
                let end = second
                    .checked_add(length)
                    .filter(|&end| end <= self.context.document.data().len());
                end.filter(|&end| {
                    first == found.contents.start
                        && second == found.contents.end
                        && end > found.contents.end
                })
            }
            _ => None,
        };
        match fits {
            Some(end) => {
                self.report.covers_bytes = end;
                self.report.covers_whole_file = end == self.context.document.data().len();
            }
            None => {
                let detail =
                    "the byte range does not cover everything but the signature itself".to_owned();
                self.fail(Code::ByteRange, detail);
            }
        }
        // Digits alone, so that nothing can hide in what is not signed.
        let digits =
            &self.context.document.data()[found.contents.start + 1..found.contents.end - 1];
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            self.fail(
                Code::ByteRange,
                "there is more than the signature where the signature is".to_owned(),
            );
        }
        fits
    }

    /// Checks that the signed bytes are a revision of the file, and what was changed after it.
    pub(super) fn revision(&mut self, found: &Found, end: usize) -> Result<(), Unreadable> {
        let document = self.context.document;
        let data = document.data();
        let signed = match document.revision(end) {
            Ok(signed) => signed,
            Err(error) => {
                self.fail(
                    Code::ByteRange,
                    format!("the signed bytes are no document by themselves: {error}"),
                );
                return Ok(());
            }
        };
        if !data[..end].trim_ascii_end().ends_with(b"%%EOF") {
            let detail = "the signed bytes do not reach the end of a revision".to_owned();
            self.fail(Code::ByteRange, detail);
        }
        let sections = document.sections();
        let later = sections.len().checked_sub(signed.sections().len());
        let Some(later) = later.filter(|&later| sections[later..] == *signed.sections()) else {
            self.fail(
                Code::Modified,
                "the file does not continue the signed revision".to_owned(),
            );
            return Ok(());
        };
        self.report.revision = signed.sections().len();
        if signed.entries().get(&found.id.number) != document.entries().get(&found.id.number) {
            self.fail(
                Code::Ambiguous,
                "the signature was put into the file after what it signs".to_owned(),
            );
        }
        if later == 0 && !data[end..].iter().all(u8::is_ascii_whitespace) {
            self.fail(
                Code::TrailingBytes,
                "bytes that belong to no revision follow the signed ones".to_owned(),
            );
        }
        if sections[..later].iter().any(|&section| section < end) {
            self.fail(
                Code::Modified,
                "a later revision was hidden in the signed bytes".to_owned(),
            );
        }
        if later > 0 {
            let permissions = Permissions::of(&signed, &found.dict)?;
            let changes = changes::between(&signed, document, &permissions)?;
            self.report.changes = changes.judged;
            self.shown = changes.shown;
        }
        let forbidden: Vec<Change> = self
            .report
            .changes
            .iter()
            .filter(|change| !change.permitted)
            .cloned()
            .collect();
        for change in forbidden {
            self.fail(Code::Modified, change.detail);
        }
        Ok(())
    }
}
