//! Checks every signature of a PDF and says, with reasons, what each is worth.
//!
//! Per signature: do its bytes cover the file up to its revision, is its digest right, is the cryptographic signature
//! right, who signed, does the certificate lead to a trusted root, was it valid then, by whose clock, and what was changed
//! afterwards. The verdicts follow ETSI EN 319 102-1: valid, indeterminate, invalid.

pub(crate) mod algorithm;
mod chain;
mod changes;
pub(crate) mod cms;
mod crl;
mod fitness;
pub(crate) mod known;
mod needed;
pub(crate) mod ocsp;
mod report;
mod revocation;
mod roles;
mod signature;
pub(crate) mod timestamp;
pub(crate) mod tlv;

pub use needed::{NeededEvidence, needed_evidence};
pub use report::{
    Change, ChangeKind, Clock, Code, Finding, Level, Party, Report, Revocation, RevocationReason,
    RevocationSource, RevocationStatus, Severity, SignatureKind, SignatureReport, Verdict,
};

use std::collections::HashSet;

use crl::RevocationList;
use known::Known;
use ocsp::OcspResponse;

use crate::{
    document::{Document, Unreadable},
    form,
    pki::hex_sha256,
    syntax::{Dict, Value},
};

/// The most signatures of one document.
const MAX_SIGNATURES: usize = 64;
/// The most objects that are compared, all signatures together.
const MAX_COMPARISONS: usize = 4_000_000;
/// The most certificates, revocation lists and OCSP responses that a document's `/DSS` may have, each.
const MAX_EVIDENCE: usize = 256;

/// The certificates that a verifier trusts, in DER.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Roots for signers.
    pub roots: Vec<Vec<u8>>,
    /// Roots for timestamp authorities.
    pub timestamp_roots: Vec<Vec<u8>>,
    /// Further certificates to build chains with; not trusted by themselves.
    pub intermediates: Vec<Vec<u8>>,
    /// Revocation lists known from elsewhere, beside those that the document carries.
    pub revocation_lists: Vec<Vec<u8>>,
    /// OCSP responses known from elsewhere, likewise.
    pub ocsp_responses: Vec<Vec<u8>>,
}

impl Trust {
    /// Trusts these roots, in DER, for signers and for timestamps.
    pub fn roots(roots: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let roots: Vec<_> = roots.into_iter().collect();
        Self {
            timestamp_roots: roots.clone(),
            roots,
            ..Self::default()
        }
    }
}

/// Why a document could not be judged at all. What is wrong with a signature is in the [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The document cannot be read.
    #[error("the PDF cannot be verified")]
    Unreadable(#[from] Unreadable),
}

/// Verifies every signature of `pdf` as of `now` (UTC milliseconds).
///
/// # Errors
/// When the document cannot be read as a PDF at all. A document without signatures is a report with the verdict
/// [`Verdict::Unsigned`].
pub fn verify(pdf: &[u8], trust: &Trust, now: i64) -> Result<Report, VerifyError> {
    let document = Document::parse(pdf)?;
    let mut report = Report {
        verdict: Verdict::Unsigned,
        file_sha256: hex_sha256(pdf),
        file_bytes: pdf.len(),
        signatures: Vec::new(),
        empty_fields: Vec::new(),
    };
    let (signed, empty): (Vec<_>, Vec<_>) = form::fields(&document)?
        .into_iter()
        .filter(|field| field.is_signature)
        .partition(|field| field.value().is_some());
    report.empty_fields = empty.into_iter().map(|field| field.name).collect();
    if signed.len() > MAX_SIGNATURES {
        return Err(Unreadable::TooLarge("the number of signatures").into());
    }
    if signed.is_empty() {
        return Ok(report);
    }
    // Each signature is compared with the whole file, object by object.
    if signed.len() * document.entries().len() > MAX_COMPARISONS {
        return Err(Unreadable::TooLarge("the number of signatures in so many objects").into());
    }
    let evidence = Evidence::of(&document)?;
    let known = |der: &Vec<u8>| Known::parse(der);
    let roots: Vec<_> = trust.roots.iter().filter_map(known).collect();
    let timestamp_roots: Vec<_> = trust.timestamp_roots.iter().filter_map(known).collect();
    let certificates: Vec<_> = evidence
        .certificates
        .iter()
        .chain(&trust.intermediates)
        .filter_map(known)
        .collect();
    let lists = evidence.lists.iter().chain(&trust.revocation_lists);
    let lists: Vec<_> = lists.filter_map(|der| RevocationList::parse(der)).collect();
    let lists: Vec<_> = lists.iter().collect();
    let responses = evidence.responses.iter().chain(&trust.ocsp_responses);
    let responses: Vec<_> = responses
        .filter_map(|der| OcspResponse::parse(der).ok())
        .collect();
    let context = signature::Context {
        document: &document,
        roots: &roots,
        timestamp_roots: &timestamp_roots,
        certificates: &certificates,
        lists: &lists,
        responses: &responses,
        has_evidence: !evidence.lists.is_empty() || !evidence.responses.is_empty(),
        now,
    };
    let mut values = HashSet::new();
    let mut all = Vec::with_capacity(signed.len());
    for field in &signed {
        let mut examined = signature::examine(&context, field);
        let value = field.value().and_then(|item| item.value.reference());
        if value.is_some_and(|value| !values.insert(value)) {
            let detail = "another field has the same signature".to_owned();
            examined.report.findings.push(Finding {
                severity: Severity::Failure,
                code: Code::Ambiguous,
                detail,
            });
            examined.report.verdict = Verdict::Invalid;
        }
        all.push(examined);
    }
    signature::settle(&mut all);
    report.signatures = all.into_iter().map(|examined| examined.report).collect();
    report
        .signatures
        .sort_by_key(|signature| signature.covers_bytes);
    raise_archived(&mut report.signatures);
    report.verdict = report
        .signatures
        .iter()
        .map(|signature| signature.verdict)
        .max()
        .unwrap_or(Verdict::Unsigned);
    Ok(report)
}

/// A valid document timestamp after a signature's evidence makes B-LTA of B-LT.
fn raise_archived(signatures: &mut [SignatureReport]) {
    for n in 0..signatures.len() {
        let archived = signatures[n + 1..].iter().any(|later| {
            later.kind == SignatureKind::DocumentTimestamp && later.verdict == Verdict::Valid
        });
        if archived && signatures[n].level == Some(Level::BLT) {
            signatures[n].level = Some(Level::BLTA);
        }
    }
}

/// What the document carries to be checked with (`/DSS`, ETSI EN 319 142-1 section 5.4.2).
#[derive(Default)]
struct Evidence {
    certificates: Vec<Vec<u8>>,
    lists: Vec<Vec<u8>>,
    responses: Vec<Vec<u8>>,
}

impl Evidence {
    fn of(document: &Document<'_>) -> Result<Self, Unreadable> {
        let Value::Dict(store) = document.resolve(document.catalog()?.value(b"DSS"))? else {
            return Ok(Self::default());
        };
        Ok(Self {
            certificates: streams(document, &store, b"Certs")?,
            lists: streams(document, &store, b"CRLs")?,
            responses: streams(document, &store, b"OCSPs")?,
        })
    }
}

fn streams(document: &Document<'_>, store: &Dict, key: &[u8]) -> Result<Vec<Vec<u8>>, Unreadable> {
    let items = document.array(store.value(key), "the document's evidence is malformed")?;
    if items.len() > MAX_EVIDENCE {
        return Err(Unreadable::TooLarge("the document's evidence"));
    }
    let mut found = Vec::new();
    for item in items {
        if let Some(id) = item.value.reference()
            && let Some(object) = document.object(id)?
        {
            // What is no stream is no evidence, and what is missing will be missed where it is needed.
            found.extend(document.decode(&object).ok());
        }
    }
    Ok(found)
}
