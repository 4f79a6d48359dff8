//! Reads PNG pictures that people send, within limits, and makes them smaller.

use std::io::Cursor;

use png::{ColorType, Transformations};

/// What a picture may have at most.
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Why a picture is not taken.
pub(crate) enum Refused {
    TooManyBytes(usize),
    TooLarge { width: u32, height: u32 },
    NotPng(String),
}

/// A picture in sRGB with straight alpha.
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Red, green, blue and alpha; rows from the top.
    pub(crate) pixels: Vec<[u8; 4]>,
}

impl Picture {
    /// Reads a PNG of any colour type and depth. Its size is checked before anything is unpacked, its checksums throughout.
    pub(crate) fn read(png: &[u8], limits: &Limits) -> Result<Self, Refused> {
        if png.len() > limits.bytes {
            return Err(Refused::TooManyBytes(png.len()));
        }
        let broken = |error: png::DecodingError| Refused::NotPng(error.to_string());
        let memory = limits.width as usize * limits.height as usize * 8;
        let mut decoder =
            png::Decoder::new_with_limits(Cursor::new(png), png::Limits { bytes: memory });
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(broken)?;
        let (width, height) = reader.info().size();
        if width > limits.width || height > limits.height {
            return Err(Refused::TooLarge { width, height });
        }
        let size = reader
            .output_buffer_size()
            .ok_or_else(|| Refused::NotPng("its size overflows".to_owned()))?;
        let mut bytes = vec![0; size];
        let frame = reader.next_frame(&mut bytes).map_err(broken)?;
        // A file cut short after its last row is damaged too.
        reader.finish().map_err(broken)?;
        bytes.truncate(frame.buffer_size());
        let pixels = match frame.color_type {
            ColorType::Grayscale => bytes.iter().map(|&y| [y, y, y, 255]).collect(),
            ColorType::GrayscaleAlpha => bytes
                .chunks_exact(2)
                .map(|p| [p[0], p[0], p[0], p[1]])
                .collect(),
            ColorType::Rgb => bytes
                .chunks_exact(3)
                .map(|p| [p[0], p[1], p[2], 255])
                .collect(),
            ColorType::Rgba => bytes
                .chunks_exact(4)
                .map(|p| [p[0], p[1], p[2], p[3]])
                .collect(),
            ColorType::Indexed => return Err(Refused::NotPng("its palette is missing".to_owned())),
        };
        Ok(Picture {
            width: width as usize,
            height: height as usize,
            pixels,
        })
    }

    /// The smallest part that holds every pixel that is not wholly transparent; `None` if there is none.
    pub(crate) fn cropped(&self) -> Option<Self> {
        let inked = |x: usize, y: usize| self.pixels[y * self.width + x][3] > 0;
        let mut rows = (0..self.height).filter(|&y| (0..self.width).any(|x| inked(x, y)));
        let mut columns = (0..self.width).filter(|&x| (0..self.height).any(|y| inked(x, y)));
        let (top, left) = (rows.next()?, columns.next()?);
        let (bottom, right) = (
            rows.next_back().unwrap_or(top),
            columns.next_back().unwrap_or(left),
        );
        let row = |y: usize| &self.pixels[y * self.width + left..=y * self.width + right];
        let pixels = (top..=bottom).flat_map(row).copied().collect();
        Some(Picture {
            width: right - left + 1,
            height: bottom - top + 1,
            pixels,
        })
    }

    /// Halves the picture until it is no larger than this.
    pub(crate) fn reduced(mut self, width: usize, height: usize) -> Self {
        while self.width > width || self.height > height {
            self = self.halved();
        }
        self
    }

    fn halved(&self) -> Self {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let at = |x: usize, y: usize| {
            self.pixels[y.min(self.height - 1) * self.width + x.min(self.width - 1)]
        };
        let mut pixels = Vec::with_capacity(width * height);
        for y in (0..height).map(|y| 2 * y) {
            for x in (0..width).map(|x| 2 * x) {
                let four = [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)];
                let alpha: u32 = four.iter().map(|p| u32::from(p[3])).sum();
                // A transparent pixel has no colour to give.
                let mean = |channel: usize| {
                    let sum: u32 = four
                        .iter()
                        .map(|p| u32::from(p[channel]) * u32::from(p[3]))
                        .sum();
                    sum.checked_div(alpha).unwrap_or(0) as u8
                };
                pixels.push([mean(0), mean(1), mean(2), (alpha / 4) as u8]);
            }
        }
        Picture {
            width,
            height,
            pixels,
        }
    }
}
