//! What a reader sees of a page: its crop box within its media box (ISO 32000-2 section 14.11.2), turned by its rotation.

use crate::canvas::Affine;
use crate::document::{Document, Unreadable, damaged};
use crate::syntax::{Id, Value};

/// How deep the page tree may nest.
const MAX_DEPTH: usize = 64;

/// What is seen of a page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sight {
    /// Left, bottom, right and top of the visible box in the page's own coordinates, in thousandths of a point.
    corners: [i64; 4],
    /// Quarter turns, clockwise.
    turns: u8,
}

impl Sight {
    /// What is seen of this page; its boxes and its rotation may be inherited.
    pub(crate) fn of(document: &Document<'_>, page: Id) -> Result<Self, Unreadable> {
        let (mut media, mut crop, mut rotate) = (None, None, None);
        let mut node = Value::Ref(page);
        for _ in 0..MAX_DEPTH {
            let dict = document.dict(&node, "a page is not a dictionary")?;
            media = media.or(rectangle(document, dict.value(b"MediaBox"))?);
            crop = crop.or(rectangle(document, dict.value(b"CropBox"))?);
            rotate = rotate.or(document.resolve(dict.value(b"Rotate"))?.int());
            match dict.value(b"Parent") {
                Value::Ref(parent) => node = Value::Ref(*parent),
                _ => return Ok(Sight::new(media, crop, rotate.unwrap_or(0))),
            }
        }
        damaged("the page tree is too deep", 0)
    }

    /// The crop box within the media box, turned clockwise by `rotate` degrees. A page without a usable box is A4.
    fn new(media: Option<[f64; 4]>, crop: Option<[f64; 4]>, rotate: i64) -> Self {
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
    pub(crate) fn corners(&self) -> [f64; 4] {
        self.corners.map(|v| v as f64 / 1000.0)
    }

    /// Width and height as seen, in points.
    pub(crate) fn size(&self) -> (f64, f64) {
        let [left, bottom, right, top] = self.corners();
        match self.turns {
            0 | 2 => (right - left, top - bottom),
            _ => (top - bottom, right - left),
        }
    }

    /// The `/Matrix` of a form that is to stand upright on this page.
    pub(crate) fn upright(&self) -> &'static str {
        match self.turns {
            0 => "[ 1 0 0 1 0 0 ]",
            1 => "[ 0 1 -1 0 0 0 ]",
            2 => "[ -1 0 0 -1 0 0 ]",
            _ => "[ 0 -1 1 0 0 0 ]",
        }
    }

    /// From what is seen, its lower left corner at the origin, to the page's own coordinates.
    pub(crate) fn seen_to_page(&self) -> Affine {
        let [left, bottom, right, top] = self.corners();
        match self.turns {
            0 => Affine::translate(left, bottom),
            1 => Affine([0.0, 1.0, -1.0, 0.0, right, bottom]),
            2 => Affine([-1.0, 0.0, 0.0, -1.0, right, top]),
            _ => Affine([0.0, -1.0, 1.0, 0.0, left, top]),
        }
    }

    /// From the page's own coordinates to what is seen, the origin at the upper left corner and y downwards.
    pub(crate) fn page_to_seen(&self) -> Affine {
        let [left, bottom, right, top] = self.corners();
        match self.turns {
            0 => Affine([1.0, 0.0, 0.0, -1.0, -left, top]),
            1 => Affine([0.0, 1.0, 1.0, 0.0, -bottom, -left]),
            2 => Affine([-1.0, 0.0, 0.0, 1.0, right, -bottom]),
            _ => Affine([0.0, -1.0, -1.0, 0.0, top, right]),
        }
    }
}

fn rectangle(document: &Document<'_>, value: &Value) -> Result<Option<[f64; 4]>, Unreadable> {
    let Value::Array(items) = document.resolve(value)? else {
        return Ok(None);
    };
    let mut corners = Vec::with_capacity(4);
    for item in items.iter().take(4) {
        corners.extend(document.resolve(&item.value)?.number());
    }
    let Ok([x1, y1, x2, y2]) = <[f64; 4]>::try_from(corners) else {
        return Ok(None);
    };
    Ok(Some([x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)]))
}

#[cfg(test)]
mod tests {
    use super::Sight;

    #[test]
    fn page_to_seen_undoes_seen_to_page() {
        for rotate in [0, 90, 180, 270] {
            let sight = Sight::new(
                Some([-10.0, 20.0, 300.0, 700.0]),
                Some([0.0, 0.0, 200.0, 900.0]),
                rotate,
            );
            let (_, height) = sight.size();
            let (x, y) = sight.seen_to_page().apply(30.0, 50.0);
            let (x, y) = sight.page_to_seen().apply(x, y);
            assert!(
                (x - 30.0).abs() < 1e-9 && (y - (height - 50.0)).abs() < 1e-9,
                "{rotate}"
            );
        }
    }

    #[test]
    fn a_page_without_a_usable_box_is_a4() {
        for media in [
            None,
            Some([0.0; 4]),
            Some([f64::NAN; 4]),
            Some([0.0, 0.0, 1e12, 1e12]),
        ] {
            assert_eq!(Sight::new(media, None, 0).size(), (595.28, 841.89));
        }
    }
}
