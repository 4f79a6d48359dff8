//! Pages as images, for reading a document on a phone.
//!
//! Text whose font is not embedded is shown in ours. What is rendered may come from anyone: the structure is read by
//! [`crate::document`] within its limits, and drawing, whose cost no check can foresee, is done in a process of its own with
//! limits that the kernel keeps ([`isolate`]).

mod worker;

use std::sync::Arc;

use hayro::hayro_interpret::InterpreterSettings;
use hayro::hayro_interpret::font::{FontData, FontQuery};
use hayro::hayro_interpret::hayro_cmap::CidFamily;
use hayro::hayro_interpret::util::TransformExt;
use hayro::hayro_syntax::Pdf;
use hayro::kurbo::Affine;
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::vello_cpu::{Pixmap, RasterizerSettings, RenderContext, Resources, TargetInit};
use hayro::{RenderCache, RenderSettings};

use serde::{Deserialize, Serialize};

use crate::canvas;
use crate::document::{Document, Unreadable};
use crate::find;
use crate::font;
use crate::sight::Sight;
use crate::syntax::Id;

use worker::Request;
pub use worker::isolate;

/// The widest page image, in pixels.
pub const MAX_PAGE_WIDTH: u32 = 2400;
/// The most pixels of a page image; a page that would have more is shown smaller.
pub const MAX_PIXELS: u32 = 12_000_000;
/// The longest side of a page image, in pixels; what the rasterizer can count.
const MAX_SIDE: f32 = 60_000.0;
/// The most pages of a document that is rendered.
pub const MAX_PAGES: usize = 5000;

/// Why a page cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RenderError {
    /// Not a PDF that can be read.
    #[error("the document cannot be read as a PDF: {0}")]
    Unreadable(String),
    /// There is no such page.
    #[error("there is no page {page}: the document has {pages}")]
    NoSuchPage {
        /// The page asked for, counted from 0.
        page: usize,
        /// How many there are.
        pages: usize,
    },
    /// More pages, or more of something else, than is rendered.
    #[error("the document is too large to be shown: {0}")]
    TooLarge(String),
    /// It could not be rendered within the time and memory that a page is given.
    #[error("the page cannot be shown: {0}")]
    Exhausted(String),
}

/// How many pages a document has.
///
/// # Errors
/// If it cannot be read or has more than [`MAX_PAGES`].
pub fn page_count(pdf: &[u8]) -> Result<usize, RenderError> {
    Ok(pages(&read(pdf)?)?.len())
}

/// How a page is shown: upright, and cropped to what a reader sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PageFrame {
    /// In points.
    pub width: f32,
    /// In points.
    pub height: f32,
    /// From the page's user space to the frame, whose origin is the upper left corner.
    transform: canvas::Affine,
}

impl PageFrame {
    /// Where a rectangle of the page's user space (left, bottom, right, top, as in [`crate::draw::Place`]) is shown: left, top,
    /// width and height in points, from the upper left corner.
    pub fn locate(&self, rect: [f64; 4]) -> [f32; 4] {
        let [left, top, right, bottom] = self.transform.bounds(rect);
        [left, top, right - left, bottom - top].map(|length| length as f32)
    }
}

/// How each page of a document is shown, in order.
///
/// # Errors
/// If it cannot be read or has more than [`MAX_PAGES`] pages.
pub fn page_frames(pdf: &[u8]) -> Result<Vec<PageFrame>, RenderError> {
    let document = read(pdf)?;
    let frame = |page: Id| {
        let sight = Sight::of(&document, page)?;
        let (width, height) = sight.size();
        Ok(PageFrame {
            width: width as f32,
            height: height as f32,
            transform: sight.page_to_seen(),
        })
    };
    let frames: Result<_, Unreadable> = pages(&document)?.into_iter().map(frame).collect();
    frames.map_err(unreadable)
}

/// One page, counted from 0, as a PNG of the given width in pixels (1 to [`MAX_PAGE_WIDTH`]; others are brought within).
/// Rotation and crop box are heeded; annotations, and so signatures, are shown.
///
/// This is done in a process of its own if [`isolate`] has been called, and in this one if not.
///
/// # Errors
/// If it cannot be read, there is no such page, or it is too large.
pub fn page_png(pdf: &[u8], page: usize, width: u32) -> Result<Vec<u8>, RenderError> {
    match worker::program() {
        Some(program) => worker::ask(program, &Request::Page { page, width }, pdf),
        None => page_png_here(pdf, page, width),
    }
}

/// [`find::find_word`], where it is to be done.
pub(crate) fn find_word(pdf: &[u8], word: &str) -> Result<Vec<find::Found>, RenderError> {
    let Some(program) = worker::program() else {
        return find::find_word_here(pdf, word);
    };
    let answer = worker::ask(program, &Request::Word(word.to_owned()), pdf)?;
    serde_json::from_slice(&answer).map_err(|error| RenderError::Exhausted(error.to_string()))
}

fn page_png_here(pdf: &[u8], page: usize, width: u32) -> Result<Vec<u8>, RenderError> {
    // Whatever the renderer would make of a damaged file: what is shown is what can be signed.
    let count = pages(&read(pdf)?)?.len();
    let pdf = Pdf::new(pdf.to_vec())
        .map_err(|_| RenderError::Unreadable("the PDF is damaged".to_owned()))?;
    let Some(page) = pdf.pages().get(page).filter(|_| page < count) else {
        return Err(RenderError::NoSuchPage { page, pages: count });
    };
    let (page_width, page_height) = page.render_dimensions();
    let (width, height) = image_size(page_width, page_height, width)?;
    let scale = Affine::scale_non_uniform(
        f64::from(width) / f64::from(page_width),
        f64::from(height) / f64::from(page_height),
    );
    let mut context = RenderContext::new(width, height);
    hayro::render_into(
        page,
        &RenderCache::new(),
        &interpreter_settings(),
        &RenderSettings::default(),
        &mut context,
        scale * page.initial_transform(true).to_kurbo(),
    );
    context.flush();
    let mut pixmap = Pixmap::new(width, height);
    let settings = RasterizerSettings {
        target_init: TargetInit::Clear(WHITE),
        ..RasterizerSettings::default()
    };
    context.render_with(&mut pixmap, &mut Resources::default(), settings);
    let rgb: Vec<u8> = pixmap
        .data_as_u8_slice()
        .chunks_exact(4)
        .flat_map(|pixel| &pixel[..3])
        .copied()
        .collect();
    encode(&rgb, u32::from(pixmap.width()), u32::from(pixmap.height()))
        .map_err(|error| RenderError::TooLarge(error.to_string()))
}

/// Width and height of the image of a page, in pixels: the width wanted, or less if the whole would be too large.
fn image_size(page_width: f32, page_height: f32, wanted: u32) -> Result<(u16, u16), RenderError> {
    let wanted = wanted.clamp(1, MAX_PAGE_WIDTH) as f32 / page_width;
    let affordable = (MAX_PIXELS as f32 / (page_width * page_height)).sqrt();
    let tallest = MAX_SIDE / page_height;
    let scale = wanted.min(affordable).min(tallest);
    let (width, height) = ((page_width * scale).round(), (page_height * scale).round());
    if !(width >= 1.0 && height <= MAX_SIDE) {
        return Err(RenderError::TooLarge(
            "a page is too long and narrow".to_owned(),
        ));
    }
    Ok((width as u16, height.max(1.0) as u16))
}

fn read(pdf: &[u8]) -> Result<Document<'_>, RenderError> {
    Document::parse(pdf).map_err(unreadable)
}

fn pages(document: &Document<'_>) -> Result<Vec<Id>, RenderError> {
    let pages = document.pages(MAX_PAGES + 1).map_err(unreadable)?;
    match pages.len() {
        0 => Err(RenderError::Unreadable("the PDF has no pages".to_owned())),
        count if count > MAX_PAGES => Err(RenderError::TooLarge(format!(
            "it has more than {MAX_PAGES} pages"
        ))),
        _ => Ok(pages),
    }
}

fn unreadable(error: Unreadable) -> RenderError {
    RenderError::Unreadable(error.to_string())
}

/// Fonts that are not embedded: ours for Chinese, Japanese and Korean, the standard ones for the rest.
pub(crate) fn interpreter_settings() -> InterpreterSettings {
    let resolve = |query: &FontQuery| -> Option<(FontData, u32)> {
        let fallback = match query {
            FontQuery::Standard(standard) => return Some(standard.get_font_data()),
            FontQuery::Fallback(fallback) => fallback,
        };
        let family = fallback.character_collection.as_ref().map(|c| &c.family);
        match family {
            Some(
                CidFamily::AdobeGB1
                | CidFamily::AdobeCNS1
                | CidFamily::AdobeJapan1
                | CidFamily::AdobeKorea1,
            ) => Some((Arc::new(font::TEXT.bytes), 0)),
            _ => Some(fallback.pick_standard_font().get_font_data()),
        }
    };
    InterpreterSettings {
        font_resolver: Arc::new(resolve),
        ..InterpreterSettings::default()
    }
}

fn encode(rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(out)
}
