//! Where a seal or a signature goes, from how people say it: a rectangle, a point, a field of the form, a word of the text.

use std::collections::HashMap;

use crate::document::{Document, Unreadable};
use crate::find::{self, Found};
use crate::form::{self, FormField};
use crate::render::RenderError;
use crate::sight::Sight;
use crate::syntax::{Id, Value};

/// The most different words of one document that are looked for.
pub const MAX_WORDS: usize = 20;
/// The most pages of a document that has places.
const MAX_PAGES: usize = 20_000;

/// How a place is said.
#[derive(Debug, Clone, PartialEq)]
pub enum Spot {
    /// A rectangle.
    Rect {
        /// The page.
        page: PageNumber,
        /// Left, bottom, right and top in points of the page's own coordinates, as in a PDF's `/Rect`.
        rect: [f64; 4],
    },
    /// The middle of what is put there.
    Middle {
        /// The page.
        page: PageNumber,
        /// In points from the lower left corner of the page as it is shown, cropped and turned.
        at: [f64; 2],
    },
    /// A field of the document's own form, by its full name. A signature field that is still empty is itself signed.
    Field(String),
    /// A word of the document's text.
    Word {
        /// The word; see [`find::find_word`].
        word: String,
        /// Which of the places where it stands.
        nth: Nth,
        /// Only on this page.
        page: Option<PageNumber>,
        /// From the middle of the word to the middle of what is put there, to the right and up as the page is shown, in points.
        offset: [f64; 2],
    },
}

/// A page's number: from 1, or from -1 for the last page backwards. Never 0.
pub type PageNumber = i32;

/// Which of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nth {
    /// From 1.
    From1(usize),
    /// The last.
    Last,
}

/// A place that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Spotted {
    /// The page, counted from 0.
    pub page: usize,
    /// Left, bottom, right and top in points of the page's own coordinates.
    pub rect: [f64; 4],
    /// The document's own signature field that is there already.
    pub field: Option<String>,
}

/// Why there is no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpotError {
    /// The document cannot be read.
    #[error("the document cannot be read")]
    Unreadable(#[from] Unreadable),
    /// Its text cannot be read.
    #[error("the document's text cannot be read")]
    Text(#[from] RenderError),
    /// There is no such page.
    #[error("there is no page {page}: the document has {pages}")]
    NoSuchPage {
        /// As it was asked for.
        page: PageNumber,
        /// How many there are.
        pages: usize,
    },
    /// The point is not on the page.
    #[error("the point is not on the page, which is {width} × {height} points as it is shown")]
    OffPage {
        /// Of the page.
        width: u32,
        /// Of the page.
        height: u32,
    },
    /// There is no such field.
    #[error("the document has no form field {0:?}")]
    NoSuchField(String),
    /// The field is a signature field, and signed.
    #[error("the form field {0:?} is signed already")]
    FieldSigned(String),
    /// The field is not to be seen on any page.
    #[error("the form field {0:?} has no place on a page")]
    FieldNotShown(String),
    /// The word does not stand there, or not so often.
    #[error("{word:?} is found {times} times")]
    NoSuchWord {
        /// The word.
        word: String,
        /// How often it is there.
        times: usize,
    },
    /// More words than are looked for.
    #[error("at most {MAX_WORDS} different words are looked for in one document")]
    TooManyWords,
}

/// The words of one document that have been looked for: looking takes as long as showing every page.
#[derive(Debug, Default)]
pub struct Words(HashMap<String, Vec<Found>>);

impl Words {
    fn find(&mut self, pdf: &[u8], word: &str) -> Result<&[Found], SpotError> {
        if !self.0.contains_key(word) {
            if self.0.len() == MAX_WORDS {
                return Err(SpotError::TooManyWords);
            }
            self.0.insert(word.to_owned(), find::find_word(pdf, word)?);
        }
        Ok(self.0.get(word).map(Vec::as_slice).unwrap_or_default())
    }
}

/// Finds a place. `size` is the width and the height, in points, of what is put there, for places that have none of their own;
/// such a place is moved so far that all of it is on the page. `words` are those of this document alone.
///
/// # Errors
/// See [`SpotError`].
pub fn locate(
    pdf: &[u8],
    spot: &Spot,
    size: (f64, f64),
    words: &mut Words,
) -> Result<Spotted, SpotError> {
    let document = Document::parse(pdf)?;
    let pages = document.pages(MAX_PAGES + 1)?;
    if pages.len() > MAX_PAGES {
        return Err(Unreadable::TooLarge("the number of pages").into());
    }
    match spot {
        Spot::Rect { page, rect } => Ok(Spotted {
            page: index(*page, pages.len())?,
            rect: *rect,
            field: None,
        }),
        Spot::Middle { page, at } => {
            let page = index(*page, pages.len())?;
            let sight = Sight::of(&document, pages[page])?;
            let (width, height) = sight.size();
            if !((0.0..=width).contains(&at[0]) && (0.0..=height).contains(&at[1])) {
                return Err(SpotError::OffPage {
                    width: width.round() as u32,
                    height: height.round() as u32,
                });
            }
            Ok(around(&sight, page, *at, size))
        }
        Spot::Field(name) => field(&document, &pages, name),
        Spot::Word {
            word,
            nth,
            page,
            offset,
        } => {
            let page = page.map(|page| index(page, pages.len())).transpose()?;
            let found = words.find(pdf, word)?.iter();
            let found: Vec<&Found> = found
                .filter(|found| page.is_none_or(|page| found.page == page))
                .collect();
            let place = match nth {
                Nth::From1(number) => number.checked_sub(1).and_then(|at| found.get(at)),
                Nth::Last => found.last(),
            };
            let place = place.ok_or_else(|| SpotError::NoSuchWord {
                word: word.clone(),
                times: found.len(),
            })?;
            let page = pages
                .get(place.page)
                .ok_or(Unreadable::TooLarge("the number of pages"))?;
            let sight = Sight::of(&document, *page)?;
            let [left, top, right, bottom] = sight.page_to_seen().bounds(place.rect);
            let (_, height) = sight.size();
            let middle = [
                (left + right) / 2.0 + offset[0],
                height - (top + bottom) / 2.0 + offset[1],
            ];
            Ok(around(&sight, place.page, middle, size))
        }
    }
}

fn index(page: PageNumber, pages: usize) -> Result<usize, SpotError> {
    let count = i64::try_from(pages).unwrap_or(i64::MAX);
    let at = match i64::from(page) {
        number if number > 0 => number - 1,
        number => count + number,
    };
    match usize::try_from(at) {
        Ok(at) if page != 0 && at < pages => Ok(at),
        _ => Err(SpotError::NoSuchPage { page, pages }),
    }
}

/// The rectangle of this size around a point of the page as it is shown, moved on to the page where it would reach beyond.
fn around(sight: &Sight, page: usize, middle: [f64; 2], size: (f64, f64)) -> Spotted {
    let (width, height) = sight.size();
    let side = |middle: f64, size: f64, most: f64| {
        let low = (middle - size / 2.0).clamp(0.0, (most - size).max(0.0));
        (low, (low + size).min(most))
    };
    let (left, right) = side(middle[0], size.0, width);
    let (bottom, top) = side(middle[1], size.1, height);
    Spotted {
        page,
        rect: sight.seen_to_page().bounds([left, bottom, right, top]),
        field: None,
    }
}

fn field(document: &Document<'_>, pages: &[Id], name: &str) -> Result<Spotted, SpotError> {
    let fields = form::sound_fields(document)?;
    let field = fields.into_iter().find(|field| field.name == name);
    let field = field.ok_or_else(|| SpotError::NoSuchField(name.to_owned()))?;
    if field.is_signature && field.value().is_some() {
        return Err(SpotError::FieldSigned(name.to_owned()));
    }
    let shown = widget(document, pages, &field)?;
    let (page, rect) = shown.ok_or_else(|| SpotError::FieldNotShown(name.to_owned()))?;
    Ok(Spotted {
        page,
        rect,
        field: field.is_signature.then_some(field.name),
    })
}

/// The page and the rectangle of a field's first annotation that has an area.
fn widget(
    document: &Document<'_>,
    pages: &[Id],
    field: &FormField,
) -> Result<Option<(usize, [f64; 4])>, Unreadable> {
    for &id in &field.widgets {
        let widget = document.dict(&Value::Ref(id), "an annotation is not a dictionary")?;
        let mut sides = Vec::with_capacity(4);
        for side in document.array(widget.value(b"Rect"), "an annotation's place is malformed")? {
            sides.extend(document.resolve(&side.value)?.number());
        }
        let Ok([x1, y1, x2, y2]) = <[f64; 4]>::try_from(sides) else {
            continue;
        };
        let rect = [x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)];
        if rect[2] - rect[0] < 1.0 || rect[3] - rect[1] < 1.0 {
            continue;
        }
        let named = widget.value(b"P").reference();
        let mut page = named.and_then(|named| pages.iter().position(|page| *page == named));
        if page.is_none() {
            page = page_of(document, pages, id)?;
        }
        if let Some(page) = page {
            return Ok(Some((page, rect)));
        }
    }
    Ok(None)
}

/// The page among whose annotations this one is.
fn page_of(
    document: &Document<'_>,
    pages: &[Id],
    annotation: Id,
) -> Result<Option<usize>, Unreadable> {
    for (number, page) in pages.iter().enumerate() {
        let page = document.dict(&Value::Ref(*page), "a page is not a dictionary")?;
        let annotations =
            document.array(page.value(b"Annots"), "a page's annotations are malformed")?;
        if annotations
            .iter()
            .any(|item| item.value.reference() == Some(annotation))
        {
            return Ok(Some(number));
        }
    }
    Ok(None)
}
