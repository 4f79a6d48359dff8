//! What a signature field shows: a small picture made of vectors and, where it must be, images.
//!
//! An [`Appearance`] is what becomes the form XObject of a signature's `/AP`. It carries no fonts: text in it is drawn as
//! outlines, so that a signed document needs no font beyond those of the page, and PDF/A stays satisfied. Making one is
//! the business of [`crate::seal`] and [`crate::signature`]; putting it in a file that of [`crate::sign`].

use crate::canvas::{Affine, placed};

/// A picture of a given size in points, drawn by PDF operators in a coordinate system whose origin is its lower left corner.
#[derive(Debug, Clone, PartialEq)]
pub struct Appearance {
    /// Width in points (1/72 inch).
    pub width_pt: f64,
    /// Height in points (1/72 inch).
    pub height_pt: f64,
    /// Content stream, not compressed: path, colour (`rg`, `RG`) and image operators. Image number *n* of
    /// [`images`](Self::images) is the resource `/Im`*n* (from `/Im0`); there are no other resources.
    pub content: Vec<u8>,
    /// The images that the content draws.
    pub images: Vec<RgbaImage>,
}

impl Appearance {
    /// The same picture in the middle of a rectangle of another size, as large as fits without distorting it, but never
    /// larger than it is. A signature field shows an appearance stretched to its own rectangle, so it must have that size.
    #[must_use]
    pub fn fitted(&self, width_pt: f64, height_pt: f64) -> Self {
        let scale = (width_pt / self.width_pt)
            .min(height_pt / self.height_pt)
            .min(1.0);
        let left = (width_pt - self.width_pt * scale) / 2.0;
        let bottom = (height_pt - self.height_pt * scale) / 2.0;
        let place = Affine::scale(scale, scale).then(Affine::translate(left, bottom));
        let content = placed(&self.content, place);
        Appearance {
            width_pt,
            height_pt,
            content,
            images: self.images.clone(),
        }
    }
}

/// An image in sRGB with straight (not premultiplied) alpha; it becomes an image XObject with a soft mask.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbaImage {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height * 4` bytes: red, green, blue, alpha; rows from the top.
    pub pixels: Vec<u8>,
}

impl std::fmt::Debug for RgbaImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbaImage({}×{})", self.width, self.height)
    }
}
