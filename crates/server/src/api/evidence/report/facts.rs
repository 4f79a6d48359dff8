//! Facts as they are collected for a group of the report.

use sealpost_pdf::FactGroup;

/// The most characters of what others have written.
const MAX_CHARACTERS: usize = 300;

/// Facts being collected.
#[derive(Default)]
pub(super) struct Facts(pub(super) Vec<(String, String)>);

impl Facts {
    pub(super) fn put(&mut self, label: &str, value: impl Into<String>) {
        self.0.push((label.to_owned(), value.into()));
    }

    pub(super) fn put_some(&mut self, label: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.put(label, value);
        }
    }

    pub(super) fn group(self, title: Option<String>) -> FactGroup {
        FactGroup {
            title,
            facts: self.0,
        }
    }
}

/// As much of a text as one fact shows, which others have written.
pub(super) fn brief(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
