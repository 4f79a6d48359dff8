//! The timestamps that a signature brings along or is: what time they prove, and by whose clock.

use super::Examination;
use crate::verify::{
    algorithm,
    cms::Cms,
    crl::RevocationList,
    report::{Clock, Code, SignatureKind},
    timestamp,
};

/// Whether revocation is known for the whole chain of a timestamp that proves the time.
#[derive(Clone, Copy)]
pub(super) struct Lasting(pub(super) bool);

impl Examination<'_, '_, '_> {
    /// Checks the timestamp in the signature; `None` when it does not prove the time.
    pub(super) fn signature_timestamp(
        &mut self,
        cms: &Cms<'_>,
        lists: &[&RevocationList],
    ) -> Option<Lasting> {
        let context = self.context;
        let token = cms.timestamp_token()?;
        let Some(token) = Cms::parse(token) else {
            self.fail(
                Code::Timestamp,
                "the timestamp token is malformed".to_owned(),
            );
            return None;
        };
        let pool = context.pool(context.timestamp_roots, &token, lists);
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

    pub(super) fn document_timestamp(&mut self, cms: &Cms<'_>, content: &[&[u8]]) {
        let context = self.context;
        self.report.kind = SignatureKind::DocumentTimestamp;
        self.report.digest_algorithm = algorithm::digest_name(cms.digest());
        let pool = context.pool(context.timestamp_roots, cms, context.lists);
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
}
