//! Small PDFs of every structure that ISO 32000 permits, written by hand, and updates appended by hand: independent of the
//! code under test.

use std::io::Write as _;

/// A document of a page that shows an amount.
pub(crate) struct Sample {
    /// Bodies of objects 1, 2, 3, …
    pub(crate) objects: Vec<Vec<u8>>,
}

/// How its cross-references are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Structure {
    Table,
    /// A cross-reference stream, every object in the file itself.
    Stream,
    /// A cross-reference stream, with everything but streams in an object stream.
    ObjectStreams,
    /// A table for old readers, and an object stream that only new readers see.
    Hybrid,
}

pub(crate) const STRUCTURES: [Structure; 4] = [
    Structure::Table,
    Structure::Stream,
    Structure::ObjectStreams,
    Structure::Hybrid,
];

impl Sample {
    /// 1 catalog, 2 pages, 3 page, 4 content, 5 font.
    pub(crate) fn one_page() -> Self {
        Self::page("")
    }

    /// With these further entries in the page's dictionary.
    pub(crate) fn page(entries: &str) -> Self {
        let page = format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595.303937 841.889764] /Contents 4 0 R \
             /Resources << /Font << /F1 5 0 R >> >> {entries} >>"
        );
        let content = "BT /F1 24 Tf 72 700 Td (Receipt 1640902.50) Tj ET";
        Self {
            objects: vec![
                b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
                b"<< /Type /Pages /Kids [ 3 0 R ] /Count 1 >>".to_vec(),
                page.into_bytes(),
                stream("", content.as_bytes()),
                b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_vec(),
            ],
        }
    }

    /// With another body for an object, or further objects.
    pub(crate) fn with(mut self, number: usize, body: impl Into<Vec<u8>>) -> Self {
        if self.objects.len() < number {
            self.objects.resize(number, b"null".to_vec());
        }
        self.objects[number - 1] = body.into();
        self
    }

    pub(crate) fn write(&self, structure: Structure) -> Vec<u8> {
        match structure {
            Structure::Table => self.table(),
            Structure::Stream => self.stream(),
            Structure::ObjectStreams => self.object_streams(),
            Structure::Hybrid => self.hybrid(),
        }
    }

    fn table(&self) -> Vec<u8> {
        let mut out = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
        let offsets = self
            .objects
            .iter()
            .enumerate()
            .map(|(n, body)| put_object(&mut out, n + 1, body));
        let offsets: Vec<usize> = offsets.collect();
        let start = out.len();
        write!(out, "xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1).unwrap();
        for offset in &offsets {
            writeln!(out, "{offset:010} 00000 n ").unwrap();
        }
        let size = offsets.len() + 1;
        write!(
            out,
            "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
        )
        .unwrap();
        out
    }

    fn stream(&self) -> Vec<u8> {
        let mut out = b"%PDF-1.7\n".to_vec();
        let mut records: Vec<[u32; 3]> = vec![[0, 0, 65535]];
        for (n, body) in self.objects.iter().enumerate() {
            records.push([1, put_object(&mut out, n + 1, body) as u32, 0]);
        }
        put_xref_stream(&mut out, records, "/Root 1 0 R");
        out
    }

    fn object_streams(&self) -> Vec<u8> {
        let mut out = b"%PDF-1.7\n".to_vec();
        let container = self.objects.len() as u32 + 1;
        let mut records: Vec<[u32; 3]> = vec![[0, 0, 65535]];
        let mut packed = Vec::new();
        for (n, body) in self.objects.iter().enumerate() {
            if body.windows(6).any(|window| window == b"stream") {
                records.push([1, put_object(&mut out, n + 1, body) as u32, 0]);
            } else {
                records.push([2, container, packed.len() as u32]);
                packed.push((n + 1, body.as_slice()));
            }
        }
        let offset = put_object(&mut out, container as usize, &object_stream(&packed)) as u32;
        records.push([1, offset, 0]);
        put_xref_stream(&mut out, records, "/Root 1 0 R");
        out
    }

    /// The font hides in an object stream; the table calls it free.
    fn hybrid(&self) -> Vec<u8> {
        let hidden = 5;
        let mut out = b"%PDF-1.5\n".to_vec();
        let mut offsets = Vec::new();
        for (n, body) in self.objects.iter().enumerate() {
            let number = n + 1;
            offsets.push(if number == hidden {
                0
            } else {
                put_object(&mut out, number, body)
            });
        }
        let container = self.objects.len() + 1;
        let packed = [(hidden, self.objects[hidden - 1].as_slice())];
        let container_at = put_object(&mut out, container, &object_stream(&packed));
        let stream_at = out.len();
        let mut records = Vec::new();
        let places = [
            [2, container as u32, 0],
            [1, container_at as u32, 0],
            [1, stream_at as u32, 0],
        ];
        for record in places {
            put_record(&mut records, record);
        }
        let dict = format!(
            "/Type /XRef /W [1 4 2] /Index [{hidden} 1 {container} 2] /Size {}",
            container + 2
        );
        put_object(&mut out, container + 1, &stream(&dict, &records));
        let start = out.len();
        write!(out, "xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1).unwrap();
        for offset in &offsets {
            let kind = if *offset == 0 { 'f' } else { 'n' };
            writeln!(out, "{offset:010} 00000 {kind} ").unwrap();
        }
        let size = container + 2;
        let trailer = format!("<< /Size {size} /Root 1 0 R /XRefStm {stream_at} >>");
        write!(out, "trailer\n{trailer}\nstartxref\n{start}\n%%EOF\n").unwrap();
        out
    }
}

/// A stream object's body.
pub(crate) fn stream(dict: &str, data: &[u8]) -> Vec<u8> {
    let mut out = format!("<< {dict} /Length {} >>\nstream\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\nendstream");
    out
}

/// Appends an incremental update with these objects, as anyone can.
pub(crate) fn append(pdf: &[u8], objects: &[(usize, &[u8])]) -> Vec<u8> {
    append_with(pdf, objects, "")
}

/// Likewise, with further entries in the trailer.
pub(crate) fn append_with(pdf: &[u8], objects: &[(usize, &[u8])], trailer: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(pdf);
    let previous = text
        .rsplit("startxref")
        .next()
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let root = text
        .rsplit("/Root ")
        .next()
        .unwrap()
        .split(" R")
        .next()
        .unwrap();
    let mut out = pdf.to_vec();
    let mut offsets = Vec::new();
    for (number, body) in objects {
        offsets.push((*number, put_object(&mut out, *number, body)));
    }
    let start = out.len();
    out.extend_from_slice(b"xref\n");
    for (number, offset) in &offsets {
        write!(out, "{number} 1\n{offset:010} 00000 n \n").unwrap();
    }
    let size = offsets
        .iter()
        .map(|(number, _)| number + 1)
        .max()
        .unwrap_or(0)
        .max(1000);
    let trailer = format!("<< /Size {size} /Root {root} R /Prev {previous} {trailer} >>");
    write!(out, "trailer\n{trailer}\nstartxref\n{start}\n%%EOF\n").unwrap();
    out
}

fn put_object(out: &mut Vec<u8>, number: usize, body: &[u8]) -> usize {
    let offset = out.len();
    writeln!(out, "{number} 0 obj").unwrap();
    out.extend_from_slice(body);
    out.extend_from_slice(b"\nendobj\n");
    offset
}

fn object_stream(packed: &[(usize, &[u8])]) -> Vec<u8> {
    let (mut index, mut bodies) = (String::new(), Vec::new());
    for (number, body) in packed {
        index.push_str(&format!("{number} {} ", bodies.len()));
        bodies.extend_from_slice(body);
        bodies.push(b'\n');
    }
    let data = [index.as_bytes(), &bodies].concat();
    let dict = format!(
        "/Type /ObjStm /N {} /First {} /Filter /FlateDecode",
        packed.len(),
        index.len()
    );
    stream(&dict, &deflate(&data))
}

/// With the PNG predictor that most writers use.
fn put_xref_stream(out: &mut Vec<u8>, mut records: Vec<[u32; 3]>, entries: &str) {
    let start = out.len();
    records.push([1, start as u32, 0]);
    let (mut data, mut above) = (Vec::new(), vec![0_u8; 7]);
    for record in &records {
        let mut row = Vec::new();
        put_record(&mut row, *record);
        data.push(2);
        data.extend(
            row.iter()
                .zip(&above)
                .map(|(byte, above)| byte.wrapping_sub(*above)),
        );
        above = row;
    }
    let dict = format!(
        "/Type /XRef /W [1 4 2] /Size {} {entries} /Filter /FlateDecode /DecodeParms << /Predictor 12 /Columns 7 >>",
        records.len()
    );
    put_object(out, records.len() - 1, &stream(&dict, &deflate(&data)));
    write!(out, "startxref\n{start}\n%%EOF\n").unwrap();
}

fn put_record(out: &mut Vec<u8>, [kind, second, third]: [u32; 3]) {
    out.push(kind as u8);
    out.extend_from_slice(&second.to_be_bytes());
    out.extend_from_slice(&(third as u16).to_be_bytes());
}

pub(crate) fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}
