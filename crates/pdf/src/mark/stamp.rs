//! The mark itself: a word across the page, hollow and hatched so that what is below stays legible, and a line of text in a
//! frame at the top.

use crate::canvas::{Affine, Canvas, text_width};
use crate::font::Face;

/// What is seen of a page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sight {
    /// Left, bottom, right and top of the visible box in the page's own coordinates, in thousandths of a point.
    corners: [i64; 4],
    /// Quarter turns, clockwise.
    turns: u8,
}

impl Sight {
    /// The crop box within the media box, turned clockwise by `rotate` degrees. A page without a usable box is A4.
    pub(super) fn new(media: Option<[f64; 4]>, crop: Option<[f64; 4]>, rotate: i64) -> Self {
        const A4: [f64; 4] = [0.0, 0.0, 595.28, 841.89];
        // What readers take as the largest coordinate, and more than any page has.
        const FAR: f64 = 1e7;
        let sound = |b: &[f64; 4]| {
            b[2] - b[0] >= 1.0 && b[3] - b[1] >= 1.0 && b.iter().all(|v| v.abs() < FAR)
        };
        let media = media.filter(sound).unwrap_or(A4);
        let crop = crop.unwrap_or(media);
        let both = [
            crop[0].max(media[0]),
            crop[1].max(media[1]),
            crop[2].min(media[2]),
            crop[3].min(media[3]),
        ];
        let seen = if sound(&both) { both } else { media };
        Sight {
            corners: seen.map(|v| (v * 1000.0).round() as i64),
            turns: (rotate / 90).rem_euclid(4) as u8,
        }
    }

    /// Left, bottom, right and top in the page's own coordinates, in points.
    pub(super) fn corners(&self) -> [f64; 4] {
        self.corners.map(|v| v as f64 / 1000.0)
    }

    /// Width and height as seen, in points.
    fn size(&self) -> (f64, f64) {
        let [left, bottom, right, top] = self.corners();
        match self.turns {
            0 | 2 => (right - left, top - bottom),
            _ => (top - bottom, right - left),
        }
    }

    /// From what is seen, its lower left corner at the origin, to the page's own coordinates.
    fn to_page(&self) -> Affine {
        let [left, bottom, right, top] = self.corners();
        match self.turns {
            0 => Affine::translate(left, bottom),
            1 => Affine([0.0, 1.0, -1.0, 0.0, right, bottom]),
            2 => Affine([-1.0, 0.0, 0.0, -1.0, right, top]),
            _ => Affine([0.0, -1.0, 1.0, 0.0, left, top]),
        }
    }
}

/// What is marked on each page.
pub(super) struct Stamp {
    /// The word across the page.
    pub(super) word: &'static str,
    /// The line at the top.
    pub(super) line: String,
    pub(super) color: [u8; 3],
}

impl Stamp {
    /// The operators that mark a page.
    pub(super) fn draw(&self, sight: &Sight) -> Vec<u8> {
        let (width, height) = sight.size();
        let mut canvas = Canvas::new();
        canvas.raw("q");
        canvas.transform(sight.to_page());
        canvas.color(self.color);
        self.word_across(&mut canvas, width, height);
        self.line_on_top(&mut canvas, width, height);
        canvas.raw("Q");
        canvas.finish()
    }

    fn word_across(&self, canvas: &mut Canvas, width: f64, height: f64) {
        let ems = text_width(self.word, Face::Display);
        let angle = (height / width).atan().clamp(0.30, 0.90);
        // As long as the page allows at this angle, with room around it.
        let (sin, cos) = angle.sin_cos();
        let length = (0.86 * width / (cos + sin / ems)).min(0.80 * height / (sin + cos / ems));
        let em = length / ems;
        let center = Affine::translate(-ems / 2.0, -0.38)
            .then(Affine::scale(em, em))
            .then(Affine::rotate(angle))
            .then(Affine::translate(width / 2.0, height / 2.0));

        canvas.raw("q 1 j");
        canvas.thickness(em * 0.012);
        canvas.text(self.word, Face::Display, center);
        canvas.stroke();
        // Hatching, clipped to the word.
        canvas.text(self.word, Face::Display, center);
        canvas.raw("W n");
        canvas.thickness(em * 0.007);
        let step = em * 0.04;
        let (half, mut y) = (length * 0.75, -length * 0.75);
        let middle = Affine::translate(width / 2.0, height / 2.0);
        while y < half {
            let (x1, y1) = middle.apply(-half, y);
            let (x2, y2) = middle.apply(half, y);
            canvas.move_to(x1, y1);
            canvas.line_to(x2, y2);
            y += step;
        }
        canvas.stroke();
        canvas.raw("Q");
    }

    /// White below, so that it can be read on any page.
    fn line_on_top(&self, canvas: &mut Canvas, width: f64, height: f64) {
        let ems = text_width(&self.line, Face::Text);
        let em = (width * 0.92 / (ems + 1.6)).min(8.5).min(height * 0.2);
        let (box_width, box_height) = ((ems + 1.6) * em, 1.9 * em);
        let left = (width - box_width) / 2.0;
        let bottom = height - box_height - (em * 0.9).min(height * 0.02);
        canvas.raw("q 1 g");
        canvas.thickness(em * 0.09);
        canvas.rectangle(left, bottom, box_width, box_height);
        canvas.raw("B Q");
        let place = Affine::scale(em, em).then(Affine::translate(
            left + 0.8 * em,
            bottom + box_height / 2.0 - 0.37 * em,
        ));
        canvas.text(&self.line, Face::Text, place);
        canvas.fill();
    }
}
