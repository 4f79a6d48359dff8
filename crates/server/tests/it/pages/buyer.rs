//! A buyer with a phone: the steps that most of the stories of the signing page have in common.

use super::browser::{Browser, Screen};
use crate::support::Signer;

pub(crate) struct Buyer {
    pub(crate) browser: Browser,
}

impl Buyer {
    /// A buyer who has not opened anything yet.
    pub(crate) async fn with(screen: Screen) -> Self {
        Self {
            browser: Browser::start(screen).await,
        }
    }

    /// A buyer who has opened their link.
    pub(crate) async fn at(signer: &Signer, screen: Screen) -> Self {
        let buyer = Self::with(screen).await;
        buyer.browser.open(&signer.url).await;
        buyer
    }

    /// Draws a signature, up to where it is seen in its place.
    pub(crate) async fn draws(&self) {
        self.browser.click("#sign").await;
        self.browser.draw().await;
        self.browser.click("#pad-done").await;
        self.browser.see("#confirm .close-up").await;
    }

    /// Draws a signature and agrees to sign: all but the last tap.
    pub(crate) async fn draws_and_agrees(&self) {
        self.draws().await;
        self.browser.click("#consent").await;
    }

    pub(crate) async fn confirms(&self) {
        self.browser.click("#confirm-send").await;
    }

    /// Asks for a code and waits for the page to say what came of it: `code_sent` or why not.
    pub(crate) async fn asks_for_a_code(&self, outcome: &str) {
        self.browser.click("#code-send").await;
        self.browser.see(&format!("[data-message={outcome}]")).await;
    }

    pub(crate) async fn enters(&self, code: &str) {
        self.browser.type_into("#code", code).await;
        self.confirms().await;
    }

    /// Waits until the page says that the flow is at this stage.
    pub(crate) async fn sees(&self, stage: &str) {
        self.browser.see(&format!("main[data-stage={stage}]")).await;
    }

    pub(crate) async fn reads(&self, message: &str) {
        self.browser
            .see(&format!("dialog [data-message={message}]"))
            .await;
    }

    /// Puts the phone away; the browser must not have complained of anything.
    pub(crate) async fn leaves(self) {
        assert_eq!(self.browser.complaints().await, Vec::<String>::new());
        self.browser.close().await;
    }
}
