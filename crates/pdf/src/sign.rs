//! PAdES signatures (ETSI EN 319 142-1), each an incremental update of its own.
//!
//! First [`add_fields`] creates all signature fields of a document, empty, in one update; then each [`sign`] fills one of
//! them. An update never touches an earlier byte, so the signatures before it stay valid. Nothing here reads a clock or
//! the network.

mod cms;
mod error;
mod fields;
mod picture;

use std::ops::Range;

use aws_lc_rs::digest::{Algorithm, Context, Digest};

pub(crate) use cms::{IssuerAndSerialNumber, SigningCertificateV2};
pub use error::SignError;
pub use fields::{Field, add_fields};

use crate::{
    appearance::Appearance,
    document::Document,
    form::{self, Certification, FormField, Lock, Permissions},
    increment::Increment,
    pki::Credential,
    syntax::{Id, Value},
    text,
};

/// The most characters of a reason, a place or a name.
const MAX_TEXT: usize = 512;
/// Room for the CMS structure beside its certificates, in bytes: attributes, names and a signature of up to 512 bytes.
const ROOM_BESIDE_CHAIN: usize = 1280;
/// The width of each number of a byte range before it is known.
const RANGE_DIGITS: usize = 10;

/// What one signature is made of.
#[derive(Clone, Copy)]
pub struct SignRequest<'a> {
    /// The name of the empty signature field to be filled.
    pub field: &'a str,
    /// What the field shows; without it the signature is invisible.
    pub appearance: Option<&'a Appearance>,
    /// Whose signature it is.
    pub credential: &'a Credential,
    /// The time that the signer claims (`/M`), in UTC milliseconds; cut to the second.
    pub signing_time: i64,
    /// The time zone in which `/M` is written, in minutes east of UTC.
    pub zone_minutes: i16,
    /// Why it was signed. At most 512 characters.
    pub reason: Option<&'a str>,
    /// Where it was signed. At most 512 characters.
    pub location: Option<&'a str>,
    /// The signer's name for readers that do not look into certificates. At most 512 characters.
    pub name: Option<&'a str>,
}

/// Fills an empty signature field (PAdES B-B) in one incremental update.
///
/// # Errors
/// When the document is unreadable, the field does not exist or is signed, an argument is beyond its limit, an earlier
/// signature forbids it, or the cryptographic library fails.
pub fn sign(pdf: &[u8], request: &SignRequest<'_>) -> Result<Vec<u8>, SignError> {
    prepare(pdf, request)?.finish()
}

/// A signature that is made but not yet in its place.
struct Pending {
    /// The whole file, with zeros where the signature goes.
    bytes: Vec<u8>,
    /// Where its hexadecimal digits go.
    digits: Range<usize>,
    signed: cms::SignedData,
}

impl Pending {
    fn finish(mut self) -> Result<Vec<u8>, SignError> {
        let encoded = cms::encode(&self.signed)?;
        let reserved = self.digits.len() / 2;
        if encoded.len() > reserved {
            return Err(SignError::NoRoom {
                needed: encoded.len(),
                reserved,
            });
        }
        let end = self.digits.start + encoded.len() * 2;
        let place = &mut self.bytes[self.digits.start..end];
        hex::encode_to_slice(&encoded, place)
            .map_err(|_| SignError::Crypto("write a signature"))?;
        Ok(self.bytes)
    }
}

fn prepare(pdf: &[u8], request: &SignRequest<'_>) -> Result<Pending, SignError> {
    let document = Document::parse(pdf)?;
    let field = empty_field(&document, request.field)?;
    let chain: usize = request.credential.chain_der.iter().map(Vec::len).sum();
    let room = chain + ROOM_BESIDE_CHAIN;
    let dictionary = SignatureDictionary::new(&document, &field, request, room)?;

    let mut increment = Increment::new(&document);
    let signature = increment.add(dictionary.body);
    let value = ("V", signature.to_string().into_bytes());
    match request.appearance {
        None => increment.edit(field.id, &[value])?,
        Some(appearance) => {
            // Only the first annotation of a field is shown; signature fields have one.
            let widget = field.widgets.first().copied().unwrap_or(field.id);
            let picture = picture::add(
                &mut increment,
                appearance,
                page_rotation(&document, widget)?,
            )?;
            let picture = ("AP", format!("<< /N {picture} >>").into_bytes());
            if widget == field.id {
                increment.edit(field.id, &[value, picture])?;
            } else {
                increment.edit(field.id, &[value])?;
                increment.edit(widget, &[picture])?;
            }
        }
    }
    let updated = increment.finish();
    // The increment has just put it there.
    let body = updated.bodies.get(&signature).copied().unwrap_or_default();
    let mut bytes = updated.bytes;
    let contents = body + dictionary.contents.start..body + dictionary.contents.end;
    let ranges = [0..contents.start, contents.end..bytes.len()];
    write_byte_range(&mut bytes[body + dictionary.byte_range..], &ranges);
    let content = digest_ranges(request.credential.key.digest(), &bytes, &ranges);
    let signed = cms::sign(request.credential, &content)?;
    Ok(Pending {
        bytes,
        digits: contents.start + 1..contents.end - 1,
        signed,
    })
}

/// The digest of several ranges of `bytes`, one after the other.
pub(crate) fn digest_ranges(
    algorithm: &'static Algorithm,
    bytes: &[u8],
    ranges: &[Range<usize>],
) -> Digest {
    let mut context = Context::new(algorithm);
    for range in ranges {
        context.update(&bytes[range.clone()]);
    }
    context.finish()
}

/// Finds the field and makes sure that it may be signed.
fn empty_field(document: &Document<'_>, name: &str) -> Result<FormField, SignError> {
    let fields = form::fields(document)?;
    for earlier in fields.iter().filter(|field| field.is_signature) {
        let Some(value) = earlier.value() else {
            continue;
        };
        let Value::Dict(signature) = document.resolve(&value.value)? else {
            continue;
        };
        let permissions = Permissions::of(document, &signature)?;
        if permissions.certification == Some(Certification::NoChanges)
            || permissions.lock.is_some_and(|lock| lock.covers(name))
        {
            return Err(SignError::Certified);
        }
    }
    let found = fields
        .into_iter()
        .find(|field| field.is_signature && field.name == name);
    let field = found.ok_or_else(|| SignError::NoSuchField(name.to_owned()))?;
    if field.value().is_some() {
        return Err(SignError::AlreadySigned(name.to_owned()));
    }
    Ok(field)
}

/// A signature dictionary (ISO 32000-2 section 12.8.1) with its blanks.
struct SignatureDictionary {
    body: Vec<u8>,
    /// Where the byte range's blank begins in it.
    byte_range: usize,
    /// Where the contents are in it, brackets included.
    contents: Range<usize>,
}

impl SignatureDictionary {
    fn new(
        document: &Document<'_>,
        field: &FormField,
        request: &SignRequest<'_>,
        room: usize,
    ) -> Result<Self, SignError> {
        let date = text::encode_date(request.signing_time, request.zone_minutes);
        let date = date.ok_or(SignError::Time(request.signing_time))?;
        let mut body = format!(
            "<< /Type /Sig /Filter /Adobe.PPKLite /SubFilter /ETSI.CAdES.detached /M ({date})"
        )
        .into_bytes();
        let texts = [
            ("Name", request.name),
            ("Reason", request.reason),
            ("Location", request.location),
        ];
        for (key, text) in texts {
            let Some(text) = text else { continue };
            if text.chars().count() > MAX_TEXT {
                return Err(SignError::TooLarge {
                    what: "a text of a signature in characters",
                    limit: MAX_TEXT,
                });
            }
            body.extend_from_slice(format!(" /{key} ").as_bytes());
            body.extend_from_slice(&text::encode(text));
        }
        if let Value::Dict(lock) = document.resolve(field.dict.value(b"Lock"))? {
            body.extend_from_slice(&field_lock(&Lock::of(document, &lock)?));
        }
        body.extend_from_slice(b" /ByteRange [");
        let byte_range = body.len();
        body.resize(byte_range + 4 * (RANGE_DIGITS + 1), b' ');
        body.extend_from_slice(b" ] /Contents ");
        let start = body.len();
        body.push(b'<');
        body.resize(body.len() + room * 2, b'0');
        body.push(b'>');
        let contents = start..body.len();
        body.extend_from_slice(b" >>");
        Ok(Self {
            body,
            byte_range,
            contents,
        })
    }
}

/// A field's `/Lock` becomes part of what is signed (section 12.8.2.4).
fn field_lock(lock: &Lock) -> Vec<u8> {
    let (action, names): (_, &[String]) = match lock {
        Lock::All => ("All", &[]),
        Lock::Include(names) => ("Include", names),
        Lock::Exclude(names) => ("Exclude", names),
    };
    let mut out = format!(
        " /Reference [ << /Type /SigRef /TransformMethod /FieldMDP /TransformParams << /Type /TransformParams /V /1.2 /Action /{action}"
    )
    .into_bytes();
    if !names.is_empty() {
        out.extend_from_slice(b" /Fields [");
        for name in names {
            out.push(b' ');
            out.extend_from_slice(&text::encode(name));
        }
        out.extend_from_slice(b" ]");
    }
    out.extend_from_slice(b" >> >> ]");
    out
}

fn write_byte_range(blank: &mut [u8], ranges: &[Range<usize>; 2]) {
    let numbers = [
        ranges[0].start,
        ranges[0].len(),
        ranges[1].start,
        ranges[1].len(),
    ];
    for (place, number) in blank.chunks_exact_mut(RANGE_DIGITS + 1).zip(numbers) {
        // Ten digits hold every offset of a file of at most 256 MiB.
        place.copy_from_slice(format!(" {number:<RANGE_DIGITS$}").as_bytes());
    }
}

/// The rotation of the page that a widget is on: 0, 90, 180 or 270.
fn page_rotation(document: &Document<'_>, widget: Id) -> Result<u16, SignError> {
    let widget = document.dict(&Value::Ref(widget), "an annotation is not a dictionary")?;
    let mut node = document.resolve(widget.value(b"P"))?;
    // `/Rotate` is inherited along the page tree.
    for _ in 0..64 {
        let Value::Dict(dict) = node else {
            return Ok(0);
        };
        if let Some(rotation) = document.resolve(dict.value(b"Rotate"))?.int() {
            return Ok(u16::try_from(rotation.rem_euclid(360)).unwrap_or(0));
        }
        node = document.resolve(dict.value(b"Parent"))?;
    }
    Ok(0)
}

/// A number as PDF spells it: no exponent, at most four decimals.
fn number(value: f64) -> Result<String, SignError> {
    const MOST: usize = 1_000_000;
    if !value.is_finite() || value.abs() > MOST as f64 {
        return Err(SignError::TooLarge {
            what: "a coordinate",
            limit: MOST,
        });
    }
    let text = format!("{value:.4}");
    Ok(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}
