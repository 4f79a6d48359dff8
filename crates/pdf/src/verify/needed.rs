//! What a document's signatures still need so that they can be checked when nobody answers any more: for each certificate of
//! their chains, whether it was revoked, and who says so.

use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, CrlDistributionPoints,
    name::{DistributionPointName, GeneralName},
};

use super::{
    Evidence, MAX_SIGNATURES, Trust, VerifyError, chain::Pool, cms::Cms, crl::RevocationList,
    known::Known, ocsp::OcspResponse, report::RevocationStatus, timestamp::TstInfo,
};
use crate::{
    document::{Document, Unreadable},
    form,
    ocsp::OcspRequest,
    pki::oid,
    sign::SignError,
    syntax::{Dict, Value},
};

/// The most URLs of a kind that one certificate is asked at.
const MAX_URLS: usize = 4;

/// A certificate in a chain to a trusted root, and where its issuer says whether it was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededEvidence {
    /// The certificate in DER.
    pub certificate: Vec<u8>,
    /// Its issuer's certificate in DER.
    pub issuer: Vec<u8>,
    /// URLs of OCSP responders, as the certificate names them (RFC 5280 section 4.2.2.1).
    pub ocsp: Vec<String>,
    /// URLs of revocation lists, likewise (section 4.2.1.13).
    pub revocation_lists: Vec<String>,
    /// Whether it is of the newest timestamp over the whole document: nothing in the document is newer than that timestamp, so
    /// that only its authority can say whether it still counts.
    pub of_newest_timestamp: bool,
}

/// The certificates in the chains of a document's signatures and of their timestamps of which the document does not say yet whether
/// they were revoked when they were used, and those of its newest timestamp over the whole document. Roots need nothing. Chains
/// that lead to no trusted root are left out, so that nobody is called whom a stranger's certificate names.
///
/// What the document says is not asked again, for an authority may be gone long before the signatures that it has vouched for.
///
/// # Errors
/// When the document cannot be read as a PDF at all.
pub fn needed_evidence(pdf: &[u8], trust: &Trust) -> Result<Vec<NeededEvidence>, VerifyError> {
    let document = Document::parse(pdf)?;
    let evidence = Evidence::of(&document)?;
    let known = |der: &Vec<u8>| Known::parse(der);
    let roots: Vec<_> = trust.roots.iter().filter_map(known).collect();
    let timestamp_roots: Vec<_> = trust.timestamp_roots.iter().filter_map(known).collect();
    let others = evidence.certificates.iter().chain(&trust.intermediates);
    let others: Vec<_> = others.filter_map(known).collect();
    let lists = evidence.lists.iter();
    let lists: Vec<_> = lists.filter_map(|der| RevocationList::parse(der)).collect();
    let lists: Vec<_> = lists.iter().collect();
    let responses = evidence.responses.iter();
    let responses: Vec<_> = responses
        .filter_map(|der| OcspResponse::parse(der).ok())
        .collect();

    let mut needed: Vec<NeededEvidence> = Vec::new();
    let mut add = |cms: &Cms<'_>, roots: &[Known], at: Option<i64>, newest: bool| {
        let pool = Pool {
            roots,
            others: cms.certificates.iter().chain(&others).collect(),
            lists: &lists,
            responses: &responses,
        };
        let Some(signer) = cms.signer(others.iter()) else {
            return;
        };
        let chain = pool.chain(signer);
        if !chain.trusted {
            return;
        }
        let all: Vec<&Known> = std::iter::once(signer).chain(&chain.above).collect();
        for pair in all.windows(2) {
            let (known, issuer) = (pair[0], pair[1]);
            let is_answered = |at| {
                let (said, _) = pool.revocation(known, issuer, at);
                said.status != RevocationStatus::Unknown
            };
            if !newest && at.is_some_and(is_answered) {
                continue;
            }
            match needed.iter_mut().find(|one| one.certificate == known.der) {
                Some(one) => one.of_newest_timestamp |= newest,
                None => needed.push(NeededEvidence::of(known, issuer, newest)),
            }
        }
    };
    // Every signature, and where what it covers ends.
    let mut values: Vec<(usize, Vec<u8>)> = Vec::new();
    let signed = form::fields(&document)?;
    let signed = signed
        .iter()
        .filter(|field| field.is_signature && field.value().is_some());
    for (n, field) in signed.enumerate() {
        if n == MAX_SIGNATURES {
            return Err(Unreadable::TooLarge("the number of signatures").into());
        }
        let Some(value) = field.value() else { continue };
        let Value::Dict(signature) = document.resolve(&value.value)? else {
            continue;
        };
        let contents = document.resolve(signature.value(b"Contents"))?;
        if let Some(contents) = contents.string() {
            values.push((covered(&signature), contents.to_vec()));
        }
    }
    let mut signatures = Vec::new();
    for (covered, contents) in &values {
        signatures.extend(Cms::parse(contents).map(|cms| (*covered, cms)));
    }
    let is_timestamp = |cms: &Cms<'_>| cms.content_type() == oid::TST_INFO;
    let timestamps = signatures.iter().filter(|(_, cms)| is_timestamp(cms));
    let newest = timestamps.map(|(covered, _)| *covered).max();
    let time = |token: &Cms<'_>| Some(TstInfo::parse(token.content?)?.at);
    for (covered, cms) in &signatures {
        if is_timestamp(cms) {
            add(cms, &timestamp_roots, time(cms), newest == Some(*covered));
            continue;
        }
        let token = cms.timestamp_token().and_then(Cms::parse);
        // Without a timestamp nothing proves when it was made, and so nothing that is known of then can be enough.
        let at = token.as_ref().and_then(time);
        add(cms, &roots, at, false);
        if let Some(token) = &token {
            add(token, &timestamp_roots, at, false);
        }
    }
    Ok(needed)
}

/// Where the bytes end that a signature covers, as it says itself; 0 when it does not.
fn covered(signature: &Dict) -> usize {
    let numbers = signature.value(b"ByteRange").array();
    let numbers = numbers.into_iter().flatten();
    let numbers: Option<Vec<usize>> = numbers
        .map(|item| item.value.int().and_then(|int| usize::try_from(int).ok()))
        .collect();
    match numbers.as_deref() {
        Some(&[_, _, second, length]) => second.saturating_add(length),
        _ => 0,
    }
}

impl NeededEvidence {
    /// Asks an OCSP responder about the certificate; see [`OcspRequest::new`].
    ///
    /// # Errors
    /// When the request cannot be written.
    pub fn question(&self, nonce: Option<[u8; 16]>) -> Result<OcspRequest, SignError> {
        OcspRequest::new(&self.certificate, &self.issuer, nonce)
    }

    /// Accepts a revocation list in DER: it is the issuer's, and current as of `now` (UTC milliseconds). When the next comes at
    /// the latest, in UTC milliseconds.
    ///
    /// # Errors
    /// When it is not, in words.
    pub fn accept_list(&self, der: &[u8], now: i64) -> Result<Option<i64>, &'static str> {
        let list = RevocationList::parse(der).ok_or("it is no revocation list")?;
        let known = Known::parse(&self.certificate).zip(Known::parse(&self.issuer));
        let (known, issuer) = known.ok_or("the certificate cannot be read")?;
        if !list.speaks_for(&known, &issuer) {
            return Err("it is not the issuer's");
        }
        if list.entry(&known).is_none() && !list.covers(&known) {
            return Err("it is of other certificates");
        }
        if list.is_stale(now) {
            return Err("it is out of date");
        }
        Ok(list.next_update())
    }

    /// Whose certificate it is (RFC 4514).
    pub fn subject(&self) -> String {
        Known::parse(&self.certificate)
            .map(|known| known.party().subject)
            .unwrap_or_default()
    }

    fn of(known: &Known, issuer: &Known, of_newest_timestamp: bool) -> Self {
        let tbs = known.certificate.tbs_certificate();
        let access = tbs.get_extension::<AuthorityInfoAccessSyntax>();
        let access = access.ok().flatten().map(|(_, access)| access.0);
        let responders = access.into_iter().flatten().filter_map(|access| {
            let url = url(&access.access_location)?;
            (access.access_method == oid::OCSP).then_some(url)
        });
        let points = tbs.get_extension::<CrlDistributionPoints>();
        let points = points.ok().flatten().map(|(_, points)| points.0);
        let lists = points.into_iter().flatten().flat_map(|point| {
            // A list of some reasons alone, or of another issuer, is not the certificate's own.
            let own = point.reasons.is_none() && point.crl_issuer.is_none();
            match point.distribution_point.filter(|_| own) {
                Some(DistributionPointName::FullName(names)) => {
                    names.iter().filter_map(url).collect()
                }
                _ => Vec::new(),
            }
        });
        Self {
            certificate: known.der.clone(),
            issuer: issuer.der.clone(),
            ocsp: responders.take(MAX_URLS).collect(),
            revocation_lists: lists.take(MAX_URLS).collect(),
            of_newest_timestamp,
        }
    }
}

/// A name that is an HTTP URL.
fn url(name: &GeneralName) -> Option<String> {
    let GeneralName::UniformResourceIdentifier(url) = name else {
        return None;
    };
    let url = url.as_str();
    (url.starts_with("http://") || url.starts_with("https://")).then(|| url.to_owned())
}
