//! The files of a flow: the signed PDF of one that was completed, a copy marked void of one that ended otherwise, a preview
//! marked as such before the end. No way leads to a partly signed document that could pass for a receipt.

use bytes::Bytes;
use sealpost_contract::{EndStatus, SignEndTime};
use sealpost_flow::{Digest, Flow};
use sealpost_pdf::mark::{preview_copy, void_copy};
use sealpost_pdf::{Report, Void, VoidKind};
use sealpost_store::{StoredFlow, Token};

use super::App;
use crate::problem::{Kind, Problem};
use crate::secrets::{TOKEN_LENGTH, sha256};

/// A PDF to be handed out.
#[derive(Debug, Clone)]
pub(crate) struct Pdf {
    pub(crate) bytes: Bytes,
    /// What it may be saved as.
    pub(crate) name: String,
    /// Whether it can still change.
    pub(crate) is_final: bool,
}

impl App {
    /// The file behind `sign_file_url`; `None` if there is no such link or the flow has not ended.
    pub(crate) async fn find_file_by_token(&self, token: &str) -> Result<Option<Pdf>, Problem> {
        if token.len() != TOKEN_LENGTH {
            return Ok(None);
        }
        let hash = Digest::from_bytes(sha256(token.as_bytes()));
        let Some(Token {
            flow_id,
            signer: None,
        }) = self.store().find_token(&hash).await?
        else {
            return Ok(None);
        };
        match self.store().find_flow(&flow_id).await? {
            Some(stored) if stored.flow.state.end().is_some() => self.file(&stored).await.map(Some),
            _ => Ok(None),
        }
    }

    /// What may be shown of a flow's document.
    pub(crate) async fn file(&self, stored: &StoredFlow) -> Result<Pdf, Problem> {
        let flow = &stored.flow;
        let id = flow.id.as_str();
        match flow.state.end() {
            Some((EndStatus::Completed, _)) => {
                let bytes = self.store().document(&flow.newest()).await?.into();
                Ok(Pdf {
                    bytes,
                    name: format!("{id}.pdf"),
                    is_final: true,
                })
            }
            Some((status, at)) => {
                let kind = match status {
                    EndStatus::Revoked => VoidKind::Revoked,
                    EndStatus::Expired => VoidKind::Expired,
                    EndStatus::Rejected | EndStatus::Completed => VoidKind::Rejected,
                };
                let ended = SignEndTime::at(at, &self.config().time_zone)
                    .as_str()
                    .to_owned();
                let void = Void {
                    kind,
                    flow_id: id.to_owned(),
                    ended,
                };
                let bytes = self
                    .marked(flow, "void", move |pdf| void_copy(pdf, &void))
                    .await?;
                Ok(Pdf {
                    bytes,
                    name: format!("{id}-void.pdf"),
                    is_final: true,
                })
            }
            None => {
                let bytes = self.marked(flow, "preview", preview_copy).await?;
                Ok(Pdf {
                    bytes,
                    name: format!("{id}-preview.pdf"),
                    is_final: false,
                })
            }
        }
    }

    /// A marked copy of the unsigned document: made when it is asked for, the same bytes each time, and remembered a while.
    async fn marked(
        &self,
        flow: &Flow,
        what: &str,
        mark: impl FnOnce(&[u8]) -> Result<Vec<u8>, sealpost_pdf::MarkError> + Send + 'static,
    ) -> Result<Bytes, Problem> {
        let key = format!("{what}-{}", flow.id);
        if let Some(bytes) = self.0.images.find(&key) {
            return Ok(bytes);
        }
        let pdf = self.store().document(&flow.original).await?;
        let marked = self.on_paper(move || mark(&pdf)).await?;
        let bytes = Bytes::from(
            marked.map_err(|error| Problem::internal("a copy cannot be marked", &error))?,
        );
        self.0.images.keep(key, bytes.clone());
        Ok(bytes)
    }

    /// Bytes that were made before under this key and are remembered, or that are made now.
    pub(crate) async fn kept_or_made(
        &self,
        key: String,
        make: impl Future<Output = Result<Bytes, Problem>>,
    ) -> Result<Bytes, Problem> {
        if let Some(bytes) = self.0.images.find(&key) {
            return Ok(bytes);
        }
        let bytes = make.await?;
        self.0.images.keep(key, bytes.clone());
        Ok(bytes)
    }

    /// What verification finds in a PDF, trusting the built-in authority but not what it has revoked.
    pub(crate) async fn verify(&self, pdf: Bytes) -> Result<Report, Problem> {
        let (trust, now) = (self.trust_and_revocations().await?, self.now());
        let report = self
            .on_paper(move || sealpost_pdf::verify(&pdf, &trust, now))
            .await?;
        report.map_err(|error| {
            let reason = crate::problem::Chain(&error).to_string();
            Problem::new(
                Kind::InvalidFields,
                format!("The document cannot be read: {reason}."),
            )
            .code("not_a_pdf")
        })
    }

    /// The built-in authority's name and validity.
    pub(crate) fn authority_subject(&self) -> (String, sealpost_pdf::Validity) {
        self.0.keys.authority_subject()
    }

    /// The built-in authority's certificate in DER.
    pub(crate) fn authority_der(&self) -> &[u8] {
        self.0.keys.authority_der()
    }

    /// The built-in authority's certificate in PEM.
    pub fn authority_pem(&self) -> String {
        self.0.keys.authority_pem()
    }
}
