//! What keeps signatures checkable for decades (ETSI EN 319 142-1): evidence in the document (B-LT), and timestamps over the
//! whole document (B-LTA), each renewed before it ages.

use aws_lc_rs::digest::{self, digest};

use super::{
    Field, SignError, TIMESTAMP_ROOM,
    blank::{Blank, Dictionary},
    fields,
};
use crate::{
    document::Document,
    form,
    increment::Increment,
    pki::Hash,
    syntax::{Dict, Id, Value},
    timestamp::{Timestamp, TimestampRequest},
    verify::cms::Cms,
};

/// The most certificates, revocation lists and OCSP responses of a document, each.
const MAX_EVIDENCE: usize = 256;
/// The most document timestamps.
const MAX_ARCHIVE: usize = 1000;

/// What a later check of signatures needs, in DER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Certificates that are not in the signatures themselves, such as those of issuers.
    pub certificates: Vec<Vec<u8>>,
    /// Revocation lists.
    pub revocation_lists: Vec<Vec<u8>>,
    /// OCSP responses.
    pub ocsp_responses: Vec<Vec<u8>>,
}

/// Adds to the document (`/DSS`) what a later check of its signatures needs: `evidence`, and the certificates that are in its
/// signatures and their timestamps. What is there already stays.
///
/// # Errors
/// When the document is unreadable or has no signatures, or its evidence grows beyond 256 items of a kind.
pub fn add_evidence(pdf: &[u8], evidence: &Evidence) -> Result<Vec<u8>, SignError> {
    let document = Document::parse(pdf)?;
    let signatures = signatures(&document)?;
    if signatures.is_empty() {
        return Err(SignError::NoSignature);
    }
    let mut found = evidence.certificates.clone();
    for contents in &signatures {
        let Some(cms) = Cms::parse(contents) else {
            continue;
        };
        found.extend(cms.certificates.iter().map(|known| known.der.clone()));
        let token = cms.timestamp_token().and_then(Cms::parse);
        found.extend(
            token
                .iter()
                .flat_map(|token| &token.certificates)
                .map(|known| known.der.clone()),
        );
    }

    let catalog = document.catalog()?;
    let store = match document.resolve(catalog.value(b"DSS"))? {
        Value::Dict(store) => store,
        _ => Dict::default(),
    };
    let mut increment = Increment::new(&document);
    let certificates = merge(&document, &mut increment, &store, b"Certs", &found)?;
    let lists = &evidence.revocation_lists;
    let lists = merge(&document, &mut increment, &store, b"CRLs", lists)?;
    let responses = &evidence.ocsp_responses;
    let responses = merge(&document, &mut increment, &store, b"OCSPs", responses)?;
    let mut entries = format!("/Type /DSS /Certs {certificates} /CRLs {lists}");
    if responses != EMPTY {
        entries.push_str(&format!(" /OCSPs {responses}"));
    }
    let related = format!("<< /Cert {certificates} /CRL {lists} /OCSP {responses} >>");
    let mut by_signature = String::new();
    for contents in &signatures {
        // The key is the SHA-1 digest of the signature as it stands in the file, padding included (section 5.4.2.3).
        let key = digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, contents);
        by_signature.push_str(&format!("/{} {related} ", hex::encode_upper(key)));
    }
    entries.push_str(&format!(" /VRI << {by_signature}>>"));
    let store = increment.add(format!("<< {entries} >>"));
    let mut edits = vec![("DSS", store.to_string().into_bytes())];
    if catalog.find(b"Extensions").is_none() {
        let extension = b"<< /ESIC << /BaseVersion /1.7 /ExtensionLevel 1 >> >>".to_vec();
        edits.push(("Extensions", extension));
    }
    increment.edit(document.trailer().root, &edits)?;
    Ok(increment.finish().bytes)
}

/// Makes a timestamp over the whole document, which makes it B-LTA when its evidence is there.
///
/// # Errors
/// When the document is unreadable, or has a thousand such timestamps already.
pub fn prepare_archive(pdf: &[u8]) -> Result<PendingArchive, SignError> {
    let document = Document::parse(pdf)?;
    let taken: Vec<String> = form::fields(&document)?
        .into_iter()
        .map(|field| field.name)
        .collect();
    let name = (1..=MAX_ARCHIVE).map(|n| format!("archive-{n}"));
    let name = name.into_iter().find(|name| !taken.contains(name));
    let name = name.ok_or(SignError::TooLarge {
        what: "the number of document timestamps",
        limit: MAX_ARCHIVE,
    })?;
    let entries = b"/Type /DocTimeStamp /Filter /Adobe.PPKLite /SubFilter /ETSI.RFC3161".to_vec();
    let dictionary = Dictionary::new(entries, TIMESTAMP_ROOM);
    let mut increment = Increment::new(&document);
    let stamp = increment.add(dictionary.body);
    let field = Field {
        name,
        page: 0,
        rect: [0.0; 4],
    };
    fields::place(&document, &mut increment, &[field], &format!("/V {stamp}"))?;
    let blank = Blank::new(increment.finish(), stamp, &dictionary.places);
    Ok(PendingArchive { blank })
}

/// A document timestamp that waits for the authority's answer.
pub struct PendingArchive {
    blank: Blank,
}

impl PendingArchive {
    /// Asks for the timestamp (SHA-256). `nonce` is 16 random bytes.
    ///
    /// # Errors
    /// When the policy is no object identifier.
    pub fn timestamp_request(
        &self,
        nonce: [u8; 16],
        policy: Option<&str>,
    ) -> Result<TimestampRequest, SignError> {
        TimestampRequest::new(&self.blank.digest(Hash::Sha256), nonce, policy)
    }

    /// The file with the timestamp.
    ///
    /// # Errors
    /// When the timestamp does not fit the room reserved for it.
    pub fn finish(self, timestamp: &Timestamp) -> Result<Vec<u8>, SignError> {
        self.blank.fill(timestamp.token())
    }
}

/// The contents of all signatures, padding included.
fn signatures(document: &Document<'_>) -> Result<Vec<Vec<u8>>, SignError> {
    let mut found = Vec::new();
    for field in form::fields(document)? {
        if let (true, Some(value)) = (field.is_signature, field.value())
            && let Value::Dict(signature) = document.resolve(&value.value)?
            && let Value::String(contents) = document.resolve(signature.value(b"Contents"))?
        {
            found.push(contents);
        }
    }
    Ok(found)
}

const EMPTY: &str = "[ ]";

/// An array of references to what the store has under `key` and to what it lacks of `wanted`, which is added.
fn merge(
    document: &Document<'_>,
    increment: &mut Increment<'_, '_>,
    store: &Dict,
    key: &[u8],
    wanted: &[Vec<u8>],
) -> Result<String, SignError> {
    let (mut ids, mut known): (Vec<Id>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    for item in document.array(store.value(key), "the document's evidence is malformed")? {
        let Some(id) = item.value.reference() else {
            continue;
        };
        ids.push(id);
        let object = document.object(id)?;
        known.extend(object.and_then(|object| document.decode(&object).ok()));
    }
    for item in wanted {
        if !known.contains(item) {
            ids.push(increment.add_stream("", item));
            known.push(item.clone());
        }
    }
    if ids.len() > MAX_EVIDENCE {
        return Err(SignError::TooLarge {
            what: "the document's evidence",
            limit: MAX_EVIDENCE,
        });
    }
    if ids.is_empty() {
        return Ok(EMPTY.to_owned());
    }
    let ids: Vec<String> = ids.iter().map(Id::to_string).collect();
    Ok(format!("[ {} ]", ids.join(" ")))
}
