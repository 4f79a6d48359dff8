//! What seals are made of: text along an arc, text on a line, a star. Lengths are millimetres from the seal's centre.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use crate::canvas::{Affine, Canvas, text_width};
use crate::font::Face;

/// From the middle of a character down to its baseline, in ems.
pub(super) const MIDDLE: f64 = 0.38;

/// Text along the upper part of an ellipse, feet towards the centre.
pub(super) struct Arc {
    /// Where the heads of the characters touch: half the width and half the height.
    pub(super) outer: (f64, f64),
    /// How far round the text may reach, in degrees.
    pub(super) reach: f64,
    /// The widest angle that one character is given, in degrees: few characters stand wide apart, but not too wide.
    pub(super) pitch: f64,
    /// Height of the characters.
    pub(super) height: f64,
}

impl Arc {
    /// Adds the text to the path.
    pub(super) fn write(&self, canvas: &mut Canvas, text: &str, center: Affine) {
        let ems = text_width(text, Face::Display);
        let middle = (
            self.outer.0 - self.height / 2.0,
            self.outer.1 - self.height / 2.0,
        );
        let reach = self.reach.min(self.pitch * ems).to_radians();
        let ellipse = Ellipse::new(middle, reach);
        // What an em is given along the line, and how much of that the character takes.
        let pitch = ellipse.length() / ems;
        let width = (pitch * 0.92).min(self.height * 0.86);
        let mut at = 0.0;
        for c in text.chars() {
            let glyph = Face::Display.glyph(c);
            let advance = f64::from(glyph.advance);
            let (x, y, turn) = ellipse.at(at + pitch * advance / 2.0);
            let place = Affine::translate(-advance / 2.0, -MIDDLE)
                .then(Affine::scale(width, self.height))
                .then(Affine::rotate(turn))
                .then(Affine::translate(x, y))
                .then(center);
            canvas.glyph(glyph, place);
            at += pitch * advance;
        }
    }
}

/// The upper part of an ellipse, walked from left to right.
struct Ellipse {
    radii: (f64, f64),
    /// The parameter at the start; the end is as far on the other side.
    start: f64,
    /// Length walked after each of the steps.
    lengths: Vec<f64>,
}

impl Ellipse {
    const STEPS: usize = 512;

    fn new(radii: (f64, f64), reach: f64) -> Self {
        let start = FRAC_PI_2 + reach / 2.0;
        let point = |step: usize| {
            let t = start - reach * step as f64 / Self::STEPS as f64;
            (radii.0 * t.cos(), radii.1 * t.sin())
        };
        let mut lengths = vec![0.0];
        let mut walked = 0.0;
        for step in 0..Self::STEPS {
            let (a, b) = (point(step), point(step + 1));
            walked += (b.0 - a.0).hypot(b.1 - a.1);
            lengths.push(walked);
        }
        Ellipse {
            radii,
            start,
            lengths,
        }
    }

    fn length(&self) -> f64 {
        self.lengths.last().copied().unwrap_or_default()
    }

    /// The point after this length, and how far a character standing there is turned.
    fn at(&self, length: f64) -> (f64, f64, f64) {
        let step = self
            .lengths
            .partition_point(|&walked| walked < length)
            .clamp(1, Self::STEPS);
        let (before, after) = (self.lengths[step - 1], self.lengths[step]);
        let part = step as f64 - 1.0 + (length - before) / (after - before).max(1e-12);
        let reach = 2.0 * (self.start - FRAC_PI_2);
        let t = self.start - reach * part / Self::STEPS as f64;
        let (x, y) = (self.radii.0 * t.cos(), self.radii.1 * t.sin());
        // The direction of walking is that of the text.
        let turn = (-self.radii.1 * t.cos()).atan2(self.radii.0 * t.sin());
        (x, y, turn)
    }
}

/// Adds text on a straight line to the path: its middle at this height, no wider than this, its characters so high.
pub(super) fn straight(
    canvas: &mut Canvas,
    text: &str,
    center: Affine,
    middle: f64,
    height: f64,
    widest: f64,
) {
    let ems = text_width(text, Face::Display);
    let em = (widest / ems).min(height * 0.95);
    let place = Affine::translate(-ems / 2.0, -MIDDLE)
        .then(Affine::scale(em, height))
        .then(Affine::translate(0.0, middle))
        .then(center);
    canvas.text(text, Face::Display, place);
}

/// Adds a five-pointed star to the path, one point up.
pub(super) fn star(canvas: &mut Canvas, center: Affine, radius: f64) {
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
