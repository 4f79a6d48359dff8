//! Reads a PDF's structure: cross-references, revisions, objects.

/// Why bytes cannot be read as a PDF that may be signed or verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The bytes are no PDF at all.
    #[error("it is not a PDF")]
    NotPdf,
    /// The document is encrypted; its protection must be removed first.
    #[error("the PDF is encrypted")]
    Encrypted,
    /// The structure breaks the rules of ISO 32000. Damaged files are refused, never repaired, because a repair is a guess.
    #[error("the PDF is damaged: {what} (byte {at})")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Near which byte.
        at: usize,
    },
    /// The document is beyond a limit that keeps reading it within fixed time and memory.
    #[error("the PDF is beyond a limit: {0}")]
    TooLarge(&'static str),
}

impl Unreadable {
    /// A stable code for interfaces.
    pub fn code(&self) -> &'static str {
        match self {
            Unreadable::NotPdf => "not_pdf",
            Unreadable::Encrypted => "encrypted",
            Unreadable::Damaged { .. } => "damaged",
            Unreadable::TooLarge(_) => "too_large",
        }
    }
}
