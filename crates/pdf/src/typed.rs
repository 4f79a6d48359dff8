//! A typed signature: the picture of a name in a brush hand, as [`crate::signature`] takes it.
//!
//! The hand is 志莽行书 (`assets/fonts/brush.ttf`); how the file was made is in `assets/fonts/brush.sh`. A name with a character
//! that it lacks is set in the display font, leaning, as a whole: two hands in one signature would look forged.

use std::sync::LazyLock;

use ab_glyph_rasterizer::{Point, Rasterizer, point};
use ttf_parser::{GlyphId, OutlineBuilder};

use crate::font::{self, missing_glyph};

/// Zhi Mang Xing: ASCII and GB 2312.
static BRUSH: LazyLock<ttf_parser::Face<'static>> = LazyLock::new(|| {
    ttf_parser::Face::parse(include_bytes!("../assets/fonts/brush.ttf"), 0)
        .expect("the font compiled in is sound")
});

/// A name has at most so many characters.
pub const MAX_CHARS: usize = 40;

/// An em in pixels, for names that fit into [`WIDEST`]; longer ones are smaller.
const EM: f32 = 200.0;
/// The picture is at most so wide, in pixels.
const WIDEST: f32 = 1200.0;
/// White around the ink, in ems.
const MARGIN: f32 = 0.12;
/// How much closer than set type the characters of a hand stand, in ems.
const TIGHTER: f32 = 0.05;
/// How far the display font leans: to the right by so much of the height.
const LEAN: f32 = 0.2;
const INK: [u8; 3] = [0x10, 0x15, 0x1f];

/// Why a name cannot be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// Nothing but white space, or more than [`MAX_CHARS`].
    #[error("a name has 1 to {MAX_CHARS} characters")]
    Length,
    /// No font of ours has this character.
    #[error("no font has the character {0}")]
    Missing(char),
}

/// The picture of a name: a PNG, the ink on a transparent ground. The same name gives the same bytes.
///
/// # Errors
/// The name is too long, empty, or has a character that cannot be drawn.
pub fn picture(name: &str) -> Result<Vec<u8>, TypedError> {
    let name = name.trim();
    if name.is_empty() || name.chars().nth(MAX_CHARS).is_some() {
        return Err(TypedError::Length);
    }
    if let Some(character) = missing_glyph(name) {
        return Err(TypedError::Missing(character));
    }
    let mut outline = Outline::default();
    match brush_glyphs(name) {
        Some(glyphs) => glyphs.iter().for_each(|id| outline.brush(*id)),
        None => name
            .chars()
            .for_each(|character| outline.display(character)),
    }
    // A name of spaces that `trim` does not know draws nothing.
    outline.draw().ok_or(TypedError::Length)
}

/// The name in the brush font, if that has all of it.
fn brush_glyphs(name: &str) -> Option<Vec<GlyphId>> {
    name.chars()
        .map(|character| BRUSH.glyph_index(character))
        .collect()
}

/// The outlines of the characters, one beside the other, in ems with y upwards.
#[derive(Default)]
struct Outline {
    steps: Vec<Step>,
    /// Where the next character begins.
    x: f32,
    /// How much of its height a point is moved to the right.
    lean: f32,
    /// By how much the coordinates that come are to be multiplied to be ems.
    scale: f32,
    from: Point,
    start: Point,
}

enum Step {
    Line(Point, Point),
    Quad(Point, Point, Point),
    Cubic(Point, Point, Point, Point),
}

impl Step {
    fn points(&self) -> [Point; 4] {
        match *self {
            Step::Line(a, b) => [a, a, b, b],
            Step::Quad(a, b, c) => [a, b, c, c],
            Step::Cubic(a, b, c, d) => [a, b, c, d],
        }
    }
}

impl Outline {
    fn brush(&mut self, id: GlyphId) {
        (self.lean, self.scale) = (0.0, 1.0 / f32::from(BRUSH.units_per_em()));
        let advance = f32::from(BRUSH.glyph_hor_advance(id).unwrap_or(0)) * self.scale;
        BRUSH.outline_glyph(id, self);
        self.x += advance - TIGHTER;
    }

    fn display(&mut self, character: char) {
        (self.lean, self.scale) = (LEAN, 1.0);
        let glyph = font::Face::Display.glyph(character);
        glyph.outline(self);
        self.x += glyph.advance;
    }

    fn at(&self, x: f32, y: f32) -> Point {
        let y = y * self.scale;
        point(self.x + x * self.scale + y * self.lean, y)
    }

    /// Fills the outlines; `None` if there are none.
    fn draw(&self) -> Option<Vec<u8>> {
        let points = || self.steps.iter().flat_map(Step::points);
        let reach =
            |least: fn(f32, f32) -> f32, of: fn(Point) -> f32| points().map(of).reduce(least);
        let (left, right) = (reach(f32::min, |p| p.x)?, reach(f32::max, |p| p.x)?);
        let (bottom, top) = (reach(f32::min, |p| p.y)?, reach(f32::max, |p| p.y)?);
        let (wide, high) = (right - left + 2.0 * MARGIN, top - bottom + 2.0 * MARGIN);
        let em = EM.min(WIDEST / wide);
        let (width, height) = ((wide * em).ceil() as usize, (high * em).ceil() as usize);
        let place = |p: Point| point((p.x - left + MARGIN) * em, (top - p.y + MARGIN) * em);
        let mut canvas = Rasterizer::new(width, height);
        for step in &self.steps {
            match *step {
                Step::Line(a, b) => canvas.draw_line(place(a), place(b)),
                Step::Quad(a, b, c) => canvas.draw_quad(place(a), place(b), place(c)),
                Step::Cubic(a, b, c, d) => {
                    canvas.draw_cubic(place(a), place(b), place(c), place(d));
                }
            }
        }
        let mut pixels = Vec::with_capacity(width * height * 4);
        canvas.for_each_pixel(|_, coverage| {
            pixels.extend(INK);
            pixels.push((coverage.min(1.0) * 255.0).round() as u8);
        });
        encode(width, height, &pixels)
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        self.from = self.at(x, y);
        self.start = self.from;
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let to = self.at(x, y);
        self.steps.push(Step::Line(self.from, to));
        self.from = to;
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let (control, to) = (self.at(x1, y1), self.at(x, y));
        self.steps.push(Step::Quad(self.from, control, to));
        self.from = to;
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (first, second, to) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.steps.push(Step::Cubic(self.from, first, second, to));
        self.from = to;
    }

    fn close(&mut self) {
        self.steps.push(Step::Line(self.from, self.start));
        self.from = self.start;
    }
}

/// A PNG with straight alpha; `None` only if the sizes do not fit, which they do.
fn encode(width: usize, height: usize, pixels: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(
        &mut bytes,
        u32::try_from(width).ok()?,
        u32::try_from(height).ok()?,
    );
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(pixels).ok()?;
    writer.finish().ok()?;
    Some(bytes)
}
