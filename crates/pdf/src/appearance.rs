//! What a signature field shows: a small picture made of vectors and, where it must be, images.
//!
//! An [`Appearance`] is what becomes the form XObject of a signature's `/AP`. It carries no fonts: text in it is drawn as
//! outlines, so that a signed document needs no font beyond those of the page, and PDF/A stays satisfied. Making one is
//! the business of [`crate::seal`] and [`crate::signature`]; putting it in a file that of [`crate::sign`].

use crate::canvas::{Affine, placed};
use crate::document::Document;
use crate::increment::Increment;
use crate::sign::{SignError, picture};
use crate::syntax::Id;

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

    /// This picture with another to its right, a little apart, both in the middle of the height: a signature and the signer's
    /// name seal.
    #[must_use]
    pub fn beside(&self, right: &Appearance) -> Self {
        const GAP: f64 = 4.0;
        let height_pt = self.height_pt.max(right.height_pt);
        let middle = |height: f64| (height_pt - height) / 2.0;
        let mut content = placed(
            &self.content,
            Affine::translate(0.0, middle(self.height_pt)),
        );
        let next = Affine::translate(self.width_pt + GAP, middle(right.height_pt));
        // Its images come after ours.
        let mut theirs = String::from_utf8_lossy(&right.content).into_owned();
        for n in (0..right.images.len()).rev() {
            let number = n + self.images.len();
            theirs = theirs.replace(&format!("/Im{n} Do"), &format!("/Im{number} Do"));
        }
        content.extend_from_slice(&placed(theirs.as_bytes(), next));
        Appearance {
            width_pt: self.width_pt + GAP + right.width_pt,
            height_pt,
            content,
            images: [self.images.as_slice(), &right.images].concat(),
        }
    }

    /// A document of one page that shows nothing else, for looking at it.
    ///
    /// # Errors
    /// If it has too much content, too many images or too large ones.
    pub fn to_pdf(&self) -> Result<Vec<u8>, SignError> {
        let blank = blank(self.width_pt, self.height_pt);
        let document = Document::parse(&blank)?;
        let mut increment = Increment::new(&document);
        let picture = picture::add(&mut increment, self, 0)?;
        let annotation = increment.add(format!(
            "<< /Type /Annot /Subtype /Stamp /F 4 /Rect [ 0 0 {:.3} {:.3} ] /AP << /N {picture} >> >>",
            self.width_pt, self.height_pt,
        ));
        let page = Id {
            number: 3,
            generation: 0,
        };
        increment.edit(
            page,
            &[("Annots", format!("[ {annotation} ]").into_bytes())],
        )?;
        Ok(increment.finish().bytes)
    }
}

/// A document of one empty page, whose number is 3.
fn blank(width: f64, height: f64) -> Vec<u8> {
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        format!("<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width:.3} {height:.3}]/Resources<<>>>>"),
    ];
    let mut pdf = "%PDF-1.7\n".to_owned();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (number, object) in (1..).zip(&objects) {
        table.push_str(&format!("{:010} 00000 n \n", pdf.len()));
        pdf.push_str(&format!("{number} 0 obj\n{object}\nendobj\n"));
    }
    let (start, size) = (pdf.len(), objects.len() + 1);
    pdf.push_str(&table);
    pdf.push_str(&format!(
        "trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n"
    ));
    pdf.into_bytes()
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
