//! `App`: everything that a request or a worker needs, and the operations of the product on it.
//!
//! Handlers, pages, workers and the demo call these methods; none of them queries the store or decides a rule by itself.
//! The rules are in `sealpost_flow`, the paper in `sealpost_pdf`; here the two meet the clock, the store and the secrets.

pub mod view;

use bytes::Bytes;

use std::sync::Arc;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::problem::{Kind, Problem};
use view::{Origin, SigningView};

/// Everything that a request or a worker needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    metrics: Metrics,
}

impl App {
    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

/// What the holder of a signing link may do. The token is the last segment of `/s/{token}`.
impl App {
    /// What the holder of the link sees; `None` if there is no such link.
    pub async fn find_signer_by_token(&self, token: &str) -> Result<Option<SigningView>, Problem> {
        let _ = token;
        Err(Problem::new(Kind::Unavailable, "Not built yet."))
    }

    /// Signs with the drawn signature (a PNG of at most 1 MiB and 4096 × 4096 pixels), and waits up to two seconds until it
    /// is in the PDF, so that the view shows the newest state. Signing again with the same drawing changes nothing and is no error.
    pub async fn sign(
        &self,
        token: &str,
        png: Bytes,
        origin: Origin,
    ) -> Result<SigningView, Problem> {
        let _ = (token, png, origin);
        Err(Problem::new(Kind::Unavailable, "Not built yet."))
    }

    /// Rejects, which ends the flow as 7. `reason`: 1 to 200 characters.
    pub async fn reject(
        &self,
        token: &str,
        reason: &str,
        origin: Origin,
    ) -> Result<SigningView, Problem> {
        let _ = (token, reason, origin);
        Err(Problem::new(Kind::Unavailable, "Not built yet."))
    }

    /// Page `n` (from 1) of the document as the signer sees it, as a PNG `width` pixels wide (320 to 2400; others are
    /// clamped). The `ETag`-worthy digest of the document comes with it.
    pub async fn page_png(&self, token: &str, n: u32, width: u32) -> Result<PagePng, Problem> {
        let _ = (token, n, width);
        Err(Problem::new(Kind::Unavailable, "Not built yet."))
    }
}

/// One page as an image.
#[derive(Debug, Clone)]
pub struct PagePng {
    /// The PNG.
    pub png: Bytes,
    /// SHA-256 of the document that was rendered, in hex: the image of (digest, page, width) never changes.
    pub document: String,
}
