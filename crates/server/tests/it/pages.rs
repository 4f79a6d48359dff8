//! The pages as people use them: in a real Chromium, by clicking, drawing and typing only.

mod accessibility;
mod browser;
mod buyer;
pub(crate) mod code;
mod console;
mod cut;
mod document;
mod mail;
mod oidc;
mod provider;
mod reminders;
mod seals;
mod signing;
mod typed;
mod unhappy;
mod verify;
