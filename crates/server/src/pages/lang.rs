//! The two languages of the pages and how one is chosen for a reader.
//!
//! Both wordings stand beside each other in the templates (`lang.say("签名", "Sign")`), so that whoever changes one sees the
//! other. Chinese is the language of the document and the default.

use std::fmt;

/// A language that the pages speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lang {
    /// Simplified Chinese.
    Zh,
    /// English.
    En,
}

impl Lang {
    /// Chooses by the switch (`?lang=`), what the switch said last (a cookie), and `Accept-Language`, in this order.
    pub(crate) fn choose(
        switch: Option<&str>,
        remembered: Option<&str>,
        accept: Option<&str>,
    ) -> Self {
        switch
            .and_then(Self::from_tag)
            .or_else(|| remembered.and_then(Self::from_tag))
            .unwrap_or_else(|| Self::accepted(accept))
    }

    /// The wording in this language.
    pub(crate) fn say<'a>(&self, zh: &'a str, en: &'a str) -> &'a str {
        match self {
            Self::Zh => zh,
            Self::En => en,
        }
    }

    /// The value of the `lang` attribute, BCP 47.
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Self::Zh => "zh-CN",
            Self::En => "en",
        }
    }

    /// The value of `?lang=` and of the cookie.
    pub(crate) fn short(&self) -> &'static str {
        match self {
            Self::Zh => "zh",
            Self::En => "en",
        }
    }

    /// The language that the switch leads to.
    pub(crate) fn other(&self) -> Self {
        match self {
            Self::Zh => Self::En,
            Self::En => Self::Zh,
        }
    }

    fn from_tag(tag: &str) -> Option<Self> {
        match tag
            .trim()
            .split(['-', '_'])
            .next()?
            .to_ascii_lowercase()
            .as_str()
        {
            "zh" => Some(Self::Zh),
            "en" => Some(Self::En),
            _ => None,
        }
    }

    /// RFC 9110, section 12.5.4. Someone whose browser asks for neither language is better served by English.
    fn accepted(header: Option<&str>) -> Self {
        let Some(header) = header else {
            return Self::Zh;
        };
        let mut best: Option<(Self, f32)> = None;
        let mut named = false;
        for range in header.split(',').take(32) {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let quality = parts
                .find_map(|part| part.trim().strip_prefix("q=")?.parse::<f32>().ok())
                .unwrap_or(1.0);
            if quality <= 0.0 || tag.is_empty() || tag == "*" {
                continue;
            }
            named = true;
            if let Some(lang) = Self::from_tag(tag)
                && best.is_none_or(|(_, most)| quality > most)
            {
                best = Some((lang, quality));
            }
        }
        match best {
            Some((lang, _)) => lang,
            None if named => Self::En,
            None => Self::Zh,
        }
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::Lang::{self, En, Zh};

    #[test]
    fn the_reader_gets_the_language_asked_for() {
        let cases = [
            (None, None, None, Zh),
            (None, None, Some("*"), Zh),
            (None, None, Some("zh-CN,zh;q=0.9,en;q=0.8"), Zh),
            (None, None, Some("en-GB,en;q=0.9,zh;q=0.8"), En),
            (None, None, Some("zh;q=0.2, en;q=0.7"), En),
            (None, None, Some("fr-FR,fr;q=0.9"), En),
            (None, None, Some("zh-Hant-TW"), Zh),
            (None, None, Some("en;q=0"), Zh),
            (None, None, Some(";;q=,,"), Zh),
            (None, Some("en"), Some("zh-CN"), En),
            (Some("zh"), Some("en"), Some("en"), Zh),
            (Some("xx"), None, Some("en"), En),
        ];
        for (switch, remembered, accept, expected) in cases {
            assert_eq!(
                Lang::choose(switch, remembered, accept),
                expected,
                "{switch:?} {remembered:?} {accept:?}"
            );
        }
    }
}
