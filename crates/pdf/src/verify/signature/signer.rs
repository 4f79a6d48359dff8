//! Who signed: the certificate, whether the signature is its key's, when that was, and whether the certificate was good for it then.

use super::{Examination, stamps::Lasting};
use crate::verify::{
    algorithm,
    cms::{Cms, Flaw},
    crl::RevocationList,
    fitness::Purpose,
    known::Known,
    report::{Code, Level},
};

/// How far a signer's clock may be ahead, in milliseconds.
const CLOCK_SKEW: i64 = 5 * 60 * 1000;

impl Examination<'_, '_, '_> {
    pub(super) fn signature(&mut self, cms: &Cms<'_>, content: &[&[u8]], cades: bool) {
        let context = self.context;
        if cms.content.is_some() {
            let detail = "the signature brings other content along than the document".to_owned();
            self.fail(Code::Malformed, detail);
        }
        // The signature may bring revocation lists of its own.
        let own = cms.revocation_lists.iter();
        let own: Vec<_> = own.filter_map(|der| RevocationList::parse(der)).collect();
        let lists: Vec<_> = own.iter().chain(context.lists.iter().copied()).collect();
        let pool = context.pool(context.roots, cms, &lists);
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
}
