//! Setting text: how wide it is, where it breaks, at which size it fits.

use unicode_linebreak::{BreakOpportunity, linebreaks};

use crate::font::Face;

/// Height of a line of text, in ems.
pub(super) const LINE_HEIGHT: f32 = 1.36;
/// From the middle of a line down to its baseline, in ems.
pub(super) const MIDDLE_TO_BASELINE: f32 = 0.37;

/// Width of a text on one line, in points.
pub(super) fn width(text: &str, face: Face, size: f32) -> f32 {
    text.chars().map(|c| face.glyph(c).advance).sum::<f32>() * size
}

/// Text broken into lines, set in one size.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Paragraph {
    pub(super) lines: Vec<String>,
    pub(super) face: Face,
    /// Size in points.
    pub(super) size: f32,
}

impl Paragraph {
    /// Sets `text` within `width` points, in the largest of `sizes` that takes at most `lines` lines; if none does, in the
    /// smallest, with as many lines as that takes. Never wider than `width`, as long as one character fits.
    pub(super) fn fit(text: &str, face: Face, sizes: &[f32], lines: usize, width: f32) -> Self {
        let mut fitted = Paragraph {
            lines: Vec::new(),
            face,
            size: 0.0,
        };
        for &size in sizes {
            fitted.size = size;
            fitted.lines = break_lines(text, face, width / size);
            if fitted.lines.len() <= lines {
                break;
            }
        }
        fitted
    }

    /// Height of all lines, in points.
    pub(super) fn height(&self) -> f32 {
        self.lines.len() as f32 * self.size * LINE_HEIGHT
    }
}

/// Breaks where Unicode allows it (UAX #14), and inside a word only where the word alone is too wide. `measure` is in ems.
fn break_lines(text: &str, face: Face, measure: f32) -> Vec<String> {
    // A hair of tolerance: what was measured to fit exactly must not break for a rounding error.
    let measure = measure + 0.001;
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut start = 0;
    for (end, opportunity) in linebreaks(text) {
        let segment = &text[start..end];
        start = end;
        let fits = |line: &str, more: &str| {
            width(line, face, 1.0) + width(more.trim_end(), face, 1.0) <= measure
        };
        if !line.is_empty() && !fits(&line, segment) {
            lines.push(std::mem::take(&mut line));
        }
        if fits(&line, segment) {
            line.push_str(segment);
        } else {
            for c in segment.chars() {
                if !line.is_empty() && !fits(&line, c.encode_utf8(&mut [0; 4])) {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        if opportunity == BreakOpportunity::Mandatory {
            lines.push(std::mem::take(&mut line));
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Paragraph, width};
    use crate::font::Face;
    use proptest::prelude::*;

    fn lines(text: &str, width: f32) -> Vec<String> {
        Paragraph::fit(text, Face::Text, &[10.0], 1, width).lines
    }

    #[test]
    fn breaks_between_ideographs_and_not_before_a_comma() {
        assert_eq!(lines("收款单位，付款", 40.0), ["收款单", "位，付款"]);
        assert_eq!(lines("定金", 20.0), ["定金"]);
    }

    #[test]
    fn breaks_a_long_word_only_when_it_must() {
        assert_eq!(
            lines("合同 ABCDEFG", 45.0),
            ["合同", "ABCDEFG"].map(str::to_owned)
        );
        assert!(lines("6222021234567890123456789", 45.0).len() > 2);
    }

    #[test]
    fn shrinks_before_it_breaks() {
        let fitted = Paragraph::fit("壹仟肆佰零玖元伍角", Face::Display, &[12.0, 10.0], 1, 92.0);
        assert_eq!((fitted.size, fitted.lines.len()), (10.0, 1));
    }

    proptest! {
        #[test]
        fn never_wider_and_nothing_lost(text in "[ a-zA-Z0-9，。（）收据人民币大写楼-]{0,80}", measure in 12.0_f32..200.0) {
            let lines = lines(&text, measure);
            for line in &lines {
                prop_assert!(width(line, Face::Text, 10.0) <= measure + 0.05, "{line}");
            }
            let solid = |s: &str| s.replace(' ', "");
            prop_assert_eq!(solid(&lines.concat()), solid(&text));
        }
    }
}
