//! Finds words in a document, so that a seal or a signature can be put where the text says.

use hayro::hayro_interpret::font::{Glyph, GlyphRun};
use hayro::hayro_interpret::hayro_cmap::BfString;
use hayro::hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps,
    InterpreterCache, SoftMask, interpret_page,
};
use hayro::hayro_syntax::Pdf;
use hayro::kurbo::{Affine, BezPath, Point, Rect};
use serde::{Deserialize, Serialize};

use crate::render::{self, RenderError};

/// The longest word that is looked for, in characters.
pub const MAX_WORD: usize = 64;
/// The most places that are found.
pub const MAX_FOUND: usize = 1000;
/// The most characters of a page that are looked at.
const MAX_CHARACTERS: usize = 1_000_000;

/// A word on a page.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The page, counted from 0.
    pub page: usize,
    /// Left, bottom, right and top in points, in the page's own coordinates, as in a PDF's `/Rect`.
    pub rect: [f64; 4],
}

/// Where a word stands, page by page in the order it is drawn; at most [`MAX_FOUND`] places. Blanks are passed over, in the word
/// and on the page. Text that is a picture, or whose font does not say what its characters mean, is not found.
///
/// Like [`render::page_png`], this is done in a process of its own if [`render::isolate`] has been called.
///
/// # Errors
/// If the document cannot be read, or the word is empty or longer than [`MAX_WORD`].
pub fn find_word(pdf: &[u8], word: &str) -> Result<Vec<Found>, RenderError> {
    let length = word.chars().filter(|c| !c.is_whitespace()).count();
    if !(1..=MAX_WORD).contains(&length) {
        return Err(RenderError::TooLarge(format!(
            "the word has {length} characters; it takes 1 to {MAX_WORD}"
        )));
    }
    render::find_word(pdf, word)
}

pub(crate) fn find_word_here(pdf: &[u8], word: &str) -> Result<Vec<Found>, RenderError> {
    let word: Vec<char> = word.chars().filter(|c| !c.is_whitespace()).collect();
    let count = render::page_count(pdf)?;
    let pdf = Pdf::new(pdf.to_vec())
        .map_err(|_| RenderError::Unreadable("the PDF is damaged".to_owned()))?;
    let cache = InterpreterCache::new();
    let mut found = Vec::new();
    for (number, page) in pdf.pages().iter().enumerate().take(count) {
        let mut reader = Reader::default();
        let everywhere = Rect::new(-1e6, -1e6, 1e6, 1e6);
        let settings = render::interpreter_settings();
        let mut context = Context::new(Affine::IDENTITY, everywhere, &cache, page.xref(), settings);
        interpret_page(page, &mut context, &mut reader);
        for rect in reader.find(&word) {
            if found.len() == MAX_FOUND {
                return Ok(found);
            }
            found.push(Found { page: number, rect });
        }
    }
    Ok(found)
}

/// A device that draws nothing and remembers the text.
#[derive(Default)]
struct Reader {
    characters: Vec<Character>,
}

struct Character {
    character: char,
    /// From the glyph's own coordinates, of a thousand units to the em, to the page's.
    transform: Affine,
    /// Width in those units.
    advance: f64,
}

impl Character {
    fn bounds(&self) -> Rect {
        // The em box of an ideograph.
        self.transform
            .transform_rect_bbox(Rect::new(0.0, -120.0, self.advance, 880.0))
    }

    /// Whether `next` may be the next character of the same word: near the end of this one.
    fn is_followed_by(&self, next: &Character) -> bool {
        let end = self.transform * Point::new(self.advance, 0.0);
        let em =
            (self.transform * Point::new(0.0, 1000.0)).distance(self.transform * Point::ORIGIN);
        end.distance(next.transform * Point::ORIGIN) <= 2.0 * em
    }
}

impl Reader {
    fn find(&self, word: &[char]) -> Vec<[f64; 4]> {
        let is_word = |part: &&[Character]| {
            part.iter()
                .zip(word)
                .all(|(found, &wanted)| found.character == wanted)
                && part.windows(2).all(|pair| pair[0].is_followed_by(&pair[1]))
        };
        self.characters
            .windows(word.len())
            .filter(is_word)
            .filter_map(|part| {
                part.iter()
                    .map(Character::bounds)
                    .reduce(|all, one| all.union(one))
            })
            .map(|rect| [rect.x0, rect.y0, rect.x1, rect.y1])
            .collect()
    }
}

impl<'a> Device<'a> for Reader {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, _: &DrawMode) {
        for positioned in run.glyphs() {
            let advance = match &**positioned {
                Glyph::Outline(glyph) => glyph.advance_width(),
                Glyph::Type3(glyph) => glyph.advance_width(),
            };
            let text = match positioned.as_unicode() {
                Some(BfString::Char(character)) => character.to_string(),
                Some(BfString::String(text)) => text,
                None => continue,
            };
            for character in text.chars().filter(|c| !c.is_whitespace()) {
                if self.characters.len() == MAX_CHARACTERS {
                    return;
                }
                self.characters.push(Character {
                    character,
                    transform: props.transform * positioned.transform(),
                    advance: advance.map_or(1000.0, f64::from),
                });
            }
        }
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'a>, _: &DrawMode) {}
    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {}
    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn pop_clip(&mut self) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn pop_transparency_group(&mut self) {}
}
