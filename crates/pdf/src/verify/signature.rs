//! Examines one signature of a document.

use std::ops::Range;

use super::{
    algorithm,
    chain::Pool,
    changes::{self, ShownField},
    cms::{Cms, Flaw},
    crl::RevocationList,
    fitness::Purpose,
    known::Known,
    ocsp::OcspResponse,
    report::{
        Change, ChangeKind, Clock, Code, Finding, Level, Revocation, Severity, SignatureKind,
        SignatureReport, Verdict,
    },
    revocation::Compromise,
    timestamp,
};
use crate::{
    document::{Document, Unreadable},
    form::{FormField, Permissions},
    syntax::{Dict, Id, Value},
    text,
};

/// The most characters of a text that a report repeats.
const MAX_TEXT: usize = 512;
/// How far a signer's clock may be ahead, in milliseconds.
const CLOCK_SKEW: i64 = 5 * 60 * 1000;

/// What all signatures of a document are examined with.
pub(super) struct Context<'c, 'a> {
    pub(super) document: &'c Document<'a>,
    pub(super) roots: &'c [Known],
    pub(super) timestamp_roots: &'c [Known],
    /// Certificates of the verifier and of the document's `/DSS`.
    pub(super) certificates: &'c [Known],
    pub(super) lists: &'c [&'c RevocationList],
    pub(super) responses: &'c [OcspResponse],
    /// Whether the document carries evidence of its own.
    pub(super) has_evidence: bool,
    pub(super) now: i64,
}

/// Whether revocation is known for the whole chain of a timestamp that proves the time.
#[derive(Clone, Copy)]
struct Lasting(bool);

/// A signature being examined.
struct Examination<'e, 'c, 'a> {
    context: &'e Context<'c, 'a>,
    report: SignatureReport,
    shown: Vec<ShownField>,
    compromised: Option<Compromise>,
}

/// A signature that was examined by itself; what was shown after it, and a timestamp whose authority's key was compromised
/// later, wait for the judgement of later signatures.
pub(super) struct Examined {
    /// The field's id.
    pub(super) field: Id,
    pub(super) report: SignatureReport,
    shown: Vec<ShownField>,
    compromised: Option<Compromise>,
}

/// Examines the signature of a field that has a value.
pub(super) fn examine(context: &Context<'_, '_>, field: &FormField) -> Examined {
    let mut examination = Examination {
        context,
        report: blank(&field.name),
        shown: Vec::new(),
        compromised: None,
    };
    if let Err(error) = examination.run(field) {
        examination.fail(Code::Malformed, error.to_string());
    }
    let mut report = examination.report;
    report.verdict = verdict(&report.findings);
    Examined {
        field: field.id,
        report,
        shown: examination.shown,
        compromised: examination.compromised,
    }
}

/// Judges the fields that were added after each signature and can be seen. Such a field is permitted when it shows a later
/// signer's own signature that is valid itself, because somebody answers for it; anything else could cover what was signed.
/// And judges timestamps of authorities whose keys were compromised later: they count when a valid document timestamp shows that
/// they were there before.
///
/// Signatures are taken from the last to the first, so that each relies on final verdicts alone.
pub(super) fn settle(examined: &mut [Examined]) {
    examined.sort_by_key(|one| std::cmp::Reverse(one.report.covers_bytes));
    for n in 0..examined.len() {
        let (later, rest) = examined.split_at_mut(n);
        let one = &mut rest[0];
        if let Some(compromise) = one.compromised.take() {
            let was_there = later.iter().any(|signature| {
                signature.report.covers_bytes > one.report.covers_bytes
                    && signature.report.kind == SignatureKind::DocumentTimestamp
                    && signature.report.verdict == Verdict::Valid
                    && signature
                        .report
                        .signed_at
                        .is_some_and(|at| at < compromise.since)
            });
            if !was_there {
                distrust_timestamp(&mut one.report, &compromise);
            }
        }
        for ShownField { id, detail } in std::mem::take(&mut one.shown) {
            let permitted = later.iter().any(|signature| {
                signature.field == id
                    && signature.report.covers_bytes > one.report.covers_bytes
                    && signature.report.kind == SignatureKind::Signature
                    && signature.report.verdict == Verdict::Valid
            });
            if !permitted {
                one.report.findings.push(Finding {
                    severity: Severity::Failure,
                    code: Code::Modified,
                    detail: format!("{detail} and can be seen, but shows no valid signature"),
                });
                one.report.verdict = Verdict::Invalid;
            }
            one.report.changes.push(Change {
                kind: ChangeKind::FieldAdded,
                permitted,
                detail,
            });
        }
    }
}

/// Takes back what a timestamp has proven: whoever had its authority's key may have made it at any time.
fn distrust_timestamp(report: &mut SignatureReport, compromise: &Compromise) {
    report.findings.push(Finding {
        severity: Severity::Doubt,
        code: Code::Timestamp,
        detail: format!(
            "timestamp authority: a certificate was revoked later, for a reason that does not exclude that others know its key, and no other timestamp shows that this one was made before: {}",
            compromise.subject
        ),
    });
    if report.kind == SignatureKind::Signature {
        report.level = report.level.map(|_| Level::BB);
        report.signed_at = report.claimed_at;
        report.clock = match report.claimed_at {
            Some(_) => Clock::Signer,
            None => Clock::None,
        };
    }
    report.verdict = verdict(&report.findings);
}

fn blank(field: &str) -> SignatureReport {
    SignatureReport {
        field: field.to_owned(),
        kind: SignatureKind::Signature,
        verdict: Verdict::Invalid,
        findings: Vec::new(),
        level: None,
        revision: 0,
        covers_bytes: 0,
        covers_whole_file: false,
        digest_algorithm: String::new(),
        signature_algorithm: String::new(),
        signer: None,
        chain: Vec::new(),
        signed_at: None,
        clock: Clock::None,
        claimed_at: None,
        revocation: Revocation::UNKNOWN,
        timestamp_authority: None,
        reason: None,
        location: None,
        name: None,
        changes: Vec::new(),
    }
}

pub(super) fn verdict(findings: &[Finding]) -> Verdict {
    match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Failure) => Verdict::Invalid,
        Some(Severity::Doubt) => Verdict::Indeterminate,
        Some(Severity::Note) | None => Verdict::Valid,
    }
}

/// A signature dictionary with the places that matter.
struct Found {
    dict: Dict,
    /// The object that it is, or is in.
    id: Id,
    /// Where `/Contents` is in the file, brackets included.
    contents: Range<usize>,
}

impl Examination<'_, '_, '_> {
    fn run(&mut self, field: &FormField) -> Result<(), Unreadable> {
        let document = self.context.document;
        let Some(found) = self.find(field)? else {
            self.fail(
                Code::Malformed,
                "the field's value is not a signature dictionary".to_owned(),
            );
            return Ok(());
        };
        self.describe(&found.dict)?;
        let sub_filter = document.resolve(found.dict.value(b"SubFilter"))?;
        let Value::Name(sub_filter) = sub_filter else {
            self.fail(
                Code::UnsupportedFormat,
                "the signature names no format".to_owned(),
            );
            return Ok(());
        };
        if !matches!(
            sub_filter.as_slice(),
            b"ETSI.CAdES.detached" | b"adbe.pkcs7.detached" | b"ETSI.RFC3161"
        ) {
            let detail = format!(
                "signatures of the format {} are not checked",
                String::from_utf8_lossy(&sub_filter)
            );
            self.doubt(Code::UnsupportedFormat, detail);
        }
        let Some(end) = self.byte_range(&found) else {
            return Ok(());
        };
        self.revision(&found, end)?;
        if self
            .report
            .findings
            .iter()
            .any(|finding| finding.code == Code::UnsupportedFormat)
        {
            return Ok(());
        }
        let Value::String(contents) = found.dict.value(b"Contents") else {
            return Ok(());
        };
        let Some(cms) = Cms::parse(contents) else {
            self.fail(
                Code::Malformed,
                "the signature is not a CMS structure of one signer".to_owned(),
            );
            return Ok(());
        };
        if contents[cms.length..].iter().any(|&byte| byte != 0) {
            self.fail(
                Code::Malformed,
                "the signature is padded with something".to_owned(),
            );
        }
        let data = document.data();
        let content = [
            &data[..found.contents.start],
            &data[found.contents.end..end],
        ];
        match sub_filter.as_slice() {
            b"ETSI.RFC3161" => self.document_timestamp(&cms, &content),
            _ => self.signature(&cms, &content, sub_filter == b"ETSI.CAdES.detached"),
        }
        Ok(())
    }

    /// The field's signature dictionary; `None` when its value is something else.
    fn find(&self, field: &FormField) -> Result<Option<Found>, Unreadable> {
        let document = self.context.document;
        let Some(value) = field.value() else {
            return Ok(None);
        };
        let id = value.value.reference().unwrap_or(field.id);
        let Some(object) = document.object(id)? else {
            return Ok(None);
        };
        if object.stream.is_some() || !document.in_file(&object) {
            return Ok(None);
        }
        let value = if id == field.id {
            &value.value
        } else {
            &object.item.value
        };
        let Value::Dict(dict) = value else {
            return Ok(None);
        };
        let Some(contents) = dict
            .find(b"Contents")
            .filter(|item| item.value.string().is_some())
        else {
            return Ok(None);
        };
        Ok(Some(Found {
            dict: dict.clone(),
            id,
            contents: contents.span.clone(),
        }))
    }

    /// What the signer wrote beside the signature.
    fn describe(&mut self, dict: &Dict) -> Result<(), Unreadable> {
        let document = self.context.document;
        let text = |key: &[u8]| -> Result<Option<String>, Unreadable> {
            let text = document
                .resolve(dict.value(key))?
                .string()
                .map(text::decode);
            Ok(text.map(|text| text.chars().take(MAX_TEXT).collect()))
        };
        self.report.reason = text(b"Reason")?;
        self.report.location = text(b"Location")?;
        self.report.name = text(b"Name")?;
        self.report.claimed_at = text(b"M")?.and_then(|date| text::decode_date(&date));
        if let Some(claimed) = self.report.claimed_at {
            self.report.signed_at = Some(claimed);
            self.report.clock = Clock::Signer;
        }
        Ok(())
    }

    /// Checks that the byte range leaves out the contents and nothing else; gives where it ends.
    fn byte_range(&mut self, found: &Found) -> Option<usize> {
        let numbers: Option<Vec<usize>> =
            found.dict.value(b"ByteRange").array().and_then(|items| {
                items
                    .iter()
                    .map(|item| item.value.int().and_then(|int| usize::try_from(int).ok()))
                    .collect()
            });
        let fits = match numbers.as_deref() {
            Some(&[0, first, second, length]) => {
                let end = second
                    .checked_add(length)
                    .filter(|&end| end <= self.context.document.data().len());
                end.filter(|&end| {
                    first == found.contents.start
                        && second == found.contents.end
                        && end > found.contents.end
                })
            }
            _ => None,
        };
        match fits {
            Some(end) => {
                self.report.covers_bytes = end;
                self.report.covers_whole_file = end == self.context.document.data().len();
            }
            None => {
                let detail =
                    "the byte range does not cover everything but the signature itself".to_owned();
                self.fail(Code::ByteRange, detail);
            }
        }
        // Digits alone, so that nothing can hide in what is not signed.
        let digits =
            &self.context.document.data()[found.contents.start + 1..found.contents.end - 1];
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            self.fail(
                Code::ByteRange,
                "there is more than the signature where the signature is".to_owned(),
            );
        }
        fits
    }

    /// Checks that the signed bytes are a revision of the file, and what was changed after it.
    fn revision(&mut self, found: &Found, end: usize) -> Result<(), Unreadable> {
        let document = self.context.document;
        let data = document.data();
        let signed = match document.revision(end) {
            Ok(signed) => signed,
            Err(error) => {
                self.fail(
                    Code::ByteRange,
                    format!("the signed bytes are no document by themselves: {error}"),
                );
                return Ok(());
            }
        };
        if !data[..end].trim_ascii_end().ends_with(b"%%EOF") {
            let detail = "the signed bytes do not reach the end of a revision".to_owned();
            self.fail(Code::ByteRange, detail);
        }
        let sections = document.sections();
        let later = sections.len().checked_sub(signed.sections().len());
        let Some(later) = later.filter(|&later| sections[later..] == *signed.sections()) else {
            self.fail(
                Code::Modified,
                "the file does not continue the signed revision".to_owned(),
            );
            return Ok(());
        };
        self.report.revision = signed.sections().len();
        if signed.entries().get(&found.id.number) != document.entries().get(&found.id.number) {
            self.fail(
                Code::Ambiguous,
                "the signature was put into the file after what it signs".to_owned(),
            );
        }
        if later == 0 && !data[end..].iter().all(u8::is_ascii_whitespace) {
            self.fail(
                Code::TrailingBytes,
                "bytes that belong to no revision follow the signed ones".to_owned(),
            );
        }
        if sections[..later].iter().any(|&section| section < end) {
            self.fail(
                Code::Modified,
                "a later revision was hidden in the signed bytes".to_owned(),
            );
        }
        if later > 0 {
            let permissions = Permissions::of(&signed, &found.dict)?;
            let changes = changes::between(&signed, document, &permissions)?;
            self.report.changes = changes.judged;
            self.shown = changes.shown;
        }
        let forbidden: Vec<Change> = self
            .report
            .changes
            .iter()
            .filter(|change| !change.permitted)
            .cloned()
            .collect();
        for change in forbidden {
            self.fail(Code::Modified, change.detail);
        }
        Ok(())
    }

    fn signature(&mut self, cms: &Cms<'_>, content: &[&[u8]], cades: bool) {
        let context = self.context;
        if cms.content.is_some() {
            let detail = "the signature brings other content along than the document".to_owned();
            self.fail(Code::Malformed, detail);
        }
        // The signature may bring revocation lists of its own.
        let own = cms.revocation_lists.iter();
        let own: Vec<_> = own.filter_map(|der| RevocationList::parse(der)).collect();
        let lists: Vec<_> = own.iter().chain(context.lists.iter().copied()).collect();
        let others = cms
            .certificates
            .iter()
            .chain(context.certificates)
            .collect();
        let pool = Pool {
            roots: context.roots,
            others,
            lists: &lists,
            responses: context.responses,
        };
        self.report.digest_algorithm = algorithm::digest_name(cms.digest());
        let Some(signer) = cms.signer(context.certificates.iter()) else {
            self.report.signature_algorithm = algorithm::signature_name(cms.algorithm(), None);
            self.fail(
                Code::NoCertificate,
                "the signer's certificate is not in the signature".to_owned(),
            );
            return;
        };
        let key = signer
            .certificate
            .tbs_certificate()
            .subject_public_key_info();
        self.report.signature_algorithm = algorithm::signature_name(cms.algorithm(), Some(key));
        self.report.signer = Some(signer.party());
        self.cryptography(cms, content, signer);
        match cms.names_certificate(signer) {
            Some(true) => {}
            Some(false) => {
                let detail =
                    "the signing-certificate attribute names another certificate".to_owned();
                self.fail(Code::SigningCertificate, detail);
            }
            None if cades => {
                let detail = "the signing-certificate attribute is missing".to_owned();
                self.fail(Code::SigningCertificate, detail);
            }
            None => {}
        }
        let timestamp = self.signature_timestamp(cms, &lists);
        let stamped = timestamp.is_some();
        let at = self.report.signed_at.unwrap_or(context.now);
        if !stamped
            && self
                .report
                .claimed_at
                .is_some_and(|claimed| claimed > context.now.saturating_add(CLOCK_SKEW))
        {
            self.doubt(
                Code::ClaimedTime,
                "the signer claims a time in the future".to_owned(),
            );
        }
        let chain = pool.chain(signer);
        self.report.chain = chain.above.iter().map(Known::party).collect();
        let judged = pool.judge(
            signer,
            &chain,
            Purpose::Documents,
            (at, stamped, context.now),
        );
        self.report.findings.extend(judged.findings);
        self.report.revocation = judged.revocation;
        if cades {
            self.report.level = Some(match timestamp {
                Some(Lasting(true)) if judged.lasting && context.has_evidence => Level::BLT,
                Some(_) => Level::BT,
                None => Level::BB,
            });
        }
    }

    fn cryptography(&mut self, cms: &Cms<'_>, content: &[&[u8]], signer: &Known) {
        match cms.check(content, signer) {
            Ok(()) => {}
            Err(Flaw::Digest) => {
                self.fail(
                    Code::DigestMismatch,
                    "the file's bytes are not those that were signed".to_owned(),
                );
            }
            Err(Flaw::Signature) => {
                self.fail(
                    Code::SignatureMismatch,
                    "the cryptographic signature is false".to_owned(),
                );
            }
            Err(Flaw::Algorithm) => {
                let detail =
                    "the signature's algorithm is unknown, too weak, or does not fit its key"
                        .to_owned();
                self.doubt(Code::UnsupportedAlgorithm, detail);
            }
            Err(Flaw::ContentType | Flaw::Attributes) => {
                self.fail(
                    Code::Malformed,
                    "the signed attributes are missing or malformed".to_owned(),
                );
            }
        }
    }

    /// Checks the timestamp in the signature; `None` when it does not prove the time.
    fn signature_timestamp(&mut self, cms: &Cms<'_>, lists: &[&RevocationList]) -> Option<Lasting> {
        let context = self.context;
        let token = cms.timestamp_token()?;
        let Some(token) = Cms::parse(token) else {
            self.fail(
                Code::Timestamp,
                "the timestamp token is malformed".to_owned(),
            );
            return None;
        };
        let others = token
            .certificates
            .iter()
            .chain(context.certificates)
            .collect();
        let pool = Pool {
            roots: context.timestamp_roots,
            others,
            lists,
            responses: context.responses,
        };
        match timestamp::check(&token, &[cms.signature()], &pool, context.now) {
            Ok(stamp) => {
                self.report.findings.extend(stamp.findings);
                self.report.timestamp_authority = Some(stamp.authority);
                self.compromised = stamp.compromised;
                if stamp.trusted {
                    self.report.signed_at = Some(stamp.at);
                    self.report.clock = Clock::TimestampAuthority;
                }
                stamp.trusted.then_some(Lasting(stamp.lasting))
            }
            Err(detail) => {
                self.fail(Code::Timestamp, detail.to_owned());
                None
            }
        }
    }

    fn document_timestamp(&mut self, cms: &Cms<'_>, content: &[&[u8]]) {
        let context = self.context;
        self.report.kind = SignatureKind::DocumentTimestamp;
        self.report.digest_algorithm = algorithm::digest_name(cms.digest());
        let others = cms
            .certificates
            .iter()
            .chain(context.certificates)
            .collect();
        let pool = Pool {
            roots: context.timestamp_roots,
            others,
            lists: context.lists,
            responses: context.responses,
        };
        let key = cms.signer(context.certificates.iter());
        let key = key.map(|known| {
            known
                .certificate
                .tbs_certificate()
                .subject_public_key_info()
        });
        self.report.signature_algorithm = algorithm::signature_name(cms.algorithm(), key);
        match timestamp::check(cms, content, &pool, context.now) {
            Ok(stamp) => {
                self.report.signed_at = Some(stamp.at);
                self.report.clock = Clock::TimestampAuthority;
                self.report.signer = Some(stamp.authority.clone());
                self.report.revocation = stamp.revocation;
                self.compromised = stamp.compromised;
                self.report.timestamp_authority = Some(stamp.authority);
                self.report.findings.extend(stamp.findings);
            }
            Err(detail) => self.fail(Code::Timestamp, detail.to_owned()),
        }
    }

    fn fail(&mut self, code: Code, detail: String) {
        self.report.findings.push(Finding {
            severity: Severity::Failure,
            code,
            detail,
        });
    }

    fn doubt(&mut self, code: Code, detail: String) {
        self.report.findings.push(Finding {
            severity: Severity::Doubt,
            code,
            detail,
        });
    }
}
