//! Makes signatures checkable for decades: what says that no certificate was revoked goes into the document (B-LT), a timestamp
//! over all of it (B-LTA), and that again before the timestamp ages.
//!
//! Everything that is made is verified before it counts: the level is the one that verification finds, not the one that was
//! meant.

use bytes::Bytes;
use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_flow::{Actor, Downgrade, Flow, Level, Operation, Status};
use sealpost_pdf::verify::{Level as Verified, SignatureKind};
use sealpost_pdf::{
    Credential, DrawnFacts, Field, Pending, Report, RoundSeal, SignError, SignRequest, Timestamp,
    Verdict, add_evidence, add_fields, prepare, prepare_archive,
};
use sealpost_store::StoredFlow;

use super::App;
use super::details::{Details, Mark};
use super::revocation::Found;
use crate::problem::{Chain, Kind, Problem};
use crate::secrets::random;

/// In whose name evidence reports are sealed.
const PLATFORM: &str = "Sealpost 电子签署平台";

/// A document with what keeps it.
struct Preserved {
    pdf: Bytes,
    level: Level,
    /// When its newest timestamp must have been renewed.
    renew_by: Option<UtcMillis>,
}

/// What came of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// It is good until then.
    Until(Option<UtcMillis>),
    /// The authority's timestamps end no later than the one that is there, so that nothing is gained and nothing was kept.
    NoLonger,
    /// Another was faster, or there is nothing to renew.
    Nothing,
}

/// Why a document is not kept for longer, in words for people.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No timestamp authority answered, so that no other document could be renewed at this moment either.
    Authorities(String),
    /// The document's own.
    Document(String),
}

impl Failure {
    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::Authorities(reason) | Self::Document(reason) => reason,
        }
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Document(reason)
    }
}

impl App {
    /// Whether the document still lacks what the operator wants it to be kept with.
    pub(crate) fn wants_preserving(&self, flow: &Flow) -> bool {
        self.config().signature_level() >= Level::BLT
            && flow.level == Some(Level::BT)
            && flow.downgrade.is_none()
    }

    /// Why a lower level may be made now, when `reason` keeps the wanted one from being made: the operator has said that the
    /// flow does not wait any longer.
    pub(crate) fn downgrade(&self, flow: &Flow, reason: &str) -> Option<Downgrade> {
        let patience = self.config().signatures.downgrade_after?;
        (flow.sealing.failures >= patience).then(|| Downgrade {
            wanted: self.config().signature_level(),
            reason: reason.to_owned(),
        })
    }

    /// Puts into a document with all its signatures what the operator wants it to be kept with. The error is in words for the
    /// record.
    pub(crate) async fn preserve(&self, stored: &StoredFlow) -> Result<Operation, String> {
        let flow = &stored.flow;
        let wanted = self.config().signature_level();
        let unchanged = Preserved {
            pdf: self.kept_document(&flow.document).await?.into(),
            level: Level::BT,
            renew_by: None,
        };
        let mut kept = unchanged;
        let mut downgrade = None;
        for level in [Level::BLT, Level::BLTA] {
            if level > wanted || downgrade.is_some() {
                break;
            }
            match self.raise(stored, kept.pdf.clone(), level).await {
                Ok(raised) => kept = raised,
                Err(failure) => {
                    let reason = failure.into_reason();
                    match self.downgrade(flow, &reason) {
                        Some(lower) => downgrade = Some(lower),
                        None => return Err(reason),
                    }
                }
            }
        }
        self.keep_preserved(flow, kept, downgrade).await
    }

    /// Renews the timestamp over a completed document, or makes the first one; where it would not end later than the one that is
    /// there, only `anyway`.
    pub(crate) async fn renew(&self, id: &SignFlowId, anyway: bool) -> Result<Renewed, Failure> {
        let found = self.store().find_flow(id).await;
        let found = found.map_err(|error| Chain(&error).to_string())?;
        let Some(stored) = found.filter(|found| found.flow.state.status() == Status::Completed)
        else {
            return Ok(Renewed::Nothing);
        };
        let flow = &stored.flow;
        let pdf: Bytes = self.kept_document(&flow.newest()).await?.into();
        let evident = self.raise(&stored, pdf, Level::BLT).await?;
        let kept = self.raise(&stored, evident.pdf, Level::BLTA).await?;
        let renew_by = kept.renew_by;
        let gains = flow.renew_by.is_none_or(|before| renew_by > Some(before));
        if !gains && !anyway {
            return Ok(Renewed::NoLonger);
        }
        let operation = self.keep_preserved(flow, kept, None).await?;
        match self
            .change_flow(id, &Actor::SYSTEM, |_| operation.clone(), None)
            .await
        {
            Ok(_) => Ok(Renewed::Until(renew_by)),
            Err(problem) if problem.kind() == Kind::Refused => Ok(Renewed::Nothing),
            Err(problem) => Err(problem.detail().to_owned().into()),
        }
    }

    /// Adds what a level asks for, and verifies that it is reached.
    async fn raise(
        &self,
        stored: &StoredFlow,
        pdf: Bytes,
        level: Level,
    ) -> Result<Preserved, Failure> {
        let (made, unanswered) = if level == Level::BLTA {
            (self.archive(pdf).await?, Vec::new())
        } else {
            self.with_evidence(pdf).await?
        };
        let pdf = Bytes::from(made);
        let report = self.verify(pdf.clone()).await;
        let report = report.map_err(|problem| problem.detail().to_owned())?;
        let reached = level_of(&report, &marks(stored))?;
        if reached < level {
            let reaches = format!("the document reaches {reached} instead of {level}");
            let reason = match unanswered[..] {
                [] => reaches,
                _ => format!("{reaches}: {}", unanswered.join("; ")),
            };
            return Err(reason.into());
        }
        Ok(Preserved {
            pdf,
            level: reached,
            renew_by: expiry(&report),
        })
    }

    /// A timestamp over the whole document.
    async fn archive(&self, pdf: Bytes) -> Result<Vec<u8>, Failure> {
        let pending = self.on_paper(move || prepare_archive(&pdf)).await;
        let pending = pending
            .map_err(|problem| problem.detail().to_owned())?
            .map_err(|error| Chain(&error).to_string())?;
        let authorities = self.timestamps();
        let nonce = random::<16>().map_err(|error| Chain(&error).to_string())?;
        let question = pending
            .timestamp_request(nonce, authorities.policy())
            .map_err(|error| Chain(&error).to_string())?;
        let timestamp = authorities.stamp(&question).await;
        let timestamp = timestamp.map_err(Failure::Authorities)?;
        let finished = pending.finish(&timestamp);
        Ok(finished.map_err(|error| Chain(&error).to_string())?)
    }

    /// Seals a report with the platform's key, at the level that signatures have. An authority that fails makes it fail, unless
    /// the operator has said that lower levels are made at once.
    pub(crate) async fn seal_report(&self, drawn: DrawnFacts) -> Result<Bytes, Problem> {
        let failed = |reason: String| {
            tracing::error!(reason, "an evidence report could not be sealed");
            let detail = "The report cannot be sealed at this moment.";
            Problem::new(Kind::Unavailable, detail).retry_after(10)
        };
        let now = self.now();
        let keys = &self.0.keys;
        let credential = keys.organization(self.store(), self.secrets(), PLATFORM, now);
        let credential = credential.await;
        let credential = credential
            .map_err(|error| Problem::internal("the platform's key cannot be had", &error))?;
        let signed = self
            .on_paper(move || sign_report(&drawn, &credential, now))
            .await?;
        let mut pending =
            signed.map_err(|error| Problem::internal("the report cannot be signed", &error))?;
        let wanted = self.config().signature_level();
        let mut level = Level::BB;
        if wanted >= Level::BT {
            match self.timestamp(&pending).await {
                Ok(timestamp) => {
                    let set = pending.set_timestamp(&timestamp);
                    set.map_err(|error| Problem::internal("a timestamp does not fit", &error))?;
                    level = Level::BT;
                }
                Err(reason) if self.config().signatures.downgrade_after.is_none() => {
                    return Err(failed(reason));
                }
                Err(reason) => tracing::warn!(reason, "an evidence report has no timestamp"),
            }
        }
        let pdf = pending.finish();
        let mut pdf = Bytes::from(
            pdf.map_err(|error| Problem::internal("a signature does not fit", &error))?,
        );
        if wanted >= Level::BLT && level == Level::BT {
            let evident = self.with_evidence(pdf.clone()).await;
            let evident = evident.and_then(|(evident, unanswered)| match unanswered[..] {
                [] => Ok(evident),
                _ => Err(unanswered.join("; ")),
            });
            let lasting = match (evident, wanted) {
                (Ok(evident), Level::BLTA) => {
                    let archived = self.archive(evident.into()).await;
                    archived.map_err(Failure::into_reason)
                }
                (evident, _) => evident,
            };
            match lasting {
                Ok(lasting) => pdf = lasting.into(),
                Err(reason) if self.config().signatures.downgrade_after.is_none() => {
                    return Err(failed(reason));
                }
                Err(reason) => tracing::warn!(reason, "an evidence report has a lower level"),
            }
        }
        Ok(pdf)
    }

    /// A timestamp over a signature. The error is in words for the record.
    pub(crate) async fn timestamp(&self, pending: &Pending) -> Result<Timestamp, String> {
        let authorities = self.timestamps();
        let nonce = random::<16>().map_err(|error| Chain(&error).to_string())?;
        let question = pending
            .timestamp_request(nonce, authorities.policy())
            .map_err(|error| Chain(&error).to_string())?;
        authorities.stamp(&question).await
    }

    /// The document with what says of its certificates whether they were revoked, and why of some it is not known.
    async fn with_evidence(&self, pdf: Bytes) -> Result<(Vec<u8>, Vec<String>), String> {
        let Found {
            evidence,
            unanswered,
        } = self.evidence_for(pdf.clone()).await?;
        let made = self.on_paper(move || add_evidence(&pdf, &evidence)).await;
        let made = made
            .map_err(|problem| problem.detail().to_owned())?
            .map_err(|error| Chain(&error).to_string())?;
        Ok((made, unanswered))
    }

    async fn keep_preserved(
        &self,
        flow: &Flow,
        kept: Preserved,
        downgrade: Option<Downgrade>,
    ) -> Result<Operation, String> {
        let document = self.store().put_document(kept.pdf.to_vec()).await;
        Ok(Operation::Preserve {
            base: flow.newest(),
            document: document.map_err(|error| Chain(&error).to_string())?,
            level: kept.level,
            renew_by: kept.renew_by,
            downgrade,
        })
    }
}

/// Signs a report where its seal goes, with room for a timestamp.
fn sign_report(
    drawn: &DrawnFacts,
    credential: &Credential,
    now: UtcMillis,
) -> Result<Pending, SignError> {
    const FIELD: &str = "sealpost-evidence";
    let field = Field {
        name: FIELD.to_owned(),
        page: drawn.seal.page,
        rect: drawn.seal.rect,
    };
    let seal = RoundSeal {
        organization: PLATFORM.to_owned(),
        legend: Some("证据专用章".to_owned()),
    };
    // The name of the platform is ours, and fits.
    let appearance = seal.draw().ok();
    let pdf = add_fields(&drawn.pdf, &[field])?;
    let request = SignRequest {
        field: FIELD,
        appearance: appearance.as_ref(),
        credential,
        signing_time: now,
        zone_minutes: 0,
        reason: Some("签署证据报告"),
        location: None,
        name: Some(PLATFORM),
    };
    prepare(&pdf, &request)
}

/// What each signer leaves in the document of a flow.
pub(crate) fn marks(stored: &StoredFlow) -> Vec<Mark> {
    let details = Details::parse(stored.details.as_deref());
    let signers = stored.flow.signers.iter();
    signers.map(|signer| details.mark_of(signer)).collect()
}

/// The lowest level of the signers' signatures, all of which must be valid.
fn level_of(report: &Report, marks: &[Mark]) -> Result<Level, String> {
    let mut lowest = Level::BLTA;
    for field in marks.iter().flat_map(|mark| &mark.fields) {
        let signature = report.signatures.iter().find(|one| one.field == *field);
        let Some(signature) = signature.filter(|one| one.verdict == Verdict::Valid) else {
            return Err(format!("the signature {field} would not be valid"));
        };
        let level = match signature.level {
            Some(Verified::BLTA) => Level::BLTA,
            Some(Verified::BLT) => Level::BLT,
            Some(Verified::BT) => Level::BT,
            Some(Verified::BB) | None => Level::BB,
        };
        lowest = lowest.min(level);
    }
    Ok(lowest)
}

/// When the certificate of the newest timestamp over the whole document expires.
fn expiry(report: &Report) -> Option<UtcMillis> {
    let stamps = report.signatures.iter().rev();
    let mut stamps = stamps.filter(|one| one.kind == SignatureKind::DocumentTimestamp);
    Some(stamps.next()?.signer.as_ref()?.not_after)
}
