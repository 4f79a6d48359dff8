//! A hand-drawn signature: from the PNG that the signing page sends to what is put on the paper.

use std::io::Cursor;

use png::{ColorType, Transformations};

use crate::appearance::{Appearance, RgbaImage};
use crate::canvas::Canvas;

/// The largest PNG that is taken, in bytes.
pub const MAX_BYTES: usize = 512 * 1024;
/// The widest PNG that is taken, in pixels.
pub const MAX_WIDTH: u32 = 2000;
/// The highest PNG that is taken, in pixels.
pub const MAX_HEIGHT: u32 = 1000;

/// What the image on the paper is reduced to, in pixels: 350 dpi at the size of a signature's place.
const KEPT_WIDTH: u32 = 800;
const KEPT_HEIGHT: u32 = 400;
/// The least that counts as ink: this many pixels' worth, and this long in one direction (in pixels).
const LEAST_INK: u64 = 40;
const LEAST_EXTENT: u32 = 12;
/// Fainter than this is paper: the noise of a photograph, not a pen.
const FAINTEST: u8 = 24;
/// How wide a signature is on paper if its place allows, in points.
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

/// Makes the appearance of a signature: the ink of the PNG, cropped, in its average colour, with white made transparent.
///
/// # Errors
/// If the PNG is over a limit, damaged or empty.
pub fn appearance(png: &[u8]) -> Result<Appearance, SignatureImageError> {
    let ink = Ink::read(png)?.crop()?.reduce();
    let image = ink.to_image();
    let scale = (WIDEST_PT / f64::from(image.width)).min(HIGHEST_PT / f64::from(image.height));
    let (width_pt, height_pt) = (
        f64::from(image.width) * scale,
        f64::from(image.height) * scale,
    );
    let mut canvas = Canvas::new();
    canvas.image("Im0", width_pt, height_pt);
    Ok(Appearance {
        width_pt,
        height_pt,
        content: canvas.finish(),
        images: vec![image],
    })
}

/// A drawing in one ink: how much of it there is at each pixel, and its colour.
struct Ink {
    width: usize,
    height: usize,
    cover: Vec<u8>,
    color: [u8; 3],
}

impl Ink {
    fn read(png: &[u8]) -> Result<Self, SignatureImageError> {
        if png.len() > MAX_BYTES {
            return Err(SignatureImageError::TooManyBytes(png.len()));
        }
        let broken = |error: png::DecodingError| SignatureImageError::NotPng(error.to_string());
        let mut decoder = png::Decoder::new_with_limits(
            Cursor::new(png),
            png::Limits {
                bytes: 4 * (MAX_WIDTH * MAX_HEIGHT) as usize * 2,
            },
        );
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(broken)?;
        let (width, height) = reader.info().size();
        if width > MAX_WIDTH || height > MAX_HEIGHT {
            return Err(SignatureImageError::TooLarge { width, height });
        }
        let size = reader
            .output_buffer_size()
            .ok_or_else(|| SignatureImageError::NotPng("its size overflows".to_owned()))?;
        let mut pixels = vec![0; size];
        let frame = reader.next_frame(&mut pixels).map_err(broken)?;
        // A file cut short after its last row is damaged too.
        reader.finish().map_err(broken)?;

        let (channels, gray, alpha) = match frame.color_type {
            ColorType::Grayscale => (1, true, false),
            ColorType::GrayscaleAlpha => (2, true, true),
            ColorType::Rgb => (3, false, false),
            ColorType::Rgba => (4, false, true),
            ColorType::Indexed => {
                return Err(SignatureImageError::NotPng(
                    "its palette is missing".to_owned(),
                ));
            }
        };
        let mut cover = Vec::with_capacity(width as usize * height as usize);
        let mut sums = [0_u64; 3];
        let mut total = 0_u64;
        for pixel in pixels[..frame.buffer_size()].chunks_exact(channels) {
            let rgb = if gray {
                [pixel[0]; 3]
            } else {
                [pixel[0], pixel[1], pixel[2]]
            };
            let opacity = if alpha {
                u16::from(pixel[channels - 1])
            } else {
                255
            };
            // How dark the pixel is on white paper, in its darkest channel.
            let darkest = rgb.into_iter().min().unwrap_or(255);
            let ink = (u16::from(255 - darkest) * opacity / 255) as u8;
            let ink = if ink < FAINTEST { 0 } else { ink };
            cover.push(ink);
            for (sum, channel) in sums.iter_mut().zip(rgb) {
                *sum += u64::from(channel) * u64::from(ink) * u64::from(ink);
            }
            total += u64::from(ink) * u64::from(ink);
        }
        let color = sums.map(|sum| (sum / total.max(1)) as u8);
        Ok(Ink {
            width: width as usize,
            height: height as usize,
            cover,
            color,
        })
    }

    /// Down to the rectangle that has ink in it.
    fn crop(self) -> Result<Self, SignatureImageError> {
        let inked = |x: usize, y: usize| self.cover[y * self.width + x] > 0;
        let mut rows = (0..self.height).filter(|&y| (0..self.width).any(|x| inked(x, y)));
        let mut columns = (0..self.width).filter(|&x| (0..self.height).any(|y| inked(x, y)));
        let (Some(top), Some(left)) = (rows.next(), columns.next()) else {
            return Err(SignatureImageError::NoInk);
        };
        let bottom = rows.next_back().unwrap_or(top);
        let right = columns.next_back().unwrap_or(left);
        let (width, height) = (right - left + 1, bottom - top + 1);
        let amount: u64 = self.cover.iter().map(|&ink| u64::from(ink)).sum();
        if amount < LEAST_INK * 255 || width.max(height) < LEAST_EXTENT as usize {
            return Err(SignatureImageError::NoInk);
        }
        let cover = (top..=bottom)
            .flat_map(|y| &self.cover[y * self.width + left..=y * self.width + right])
            .copied()
            .collect();
        Ok(Ink {
            width,
            height,
            cover,
            color: self.color,
        })
    }

    /// Halves the drawing until it is no larger than is kept.
    fn reduce(mut self) -> Self {
        while self.width > KEPT_WIDTH as usize || self.height > KEPT_HEIGHT as usize {
            let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
            let at = |x: usize, y: usize| {
                let (x, y) = (x.min(self.width - 1), y.min(self.height - 1));
                u16::from(self.cover[y * self.width + x])
            };
            let mut cover = Vec::with_capacity(width * height);
            for y in 0..height {
                for x in 0..width {
                    let (x, y) = (2 * x, 2 * y);
                    let sum = at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1);
                    cover.push((sum / 4) as u8);
                }
            }
            self = Ink {
                width,
                height,
                cover,
                color: self.color,
            };
        }
        self
    }

    /// One colour throughout; the drawing is in the alpha channel. So the colour planes compress to nothing.
    fn to_image(&self) -> RgbaImage {
        // The strongest ink is opaque: what was drawn in light blue is light blue, not transparent.
        let strongest = self.cover.iter().copied().max().unwrap_or(255).max(1);
        let [red, green, blue] = self.color;
        let pixels = self
            .cover
            .iter()
            .flat_map(|&ink| {
                // In sixteen steps, which is smooth enough and packs into half as many bytes.
                let alpha = (u16::from(ink) * 15 + u16::from(strongest) / 2) / u16::from(strongest);
                [red, green, blue, alpha.min(15) as u8 * 17]
            })
            .collect();
        RgbaImage {
            width: self.width as u32,
            height: self.height as u32,
            pixels,
        }
    }
}
