//! Seals: drawn as vectors from a name, or an operator's own picture.
//!
//! Sizes and arrangement follow what engravers make by the State Council's rules on seals (国发〔1999〕25号) and public practice.
//! What is on a seal is not checked against any register: whoever may use a name is the business of those who use this.

mod shapes;

use crate::appearance::{Appearance, RgbaImage};
use crate::canvas::{Affine, Canvas};
use crate::font::{self, Face};
use crate::picture::{Limits, Picture, Refused};
use shapes::{Arc, MIDDLE, star, straight};

/// Points in a millimetre.
const MM: f64 = 72.0 / 25.4;
/// The red of a seal pad.
const RED: [u8; 3] = [0xd7, 0x14, 0x1a];

/// A round organization seal, 38 mm across: the name on the arc, a five-pointed star, a legend below. With the legend
/// 财务专用章 it is a finance seal, with 合同专用章 a contract seal, without one an organization's common seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundSeal {
    /// The organization's name, 2 to 40 characters.
    pub organization: String,
    /// What stands below the star, as in 财务专用章; 1 to 12 characters; none leaves it out.
    pub legend: Option<String>,
}

/// An oval organization seal, 45 × 30 mm: the name on the arc, a number in the middle, a legend below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OvalSeal {
    /// The organization's name, 2 to 40 characters.
    pub organization: String,
    /// What stands in the middle, such as the unified social credit code; 1 to 24 characters.
    pub number: Option<String>,
    /// What stands below, as in 收款专用章; 1 to 12 characters.
    pub legend: Option<String>,
}

/// A person's square name seal, 18 mm: the characters in columns from right to left. A name of two characters is followed by
/// 之印, one of three by 印.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameSeal {
    /// The name: 2 to 9 characters, dots and blanks within it not counted.
    pub name: String,
}

/// An operator's own picture of a seal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PictureSeal<'a> {
    /// A PNG: at most 1 MiB and 3000 × 3000 pixels. If none of it is transparent, white is made so.
    pub png: &'a [u8],
    /// Its width on paper in millimetres, 5 to 100. Its height follows, and is at most 100 too.
    pub width_mm: f64,
}

/// Why a seal cannot be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A text has the wrong length.
    #[error("the seal's {field} has {length} characters; it takes {min} to {max}")]
    Length {
        /// Which text.
        field: &'static str,
        /// Its length in characters.
        length: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Our fonts have no glyph for a character.
    #[error("the seal's {field} contains {character:?} (U+{:04X}), which the font cannot draw", u32::from(*character))]
    MissingGlyph {
        /// Which text.
        field: &'static str,
        /// The character.
        character: char,
    },
    /// A picture cannot be used.
    #[error("the seal's picture cannot be used: {0}")]
    Picture(String),
}

impl RoundSeal {
    /// Diameter in points: 38 mm.
    pub const DIAMETER_PT: f64 = 38.0 * MM;

    /// Draws the seal.
    ///
    /// # Errors
    /// If the name or the legend is too long or has a character that the font lacks.
    pub fn draw(&self) -> Result<Appearance, SealError> {
        const RADIUS: f64 = 19.0;
        const RING: f64 = 1.15;
        check("organization", &self.organization, 2, 40)?;
        check_optional("legend", self.legend.as_deref(), 12)?;
        let (mut canvas, center) = begin(RADIUS, RADIUS);
        ring(&mut canvas, center, (RADIUS, RADIUS), RING);

        let crowd = crowd(&self.organization);
        let arc = Arc {
            outer: (16.7, 16.7),
            reach: 234.0 + 24.0 * crowd,
            pitch: 27.0,
            height: 5.2 - 2.0 * crowd,
        };
        arc.write(&mut canvas, &self.organization, center);
        let raised = if self.legend.is_some() { 0.6 } else { 0.0 };
        star(
            &mut canvas,
            Affine::translate(0.0, raised).then(center),
            6.4,
        );
        if let Some(legend) = &self.legend {
            // The more of the arc the name takes, the less is left between its ends.
            straight(&mut canvas, legend, center, -10.6, 3.7, 19.0 - 3.0 * crowd);
        }
        canvas.fill();
        Ok(finish(canvas, RADIUS, RADIUS))
    }
}

impl OvalSeal {
    /// Draws the seal.
    ///
    /// # Errors
    /// If a text is too long or has a character that the font lacks.
    pub fn draw(&self) -> Result<Appearance, SealError> {
        const RADII: (f64, f64) = (22.5, 15.0);
        const RING: f64 = 1.0;
        check("organization", &self.organization, 2, 40)?;
        check_optional("number", self.number.as_deref(), 24)?;
        check_optional("legend", self.legend.as_deref(), 12)?;
        let (mut canvas, center) = begin(RADII.0, RADII.1);
        ring(&mut canvas, center, RADII, RING);

        let crowd = crowd(&self.organization);
        let arc = Arc {
            outer: (RADII.0 - 1.9, RADII.1 - 1.9),
            reach: 190.0 + 20.0 * crowd,
            pitch: 22.0,
            height: 4.2 - 1.4 * crowd,
        };
        arc.write(&mut canvas, &self.organization, center);
        if let Some(number) = &self.number {
            straight(&mut canvas, number, center, -0.2, 3.4, 29.0);
        }
        if let Some(legend) = &self.legend {
            straight(&mut canvas, legend, center, -8.2, 3.6, 19.0);
        }
        canvas.fill();
        Ok(finish(canvas, RADII.0, RADII.1))
    }
}

impl NameSeal {
    /// Draws the seal.
    ///
    /// # Errors
    /// If the name has too few or too many characters, or one that the font lacks.
    pub fn draw(&self) -> Result<Appearance, SealError> {
        const HALF: f64 = 9.0;
        const FRAME: f64 = 0.9;
        /// Between the frame and the characters.
        const GAP: f64 = 0.7;
        let mut name: String = self
            .name
            .chars()
            .filter(|c| !c.is_whitespace() && !matches!(c, '·' | '•' | '.'))
            .collect();
        check("name", &name, 2, 9)?;
        match name.chars().count() {
            2 => name.push_str("之印"),
            3 => name.push('印'),
            _ => {}
        }
        let characters: Vec<char> = name.chars().collect();
        let columns = if characters.len() <= 6 { 2 } else { 3 };

        let (mut canvas, center) = begin(HALF, HALF);
        canvas.thickness(FRAME * MM);
        let (x, y) = center.apply(-HALF + FRAME / 2.0, -HALF + FRAME / 2.0);
        let side = (2.0 * HALF - FRAME) * MM;
        canvas.rectangle(x, y, side, side);
        canvas.stroke();
        let inside = HALF - FRAME - GAP;
        let width = 2.0 * inside / columns as f64;
        let mut left = characters.as_slice();
        for column in 0..columns {
            // As equal as can be, the fuller columns first; fewer characters are taller ones.
            let (characters, rest) = left.split_at(left.len().div_ceil(columns - column));
            left = rest;
            let height = 2.0 * inside / characters.len() as f64;
            for (row, &character) in characters.iter().enumerate() {
                let x = inside - width * (column as f64 + 0.5);
                let y = inside - height * (row as f64 + 0.5);
                let glyph = Face::Display.glyph(character);
                let place = Affine::translate(-f64::from(glyph.advance) / 2.0, -MIDDLE)
                    .then(Affine::scale(width * 1.02, height * 1.02))
                    .then(Affine::translate(x, y))
                    .then(center);
                canvas.glyph(glyph, place);
            }
        }
        canvas.fill();
        Ok(finish(canvas, HALF, HALF))
    }
}

impl PictureSeal<'_> {
    /// The picture as an appearance, cropped to what is not transparent, and reduced to what print can show.
    ///
    /// # Errors
    /// If it is over a limit, damaged, or empty.
    pub fn draw(&self) -> Result<Appearance, SealError> {
        const LIMITS: Limits = Limits {
            bytes: 1 << 20,
            width: 3000,
            height: 3000,
        };
        const KEPT: usize = 900;
        const WIDTHS: std::ops::RangeInclusive<f64> = 5.0..=100.0;
        let refused = |reason: &str| SealError::Picture(reason.to_owned());
        if !WIDTHS.contains(&self.width_mm) {
            return Err(refused("its width must be 5 to 100 mm"));
        }
        let mut picture = Picture::read(self.png, &LIMITS).map_err(|error| {
            SealError::Picture(match error {
                Refused::TooManyBytes(bytes) => {
                    format!("it has {bytes} bytes; the limit is {}", LIMITS.bytes)
                }
                Refused::TooLarge { width, height } => format!(
                    "it is {width}×{height} pixels; the limit is {}×{}",
                    LIMITS.width, LIMITS.height
                ),
                Refused::NotPng(reason) => format!("it is not a readable PNG: {reason}"),
            })
        })?;
        if picture.pixels.iter().all(|pixel| pixel[3] == 255) {
            picture.pixels.iter_mut().for_each(lift_off_paper);
        }
        let picture = picture
            .cropped()
            .ok_or_else(|| refused("it is empty"))?
            .reduced(KEPT, KEPT);
        let width_pt = self.width_mm * MM;
        let height_pt = width_pt * picture.height as f64 / picture.width as f64;
        if height_pt > WIDTHS.end() * MM {
            return Err(refused("it would be higher than 100 mm"));
        }
        let mut canvas = Canvas::new();
        canvas.image("Im0", width_pt, height_pt);
        let image = RgbaImage {
            width: picture.width as u32,
            height: picture.height as u32,
            pixels: picture.pixels.into_iter().flatten().collect(),
        };
        Ok(Appearance {
            width_pt,
            height_pt,
            content: canvas.finish(),
            images: vec![image],
        })
    }
}

/// What a pixel is without the white paper under it: as opaque as its darkest channel is dark, in the colour that gives what
/// was seen when laid on white again.
fn lift_off_paper(pixel: &mut [u8; 4]) {
    /// Fainter than this is paper.
    const FAINTEST: u8 = 10;
    let [red, green, blue, _] = *pixel;
    let alpha = 255 - red.min(green).min(blue);
    if alpha < FAINTEST {
        *pixel = [0; 4];
        return;
    }
    let lifted = |channel: u8| {
        let a = u32::from(alpha);
        ((u32::from(channel) + a - 255) * 255 / a).min(255) as u8
    };
    *pixel = [lifted(red), lifted(green), lifted(blue), alpha];
}

fn check_optional(field: &'static str, text: Option<&str>, max: usize) -> Result<(), SealError> {
    text.map_or(Ok(()), |text| check(field, text, 1, max))
}

fn check(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), SealError> {
    let length = text.chars().count();
    if !(min..=max).contains(&length) {
        return Err(SealError::Length {
            field,
            length,
            min,
            max,
        });
    }
    match font::missing_glyph(text) {
        Some(character) => Err(SealError::MissingGlyph { field, character }),
        None => Ok(()),
    }
}

/// How crowded a name is: 0 up to ten characters, 1 from forty on.
fn crowd(name: &str) -> f64 {
    ((crate::canvas::text_width(name, Face::Display) - 10.0) / 30.0).clamp(0.0, 1.0)
}

/// A canvas in red, and the map from millimetres from the centre to its points.
fn begin(half_width: f64, half_height: f64) -> (Canvas, Affine) {
    let mut canvas = Canvas::new();
    canvas.color(RED);
    let center = Affine::translate(half_width, half_height).then(Affine::scale(MM, MM));
    (canvas, center)
}

/// Strokes an ellipse with these outer radii.
fn ring(canvas: &mut Canvas, center: Affine, radii: (f64, f64), thickness: f64) {
    canvas.thickness(thickness * MM);
    let (x, y) = center.apply(0.0, 0.0);
    let half = thickness / 2.0;
    canvas.ellipse(x, y, (radii.0 - half) * MM, (radii.1 - half) * MM);
    canvas.stroke();
}

fn finish(canvas: Canvas, half_width: f64, half_height: f64) -> Appearance {
    Appearance {
        width_pt: 2.0 * half_width * MM,
        height_pt: 2.0 * half_height * MM,
        content: canvas.finish(),
        images: Vec::new(),
    }
}
