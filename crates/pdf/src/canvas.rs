//! Writes PDF drawing operators (ISO 32000-1, 8.5): colours, paths, and text as outlines.
//!
//! What is written needs no fonts and no other resources. Coordinates are points, y upwards.

use std::fmt::Write as _;

use ttf_parser::OutlineBuilder;

use crate::font::{Face, Glyph};

/// An affine map: x' = a·x + c·y + e, y' = b·x + d·y + f; the order of PDF's `cm`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Affine(pub(crate) [f64; 6]);

impl Affine {
    pub(crate) fn translate(x: f64, y: f64) -> Self {
        Affine([1.0, 0.0, 0.0, 1.0, x, y])
    }

    pub(crate) fn scale(x: f64, y: f64) -> Self {
        Affine([x, 0.0, 0.0, y, 0.0, 0.0])
    }

    /// Counter-clockwise, in radians.
    pub(crate) fn rotate(angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Affine([cos, sin, -sin, cos, 0.0, 0.0])
    }

    /// First `self`, then `next`.
    pub(crate) fn then(self, next: Affine) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let (x, y) = next.apply(e, f);
        let [na, nb, nc, nd, ..] = next.0;
        Affine([
            na * a + nc * b,
            nb * a + nd * b,
            na * c + nc * d,
            nb * c + nd * d,
            x,
            y,
        ])
    }

    /// The smallest rectangle (least x, least y, greatest x, greatest y) around what becomes of a rectangle.
    pub(crate) fn bounds(self, [x1, y1, x2, y2]: [f64; 4]) -> [f64; 4] {
        let corners = [(x1, y1), (x2, y1), (x1, y2), (x2, y2)].map(|(x, y)| self.apply(x, y));
        let (xs, ys) = (corners.map(|c| c.0), corners.map(|c| c.1));
        let least = |v: [f64; 4]| v.into_iter().fold(f64::INFINITY, f64::min);
        let greatest = |v: [f64; 4]| v.into_iter().fold(f64::NEG_INFINITY, f64::max);
        [least(xs), least(ys), greatest(xs), greatest(ys)]
    }

    pub(crate) fn apply(self, x: f64, y: f64) -> (f64, f64) {
        let [a, b, c, d, e, f] = self.0;
        (a * x + c * y + e, b * x + d * y + f)
    }
}

/// Coordinates are written in whole units of a twentieth of a point (0.018 mm): finer than print, and much shorter than
/// decimals.
const UNITS_PER_POINT: f64 = 20.0;

/// A content stream in the making.
#[derive(Debug)]
pub(crate) struct Canvas {
    content: String,
}

impl Canvas {
    pub(crate) fn new() -> Self {
        let unit = 1.0 / UNITS_PER_POINT;
        Canvas {
            content: format!("q {unit} 0 0 {unit} 0 0 cm\n"),
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.content.push_str("Q\n");
        self.content.into_bytes()
    }

    /// Writes operators as they are.
    pub(crate) fn raw(&mut self, operators: &str) {
        self.content.push_str(operators);
        self.content.push('\n');
    }

    /// Fill and stroke colour, sRGB from 0 to 255.
    pub(crate) fn color(&mut self, rgb: [u8; 3]) {
        let rgb = rgb.map(|v| f64::from(v) / 255.0);
        for operator in ["rg", "RG"] {
            for value in rgb {
                push_number(&mut self.content, value, 3);
            }
            self.raw(operator);
        }
    }

    /// Thickness of strokes, in points.
    pub(crate) fn thickness(&mut self, points: f64) {
        self.operator(&[points], "w");
    }

    /// Paints an image resource, its lower left corner at the origin.
    pub(crate) fn image(&mut self, name: &str, width: f64, height: f64) {
        self.raw("q");
        let [width, height] = [width, height].map(|points| points * UNITS_PER_POINT);
        self.transform(Affine::scale(width, height));
        self.raw(&format!("/{name} Do Q"));
    }

    /// Changes the coordinate system.
    pub(crate) fn transform(&mut self, Affine([a, b, c, d, e, f]): Affine) {
        for value in [a, b, c, d] {
            push_number(&mut self.content, value, 5);
        }
        for value in [e, f] {
            push_number(&mut self.content, value * UNITS_PER_POINT, 0);
        }
        self.content.push_str("cm\n");
    }

    pub(crate) fn move_to(&mut self, x: f64, y: f64) {
        self.operator(&[x, y], "m");
    }

    pub(crate) fn line_to(&mut self, x: f64, y: f64) {
        self.operator(&[x, y], "l");
    }

    pub(crate) fn curve_to(&mut self, x1: f64, y1: f64, x2: f64, y2: f64, x: f64, y: f64) {
        self.operator(&[x1, y1, x2, y2, x, y], "c");
    }

    pub(crate) fn close(&mut self) {
        self.raw("h");
    }

    /// Adds a rectangle to the path.
    pub(crate) fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64) {
        self.operator(&[x, y, width, height], "re");
    }

    /// Adds an ellipse to the path.
    pub(crate) fn ellipse(&mut self, x: f64, y: f64, rx: f64, ry: f64) {
        // How far a Bézier's control points stand off for a quarter of a circle.
        const K: f64 = 0.552_284_749_8;
        let (kx, ky) = (K * rx, K * ry);
        self.move_to(x + rx, y);
        self.curve_to(x + rx, y + ky, x + kx, y + ry, x, y + ry);
        self.curve_to(x - kx, y + ry, x - rx, y + ky, x - rx, y);
        self.curve_to(x - rx, y - ky, x - kx, y - ry, x, y - ry);
        self.curve_to(x + kx, y - ry, x + rx, y - ky, x + rx, y);
        self.close();
    }

    pub(crate) fn fill(&mut self) {
        self.raw("f");
    }

    pub(crate) fn stroke(&mut self) {
        self.raw("S");
    }

    /// Adds a glyph's outline to the path; `place` maps ems to points.
    pub(crate) fn glyph(&mut self, glyph: Glyph, place: Affine) {
        glyph.outline(&mut Outline {
            canvas: self,
            place,
            last: (0.0, 0.0),
        });
    }

    /// Adds a line of text to the path, its baseline starting at the origin of `place`, which maps ems to points.
    pub(crate) fn text(&mut self, text: &str, face: Face, place: Affine) {
        let mut x = 0.0;
        for c in text.chars() {
            let glyph = face.glyph(c);
            self.glyph(glyph, Affine::translate(x, 0.0).then(place));
            x += f64::from(glyph.advance);
        }
    }

    fn operator(&mut self, operands: &[f64], operator: &str) {
        for &value in operands {
            push_number(&mut self.content, value * UNITS_PER_POINT, 0);
        }
        self.content.push_str(operator);
        self.content.push('\n');
    }
}

/// Paints `content`, whose coordinates are points, through a map.
pub(crate) fn placed(content: &[u8], Affine(map): Affine) -> Vec<u8> {
    let mut out = String::from("q ");
    for value in map {
        push_number(&mut out, value, 5);
    }
    out.push_str("cm\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(content);
    out.extend_from_slice(b"\nQ\n");
    out
}

/// Width of a line of text, in ems.
pub(crate) fn text_width(text: &str, face: Face) -> f64 {
    text.chars().map(|c| f64::from(face.glyph(c).advance)).sum()
}

/// A number as short as it can be with at most so many decimals, and a blank.
fn push_number(out: &mut String, value: f64, decimals: usize) {
    let start = out.len();
    let _ = write!(out, "{value:.decimals$}");
    if decimals > 0 {
        let trimmed = out[start..]
            .trim_end_matches('0')
            .trim_end_matches('.')
            .len();
        out.truncate(start + trimmed);
    }
    if matches!(&out[start..], "" | "-" | "-0") {
        out.replace_range(start.., "0");
    }
    out.push(' ');
}

/// Receives an outline and writes it.
struct Outline<'a> {
    canvas: &'a mut Canvas,
    place: Affine,
    last: (f64, f64),
}

impl Outline<'_> {
    fn map(&self, x: f32, y: f32) -> (f64, f64) {
        self.place.apply(f64::from(x), f64::from(y))
    }
}

impl OutlineBuilder for Outline<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.last = self.map(x, y);
        self.canvas.move_to(self.last.0, self.last.1);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.last = self.map(x, y);
        self.canvas.line_to(self.last.0, self.last.1);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let (from, via, to) = (self.last, self.map(x1, y1), self.map(x, y));
        let near = |end: (f64, f64)| {
            (
                end.0 + (via.0 - end.0) * 2.0 / 3.0,
                end.1 + (via.1 - end.1) * 2.0 / 3.0,
            )
        };
        let (a, b) = (near(from), near(to));
        self.canvas.curve_to(a.0, a.1, b.0, b.1, to.0, to.1);
        self.last = to;
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (a, b) = (self.map(x1, y1), self.map(x2, y2));
        self.last = self.map(x, y);
        self.canvas
            .curve_to(a.0, a.1, b.0, b.1, self.last.0, self.last.1);
    }

    fn close(&mut self) {
        self.canvas.close();
    }
}

#[cfg(test)]
mod tests {
    use super::{Affine, push_number};

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0 "),
            (-0.001, "0 "),
            (10.0, "10 "),
            (-3.10, "-3.1 "),
            (0.256, "0.26 "),
            (1234.5, "1234.5 "),
        ] {
            let mut out = String::new();
            push_number(&mut out, value, 2);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn affines_compose_in_order() {
        let turned = Affine::translate(1.0, 0.0).then(Affine::rotate(std::f64::consts::FRAC_PI_2));
        let (x, y) = turned.apply(0.0, 0.0);
        assert!(x.abs() < 1e-9 && (y - 1.0).abs() < 1e-9);
    }
}
