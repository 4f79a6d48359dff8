//! How the demo is told: headings, steps with what they took, things to look at.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use super::Lang;
use crate::cli::width;

/// The column at which a step's time stands.
const TIME_COLUMN: usize = 74;

/// Tells it, in one language.
pub(super) struct Teller {
    lang: Lang,
    colours: bool,
}

impl Teller {
    pub(super) fn new(lang: Lang) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            lang,
            colours: std::io::stdout().is_terminal() && !plain,
        }
    }

    /// The wording in the language.
    pub(super) fn say<'a>(&self, zh: &'a str, en: &'a str) -> &'a str {
        match self.lang {
            Lang::Zh => zh,
            Lang::En => en,
        }
    }

    /// What follows in brackets, as the language writes them.
    pub(super) fn aside(&self, text: &str) -> String {
        match self.lang {
            Lang::Zh => format!("（{text}）"),
            Lang::En => format!(" ({text})"),
        }
    }

    /// The language's colon.
    pub(super) fn colon(&self) -> &'static str {
        self.say("：", ": ")
    }

    pub(super) fn heading(&self, zh: &str, en: &str) {
        let text = self.say(zh, en);
        self.line(&format!("\n{}", self.painted("1", text)));
    }

    /// A step that was as it should be.
    pub(super) fn done(&self, what: &str, took: Duration) {
        let time = format!("{} ms", took.as_millis());
        let room = TIME_COLUMN
            .saturating_sub(width(what) + 4 + time.len())
            .max(2);
        self.line(&format!(
            "  {} {what}{}{}",
            self.painted("32", "✓"),
            " ".repeat(room),
            self.painted("2", &time)
        ));
    }

    /// Something to look at, below a step.
    pub(super) fn note(&self, text: &str) {
        for line in text.lines() {
            self.line(&format!("    {}", self.painted("2", line)));
        }
    }

    pub(super) fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Whoever reads us may stop reading; the story goes on, and so does its exit code.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    pub(super) fn links(&self, links: &[(String, String)]) {
        self.heading(
            "服务仍在运行，可以打开（Ctrl-C 结束并清理）",
            "The server is still running; open (Ctrl-C ends it and cleans up)",
        );
        let widest = links
            .iter()
            .map(|(name, _)| width(name))
            .max()
            .unwrap_or_default();
        for (name, link) in links {
            self.line(&format!(
                "  {name}{}  {link}",
                " ".repeat(widest - width(name))
            ));
        }
    }

    pub(super) fn failed(&self, error: &anyhow::Error) {
        let text = self.say("演示未通过", "The demo failed");
        eprintln!("\n{} {text}: {error:#}", self.painted("31", "✗"));
    }

    fn painted(&self, style: &str, text: &str) -> String {
        if self.colours {
            format!("\u{1b}[{style}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
