//! Writes an [`Appearance`] as a form XObject (ISO 32000-2 section 8.10).

use std::{
    collections::HashMap,
    io::Write as _,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use flate2::{Compression, write::ZlibEncoder};

use super::{SignError, number};
use crate::{
    appearance::{Appearance, RgbaImage},
    increment::Increment,
    syntax::Id,
};

/// The most bytes of a picture's content.
const MAX_CONTENT: usize = 1 << 20;
/// The most images in a picture.
const MAX_IMAGES: usize = 8;
/// The most pixels of an image.
const MAX_PIXELS: usize = 4 << 20;

/// How many compressed contents are remembered, and of at most how many bytes each.
const MAX_REMEMBERED: usize = 128;
const MAX_REMEMBERED_BYTES: usize = 256 * 1024;

/// Adds the picture; `rotation` is that of the page it goes on (0, 90, 180 or 270), against which it is turned so that it
/// stands upright on the screen.
pub(crate) fn add(
    increment: &mut Increment<'_, '_>,
    picture: &Appearance,
    rotation: u16,
) -> Result<Id, SignError> {
    if picture.content.len() > MAX_CONTENT {
        return Err(SignError::TooLarge {
            what: "a picture's content in bytes",
            limit: MAX_CONTENT,
        });
    }
    if picture.images.len() > MAX_IMAGES {
        return Err(SignError::TooLarge {
            what: "the number of images in a picture",
            limit: MAX_IMAGES,
        });
    }
    let mut images = String::new();
    for (n, image) in picture.images.iter().enumerate() {
        images.push_str(&format!("/Im{n} {} ", add_image(increment, image)?));
    }
    let matrix = match rotation {
        90 => " /Matrix [ 0 1 -1 0 0 0 ]",
        180 => " /Matrix [ -1 0 0 -1 0 0 ]",
        270 => " /Matrix [ 0 -1 1 0 0 0 ]",
        _ => "",
    };
    let dict = format!(
        "/Type /XObject /Subtype /Form /BBox [ 0 0 {} {} ]{matrix} /Resources << /XObject << {images}>> >> /Filter /FlateDecode",
        number(picture.width_pt)?,
        number(picture.height_pt)?,
    );
    Ok(increment.add_stream(&dict, &remembered(&picture.content, Compression::best())))
}

/// Adds an image, with a soft mask when a pixel of it is not opaque.
fn add_image(increment: &mut Increment<'_, '_>, image: &RgbaImage) -> Result<Id, SignError> {
    let pixels = image.width as usize * image.height as usize;
    if pixels > MAX_PIXELS || pixels == 0 {
        return Err(SignError::TooLarge {
            what: "the number of pixels of an image",
            limit: MAX_PIXELS,
        });
    }
    if image.pixels.len() != pixels * 4 {
        return Err(SignError::TooLarge {
            what: "the bytes of an image's pixels",
            limit: pixels * 4,
        });
    }
    let mask = match opacity(image) {
        None => String::new(),
        Some((bits, opacity)) => {
            let dict = format!(
                "{} /BitsPerComponent {bits} /ColorSpace /DeviceGray /Filter /FlateDecode",
                head(image.width, image.height)
            );
            format!(
                " /SMask {}",
                increment.add_stream(&dict, &image_deflated(&opacity))
            )
        }
    };
    let (width, height, colours) = colours(image);
    let dict = format!(
        "{} /BitsPerComponent 8 /ColorSpace /DeviceRGB{mask} /Filter /FlateDecode",
        head(width, height)
    );
    Ok(increment.add_stream(&dict, &image_deflated(&colours)))
}

/// An operator's picture of a seal is large and comes again, a signature by hand is small and does not. The hardest compression would
/// save one byte in fourteen of a signature, and take ten times as long: more than all else about a receipt's signatures.
fn image_deflated(data: &[u8]) -> Arc<[u8]> {
    const LARGE: usize = 256 * 1024;
    if data.len() < LARGE {
        deflate(data, Compression::default()).into()
    } else {
        remembered(data, Compression::default())
    }
}

fn head(width: u32, height: u32) -> String {
    format!("/Type /XObject /Subtype /Image /Width {width} /Height {height}")
}

/// How opaque the pixels are, and in how many bits each: four do for what has sixteen steps, as signatures have. `None` if all
/// are opaque.
fn opacity(image: &RgbaImage) -> Option<(u8, Vec<u8>)> {
    const STEP: u8 = u8::MAX / 15;
    let alphas = || image.pixels.chunks_exact(4).map(|pixel| pixel[3]);
    if alphas().all(|alpha| alpha == u8::MAX) {
        return None;
    }
    if !alphas().all(|alpha| alpha % STEP == 0) {
        return Some((8, alphas().collect()));
    }
    let rows = image.pixels.chunks_exact(image.width as usize * 4);
    let packed = rows.flat_map(|row| {
        // Each row begins with a new byte.
        row.chunks(8).map(|two| {
            let nibble = |at: usize| two.get(at).map_or(0, |alpha| alpha / STEP);
            nibble(3) << 4 | nibble(7)
        })
    });
    Some((4, packed.collect()))
}

/// The colours: of all pixels, or a single one where all that is seen has the same, which is laid under the whole mask.
fn colours(image: &RgbaImage) -> (u32, u32, Vec<u8>) {
    let colour = |pixel: &[u8]| [pixel[0], pixel[1], pixel[2]];
    let pixels = image.pixels.chunks_exact(4);
    let mut seen = pixels.clone().filter(|pixel| pixel[3] > 0).map(colour);
    let first = seen.next().unwrap_or_default();
    if seen.all(|other| other == first) {
        return (1, 1, first.to_vec());
    }
    (image.width, image.height, pixels.flat_map(colour).collect())
}

/// Data compressed. A seal is compressed once and then put on thousands of documents, and compressing it takes several
/// times as long as everything else about a signature; so the last few are remembered, by their digest.
fn remembered(data: &[u8], level: Compression) -> Arc<[u8]> {
    type Remembered = HashMap<[u8; 32], Arc<[u8]>>;
    static REMEMBERED: LazyLock<Mutex<Remembered>> = LazyLock::new(Mutex::default);
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, data).as_ref());
    let remembered = || REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = remembered().get(&key) {
        return Arc::clone(found);
    }
    let made: Arc<[u8]> = deflate(data, level).into();
    if made.len() <= MAX_REMEMBERED_BYTES {
        let mut remembered = remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, Arc::clone(&made));
    }
    made
}

fn deflate(data: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), level);
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(data);
    encoder.finish().unwrap_or_default()
}
