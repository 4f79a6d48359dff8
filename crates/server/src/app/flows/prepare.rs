//! The document of a new flow: its seals are drawn, and it is drawn itself or taken as it is.

use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_flow::Party;
use sealpost_pdf::{Appearance, DrawMeta};
use sealpost_store::Labels;

use super::{Caller, NewDocument, NewSignFlow, NewSigner, SignerSeal};
use crate::app::details::{self, Details};
use crate::app::seals::{Seal, WantedSeal};
use crate::app::{App, paper};
use crate::problem::Problem;

impl App {
    /// The document with its fields, what is kept beside the flow, and by what people find it.
    pub(super) async fn prepare(
        &self,
        caller: &Caller,
        id: &SignFlowId,
        new: &NewSignFlow,
        now: UtcMillis,
    ) -> Result<(paper::Prepared, Details, Labels), Problem> {
        let is_receipt = matches!(new.document, NewDocument::Receipt(_));
        let mut signers = Vec::with_capacity(new.signers.len());
        for (index, signer) in new.signers.iter().enumerate() {
            let (seal, drawn) = self.seal_of(caller, index, signer, is_receipt).await?;
            signers.push(paper::NewMark {
                party: signer.party.clone(),
                place: signer.place.clone(),
                more: signer.more.clone(),
                straddle: signer.straddle,
                seal,
                drawn,
            });
        }
        match &new.document {
            NewDocument::Receipt(receipt) => {
                let meta = DrawMeta {
                    flow_id: id.as_str().to_owned(),
                    drawn_at: now,
                    verify_url: Some(format!("{}/verify", self.public_url())),
                };
                let drawn = receipt.clone();
                let prepared = self
                    .on_paper(move || paper::prepare_receipt(&drawn, signers, &meta))
                    .await??;
                let mut details =
                    Details::of_receipt(receipt, prepared.pages, prepared.layout.clone());
                details.marks = prepared.marks.clone();
                Ok((prepared, details, details::labels(receipt)))
            }
            NewDocument::Pdf(pdf) => {
                let (pdf, id) = (pdf.clone(), id.clone());
                let prepared = self
                    .on_paper(move || paper::prepare_pdf(&pdf, id.as_str(), signers))
                    .await??;
                let details = Details {
                    pages: prepared.pages,
                    layout: prepared.layout.clone(),
                    marks: prepared.marks.clone(),
                    ..Details::default()
                };
                Ok((prepared, details, Labels::default()))
            }
        }
    }

    /// The seal of a signer, and how it looks; a person need not have one.
    async fn seal_of(
        &self,
        caller: &Caller,
        index: usize,
        signer: &NewSigner,
        is_receipt: bool,
    ) -> Result<(Option<Seal>, Option<Appearance>), Problem> {
        let path = format!("signers[{index}].seal.");
        let wanted = match (&signer.seal, &signer.party) {
            (Some(SignerSeal::Own(wanted)), _) => wanted.clone(),
            (Some(SignerSeal::Kept(id)), _) => {
                let missing = || {
                    Problem::field(
                        format!("{path}id"),
                        "not_found",
                        "there is no such seal that this channel may use",
                    )
                };
                let kept = self.find_seal(Some(&caller.channel_id), id).await?;
                let seal = kept.ok_or_else(missing)?.seal;
                let drawn = self.draw_seal(&seal).await;
                let drawn = drawn.map_err(|reason| {
                    Problem::field(format!("{path}id"), "cannot_be_drawn", reason)
                })?;
                return Ok((Some(seal), Some(drawn)));
            }
            (None, Party::Person { .. }) => return Ok((None, None)),
            (None, Party::Organization { name, .. }) => {
                let organization = name.clone();
                WantedSeal::from(if is_receipt {
                    Seal::Finance { organization }
                } else {
                    Seal::Company {
                        organization,
                        legend: None,
                    }
                })
            }
        };
        let drawn = self.take_seal(&wanted, &path).await?;
        Ok((Some(wanted.seal), Some(drawn)))
    }
}
