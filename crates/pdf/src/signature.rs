//! A hand-drawn signature: from the PNG that the signing page sends to what is put on the paper.

use crate::appearance::{Appearance, RgbaImage};
use crate::canvas::Canvas;
use crate::picture::{Limits, Picture, Refused};

/// The largest PNG that is taken, in bytes.
pub const MAX_BYTES: usize = 512 * 1024;
/// The widest PNG that is taken, in pixels.
pub const MAX_WIDTH: u32 = 2000;
/// The highest PNG that is taken, in pixels.
pub const MAX_HEIGHT: u32 = 1000;

/// What the image on the paper is reduced to, in pixels: 350 dpi at the size of a signature's place.
const KEPT: (usize, usize) = (800, 400);
/// The least that counts as ink: this many pixels' worth, and this long in one direction (in pixels).
const LEAST_INK: u64 = 40;
const LEAST_EXTENT: usize = 12;
/// Fainter than this is paper: the noise of a photograph, not a pen.
const FAINTEST: u8 = 24;
/// How large a signature is on paper if its place allows, in points.
const WIDEST_PT: f64 = 160.0;
const HIGHEST_PT: f64 = 60.0;

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

impl From<Refused> for SignatureImageError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooManyBytes(bytes) => Self::TooManyBytes(bytes),
            Refused::TooLarge { width, height } => Self::TooLarge { width, height },
            Refused::NotPng(reason) => Self::NotPng(reason),
        }
    }
}

/// Makes the appearance of a signature: the ink of the PNG, cropped, in its average colour, with white made transparent.
///
/// # Errors
/// If the PNG is over a limit, damaged or empty.
pub fn appearance(png: &[u8]) -> Result<Appearance, SignatureImageError> {
    let limits = Limits {
        bytes: MAX_BYTES,
        width: MAX_WIDTH,
        height: MAX_HEIGHT,
    };
    let mut picture = Picture::read(png, &limits)?;
    let color = to_ink(&mut picture);
    let ink = picture.cropped().ok_or(SignatureImageError::NoInk)?;
    let amount: u64 = ink.pixels.iter().map(|pixel| u64::from(pixel[3])).sum();
    if amount < LEAST_INK * 255 || ink.width.max(ink.height) < LEAST_EXTENT {
        return Err(SignatureImageError::NoInk);
    }
    let image = in_one_color(&ink.reduced(KEPT.0, KEPT.1), color);

    let (width, height) = (f64::from(image.width), f64::from(image.height));
    let scale = (WIDEST_PT / width).min(HIGHEST_PT / height);
    let (width_pt, height_pt) = (width * scale, height * scale);
    let mut canvas = Canvas::new();
    canvas.image("Im0", width_pt, height_pt);
    Ok(Appearance {
        width_pt,
        height_pt,
        content: canvas.finish(),
        images: vec![image],
    })
}

/// Makes each pixel as opaque as it is dark on white paper, and returns the average colour of the ink.
fn to_ink(picture: &mut Picture) -> [u8; 3] {
    let mut sums = [0_u64; 3];
    let mut total = 0_u64;
    for [red, green, blue, alpha] in &mut picture.pixels {
        let darkest = (*red).min(*green).min(*blue);
        let ink = (u16::from(255 - darkest) * u16::from(*alpha) / 255) as u8;
        *alpha = if ink < FAINTEST { 0 } else { ink };
        let weight = u64::from(*alpha) * u64::from(*alpha);
        for (sum, channel) in sums.iter_mut().zip([*red, *green, *blue]) {
            *sum += u64::from(channel) * weight;
        }
        total += weight;
    }
    sums.map(|sum| (sum / total.max(1)) as u8)
}

/// The drawing in the alpha channel over a single colour, whose planes pack to nothing.
fn in_one_color(ink: &Picture, [red, green, blue]: [u8; 3]) -> RgbaImage {
    // The strongest ink is opaque: what was drawn in light blue is light blue, not transparent.
    let strongest = ink
        .pixels
        .iter()
        .map(|pixel| u16::from(pixel[3]))
        .max()
        .unwrap_or(255)
        .max(1);
    let pixel = |pixel: &[u8; 4]| {
        // In sixteen steps, which is smooth enough and packs into half as many bytes.
        let step = (u16::from(pixel[3]) * 15 + strongest / 2) / strongest;
        [red, green, blue, step.min(15) as u8 * 17]
    };
    RgbaImage {
        width: ink.width as u32,
        height: ink.height as u32,
        pixels: ink.pixels.iter().flat_map(pixel).collect(),
    }
}
