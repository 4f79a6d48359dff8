//! Writes an [`Appearance`] as a form XObject (ISO 32000-2 section 8.10).

use std::{
    collections::HashMap,
    io::Write as _,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};

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
const MAX_REMEMBERED_BYTES: usize = 64 * 1024;

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
    Ok(increment.add_stream(&dict, &deflated_content(&picture.content)))
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
    let size = format!(
        "/Type /XObject /Subtype /Image /Width {} /Height {} /BitsPerComponent 8",
        image.width, image.height
    );
    let opacity: Vec<u8> = image.pixels.chunks_exact(4).map(|pixel| pixel[3]).collect();
    let mask = if opacity.iter().all(|&alpha| alpha == u8::MAX) {
        String::new()
    } else {
        let dict = format!("{size} /ColorSpace /DeviceGray /Filter /FlateDecode");
        format!(
            " /SMask {}",
            increment.add_stream(&dict, &deflate(&opacity))
        )
    };
    let colours: Vec<u8> = image
        .pixels
        .chunks_exact(4)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect();
    let dict = format!("{size} /ColorSpace /DeviceRGB{mask} /Filter /FlateDecode");
    Ok(increment.add_stream(&dict, &deflate(&colours)))
}

/// Fast rather than small: packing a seal with the default costs more than signing, and saves a kilobyte.
/// The content compressed. A seal is compressed once and then put on thousands of documents, and compressing it takes several
/// times as long as everything else about a signature; so the last few are remembered, by their digest.
fn deflated_content(content: &[u8]) -> Arc<[u8]> {
    type Remembered = HashMap<[u8; 32], Arc<[u8]>>;
    static REMEMBERED: LazyLock<Mutex<Remembered>> = LazyLock::new(Mutex::default);
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, content).as_ref());
    let remembered = || REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = remembered().get(&key) {
        return Arc::clone(found);
    }
    let made: Arc<[u8]> = deflate(content).into();
    if made.len() <= MAX_REMEMBERED_BYTES {
        let mut remembered = remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, Arc::clone(&made));
    }
    made
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(2));
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(data);
    encoder.finish().unwrap_or_default()
}
