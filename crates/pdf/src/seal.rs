//! Seals drawn from a name, as vectors.
//!
//! Sizes and arrangement follow what engravers make by the State Council's rules on seals (国发〔1999〕25号) and public practice: a round
//! seal with the name on the arc, a five-pointed star in the middle and the seal's purpose on a line below.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use crate::appearance::Appearance;
use crate::canvas::{Affine, Canvas, text_width};
use crate::font::{self, Face};

/// Points in a millimetre.
const MM: f64 = 72.0 / 25.4;
/// The red of a seal pad.
const RED: [u8; 3] = [0xd7, 0x14, 0x1a];

/// A round organization seal: 38 mm, red, the name on the arc, a five-pointed star, a legend below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundSeal {
    /// The organization's name, 2 to 40 characters.
    pub organization: String,
    /// What stands below the star, as in 财务专用章; 1 to 12 characters; none leaves it out.
    pub legend: Option<String>,
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
}

impl RoundSeal {
    /// Diameter in points: 38 mm.
    pub const DIAMETER_PT: f64 = 38.0 * MM;

    /// Draws the seal.
    ///
    /// # Errors
    /// If the name or the legend is too long or has a character that the font lacks.
    pub fn draw(&self) -> Result<Appearance, SealError> {
        check("organization", &self.organization, 2, 40)?;
        if let Some(legend) = &self.legend {
            check("legend", legend, 1, 12)?;
        }
        // In millimetres from the centre.
        const RADIUS: f64 = 19.0;
        const RING: f64 = 1.15;
        let mut canvas = Canvas::new();
        canvas.color(RED);
        canvas.thickness(RING * MM);
        let center = Affine::scale(MM, MM).then(Affine::translate(RADIUS * MM, RADIUS * MM));
        let (x, y) = center.apply(0.0, 0.0);
        canvas.ellipse(x, y, (RADIUS - RING / 2.0) * MM, (RADIUS - RING / 2.0) * MM);
        canvas.stroke();

        arc(&mut canvas, &self.organization, center);
        let raised = if self.legend.is_some() { 0.6 } else { 0.0 };
        star(
            &mut canvas,
            Affine::translate(0.0, raised).then(center),
            6.0,
        );
        if let Some(legend) = &self.legend {
            straight(&mut canvas, legend, center);
        }
        canvas.fill();
        Ok(Appearance {
            width_pt: Self::DIAMETER_PT,
            height_pt: Self::DIAMETER_PT,
            content: canvas.finish(),
            images: Vec::new(),
        })
    }
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

/// The name along the upper arc, feet towards the centre. Few characters stand wide apart; the more there are, the further
/// the arc reaches down, and the smaller and narrower they get.
fn arc(canvas: &mut Canvas, name: &str, center: Affine) {
    /// Where the heads of the characters touch, in millimetres.
    const OUTER: f64 = 16.7;
    let ems = text_width(name, Face::Display);
    let crowd = ((ems - 10.0) / 30.0).clamp(0.0, 1.0);
    let height = 5.2 - 2.0 * crowd;
    let reach = (234.0 + 24.0 * crowd).to_radians();
    let pitch = (reach / ems).min(27_f64.to_radians());
    let radius = OUTER - height / 2.0;
    let width = (pitch * radius * 0.92).min(height * 0.86);

    let mut angle = FRAC_PI_2 + pitch * ems / 2.0;
    for c in name.chars() {
        let glyph = Face::Display.glyph(c);
        let advance = f64::from(glyph.advance);
        angle -= pitch * advance / 2.0;
        // The em box, its middle at the origin; then out to the arc and round to its angle.
        let place = Affine::translate(-advance / 2.0, -0.38)
            .then(Affine::scale(width, height))
            .then(Affine::translate(0.0, radius))
            .then(Affine::rotate(angle - FRAC_PI_2))
            .then(center);
        canvas.glyph(glyph, place);
        angle -= pitch * advance / 2.0;
    }
}

/// A five-pointed star, one point up.
fn star(canvas: &mut Canvas, center: Affine, radius: f64) {
    // The points of the inner pentagon lie where the lines between the outer ones cross.
    let inner = radius * (PI / 10.0).sin() / (3.0 * PI / 10.0).sin();
    for i in 0..10 {
        let r = if i % 2 == 0 { radius } else { inner };
        let angle = FRAC_PI_2 + TAU * f64::from(i) / 10.0;
        let (x, y) = center.apply(r * angle.cos(), r * angle.sin());
        if i == 0 {
            canvas.move_to(x, y)
        } else {
            canvas.line_to(x, y)
        }
    }
    canvas.close();
}

/// The legend on a straight line below the star.
fn straight(canvas: &mut Canvas, legend: &str, center: Affine) {
    const HEIGHT: f64 = 3.7;
    const WIDEST: f64 = 19.0;
    const MIDDLE: f64 = -10.6;
    let ems = text_width(legend, Face::Display);
    let em = (WIDEST / ems).min(HEIGHT * 0.95);
    let place = Affine::translate(-ems / 2.0, -0.38)
        .then(Affine::scale(em, HEIGHT))
        .then(Affine::translate(0.0, MIDDLE))
        .then(center);
    canvas.text(legend, Face::Display, place);
}
