//! PDF work without network and database: draw a receipt as PDF/A, draw seals and signatures, sign (PAdES), verify, mark void
//! copies, and render pages as images.
//!
//! Times and randomness are arguments; nothing here reads a clock.

pub mod appearance;
pub mod draw;
pub mod mark;
pub mod receipt;
pub mod render;
pub mod rmb;
pub mod seal;
pub mod signature;

pub use appearance::{Appearance, RgbaImage};
pub use draw::{DrawError, DrawMeta, Drawn, Place, PlaceKind, SignerLabel, draw};
pub use mark::{MarkError, Void, VoidKind};
pub use receipt::{FieldError, Payer, Receipt};
pub use render::RenderError;
pub use seal::{RoundSeal, SealError};
pub use signature::SignatureImageError;
