//! PAdES signatures (ETSI EN 319 142-1), each an incremental update of its own.
//!
//! First [`add_fields`] creates all signature fields of a document, empty, in one update; then each [`sign`] fills one of
//! them. An update never touches an earlier byte, so the signatures before it stay valid. Nothing here reads a clock or
//! the network.

mod archive;
mod blank;
mod error;
mod fields;
pub(crate) mod picture;

use blank::{Blank, Dictionary};
use der::Encode as _;

pub use archive::{Evidence, PendingArchive, add_evidence, prepare_archive};
pub use error::SignError;
pub use fields::{Field, add_fields};

use crate::{
    appearance::Appearance,
    cms::{self, Content, Signed},
    document::Document,
    form::{self, Certification, FormField, Lock, Permissions},
    increment::Increment,
    pki::{Credential, Hash},
    syntax::{Id, Value},
    text,
    timestamp::{Timestamp, TimestampRequest},
};

/// The most characters of a reason, a place or a name.
const MAX_TEXT: usize = 512;
/// Room in bytes for what is in the CMS structure beside certificates, the issuer's name and the signature: three attributes, a
/// serial number, identifiers. It takes some 280.
const ROOM_BESIDE: usize = 384;
/// Room for a timestamp with the chain of its authority, in bytes.
const TIMESTAMP_ROOM: usize = 8 * 1024;

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
    make(pdf, request, 0)?.finish()
}

/// Like [`sign()`], but leaves room for a timestamp, which makes the signature PAdES B-T:
/// [`Pending::timestamp_request`] goes to an authority, and its answer to [`Pending::set_timestamp`].
///
/// # Errors
/// As [`sign()`].
pub fn prepare(pdf: &[u8], request: &SignRequest<'_>) -> Result<Pending, SignError> {
    make(pdf, request, TIMESTAMP_ROOM)
}

/// A signature that is made but not yet in its place.
pub struct Pending {
    blank: Blank,
    signed: Signed,
}

impl Pending {
    /// Asks for a timestamp over the signature (SHA-256). `nonce` is 16 random bytes.
    ///
    /// # Errors
    /// When the policy is no object identifier.
    pub fn timestamp_request(
        &self,
        nonce: [u8; 16],
        policy: Option<&str>,
    ) -> Result<TimestampRequest, SignError> {
        let imprint = Hash::Sha256.of(&[self.signed.signature()]);
        TimestampRequest::new(&imprint, nonce, policy)
    }

    /// Puts the timestamp beside the signature.
    ///
    /// # Errors
    /// When the token cannot be encoded.
    pub fn set_timestamp(&mut self, timestamp: &Timestamp) -> Result<(), SignError> {
        self.signed.set_timestamp(timestamp.token())
    }

    /// The signed file; without a timestamp it is PAdES B-B.
    ///
    /// # Errors
    /// When the signature does not fit the room reserved for it.
    pub fn finish(self) -> Result<Vec<u8>, SignError> {
        self.blank.fill(&self.signed.encode()?)
    }
}

fn make(pdf: &[u8], request: &SignRequest<'_>, room: usize) -> Result<Pending, SignError> {
    let document = Document::parse(pdf)?;
    let field = empty_field(&document, request.field)?;
    let entries = entries(&document, &field, request)?;
    let dictionary = Dictionary::new(entries, cms_room(request.credential)? + room);

    let mut increment = Increment::new(&document);
    let signature = increment.add(dictionary.body);
    let value = ("V", signature.to_string().into_bytes());
    match request.appearance {
        None => increment.edit(field.id, &[value])?,
        Some(appearance) => {
            // Only the first annotation of a field is shown; signature fields have one.
            let widget = field.widgets.first().copied().unwrap_or(field.id);
            let rotation = page_rotation(&document, widget)?;
            let appearance = fitted(&document, widget, rotation, appearance)?;
            let picture = picture::add(&mut increment, &appearance, rotation)?;
            let picture = ("AP", format!("<< /N {picture} >>").into_bytes());
            if widget == field.id {
                increment.edit(field.id, &[value, picture])?;
            } else {
                increment.edit(field.id, &[value])?;
                increment.edit(widget, &[picture])?;
            }
        }
    }
    let blank = Blank::new(increment.finish(), signature, &dictionary.places);
    let content = blank.digest(request.credential.algorithm().hash());
    let signed = cms::sign(request.credential, Content::Detached(&content), true)?;
    Ok(Pending { blank, signed })
}

/// Room for the CMS structure of a credential's signature without a timestamp, in bytes. What is left of it is zeros in the
/// file, two for each byte.
fn cms_room(credential: &Credential) -> Result<usize, SignError> {
    let chain: usize = credential.chain_der.iter().map(Vec::len).sum();
    let issuer = credential.leaf().tbs_certificate().issuer().to_der()?.len();
    Ok(chain + issuer + credential.algorithm().longest_signature() + ROOM_BESIDE)
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

/// The entries of the signature dictionary but for its byte range and contents.
fn entries(
    document: &Document<'_>,
    field: &FormField,
    request: &SignRequest<'_>,
) -> Result<Vec<u8>, SignError> {
    let date = text::encode_date(request.signing_time, request.zone_minutes);
    let date = date.ok_or(SignError::Time(request.signing_time))?;
    let mut entries =
        format!("/Type /Sig /Filter /Adobe.PPKLite /SubFilter /ETSI.CAdES.detached /M ({date})")
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
        entries.extend_from_slice(format!(" /{key} ").as_bytes());
        entries.extend_from_slice(&text::encode(text));
    }
    if let Value::Dict(lock) = document.resolve(field.dict.value(b"Lock"))? {
        entries.extend_from_slice(&field_lock(&Lock::of(document, &lock)?));
    }
    Ok(entries)
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

/// The picture as large as its annotation, which would else stretch it (section 12.5.5).
fn fitted(
    document: &Document<'_>,
    widget: Id,
    rotation: u16,
    picture: &Appearance,
) -> Result<Appearance, SignError> {
    let widget = document.dict(&Value::Ref(widget), "an annotation is not a dictionary")?;
    let mut sides = Vec::with_capacity(4);
    for side in document.array(widget.value(b"Rect"), "an annotation's place is malformed")? {
        sides.extend(document.resolve(&side.value)?.number());
    }
    let Ok([x1, y1, x2, y2]) = <[f64; 4]>::try_from(sides) else {
        return Ok(picture.clone());
    };
    let (width, height) = match rotation {
        90 | 270 => ((y2 - y1).abs(), (x2 - x1).abs()),
        _ => ((x2 - x1).abs(), (y2 - y1).abs()),
    };
    if width <= 0.0 || height <= 0.0 {
        return Ok(picture.clone());
    }
    Ok(picture.fitted(width, height))
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
