//! The two fonts that are compiled in, and what is asked of them: is there a glyph, how wide is it, what is its outline.
//!
//! How the files were made is in `assets/fonts/subset.sh`. Which text goes where is the business of the callers.

use std::sync::LazyLock;

use ttf_parser::{GlyphId, OutlineBuilder};

/// Noto Sans CJK SC Regular: GBK, Extension A and the supplementary ideographs.
pub(crate) static TEXT: LazyLock<Font> =
    LazyLock::new(|| Font::new(include_bytes!("../assets/fonts/text.otf")));

/// Noto Serif CJK SC Bold: GB 2312 and the 8,105 characters of 通用规范汉字表, for titles and seals.
static DISPLAY: LazyLock<Font> =
    LazyLock::new(|| Font::new(include_bytes!("../assets/fonts/display.otf")));

/// A font, parsed once for measuring and outlines, and once more for embedding.
pub(crate) struct Font {
    /// The file itself.
    pub(crate) bytes: &'static [u8],
    face: ttf_parser::Face<'static>,
    /// Number and advance of the glyph of each character of the basic plane, which is looked up a thousand times for a receipt;
    /// the number 0 for none.
    basic: Vec<(GlyphId, f32)>,
    /// The handle that is embedded in a document.
    pub(crate) embedded: krilla::text::Font,
}

/// Which of the two fonts a text is set in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// The text font.
    Text,
    /// The display font; characters it lacks are taken from the text font.
    Display,
}

/// A glyph, ready to be placed.
#[derive(Clone, Copy)]
pub(crate) struct Glyph {
    /// The font that has it.
    pub(crate) font: &'static Font,
    /// Its number there.
    pub(crate) id: GlyphId,
    /// Its advance in ems.
    pub(crate) advance: f32,
}

/// The first character of `text` that no font of ours can draw.
pub(crate) fn missing_glyph(text: &str) -> Option<char> {
    text.chars().find(|&c| TEXT.find_glyph(c).is_none())
}

impl Face {
    /// The glyph of a character. A character that no font has gets the text font's `.notdef` box; texts from outside are
    /// checked by [`missing_glyph`] first.
    pub(crate) fn glyph(self, character: char) -> Glyph {
        let display = match self {
            Face::Display => DISPLAY.find_glyph(character),
            Face::Text => None,
        };
        display
            .or_else(|| TEXT.find_glyph(character))
            .unwrap_or_else(|| TEXT.glyph(GlyphId(0)))
    }
}

impl Font {
    fn new(bytes: &'static [u8]) -> Self {
        let face = ttf_parser::Face::parse(bytes, 0).expect("the font compiled in is sound");
        let basic = (0..=u32::from(u16::MAX))
            .map(|code| {
                let id = char::from_u32(code).and_then(|character| face.glyph_index(character));
                let id = id.unwrap_or(GlyphId(0));
                (id, advance(&face, id))
            })
            .collect();
        Font {
            bytes,
            face,
            basic,
            embedded: krilla::text::Font::new(bytes.into(), 0)
                .expect("the font compiled in is sound"),
        }
    }

    fn find_glyph(&'static self, character: char) -> Option<Glyph> {
        match self.basic.get(character as usize) {
            Some((GlyphId(0), _)) => None,
            Some(&(id, advance)) => Some(Glyph {
                font: self,
                id,
                advance,
            }),
            None => Some(self.glyph(self.face.glyph_index(character)?)),
        }
    }

    fn glyph(&'static self, id: GlyphId) -> Glyph {
        Glyph {
            font: self,
            id,
            advance: advance(&self.face, id),
        }
    }
}

/// In ems.
fn advance(face: &ttf_parser::Face<'_>, id: GlyphId) -> f32 {
    let units = f32::from(face.units_per_em());
    f32::from(face.glyph_hor_advance(id).unwrap_or(0)) / units
}

impl Glyph {
    /// Sends the outline, in ems with y upwards, to `builder`. A blank glyph sends nothing.
    pub(crate) fn outline(&self, builder: &mut dyn OutlineBuilder) {
        let units = f32::from(self.font.face.units_per_em());
        let mut scaled = Scaled {
            builder,
            scale: 1.0 / units,
        };
        self.font.face.outline_glyph(self.id, &mut scaled);
    }
}

/// Passes an outline on in other units.
struct Scaled<'a> {
    builder: &'a mut dyn OutlineBuilder,
    scale: f32,
}

impl OutlineBuilder for Scaled<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.builder.move_to(x * self.scale, y * self.scale);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.builder.line_to(x * self.scale, y * self.scale);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let s = self.scale;
        self.builder.quad_to(x1 * s, y1 * s, x * s, y * s);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let s = self.scale;
        self.builder
            .curve_to(x1 * s, y1 * s, x2 * s, y2 * s, x * s, y * s);
    }

    fn close(&mut self) {
        self.builder.close();
    }
}

#[cfg(test)]
mod tests {
    use super::{DISPLAY, Face, missing_glyph};

    #[test]
    fn rare_surnames_have_glyphs() {
        assert_eq!(missing_glyph("䶮𬱖㛃𠅤〇·¥￥（）“”ＡａA1、。"), None);
    }

    #[test]
    fn what_no_receipt_needs_is_named() {
        assert_eq!(missing_glyph("好😀"), Some('😀'));
        assert_eq!(missing_glyph("a\u{202e}b"), Some('\u{202e}'));
    }

    #[test]
    fn display_falls_back_to_text() {
        assert!(std::ptr::eq(
            Face::Display.glyph('章').font,
            &raw const *DISPLAY
        ));
        assert!(!std::ptr::eq(
            Face::Display.glyph('㐀').font,
            &raw const *DISPLAY
        ));
    }
}
