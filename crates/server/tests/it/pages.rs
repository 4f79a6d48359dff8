//! The pages as people use them: in a real Chromium, by clicking, drawing and typing only.

mod accessibility;
mod browser;
mod code;
mod console;
mod cut;
mod reminders;
mod signing;
mod unhappy;
mod verify;
