//! Writes sheets as a PDF/A-2b document.

use jiff::Timestamp;
use krilla::color::rgb;
use krilla::configure::{Archival, ConfigurationBuilder};
use krilla::error::KrillaError;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::{DateTime, Metadata};
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, Stroke};
use krilla::surface::Surface;
use krilla::text::{GlyphId, KrillaGlyph};
use krilla::{Document, SerializeSettings};

use super::DrawError;
use super::sheet::{Color, Line, Mark, Sheet};

/// What a document says about itself in its metadata.
pub(super) struct About<'a> {
    pub(super) title: &'a str,
    /// A BCP 47 tag.
    pub(super) language: &'a str,
    pub(super) id: &'a str,
    /// UTC milliseconds.
    pub(super) drawn_at: i64,
}

/// The document of some sheets.
pub(super) fn write(sheets: &[Sheet], about: &About<'_>) -> Result<Vec<u8>, DrawError> {
    let configuration = ConfigurationBuilder::new()
        .with_archival_validator(Archival::A2_B)
        .finish()
        .map_err(|error| DrawError::Document(format!("{error:?}")))?;
    let mut document = Document::new_with(SerializeSettings {
        configuration,
        enable_tagging: false,
        ..SerializeSettings::default()
    });
    for sheet in sheets {
        let settings = PageSettings::from_wh(sheet.width, sheet.height)
            .ok_or_else(|| DrawError::Document("a page without extent".to_owned()))?;
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        for mark in &sheet.marks {
            draw_mark(&mut surface, mark);
        }
        surface.finish();
        page.finish();
    }
    document.set_metadata(
        Metadata::new()
            .title(about.title.to_owned())
            .language(about.language.to_owned())
            .creator("Sealpost".to_owned())
            .document_id(about.id.to_owned())
            .creation_date(date_time(about.drawn_at)),
    );
    document.finish().map_err(|error| {
        DrawError::Document(match error {
            KrillaError::Validation(errors) => format!("{errors:?}"),
            other => other.to_string(),
        })
    })
}

fn draw_mark(surface: &mut Surface<'_>, mark: &Mark) {
    match mark {
        Mark::Text { x, y, line } => draw_line(surface, *x, *y, line),
        Mark::Fill { area, color } => {
            let mut path = PathBuilder::new();
            if let Some(rect) = Rect::from_xywh(area.x, area.y, area.w, area.h) {
                path.push_rect(rect);
            }
            if let Some(path) = path.finish() {
                surface.set_stroke(None);
                surface.set_fill(Some(fill(*color)));
                surface.draw_path(&path);
            }
        }
        Mark::Rule {
            from,
            to,
            thickness,
            color,
        } => {
            let mut path = PathBuilder::new();
            path.move_to(from.0, from.1);
            path.line_to(to.0, to.1);
            if let Some(path) = path.finish() {
                surface.set_fill(None);
                surface.set_stroke(Some(Stroke {
                    paint: rgb(*color).into(),
                    width: *thickness,
                    ..Stroke::default()
                }));
                surface.draw_path(&path);
            }
        }
    }
}

/// One run of glyphs for each stretch of characters from the same font.
fn draw_line(surface: &mut Surface<'_>, mut x: f32, y: f32, line: &Line) {
    surface.set_stroke(None);
    surface.set_fill(Some(fill(line.color)));
    let glyphs: Vec<_> = line
        .text
        .char_indices()
        .map(|(at, c)| (at..at + c.len_utf8(), line.face.glyph(c)))
        .collect();
    for run in glyphs.chunk_by(|(_, a), (_, b)| std::ptr::eq(a.font, b.font)) {
        let mut advance = 0.0;
        let placed: Vec<_> = run
            .iter()
            .map(|(range, glyph)| {
                let x_advance = glyph.advance + line.tracking / line.size;
                advance += x_advance * line.size;
                let id = GlyphId::new(u32::from(glyph.id.0));
                KrillaGlyph::new(id, x_advance, 0.0, 0.0, 0.0, range.clone(), None)
            })
            .collect();
        let font = run[0].1.font.embedded.clone();
        surface.draw_glyphs(
            Point::from_xy(x, y),
            &placed,
            font,
            &line.text,
            line.size,
            false,
        );
        x += advance;
    }
}

fn fill(color: Color) -> Fill {
    Fill {
        paint: rgb(color).into(),
        opacity: NormalizedF32::ONE,
        ..Fill::default()
    }
}

fn rgb([red, green, blue]: Color) -> rgb::Color {
    rgb::Color::new(red, green, blue)
}

/// UTC milliseconds as a PDF date; a time out of jiff's range is the epoch.
fn date_time(at: i64) -> DateTime {
    let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = jiff::tz::Offset::UTC.to_datetime(at);
    let field = |value: i8| value.unsigned_abs();
    DateTime::new(at.year().unsigned_abs())
        .month(field(at.month()))
        .day(field(at.day()))
        .hour(field(at.hour()))
        .minute(field(at.minute()))
        .second(field(at.second()))
        .utc_offset_hour(0)
        .utc_offset_minute(0)
}
