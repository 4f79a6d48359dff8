//! The mark itself: a word across the page, hollow and hatched so that what is below stays legible, and a line of text in a
//! frame at the top.

use crate::canvas::{Affine, Canvas, text_width};
use crate::font::Face;
use crate::sight::Sight;

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
        canvas.transform(sight.seen_to_page());
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
