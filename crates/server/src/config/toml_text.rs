//! Reading TOML whose values may be secrets: what is wrong is told by place, key and reason, never by repeating the line.

use std::fmt;

use serde::de::DeserializeOwned;

/// What is wrong with a TOML text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Line and column, from 1.
    place: Option<(usize, usize)>,
    /// The key of that line, if it is one that is known.
    key: Option<String>,
    reason: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// Reads a text. `known` tells of a key with its sections, such as `sms.body`, whether it is one: only then it is named.
pub(crate) fn read<T: DeserializeOwned>(
    text: &str,
    known: impl Fn(&str) -> bool,
) -> Result<T, Wrong> {
    // The syntax first: what is said of it is never a part of the text.
    let syntax = toml::from_str::<toml::Table>(text).map(drop);
    syntax.map_err(|error| wrong(text, &error, error.message().to_owned(), &known))?;
    toml::from_str(text)
        .map_err(|error| wrong(text, &error, without_value(error.message()), &known))
}

/// As [`without_value`], for what was not read from a text.
pub(super) fn reason(error: &toml::de::Error) -> String {
    without_value(error.message())
}

/// What serde says, without the value that it found: `invalid type: string "hush", expected u32`.
fn without_value(message: &str) -> String {
    let of_value = ["invalid type: ", "invalid value: ", "invalid length "];
    if of_value.iter().any(|start| message.starts_with(start)) {
        // The value may hold the same words, but comes first.
        return match message.rsplit_once(", expected ") {
            Some((_, "a boolean")) => "it must be true or false".to_owned(),
            Some((_, "a sequence")) => "it must be a list".to_owned(),
            Some((_, expected)) if expected.starts_with("struct ") => {
                "it must be a table".to_owned()
            }
            Some((_, "u32")) => format!("it must be a number, 0 to {}", u32::MAX),
            Some((_, "usize")) => "it must be a number, 0 or more".to_owned(),
            Some((_, expected)) => format!("it must be {expected}"),
            None => "it is of the wrong type".to_owned(),
        };
    }
    // Names a key, and those there are.
    if message.starts_with("unknown field `") || message.starts_with("missing field `") {
        return message.to_owned();
    }
    "it cannot be read".to_owned()
}

fn wrong(
    text: &str,
    error: &toml::de::Error,
    reason: String,
    known: &impl Fn(&str) -> bool,
) -> Wrong {
    let before = error.span().and_then(|span| text.get(..span.start));
    let Some(before) = before else {
        return Wrong {
            place: None,
            key: None,
            reason,
        };
    };
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    Wrong {
        place: Some((
            before.matches('\n').count() + 1,
            text[start..before.len()].chars().count() + 1,
        )),
        key: key_of(&text[..start], line).filter(|key| known(key)),
        reason,
    }
}

/// The key that a line sets, after the section that it is in.
fn key_of(before: &str, line: &str) -> Option<String> {
    let (key, _) = line.split_once('=')?;
    let section = before.lines().rev().find_map(|line| {
        let line = line.split('#').next()?.trim();
        let name = line.strip_prefix('[')?.strip_suffix(']')?;
        Some(name.trim_matches(['[', ']']).trim())
    });
    let key = key.trim();
    Some(match section {
        Some(section) => format!("{section}.{key}"),
        None => key.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Shape {
        name: Option<String>,
        number: Option<u32>,
        inner: Inner,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        secret: Option<String>,
        list: Option<Vec<String>>,
        on: Option<bool>,
    }

    const KNOWN: [&str; 5] = ["name", "number", "inner.secret", "inner.list", "inner.on"];

    fn says(text: &str) -> String {
        let wrong = read::<Shape>(text, |key| KNOWN.contains(&key)).unwrap_err();
        wrong.to_string()
    }

    #[test]
    fn the_place_and_the_key_are_told_and_the_value_is_not() {
        for (text, told) in [
            (
                "number = 'hush'",
                "line 1, column 10: number: it must be a number, 0 to 4294967295",
            ),
            (
                "number = -5",
                "line 1, column 10: number: it must be a number, 0 to 4294967295",
            ),
            (
                "number = 5_000_000_000",
                "line 1, column 10: number: it must be a number, 0 to 4294967295",
            ),
            (
                "name = ['hush']",
                "line 1, column 8: name: it must be a string",
            ),
            (
                "name = 'a'\n\n[inner] # b\nsecret = 5 # hush",
                "line 4, column 10: inner.secret: it must be a string",
            ),
            (
                "[inner]\nlist = 'hush, expected \"'",
                "line 2, column 8: inner.list: it must be a list",
            ),
            (
                "[inner]\non = 'hush'",
                "line 2, column 6: inner.on: it must be true or false",
            ),
        ] {
            assert_eq!(says(text), told, "{text}");
        }
        for (text, told) in [
            ("[inner]\nsecret = \"hush", "line 2, column"),
            ("[inner]\nsecret = hush", "inner.secret"),
            ("[inner]\nsecret = \"a\\hush\"", "inner.secret"),
            ("[inner]\nsecret = \"\"\"\nhush = hush\n", "line"),
            ("[inner]\nsecret = 'a' hush", "inner.secret"),
            ("[inner]\nsecret: hush", "line 2"),
            ("[inner]\nhush", "line 2"),
            ("inner = 'hush'", "it must be a table"),
            ("[inner\nsecret = 'hush'", "line 1"),
            ("secret = 'hush'", "unknown field `secret`"),
            ("name = 'hush'\nname = 'hush'", "line 2"),
            ("密 = 'hush", "line 1"),
        ] {
            let says = says(text);
            assert!(says.contains(told), "{text}: {says}");
            assert!(!says.contains("hush"), "{says}");
        }
    }
}
