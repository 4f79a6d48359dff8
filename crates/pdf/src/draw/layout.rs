//! Where everything on the receipt goes.
//!
//! The sheet is as wide as A4. Its height is that of A5 laid across, the half sheet that receipts are printed on, unless the
//! receipt needs more: then as much as it needs, up to A4, and after that a second A4 page.

use super::sheet::{Align, Area, Color, Line, Sheet};
use super::text::Paragraph;
use super::{DrawMeta, Place, PlaceKind, SignerLabel};
use crate::font::Face;
use crate::receipt::Receipt;
use crate::rmb;

const MM: f32 = 72.0 / 25.4;
const WIDTH: f32 = 210.0 * MM;
const A5_HEIGHT: f32 = 148.0 * MM;
const A4_HEIGHT: f32 = 297.0 * MM;
/// Left and right of the table.
const MARGIN: f32 = 40.0;
const TABLE_WIDTH: f32 = WIDTH - 2.0 * MARGIN;
/// From the last row to the lower edge: the footer and the margin.
const FOOT: f32 = 44.0;
/// Side of the square a seal is given: 38 mm.
const SEAL: f32 = 38.0 * MM;
/// A signature's place.
const SIGNATURE: (f32, f32) = (160.0, 52.0);
/// Width of the column of labels.
const LABEL: f32 = 66.0;
/// Left and right of a text within its cell.
const PADDING: f32 = 7.0;

const INK: Color = [0x16, 0x1a, 0x20];
const ACCENT: Color = [0x1d, 0x3b, 0x5f];
const HAIRLINE: Color = [0x8f, 0xa3, 0xb8];
const TINT: Color = [0xf0, 0xf4, 0xf8];
const FAINT: Color = [0x6b, 0x76, 0x83];

const THICK: f32 = 1.0;
const THIN: f32 = 0.5;

/// The sheets of a receipt and the signers' places on them.
pub(super) fn lay_out(
    receipt: &Receipt,
    signers: &[SignerLabel],
    meta: &DrawMeta,
) -> (Vec<Sheet>, Vec<Place>) {
    let rows = rows(receipt);
    let mut natural = Paper::new(receipt, 0.0);
    natural.fill(receipt, &rows, signers);
    // A short receipt is given air between its lines, so that it fills its half sheet.
    let slack = A5_HEIGHT - FOOT - natural.y;
    let paper = if natural.sheets.is_empty() && slack > 0.0 {
        let mut airy = Paper::new(receipt, (slack / rows.len() as f32).min(7.0));
        airy.fill(receipt, &rows, signers);
        airy
    } else {
        natural
    };
    paper.finish(meta)
}

/// A row of the table: cells from left to right.
struct Row {
    cells: Vec<Cell>,
    /// The least height of the row.
    height: f32,
}

struct Cell {
    label: &'static str,
    /// Absent values are shown as a dash, so that nothing can be filled in later.
    value: Option<String>,
    /// Width of label and value together, as a share of the row.
    share: f32,
    label_width: f32,
    style: Style,
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Capitals,
    Figures,
}

impl Cell {
    fn new(label: &'static str, value: Option<&str>, share: f32) -> Self {
        Cell {
            label,
            value: value.map(str::to_owned),
            share,
            label_width: LABEL,
            style: Style::Plain,
        }
    }

    /// The value set in the width it has.
    fn set(&self) -> Paragraph {
        let width = self.share * TABLE_WIDTH - self.label_width - 2.0 * PADDING;
        let value = self.value.as_deref().unwrap_or("—");
        match self.style {
            Style::Plain => Paragraph::fit(value, Face::Text, &[10.0, 9.0, 8.0], 1, width),
            Style::Capitals | Style::Figures => Paragraph::fit(
                value,
                Face::Display,
                &[13.0, 12.0, 11.0, 10.0, 9.0],
                1,
                width,
            ),
        }
    }
}

fn rows(receipt: &Receipt) -> Vec<Row> {
    let r = receipt;
    let plain = |cells: Vec<Cell>| Row {
        cells,
        height: 19.5,
    };
    let mut rows = vec![
        plain(vec![
            Cell::new("项目名称", Some(&r.project), 0.5),
            Cell::new("合同编号", r.contract_number.as_deref(), 0.5),
        ]),
        plain(vec![
            Cell::new("楼　　栋", r.building.as_deref(), 0.3),
            Cell::new("单　　元", r.unit.as_deref(), 0.3),
            Cell::new("房　　号", r.room.as_deref(), 0.4),
        ]),
        plain(vec![
            Cell::new("交 款 人", Some(&r.payer.name), 0.5),
            Cell::new("证件号码", r.payer.id_number.as_deref(), 0.5),
        ]),
        plain(vec![
            Cell::new("款项名称", Some(&r.item), 0.5),
            Cell::new("收款方式", r.payment_method.as_deref(), 0.5),
        ]),
        Row {
            height: 32.0,
            cells: vec![
                Cell {
                    style: Style::Capitals,
                    ..Cell::new("金额大写", Some(&rmb::capitals(r.amount_fen)), 0.68)
                },
                Cell {
                    style: Style::Figures,
                    label_width: 44.0,
                    ..Cell::new("小写", Some(&rmb::figures(r.amount_fen)), 0.32)
                },
            ],
        },
        plain(vec![
            Cell::new("收款单位", Some(&r.payee), 0.5),
            Cell::new("交易流水", r.transaction_number.as_deref(), 0.5),
        ]),
        plain(vec![
            Cell::new("监管账户", r.supervised_account.as_deref(), 0.68),
            Cell {
                label_width: 44.0,
                ..Cell::new("经办人", r.handler.as_deref(), 0.32)
            },
        ]),
    ];
    if r.note.is_some() {
        rows.push(plain(vec![Cell::new("备　　注", r.note.as_deref(), 1.0)]));
    }
    rows
}

/// What is being written on: finished sheets, the current one, and how far down it is filled.
struct Paper {
    sheets: Vec<Sheet>,
    current: Sheet,
    y: f32,
    /// Where the box of the current page began.
    top: f32,
    places: Vec<Place>,
    /// Added to each row's height.
    air: f32,
    continued: String,
}

impl Paper {
    fn new(receipt: &Receipt, air: f32) -> Self {
        Paper {
            sheets: Vec::new(),
            current: Sheet {
                width: WIDTH,
                height: A4_HEIGHT,
                marks: Vec::new(),
            },
            y: 0.0,
            top: 0.0,
            places: Vec::new(),
            air,
            continued: format!("新房收据 {}（续）", receipt.number),
        }
    }

    fn fill(&mut self, receipt: &Receipt, rows: &[Row], signers: &[SignerLabel]) {
        self.heading(receipt);
        for row in rows {
            self.row(row);
        }
        for pair in signers.chunks(2) {
            self.signers(receipt, pair);
        }
        self.close_box();
    }

    fn heading(&mut self, receipt: &Receipt) {
        let sheet = &mut self.current;
        let center = WIDTH / 2.0;
        let title = Line::new("新房收据", Face::Display, 22.0, ACCENT).tracked(7.0);
        let half = title.width() / 2.0 + 14.0;
        sheet.line(center, 40.0, Align::Center, title);
        for (y, thickness) in [(57.0, 1.2), (59.6, THIN)] {
            sheet.horizontal(center - half, y, 2.0 * half, thickness, ACCENT);
        }

        let small = |text, color| Line::new(text, Face::Text, 9.0, color);
        let number = Line::new(&receipt.number, Face::Text, 10.0, INK);
        let day = receipt.issued_on;
        let day = format!("{} 年 {} 月 {} 日", day.year(), day.month(), day.day());
        let middle = 72.0;
        let label = small("编号".to_owned(), FAINT);
        let after_label = MARGIN + label.width() + 7.0;
        sheet.line(MARGIN, middle, Align::Left, label);
        sheet.line(after_label, middle, Align::Left, number);
        let day = Line::new(day, Face::Text, 10.0, INK);
        let before_day = WIDTH - MARGIN - day.width() - 7.0;
        sheet.line(WIDTH - MARGIN, middle, Align::Right, day);
        sheet.line(
            before_day,
            middle,
            Align::Right,
            small("开具日期".to_owned(), FAINT),
        );
        self.top = 82.0;
        self.y = self.top;
    }

    fn row(&mut self, row: &Row) {
        let set: Vec<_> = row.cells.iter().map(Cell::set).collect();
        let tallest = set.iter().map(Paragraph::height).fold(0.0, f32::max);
        let height = row.height.max(tallest + 6.0) + self.air;
        self.make_room(height);

        let (sheet, y) = (&mut self.current, self.y);
        let mut x = MARGIN;
        for (cell, text) in row.cells.iter().zip(&set) {
            let width = cell.share * TABLE_WIDTH;
            let label = Area::new(x, y, cell.label_width, height);
            sheet.fill(label, TINT);
            let line = Line::new(cell.label, Face::Text, 9.0, ACCENT);
            sheet.line(
                label.x + label.w / 2.0,
                y + height / 2.0,
                Align::Center,
                line,
            );
            if x > MARGIN {
                sheet.vertical(x, y, height, THIN, HAIRLINE);
            }
            sheet.vertical(label.right(), y, height, THIN, HAIRLINE);
            let value = Area::new(label.right(), y, width - label.w, height).inset(PADDING, 0.0);
            let (align, color) = match (cell.style, &cell.value) {
                (_, None) => (Align::Left, HAIRLINE),
                (Style::Figures, _) => (Align::Right, INK),
                _ => (Align::Left, INK),
            };
            sheet.paragraph(value, align, text, color);
            x += width;
        }
        self.end_row(height);
    }

    /// Two signers side by side, or one alone.
    fn signers(&mut self, receipt: &Receipt, pair: &[SignerLabel]) {
        let seals = pair.iter().any(|signer| signer.kind == PlaceKind::Seal);
        let height = if seals { SEAL + 10.0 } else { 88.0 };
        self.make_room(height);
        let width = TABLE_WIDTH / pair.len() as f32;
        for (i, signer) in pair.iter().enumerate() {
            let x = MARGIN + i as f32 * width;
            if i > 0 {
                self.current.vertical(x, self.y, height, THIN, HAIRLINE);
            }
            self.signer(receipt, signer, Area::new(x, self.y, width, height));
        }
        self.end_row(height);
    }

    fn signer(&mut self, receipt: &Receipt, signer: &SignerLabel, cell: Area) {
        let title = match signer.kind {
            PlaceKind::Seal if signer.name == receipt.payee => "收款单位（盖章）",
            PlaceKind::Seal => "签章单位（盖章）",
            PlaceKind::Signature if signer.name == receipt.payer.name => "交款人（签字）",
            PlaceKind::Signature => "签署人（签字）",
        };
        let place = match signer.kind {
            PlaceKind::Seal => {
                let middle = cell.y + (cell.h - SEAL) / 2.0;
                Area::new(cell.right() - SEAL - 8.0, middle, SEAL, SEAL)
            }
            PlaceKind::Signature => {
                let (w, h) = SIGNATURE;
                let y = cell.bottom() - h - 8.0;
                Area::new(cell.right() - w - 10.0, y, w, h)
            }
        };
        let sheet = &mut self.current;
        let x = cell.x + PADDING;
        let text_width = match signer.kind {
            PlaceKind::Seal => place.x - x - 4.0,
            // Above the place, not beside it.
            PlaceKind::Signature => cell.w - 2.0 * PADDING,
        };
        sheet.line(
            x,
            cell.y + 13.0,
            Align::Left,
            Line::new(title, Face::Text, 9.0, ACCENT),
        );
        let name = Paragraph::fit(&signer.name, Face::Text, &[9.0, 8.0], 1, text_width);
        let area = Area::new(x, cell.y + 22.0, text_width, name.height());
        sheet.paragraph(area, Align::Left, &name, INK);
        if signer.kind == PlaceKind::Signature {
            sheet.horizontal(place.x, place.bottom(), place.w, THIN, HAIRLINE);
        }
        self.places.push(Place {
            signer: signer.signer,
            page: self.sheets.len(),
            // From the top for now; turned when the height of the sheet is known.
            rect: [place.x, place.bottom(), place.right(), place.y].map(f64::from),
            kind: signer.kind,
        });
    }

    fn end_row(&mut self, height: f32) {
        self.y += height;
        self.current
            .horizontal(MARGIN, self.y, TABLE_WIDTH, THIN, HAIRLINE);
    }

    fn make_room(&mut self, height: f32) {
        if self.y + height <= A4_HEIGHT - FOOT {
            return;
        }
        self.close_box();
        let next = Sheet {
            width: WIDTH,
            height: A4_HEIGHT,
            marks: Vec::new(),
        };
        self.sheets.push(std::mem::replace(&mut self.current, next));
        let line = Line::new(&self.continued, Face::Text, 9.0, FAINT);
        self.current.line(MARGIN, 38.0, Align::Left, line);
        self.top = 50.0;
        self.y = self.top;
    }

    /// Frames the rows of the current page.
    fn close_box(&mut self) {
        // The frame covers the hairline below the last row.
        let area = Area::new(MARGIN, self.top, TABLE_WIDTH, self.y - self.top);
        self.current.frame(area, THICK, ACCENT);
    }

    fn finish(mut self, meta: &DrawMeta) -> (Vec<Sheet>, Vec<Place>) {
        if self.sheets.is_empty() {
            self.current.height = (self.y + FOOT).max(A5_HEIGHT);
        }
        self.sheets.push(self.current);
        let pages = self.sheets.len();
        for (page, sheet) in self.sheets.iter_mut().enumerate() {
            footer(sheet, meta, page + 1, pages);
            sheet.sort();
        }
        for place in &mut self.places {
            let height = f64::from(self.sheets[place.page].height);
            let [left, bottom, right, top] = place.rect;
            place.rect = [left, height - bottom, right, height - top];
        }
        (self.sheets, self.places)
    }
}

fn footer(sheet: &mut Sheet, meta: &DrawMeta, page: usize, pages: usize) {
    let line = |text: String| Line::new(text, Face::Text, 7.0, FAINT);
    let y = sheet.height - FOOT + 14.0;
    sheet.line(
        MARGIN,
        y,
        Align::Left,
        line(format!("签署流程编号 {}", meta.flow_id)),
    );
    let number = line(format!("第 {page} 页 / 共 {pages} 页"));
    sheet.line(WIDTH - MARGIN, y, Align::Right, number);
    let mut text = "本收据以带数字签名的 PDF 文件为准，打印件、截图仅供参考。\
                    验证：在 PDF 阅读器中查看签名"
        .to_owned();
    match &meta.verify_url {
        Some(url) => text.push_str(&format!("，或将文件提交至 {url}。")),
        None => text.push('。'),
    }
    let text = Paragraph::fit(&text, Face::Text, &[7.0, 6.5, 6.0], 1, TABLE_WIDTH);
    let area = Area::new(MARGIN, y + 5.5, TABLE_WIDTH, text.height());
    sheet.paragraph(area, Align::Left, &text, FAINT);
}
