//! Checks RFC 3161 timestamp tokens.

use der::{Decode as _, asn1::ObjectIdentifier};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::{
    chain::Pool,
    cms::Cms,
    fitness::Purpose,
    known::Known,
    report::{Code, Finding, Party, Revocation, Severity},
    revocation::Compromise,
    tlv::{INTEGER, OCTET_STRING, SEQUENCE, Tlv},
};
use crate::{
    pki::{Hash, oid},
    text,
};

const OBJECT_IDENTIFIER: u8 = 0x06;
const GENERALIZED_TIME: u8 = 0x18;

/// What a token states (RFC 3161 section 2.4.2).
pub(crate) struct TstInfo<'a> {
    pub(crate) policy: ObjectIdentifier,
    pub(crate) digest: ObjectIdentifier,
    pub(crate) imprint: &'a [u8],
    /// UTC milliseconds.
    pub(crate) at: i64,
    /// The content of the INTEGER.
    pub(crate) nonce: Option<&'a [u8]>,
}

impl<'a> TstInfo<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (info, _) = Tlv::split(bytes)?;
        if info.tag != SEQUENCE {
            return None;
        }
        let mut parts = info.elements();
        parts.tagged(INTEGER)?;
        let policy = ObjectIdentifier::from_der(parts.tagged(OBJECT_IDENTIFIER)?.raw).ok()?;
        let mut imprint = parts.tagged(SEQUENCE)?.elements();
        let digest = AlgorithmIdentifierOwned::from_der(imprint.tagged(SEQUENCE)?.raw)
            .ok()?
            .oid;
        let imprint = imprint.tagged(OCTET_STRING)?.content;
        parts.tagged(INTEGER)?;
        let at = generalized_time(parts.tagged(GENERALIZED_TIME)?.content)?;
        // Accuracy and ordering, which may come before the nonce, have other tags.
        let nonce = parts
            .find(|part| part.tag == INTEGER)
            .map(|nonce| nonce.content);
        Some(Self {
            policy,
            digest,
            imprint,
            at,
            nonce,
        })
    }
}

/// `YYYYMMDDhhmmss[.fff]Z`, in UTC milliseconds.
pub(super) fn generalized_time(content: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if seconds.len() != 14 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(text::decode_date(seconds)? + millis)
}

/// A token that holds.
pub(super) struct Stamp {
    pub(super) at: i64,
    pub(super) authority: Party,
    /// Notes and doubts about the authority.
    pub(super) findings: Vec<Finding>,
    pub(super) trusted: bool,
    /// Whether revocation is known for the authority's whole chain.
    pub(super) lasting: bool,
    pub(super) revocation: Revocation,
    /// Why it counts only as far as another timestamp shows that it was there before.
    pub(super) compromised: Option<Compromise>,
}

/// Checks that `token` is an authority's timestamp over content made of these pieces.
pub(super) fn check(
    cms: &Cms<'_>,
    content: &[&[u8]],
    pool: &Pool<'_>,
    now: i64,
) -> Result<Stamp, &'static str> {
    let info = cms
        .content
        .filter(|_| cms.content_type() == oid::TST_INFO)
        .and_then(TstInfo::parse);
    let (Some(info), Some(encapsulated)) = (info, cms.content) else {
        return Err("the timestamp token is malformed");
    };
    let hash = Hash::of_oid(info.digest).ok_or("the timestamp has an unsupported digest")?;
    if hash.of(content).as_ref() != info.imprint {
        return Err("the timestamp is over something else");
    }
    let signer: &Known = cms
        .signer(pool.others.iter().copied())
        .ok_or("the timestamp names a certificate that is missing")?;
    cms.check(&[encapsulated], signer)
        .map_err(|_| "the timestamp's signature is false or unsupported")?;
    if cms.names_certificate(signer) == Some(false) {
        return Err("the timestamp names another certificate than its signer's");
    }
    let chain = pool.chain(signer);
    let judged = pool.judge(signer, &chain, Purpose::Timestamps, (info.at, true, now));
    let trusted = judged
        .findings
        .iter()
        .all(|finding| finding.severity == Severity::Note);
    let findings = judged
        .findings
        .into_iter()
        .filter(|finding| finding.severity != Severity::Note)
        .map(|finding| Finding {
            severity: Severity::Doubt,
            code: Code::Timestamp,
            detail: format!("timestamp authority: {}", finding.detail),
        })
        .collect();
    Ok(Stamp {
        at: info.at,
        authority: signer.party(),
        findings,
        trusted,
        lasting: judged.lasting,
        revocation: judged.revocation,
        compromised: judged.compromised,
    })
}
