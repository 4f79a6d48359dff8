//! What the holder of a signing link may do. The token is the last segment of `/s/{token}`; whoever has it is the signer.

use bytes::Bytes;
use sealpost_flow::{Actor, Consent, Digest, Flow, Operation, Status, Step};
use sealpost_pdf::typed::{self, TypedError};
use sealpost_pdf::{RenderError, SignatureImageError, render, signature};
use sealpost_store::{StoredFlow, Token};

use super::App;
use super::details::Details;
use super::view::{Origin, SigningView};
use crate::problem::{Kind, Problem};
use crate::secrets::{TOKEN_LENGTH, sha256};

/// The widths of page images, in pixels.
const WIDTHS: std::ops::RangeInclusive<u32> = 320..=render::MAX_PAGE_WIDTH;

/// One page as an image.
#[derive(Debug, Clone)]
pub struct PagePng {
    /// The PNG.
    pub png: Bytes,
    /// SHA-256 of the document that was rendered, in hex: the image of (digest, page, width) never changes.
    pub document: String,
}

/// A signature as the signer gave it.
#[derive(Debug, Clone)]
pub enum Mark {
    /// Drawn: a PNG within the limits of [`sealpost_pdf::signature`].
    Drawn(Bytes),
    /// Typed: the name, of which the server makes the picture.
    Typed(String),
}

/// What a signer shows beside the signature.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The code that was sent to them.
    pub code: Option<String>,
    /// The words that they agreed to, as the page showed them; programs that sign for a signer may have shown none.
    pub consent: Option<Consent>,
}

impl App {
    /// What the holder of the link sees; `None` if there is no such link.
    pub async fn find_signer_by_token(&self, token: &str) -> Result<Option<SigningView>, Problem> {
        match self.find_signer(token).await? {
            Some((stored, signer)) => Ok(Some(self.signing_view(&stored, signer).await?)),
            None => Ok(None),
        }
    }

    /// Notes, once for each signer, that they have looked at the document. Changes nothing when it is not their turn.
    pub async fn note_view(&self, token: &str, origin: &Origin) -> Result<(), Problem> {
        let Some((stored, signer)) = self.find_signer(token).await? else {
            return Err(no_link());
        };
        let is_news = stored.flow.signer(signer).is_some_and(|signer| {
            matches!(
                signer.step,
                Step::Open {
                    viewed_at: None,
                    ..
                }
            )
        });
        if !is_news {
            return Ok(());
        }
        match self
            .change_flow(
                &stored.flow.id,
                &actor(signer, origin),
                |_| Operation::View,
                None,
            )
            .await
        {
            Err(problem) if problem.kind() != Kind::Refused => Err(problem),
            _ => Ok(()),
        }
    }

    /// Sends the signer a code, if the flow asks them for one and it is their turn; answers where it went, masked.
    pub async fn send_code(&self, token: &str, origin: &Origin) -> Result<String, Problem> {
        let (stored, signer) = self.find_signer(token).await?.ok_or_else(no_link)?;
        let details = Details::parse(stored.details.as_deref());
        let Some(kept) = details.contact_of(signer).filter(|kept| kept.code) else {
            return Err(
                Problem::new(Kind::Refused, "No code is needed to sign here.")
                    .code("no_code_needed"),
            );
        };
        if !is_open(&stored.flow, signer) {
            return Err(
                Problem::new(Kind::Refused, "It is not this signer's turn.").code("not_your_turn")
            );
        }
        self.issue_code(&stored.flow, signer, kept, origin).await?;
        Ok(kept.masked.clone())
    }

    /// Signs, with the code that was sent where the flow asks for one; and waits up to two seconds until the signature is in the
    /// PDF, so that the view shows the newest state. Signing again with the same mark changes nothing and is no error.
    pub async fn sign(
        &self,
        token: &str,
        mark: Mark,
        proof: Proof,
        origin: Origin,
    ) -> Result<SigningView, Problem> {
        let (stored, signer) = self.find_signer(token).await?.ok_or_else(no_link)?;
        let (png, typed) = match mark {
            Mark::Drawn(png) => (png, None),
            Mark::Typed(name) => (self.typed_picture(&stored, &name).await?, Some(name)),
        };
        let mark = Digest::of(&png);
        if has_signed_with(&stored.flow, signer, mark) {
            return self.signing_view(&stored, signer).await;
        }
        let mut shown = sealpost_flow::Proof {
            authentication: None,
            consent: proof.consent,
            typed,
        };
        let sign = |flow: &Flow, shown: &sealpost_flow::Proof| Operation::Sign {
            mark,
            document: flow.document,
            proof: shown.clone(),
        };
        let actor = actor(signer, &origin);
        // Whoever may not sign now leaves nothing behind, and comes past no code when their turn comes a moment later.
        let attempt = sign(&stored.flow, &shown);
        sealpost_flow::apply(&stored.flow, attempt, &actor, self.now())
            .map_err(|refusal| self.refused(&stored.flow, &refusal))?;
        let drawn = png.clone();
        let hand = self
            .on_paper(move || signature::appearance(&drawn))
            .await?
            .map_err(|error| bad_mark(&error))?;
        let code = proof.code.as_deref();
        shown.authentication = self.check_code(&stored, signer, code).await?;
        self.store().put_document(png.to_vec()).await?;
        self.0.hands.hold(mark, hand);
        let sign = |flow: &Flow| sign(flow, &shown);
        match self.change_flow(&stored.flow.id, &actor, sign, None).await {
            Ok(outcome) => {
                if shown.authentication.is_some() {
                    self.spend_code(&outcome.stored.flow, signer).await;
                }
                let stored = self.seal_promptly(outcome.stored).await?;
                self.signing_view(&stored, signer).await
            }
            // Two copies of one request at once: the other was faster.
            Err(problem) if problem.kind() == Kind::Refused => match self.find_signer(token).await?
            {
                Some((stored, signer)) if has_signed_with(&stored.flow, signer, mark) => {
                    self.signing_view(&stored, signer).await
                }
                _ => Err(problem),
            },
            Err(problem) => Err(problem),
        }
    }

    /// The picture of a name, as it would be put into the PDF, while the signer may choose one.
    pub(crate) async fn typed_preview(&self, token: &str, name: &str) -> Result<Bytes, Problem> {
        let (stored, signer) = self.find_signer(token).await?.ok_or_else(no_link)?;
        if !is_open(&stored.flow, signer) {
            return Err(
                Problem::new(Kind::Refused, "It is not this signer's turn.").code("not_your_turn")
            );
        }
        self.typed_picture(&stored, name).await
    }

    async fn typed_picture(&self, stored: &StoredFlow, name: &str) -> Result<Bytes, Problem> {
        if Details::parse(stored.details.as_deref()).drawn_only {
            let detail = "Signatures of this sign flow must be drawn.";
            return Err(Problem::new(Kind::Refused, detail).code("typed_not_allowed"));
        }
        let name = name.to_owned();
        let drawn = self.on_paper(move || typed::picture(&name)).await?;
        drawn.map(Bytes::from).map_err(|error| {
            let code = match error {
                TypedError::Missing(_) => "missing_glyph",
                _ => "bad_length",
            };
            Problem::field("typed_name", code, error.to_string())
        })
    }

    /// Rejects, which ends the flow as 7. `reason`: 1 to 200 characters.
    pub async fn reject(
        &self,
        token: &str,
        reason: &str,
        origin: Origin,
    ) -> Result<SigningView, Problem> {
        let (stored, signer) = self.find_signer(token).await?.ok_or_else(no_link)?;
        let reject = |_: &Flow| Operation::Reject {
            reason: reason.to_owned(),
        };
        let outcome = self
            .change_flow(&stored.flow.id, &actor(signer, &origin), reject, None)
            .await?;
        self.signing_view(&outcome.stored, signer).await
    }

    /// Page `n` (from 1) of the document as it is now, as a PNG `width` pixels wide (320 to 2400; others are clamped).
    pub async fn page_png(&self, token: &str, n: u32, width: u32) -> Result<PagePng, Problem> {
        let (stored, _) = self.find_signer(token).await?.ok_or_else(no_link)?;
        self.page_of(&stored, n, width).await
    }

    /// Page `n` (from 1) of a flow's document.
    pub(crate) async fn page_of(
        &self,
        stored: &StoredFlow,
        n: u32,
        width: u32,
    ) -> Result<PagePng, Problem> {
        let width = width.clamp(*WIDTHS.start(), *WIDTHS.end());
        let document = stored.flow.document;
        let key = format!("{document}-{n}-{width}");
        let png = match self.0.images.find(&key) {
            Some(png) => png,
            None => {
                let page = n.checked_sub(1).ok_or_else(|| Problem::not_found("page"))? as usize;
                let pdf = self.store().document(&document).await?;
                let png = self
                    .on_paper(move || render::page_png(&pdf, page, width))
                    .await?
                    .map_err(|error| match error {
                        RenderError::NoSuchPage { .. } => Problem::not_found("page"),
                        other => Problem::internal("a page cannot be rendered", &other),
                    })?;
                let png = Bytes::from(png);
                self.0.images.keep(key, png.clone());
                png
            }
        };
        Ok(PagePng {
            png,
            document: document.to_string(),
        })
    }

    async fn find_signer(&self, token: &str) -> Result<Option<(StoredFlow, u8)>, Problem> {
        if token.len() != TOKEN_LENGTH {
            return Ok(None);
        }
        let hash = Digest::from_bytes(sha256(token.as_bytes()));
        let Some(Token {
            flow_id,
            signer: Some(signer),
        }) = self.store().find_token(&hash).await?
        else {
            return Ok(None);
        };
        let stored = self.store().find_flow(&flow_id).await?;
        // A draft is nobody's business but its initiator's, who may still throw it away.
        Ok(stored
            .filter(|stored| stored.flow.state.status() != Status::Draft)
            .map(|stored| (stored, signer)))
    }

    async fn signing_view(&self, stored: &StoredFlow, signer: u8) -> Result<SigningView, Problem> {
        let details = Details::parse(stored.details.as_deref());
        let code = details
            .contact_of(signer)
            .filter(|kept| kept.code && is_open(&stored.flow, signer));
        Ok(SigningView {
            flow: self.view(stored).await?,
            me: signer.into(),
            code_goes_to: code.map(|kept| kept.masked.clone()),
            may_type: !details.drawn_only,
        })
    }
}

fn is_open(flow: &Flow, signer: u8) -> bool {
    flow.signer(signer)
        .is_some_and(|signer| matches!(signer.step, Step::Open { .. }))
}

fn no_link() -> Problem {
    Problem::not_found("link")
}

fn actor(signer: u8, origin: &Origin) -> Actor {
    Actor::signer(signer).from_client(origin.address, origin.user_agent.as_deref())
}

fn has_signed_with(flow: &Flow, signer: u8, mark: Digest) -> bool {
    flow.signer(signer)
        .is_some_and(|signer| match &signer.step {
            Step::Signed { intent } | Step::Applied { intent, .. } => intent.mark == Some(mark),
            Step::Waiting | Step::Open { .. } | Step::Rejected { .. } => false,
        })
}

fn bad_mark(error: &SignatureImageError) -> Problem {
    let code = match error {
        SignatureImageError::TooManyBytes(_) | SignatureImageError::TooLarge { .. } => "too_large",
        SignatureImageError::NotPng(_) => "not_a_png",
        SignatureImageError::NoInk => "no_ink",
        _ => "bad_format",
    };
    Problem::field("signature_png_base64", code, error.to_string())
}
