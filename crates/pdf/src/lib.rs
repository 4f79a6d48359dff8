//! PDF work without network and database: draw a receipt as PDF/A, draw seals and signatures, sign (PAdES), verify, mark void
//! copies, and render pages as images.
//!
//! Times and randomness are arguments; nothing here reads a clock.

pub mod appearance;
mod canvas;
mod cms;
pub mod document;
pub mod draw;
pub mod find;
mod font;
mod form;
mod increment;
pub mod mark;
pub mod ocsp;
mod picture;
pub mod pki;
pub mod place;
pub mod receipt;
pub mod render;
pub mod rmb;
pub mod seal;
mod sight;
pub mod sign;
pub mod signature;
mod syntax;
mod text;
pub mod timestamp;
pub mod typed;
pub mod verify;

pub use appearance::{Appearance, RgbaImage};
pub use document::Unreadable;
pub use draw::{
    DrawError, DrawMeta, Drawn, DrawnFacts, FactGroup, FactSection, FactSheet, Place, PlaceKind,
    SignerLabel, draw, draw_facts,
};
pub use mark::{MarkError, Void, VoidKind};
pub use ocsp::{OcspAnswer, OcspError, OcspRequest};
pub use pki::{
    Authority, Credential, ExternalKey, ExternalKeyError, KeyAlgorithm, NewKey, Revocation,
    Subject, UnknownAlgorithm, Validity,
};
pub use receipt::{FieldError, Payer, Receipt};
pub use render::RenderError;
pub use seal::{NameSeal, OvalSeal, PictureSeal, RoundSeal, SealError};
pub use sign::{
    Evidence, Field, Pending, PendingArchive, SignError, SignRequest, add_evidence, add_fields,
    prepare, prepare_archive, sign,
};
pub use signature::SignatureImageError;
pub use timestamp::{Responder, Timestamp, TimestampError, TimestampRequest};
pub use verify::{NeededEvidence, Report, Trust, Verdict, VerifyError, needed_evidence, verify};
