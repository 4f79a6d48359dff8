//! Examines one signature of a document: which bytes it covers (`revision`), who signed (`signer`) and what time is proven
//! (`stamps`). At last all are weighed against each other (`settle`).

mod revision;
mod settle;
mod signer;
mod stamps;

pub(super) use settle::settle;

use std::ops::Range;

use super::{
    chain::Pool,
    changes::ShownField,
    cms::Cms,
    crl::RevocationList,
    known::Known,
    ocsp::OcspResponse,
    report::{Clock, Code, Finding, Revocation, Severity, SignatureKind, SignatureReport, Verdict},
    revocation::Compromise,
};
use crate::{
    document::{Document, Unreadable},
    form::FormField,
    syntax::{Dict, Id, Value},
    text,
};

/// The most characters of a text that a report repeats.
const MAX_TEXT: usize = 512;

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

impl<'c> Context<'c, '_> {
    /// What the certificates of a signature or timestamp token are judged with: those that it brings along, and all that is known
    /// beside them.
    fn pool<'p>(
        &self,
        roots: &'p [Known],
        cms: &'p Cms<'_>,
        lists: &'p [&'p RevocationList],
    ) -> Pool<'p>
    where
        'c: 'p,
    {
        Pool {
            roots,
            others: cms.certificates.iter().chain(self.certificates).collect(),
            lists,
            responses: self.responses,
        }
    }
}

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

fn verdict(findings: &[Finding]) -> Verdict {
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
