//! Draws a report of many facts, such as the evidence of a sign flow: headings, and rows of what is called how. What it says, and
//! in which language, is the caller's.

use super::{
    DrawError, Place, PlaceKind, pdf,
    sheet::{Align, Area, Color, Line, Sheet},
    text::{LINE_HEIGHT, Paragraph},
};
use crate::font::{self, Face};

const MM: f32 = 72.0 / 25.4;
const WIDTH: f32 = 210.0 * MM;
const HEIGHT: f32 = 297.0 * MM;
const MARGIN: f32 = 52.0;
const TOP: f32 = 56.0;
/// Where the last row of a page ends at the latest.
const BOTTOM: f32 = HEIGHT - 62.0;
const MEASURE: f32 = WIDTH - 2.0 * MARGIN;
/// Width of the column of labels.
const LABEL: f32 = 118.0;
/// Side of the square that the seal is given: 38 mm.
const SEAL: f32 = 38.0 * MM;

const INK: Color = [0x16, 0x1a, 0x20];
const ACCENT: Color = [0x1d, 0x3b, 0x5f];
const HAIRLINE: Color = [0xc4, 0xce, 0xd9];
const TINT: Color = [0xf0, 0xf4, 0xf8];
const FAINT: Color = [0x5a, 0x65, 0x72];

/// The most lines of a group's title.
const MAX_TITLE_LINES: usize = 4;
/// The most pages of a report.
const MAX_PAGES: usize = 400;

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactSheet {
    /// Its title, on the first page and in the metadata.
    pub title: String,
    /// The language of what it says, as a BCP 47 tag; in Chinese, pages are counted in Chinese.
    pub language: &'static str,
    /// An id for the metadata.
    pub document_id: String,
    /// When it is made, in UTC milliseconds; goes into the metadata.
    pub drawn_at: i64,
    /// What stands below the title.
    pub lead: Vec<String>,
    /// The facts.
    pub sections: Vec<FactSection>,
    /// What stands at the foot of each page, on one line.
    pub foot: String,
}

/// Facts under one heading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactSection {
    /// The heading.
    pub heading: String,
    /// What is said before the facts.
    pub lead: Option<String>,
    /// Groups of facts.
    pub groups: Vec<FactGroup>,
}

/// Facts of one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactGroup {
    /// What thing, if there are several.
    pub title: Option<String>,
    /// Each what it is called, and what it is.
    pub facts: Vec<(String, String)>,
}

/// A drawn report.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnFacts {
    /// The document: PDF/A-2b, unsigned, without form fields.
    pub pdf: Vec<u8>,
    /// Where the seal of whoever answers for it goes.
    pub seal: Place,
}

/// Draws a report. A character that our fonts do not have is shown by its number, as `<U+1F600>`.
///
/// # Errors
/// When it would have more than 400 pages, or could not be written as PDF/A-2b.
pub fn draw_facts(report: &FactSheet) -> Result<DrawnFacts, DrawError> {
    let mut paper = Paper::new();
    paper.head(report);
    for section in &report.sections {
        paper.section(section);
    }
    let (mut sheets, seal) = paper.finish();
    if sheets.len() > MAX_PAGES {
        return Err(DrawError::TooLong {
            field: "the report in pages".to_owned(),
            length: sheets.len(),
            limit: MAX_PAGES,
        });
    }
    let pages = sheets.len();
    for (n, sheet) in (1..).zip(&mut sheets) {
        foot(sheet, report, n, pages);
        sheet.sort();
    }
    let about = pdf::About {
        title: &report.title,
        language: report.language,
        id: &report.document_id,
        drawn_at: report.drawn_at,
    };
    Ok(DrawnFacts {
        pdf: pdf::write(&sheets, &about)?,
        seal,
    })
}

/// Pages being filled from top to bottom.
struct Paper {
    sheets: Vec<Sheet>,
    sheet: Sheet,
    y: f32,
}

fn blank() -> Sheet {
    Sheet {
        width: WIDTH,
        height: HEIGHT,
        marks: Vec::new(),
    }
}

impl Paper {
    fn new() -> Self {
        Self {
            sheets: Vec::new(),
            sheet: blank(),
            y: TOP,
        }
    }

    /// Goes on to the next page unless there is room for this much.
    fn make_room(&mut self, height: f32) {
        if self.y + height > BOTTOM && self.y > TOP {
            self.sheets
                .push(std::mem::replace(&mut self.sheet, blank()));
            self.y = TOP;
        }
    }

    /// The title with the place of the seal beside it.
    fn head(&mut self, report: &FactSheet) {
        let width = MEASURE - SEAL - 16.0;
        let title = set(&report.title, Face::Display, &[21.0, 18.0, 15.0], 2, width);
        let mut y = self.y;
        for paragraph in std::iter::once((title, ACCENT)).chain(
            report
                .lead
                .iter()
                .map(|text| (set(text, Face::Text, &[9.5], usize::MAX, width), FAINT)),
        ) {
            let (paragraph, color) = paragraph;
            let area = Area::new(MARGIN, y, width, paragraph.height());
            self.sheet.paragraph(area, Align::Left, &paragraph, color);
            y = area.bottom() + 5.0;
        }
        self.y = y.max(TOP + SEAL) + 10.0;
        self.sheet.horizontal(MARGIN, self.y, MEASURE, 1.2, ACCENT);
        self.y += 8.0;
    }

    fn section(&mut self, section: &FactSection) {
        self.make_room(72.0);
        self.y += 10.0;
        let heading = set(
            &section.heading,
            Face::Display,
            &[13.0],
            usize::MAX,
            MEASURE,
        );
        let area = Area::new(MARGIN, self.y, MEASURE, heading.height());
        self.sheet
            .paragraph(area.inset(9.0, 0.0), Align::Left, &heading, ACCENT);
        self.sheet.fill(
            Area::new(MARGIN, self.y + 2.0, 3.0, heading.height() - 4.0),
            ACCENT,
        );
        self.y = area.bottom() + 4.0;
        if let Some(lead) = &section.lead {
            let lead = set(lead, Face::Text, &[8.5], usize::MAX, MEASURE);
            self.lines(&lead, MARGIN, FAINT);
            self.y += 3.0;
        }
        for group in &section.groups {
            self.group(group);
        }
    }

    fn group(&mut self, group: &FactGroup) {
        if let Some(title) = &group.title {
            let mut title = set(title, Face::Text, &[9.5], usize::MAX, MEASURE - 12.0);
            // A stranger's document names its signature fields at any length.
            if title.lines.len() > MAX_TITLE_LINES {
                title.lines.truncate(MAX_TITLE_LINES);
                title.lines.push("…".to_owned());
            }
            self.make_room(title.height() + 32.0);
            let area = Area::new(MARGIN, self.y, MEASURE, title.height() + 4.0);
            self.sheet.fill(area, TINT);
            self.sheet
                .paragraph(area.inset(6.0, 2.0), Align::Left, &title, INK);
            self.y = area.bottom() + 2.0;
        }
        for (label, value) in &group.facts {
            self.fact(label, value);
        }
        self.y += 6.0;
    }

    fn fact(&mut self, label: &str, value: &str) {
        let label = set(label, Face::Text, &[8.5], usize::MAX, LABEL - 12.0);
        let value = set(
            if value.is_empty() { "—" } else { value },
            Face::Text,
            &[8.5],
            usize::MAX,
            MEASURE - LABEL - 6.0,
        );
        self.make_room(label.height().max(8.5 * LINE_HEIGHT * 2.0) + 3.0);
        let top = self.y;
        let area = Area::new(MARGIN + 6.0, top, LABEL, label.height());
        self.sheet.paragraph(area, Align::Left, &label, FAINT);
        let page = self.sheets.len();
        self.lines(&value, MARGIN + LABEL, INK);
        // A value that goes on on the next page has left its label behind.
        if self.sheets.len() == page {
            self.y = self.y.max(area.bottom());
        }
        self.y += 1.5;
        self.sheet
            .horizontal(MARGIN + 6.0, self.y, MEASURE - 6.0, 0.35, HAIRLINE);
        self.y += 1.5;
    }

    /// Lines that may go on on the next page.
    fn lines(&mut self, text: &Paragraph, x: f32, color: Color) {
        let pitch = text.size * LINE_HEIGHT;
        for line in &text.lines {
            self.make_room(pitch);
            let line = Line::new(line, text.face, text.size, color);
            let middle = self.y + pitch / 2.0;
            self.sheet.line(x, middle, Align::Left, line);
            self.y += pitch;
        }
    }

    fn finish(mut self) -> (Vec<Sheet>, Place) {
        self.sheets.push(self.sheet);
        let (left, top) = (WIDTH - MARGIN - SEAL, TOP);
        let rect = [left, HEIGHT - top - SEAL, left + SEAL, HEIGHT - top];
        let seal = Place {
            signer: 1,
            page: 0,
            rect: rect.map(f64::from),
            kind: PlaceKind::Seal,
        };
        (self.sheets, seal)
    }
}

fn foot(sheet: &mut Sheet, report: &FactSheet, n: usize, pages: usize) {
    let count = if report.language.starts_with("zh") {
        format!("第 {n} 页，共 {pages} 页")
    } else {
        format!("Page {n} of {pages}")
    };
    let middle = HEIGHT - 38.0;
    sheet.horizontal(MARGIN, middle - 10.0, MEASURE, 0.5, HAIRLINE);
    let foot = set(&report.foot, Face::Text, &[7.5, 6.5], 1, MEASURE - 90.0);
    let foot = foot.lines.first().cloned().unwrap_or_default();
    let line = |text: &str| Line::new(text, Face::Text, 7.5, FAINT);
    sheet.line(MARGIN, middle, Align::Left, line(&foot));
    sheet.line(WIDTH - MARGIN, middle, Align::Right, line(&count));
}

fn set(text: &str, face: Face, sizes: &[f32], lines: usize, width: f32) -> Paragraph {
    Paragraph::fit(&drawable(text), face, sizes, lines, width)
}

/// The text with every character spelled out that cannot be drawn, or that would steer how the rest is read.
fn drawable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match font::missing_glyph(character.encode_utf8(&mut [0; 4])) {
            None => out.push(character),
            Some(_) => out.push_str(&format!("<U+{:04X}>", u32::from(character))),
        }
    }
    out
}
