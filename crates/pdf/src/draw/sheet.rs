//! A sheet of paper with marks on it: what the layout makes and the PDF writer takes.
//!
//! Coordinates are points from the upper left corner. The layout knows nothing of PDF, so that a test can look at every mark.

use super::text::{self, MIDDLE_TO_BASELINE, Paragraph};
use crate::font::Face;

/// An sRGB colour.
pub(super) type Color = [u8; 3];

/// A rectangle: left, top, width, height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) w: f32,
    pub(super) h: f32,
}

impl Area {
    pub(super) fn new(x: f32, y: f32, w: f32, h: f32) -> Self {
        Area { x, y, w, h }
    }

    /// What is left when a margin is taken off each side: left and right, top and bottom.
    pub(super) fn inset(self, horizontal: f32, vertical: f32) -> Self {
        Area {
            x: self.x + horizontal,
            y: self.y + vertical,
            w: self.w - 2.0 * horizontal,
            h: self.h - 2.0 * vertical,
        }
    }

    pub(super) fn right(self) -> f32 {
        self.x + self.w
    }

    pub(super) fn bottom(self) -> f32 {
        self.y + self.h
    }
}

/// How a line stands between left and right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Center,
    Right,
}

/// One line of text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) face: Face,
    pub(super) size: f32,
    pub(super) color: Color,
    /// Added after each character, in points.
    pub(super) tracking: f32,
}

impl Line {
    pub(super) fn new(text: impl Into<String>, face: Face, size: f32, color: Color) -> Self {
        Line {
            text: text.into(),
            face,
            size,
            color,
            tracking: 0.0,
        }
    }

    pub(super) fn tracked(self, tracking: f32) -> Self {
        Line { tracking, ..self }
    }

    pub(super) fn width(&self) -> f32 {
        let gaps = self.text.chars().count().saturating_sub(1) as f32;
        text::width(&self.text, self.face, self.size) + gaps * self.tracking
    }
}

/// Something drawn.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mark {
    /// A line of text whose baseline starts at `x`, `y`.
    Text { x: f32, y: f32, line: Line },
    /// A filled rectangle.
    Fill { area: Area, color: Color },
    /// A straight stroke.
    Rule {
        from: (f32, f32),
        to: (f32, f32),
        thickness: f32,
        color: Color,
    },
}

/// A page.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sheet {
    pub(super) width: f32,
    pub(super) height: f32,
    /// In the order they are drawn, once [`sort`](Self::sort)ed.
    pub(super) marks: Vec<Mark>,
}

impl Sheet {
    /// Puts fills below rules, and rules below text.
    pub(super) fn sort(&mut self) {
        self.marks.sort_by_key(|mark| match mark {
            Mark::Fill { .. } => 0,
            Mark::Rule { .. } => 1,
            Mark::Text { .. } => 2,
        });
    }

    pub(super) fn fill(&mut self, area: Area, color: Color) {
        self.marks.push(Mark::Fill { area, color });
    }

    pub(super) fn horizontal(&mut self, x: f32, y: f32, w: f32, thickness: f32, color: Color) {
        self.marks.push(Mark::Rule {
            from: (x, y),
            to: (x + w, y),
            thickness,
            color,
        });
    }

    pub(super) fn vertical(&mut self, x: f32, y: f32, h: f32, thickness: f32, color: Color) {
        self.marks.push(Mark::Rule {
            from: (x, y),
            to: (x, y + h),
            thickness,
            color,
        });
    }

    pub(super) fn frame(&mut self, area: Area, thickness: f32, color: Color) {
        // The horizontal strokes reach over the corners, which are square then.
        let half = thickness / 2.0;
        for y in [area.y, area.bottom()] {
            self.horizontal(area.x - half, y, area.w + thickness, thickness, color);
        }
        for x in [area.x, area.right()] {
            self.vertical(x, area.y, area.h, thickness, color);
        }
    }

    /// A line of text whose middle is at height `middle`; `x` is its left edge, centre or right edge.
    pub(super) fn line(&mut self, x: f32, middle: f32, align: Align, line: Line) {
        let x = match align {
            Align::Left => x,
            Align::Center => x - line.width() / 2.0,
            Align::Right => x - line.width(),
        };
        let y = middle + MIDDLE_TO_BASELINE * line.size;
        self.marks.push(Mark::Text { x, y, line });
    }

    /// A paragraph in the vertical middle of an area.
    pub(super) fn paragraph(&mut self, area: Area, align: Align, text: &Paragraph, color: Color) {
        let pitch = text.height() / text.lines.len().max(1) as f32;
        let x = match align {
            Align::Left => area.x,
            Align::Center => area.x + area.w / 2.0,
            Align::Right => area.right(),
        };
        let mut middle = area.y + (area.h - text.height() + pitch) / 2.0;
        for line in &text.lines {
            self.line(
                x,
                middle,
                align,
                Line::new(line, text.face, text.size, color),
            );
            middle += pitch;
        }
    }
}
