//! What a document's signatures still need so that they can be checked when nobody answers any more: for each certificate of
//! their chains, whether it was revoked, and who says so.

use std::collections::HashSet;

use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, CrlDistributionPoints,
    name::{DistributionPointName, GeneralName},
};

use super::{
    Evidence, MAX_SIGNATURES, Trust, VerifyError,
    chain::{Known, Pool},
    cms::Cms,
    crl::RevocationList,
};
use crate::{
    document::{Document, Unreadable},
    form,
    ocsp::OcspRequest,
    pki::oid,
    sign::SignError,
    syntax::Value,
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
}

/// The certificates in the chains of a document's signatures and of their timestamps that lead to trusted roots; the roots
/// themselves need nothing. Chains that lead nowhere are left out, so that nobody is called whom a stranger's certificate names.
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

    let mut needed = Vec::new();
    let mut seen = HashSet::new();
    let mut add = |cms: &Cms<'_>, roots: &[Known]| {
        let pool = Pool {
            roots,
            others: cms.certificates.iter().chain(&others).collect(),
            lists: &[],
            responses: &[],
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
            if seen.insert(pair[0].der.clone()) {
                needed.push(NeededEvidence::of(pair[0], pair[1]));
            }
        }
    };
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
        let Some(cms) = contents.string().and_then(Cms::parse) else {
            continue;
        };
        if cms.content_type() == oid::TST_INFO {
            add(&cms, &timestamp_roots);
            continue;
        }
        add(&cms, &roots);
        if let Some(token) = cms.timestamp_token().and_then(Cms::parse) {
            add(&token, &timestamp_roots);
        }
    }
    Ok(needed)
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

    fn of(known: &Known, issuer: &Known) -> Self {
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
