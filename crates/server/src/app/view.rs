//! What pages and the API show of a flow: plain data, already masked, without the database's or the flow crate's types.

use std::net::IpAddr;

use sealpost_contract::{SignFlowId, UtcMillis};

/// Where a request came from, as it goes into the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The client's address: the connection's, or behind a trusted proxy the one it forwards.
    pub address: IpAddr,
    /// Whether that is a proxy on this machine that the operator has not named: everybody comes from there.
    pub is_unnamed_proxy: bool,
    /// The `user-agent` header, cut to 256 characters.
    pub user_agent: Option<String>,
}

/// What the holder of a signing link sees.
#[derive(Debug, Clone)]
pub struct SigningView {
    /// The flow.
    pub flow: FlowView,
    /// The number of the signer whose link it is; always one of `flow.signers`.
    pub me: u32,
    /// Set when this signer must enter a code before signing: where it is sent to, masked (`138****5678`).
    pub code_goes_to: Option<String>,
    /// Whether the signature may be typed instead of drawn.
    pub may_type: bool,
}

impl SigningView {
    /// The signer whose link it is.
    pub fn signer(&self) -> Option<&SignerView> {
        self.flow
            .signers
            .iter()
            .find(|signer| signer.number == self.me)
    }
}

/// A flow as people see it.
#[derive(Debug, Clone)]
pub struct FlowView {
    /// The flow's id.
    pub id: SignFlowId,
    /// What is signed, for example `新房收据 XS-2026-0001`.
    pub title: String,
    /// The channel's own reference.
    pub reference: Option<String>,
    /// Who asks for the signature: the channel's name.
    pub requested_by: String,
    /// What the receipt says, in the order of the paper; empty for an uploaded PDF. Identity numbers are masked.
    pub facts: Vec<Fact>,
    /// Pages of the document.
    pub pages: u32,
    /// Width and height of each page in points, as it is shown; may be shorter than `pages` when a size is unknown.
    pub page_sizes: Vec<[f32; 2]>,
    /// Where the flow is.
    pub state: FlowState,
    /// The signers, by number.
    pub signers: Vec<SignerView>,
    /// When it was created.
    pub created_at: UtcMillis,
    /// When it expires unless everyone has signed; `None` while it is a draft without a deadline.
    pub expires_at: Option<UtcMillis>,
    /// How it ended, once it has.
    pub end: Option<EndView>,
}

/// One line of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The member of the receipt, for example `amount_fen`, for pages that pick one out.
    pub key: &'static str,
    /// Its name in Chinese, as on the paper.
    pub label_zh: &'static str,
    /// Its name in English.
    pub label_en: &'static str,
    /// Its value as on the paper.
    pub value: String,
}

/// Where a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowState {
    /// Not started (0).
    Draft,
    /// Signers sign (1).
    Signing,
    /// All have signed; signatures are being applied and verified (1).
    Sealing,
    /// Completed (2).
    Completed,
    /// Revoked by the initiator (3).
    Revoked,
    /// Expired (5).
    Expired,
    /// Rejected by a signer (7).
    Rejected,
}

impl FlowState {
    /// The contract's number: `0`, `1`, `2`, `3`, `5` or `7`.
    pub fn status(self) -> &'static str {
        match self {
            Self::Draft => "0",
            Self::Signing | Self::Sealing => "1",
            Self::Completed => "2",
            Self::Revoked => "3",
            Self::Expired => "5",
            Self::Rejected => "7",
        }
    }

    /// The word in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Signing => "signing",
            Self::Sealing => "sealing",
            Self::Completed => "completed",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
        }
    }

    /// Whether the flow has ended.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Draft | Self::Signing | Self::Sealing)
    }
}

/// How a flow ended.
#[derive(Debug, Clone)]
pub struct EndView {
    /// When.
    pub at: UtcMillis,
    /// The reason given for revoking or rejecting.
    pub reason: Option<String>,
    /// The number of the signer who rejected.
    pub rejected_by: Option<u32>,
    /// `sign_file_url`: the signed file, or the void copy.
    pub file_url: String,
}

/// A signer as people see it.
#[derive(Debug, Clone)]
pub struct SignerView {
    /// From 1.
    pub number: u32,
    /// Its turn: those with a lower order sign first, those with the same in parallel.
    pub order: u32,
    /// A person or an organization.
    pub kind: SignerKind,
    /// The name.
    pub name: String,
    /// Where its seal or signature goes.
    pub place: PlaceView,
    /// How far it is.
    pub step: StepView,
    /// The link to its signing page; `None` for an organization whose seal is applied by itself.
    pub sign_url: Option<String>,
}

/// A rectangle on a page as it is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlaceView {
    /// From 1.
    pub page: u32,
    /// Left, top, width and height in points, from the upper left corner of the page as it is shown.
    pub rect: [f32; 4],
}

/// What a signer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignerKind {
    /// Signs by hand.
    Person,
    /// Seals; by itself when its turn comes if `automatic`.
    Organization {
        /// Whether the seal is applied by itself (静默签).
        automatic: bool,
    },
}

/// How far a signer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepView {
    /// Its turn has not come.
    Waiting,
    /// It may sign or reject now.
    Open,
    /// It has signed; the signature is being put into the PDF.
    Signed {
        /// When it signed.
        at: UtcMillis,
    },
    /// The signature is in the PDF.
    Applied {
        /// When it signed.
        at: UtcMillis,
    },
    /// It rejected.
    Rejected {
        /// When.
        at: UtcMillis,
        /// The reason it gave.
        reason: String,
    },
}
