//! Reads the members of a JSON object one by one and collects everything that is wrong with them, so that a client learns
//! all of it at once: missing, unknown, of the wrong type, over a limit.
//!
//! The codes are those of the receipt's own fields: `missing`, `unknown_field`, `wrong_type`, `empty`, `too_long`,
//! `out_of_range`, `bad_format`, `control_character`.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sealpost_contract::UtcMillis;
use serde_json::{Map, Value};

use super::once;
use crate::problem::{FieldError, Kind, Problem};

/// A JSON object being read. Ends in [`Fields::finish`], which refuses what was not asked for.
#[derive(Debug)]
pub(crate) struct Fields {
    /// The path of this object, with a dot at its end unless it is the outermost.
    prefix: String,
    left: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// The object in a JSON text.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let unreadable = |detail: String| Err(Problem::new(Kind::MalformedRequest, detail));
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to() + 1;
                return unreadable(format!(
                    "The body is not UTF-8: byte {at} begins no character."
                ));
            }
        };
        if text.trim_ascii().is_empty() {
            return unreadable("The body is empty; it must be a JSON object.".to_owned());
        }
        if text.starts_with('\u{feff}') {
            return unreadable(
                "The body begins with a byte order mark; send it without.".to_owned(),
            );
        }
        match once::parse(text) {
            Ok(Value::Object(map)) => Ok(Self::of(map)),
            Ok(_) => unreadable("The body must be a JSON object.".to_owned()),
            Err(error) => unreadable(format!("The body is not valid JSON: {error}.")),
        }
    }

    /// An object's members.
    pub(crate) fn of(map: Map<String, Value>) -> Self {
        Self {
            prefix: String::new(),
            left: map,
            errors: Vec::new(),
        }
    }

    /// Whether a member stands there and is not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(|value| !value.is_null())
    }

    /// Whether a member is a text that is empty; it is taken out if so.
    pub(crate) fn is_empty_text(&mut self, name: &str) -> bool {
        let is_empty = self.left.get(name).and_then(Value::as_str) == Some("");
        if is_empty {
            self.left.shift_remove(name);
        }
        is_empty
    }

    /// A text of `length` characters that must stand there. Wrong or missing: an error is noted and the text is empty.
    pub(crate) fn text(&mut self, name: &str, length: RangeInclusive<usize>) -> String {
        self.needed(name);
        self.find_text(name, length).unwrap_or_default()
    }

    /// A text of `length` characters that may stand there. White space around it is cut off.
    pub(crate) fn find_text(
        &mut self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Option<String> {
        let text = match self.take(name)? {
            Value::String(text) => text,
            _ => return self.wrong(name, "wrong_type", "it must be a string"),
        };
        let text = text.trim();
        let characters = text.chars().count();
        if characters < *length.start() {
            return if text.is_empty() {
                self.wrong(name, "empty", "it must not be empty")
            } else {
                self.limited(
                    name,
                    "too_short",
                    format!("it must have at least {} characters", length.start()),
                    *length.start(),
                )
            };
        }
        if characters > *length.end() {
            let message = format!(
                "it has {characters} characters; at most {} are possible",
                length.end()
            );
            return self.limited(name, "too_long", message, *length.end());
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return self.wrong(
                name,
                "control_character",
                "it must not contain control characters",
            );
        }
        Some(text.to_owned())
    }

    /// An integer that may stand there; in a query it is text.
    pub(crate) fn find_integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.take(name)?;
        let number = match &value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            None => self.wrong(name, "wrong_type", "it must be an integer"),
            Some(number) if !range.contains(&number) => {
                let message = format!("it must be {} to {}", range.start(), range.end());
                self.limited(name, "out_of_range", message, *range.end())
            }
            number => number,
        }
    }

    /// A number that may stand there.
    pub(crate) fn find_number(&mut self, name: &str, range: RangeInclusive<f64>) -> Option<f64> {
        match self.take(name)?.as_f64() {
            None => self.wrong(name, "wrong_type", "it must be a number"),
            Some(number) if !range.contains(&number) => {
                let message = format!("it must be {} to {}", range.start(), range.end());
                self.limited(name, "out_of_range", message, *range.end())
            }
            number => number,
        }
    }

    /// A list of so many numbers that may stand there.
    pub(crate) fn find_numbers<const N: usize>(&mut self, name: &str) -> Option<[f64; N]> {
        let value = self.take(name)?;
        match serde_json::from_value::<Vec<f64>>(value).map(<[f64; N]>::try_from) {
            Ok(Ok(numbers)) if numbers.iter().all(|number| number.abs() < 1e6) => Some(numbers),
            _ => self.wrong(
                name,
                "wrong_type",
                format!("it must be a list of {N} numbers"),
            ),
        }
    }

    /// `true` or `false`; false when it does not stand there.
    pub(crate) fn switch(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(Value::Bool(on)) => on,
            Some(_) => self
                .wrong(name, "wrong_type", "it must be true or false")
                .unwrap_or_default(),
        }
    }

    /// A moment that must stand there. Wrong or missing: an error is noted and the moment is 1970.
    pub(crate) fn time(&mut self, name: &str) -> UtcMillis {
        self.needed(name);
        self.find_time(name).unwrap_or_default()
    }

    /// A moment: RFC 3339 with an offset.
    pub(crate) fn find_time(&mut self, name: &str) -> Option<UtcMillis> {
        let text = self.find_text(name, 1..=64)?;
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Some(time.as_millisecond()),
            Err(_) => self.wrong(
                name,
                "bad_format",
                "it must be a time with its offset, like 2026-03-22T18:24:29+08:00",
            ),
        }
    }

    /// One of a few words.
    pub(crate) fn find_word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.find_text(name, 1..=64)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Some(*value),
            None => {
                let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.wrong(
                    name,
                    "unknown_value",
                    format!("it must be one of {}", all.join(", ")),
                )
            }
        }
    }

    /// Bytes in base64, at most `limit` of them after decoding.
    pub(crate) fn find_base64(&mut self, name: &str, limit: usize) -> Option<Bytes> {
        let text = match self.take(name)? {
            Value::String(text) => text,
            _ => return self.wrong(name, "wrong_type", "it must be a string in base64"),
        };
        match STANDARD.decode(text.as_bytes()) {
            Ok(bytes) if bytes.is_empty() => self.wrong(name, "empty", "it must not be empty"),
            Ok(bytes) if bytes.len() > limit => {
                let message = format!("it has {} bytes; at most {limit} are possible", bytes.len());
                self.limited(name, "too_long", message, limit)
            }
            Ok(bytes) => Some(bytes.into()),
            Err(_) => self.wrong(
                name,
                "bad_format",
                "it must be base64 (RFC 4648, section 4)",
            ),
        }
    }

    /// An absolute http or https URL of at most 2,048 characters, without credentials.
    pub(crate) fn find_http_url(&mut self, name: &str) -> Option<String> {
        let text = self.find_text(name, 1..=2048)?;
        match url::Url::parse(&text) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => self.wrong(
                name,
                "bad_format",
                "it must be an absolute http or https URL",
            ),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.wrong(name, "bad_format", "it must not contain credentials")
            }
            Ok(_) => Some(text),
            Err(error) => self.wrong(name, "bad_format", format!("it is no URL: {error}")),
        }
    }

    /// An object that may stand there. Give it back with [`Fields::absorb`] when it has been read.
    pub(crate) fn find_object(&mut self, name: &str) -> Option<Fields> {
        match self.take(name)? {
            Value::Object(map) => Some(Fields {
                prefix: format!("{}{name}.", self.prefix),
                left: map,
                errors: Vec::new(),
            }),
            _ => self.wrong(name, "wrong_type", "it must be an object"),
        }
    }

    /// The objects of a list of `length` elements that must stand there.
    pub(crate) fn objects(&mut self, name: &str, length: RangeInclusive<usize>) -> Vec<Fields> {
        self.needed(name);
        let list = match self.take(name) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                return self
                    .wrong(name, "wrong_type", "it must be a list")
                    .unwrap_or_default();
            }
        };
        if !length.contains(&list.len()) {
            let message = format!(
                "it has {} elements; {} to {} are possible",
                list.len(),
                length.start(),
                length.end()
            );
            let code = if list.is_empty() {
                "empty"
            } else {
                "out_of_range"
            };
            return self
                .limited(name, code, message, *length.end())
                .unwrap_or_default();
        }
        let mut objects = Vec::with_capacity(list.len());
        for (i, element) in list.into_iter().enumerate() {
            match element {
                Value::Object(map) => {
                    let prefix = format!("{}{name}[{i}].", self.prefix);
                    objects.push(Fields {
                        prefix,
                        left: map,
                        errors: Vec::new(),
                    });
                }
                _ => self.note(FieldError::new(
                    format!("{}{name}[{i}]", self.prefix),
                    "wrong_type",
                    "it must be an object",
                )),
            }
        }
        objects
    }

    /// Any value, taken out as it is.
    pub(crate) fn find_value(&mut self, name: &str) -> Option<Value> {
        self.take(name)
    }

    /// The path of a member.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Notes an error of a member.
    pub(crate) fn refuse(&mut self, name: &str, code: &str, message: impl Into<String>) {
        let _: Option<()> = self.wrong(name, code, message);
    }

    /// Notes an error whose path is complete already.
    pub(crate) fn note(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    /// Takes over the errors of an object inside this one, its unknown members included.
    pub(crate) fn absorb(&mut self, inner: Fields) {
        self.errors.extend(inner.into_errors());
    }

    /// Whether everything so far was right.
    pub(crate) fn is_sound(&self) -> bool {
        self.errors.is_empty()
    }

    /// Refuses the request if anything was wrong or was not asked for.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.into_errors() {
            errors if errors.is_empty() => Ok(()),
            errors => Err(Problem::fields(errors)),
        }
    }

    fn into_errors(self) -> Vec<FieldError> {
        let mut errors = self.errors;
        for name in self.left.keys().take(16) {
            errors.push(FieldError::new(
                format!("{}{name}", self.prefix),
                "unknown_field",
                "there is no such field",
            ));
        }
        errors
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left
            .shift_remove(name)
            .filter(|value| !value.is_null())
    }

    fn needed(&mut self, name: &str) {
        if !self.has(name) {
            self.left.shift_remove(name);
            self.refuse(name, "missing", "it is required");
        }
    }

    fn wrong<T>(&mut self, name: &str, code: &str, message: impl Into<String>) -> Option<T> {
        let path = self.path(name);
        self.note(FieldError::new(path, code, message));
        None
    }

    fn limited<T>(
        &mut self,
        name: &str,
        code: &str,
        message: String,
        limit: impl Into<Value>,
    ) -> Option<T> {
        let path = self.path(name);
        self.note(FieldError::new(path, code, message).limit(limit));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap()
    }

    fn codes(fields: Fields) -> Vec<(String, String)> {
        fields
            .into_errors()
            .into_iter()
            .map(|error| (error.field, error.code))
            .collect()
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_path() {
        let mut body = fields(
            r#"{"a": 1, "b": "", "c": "toolong", "d": {"e": true}, "list": [{}, 1], "u": 0}"#,
        );
        body.find_text("a", 1..=3);
        body.text("b", 1..=3);
        body.text("c", 1..=3);
        body.text("missing", 1..=3);
        let mut d = body.find_object("d").unwrap();
        d.text("e", 1..=3);
        body.absorb(d);
        for mut element in body.objects("list", 1..=3) {
            element.text("name", 1..=3);
            body.absorb(element);
        }
        let expected = [
            ("a", "wrong_type"),
            ("b", "empty"),
            ("c", "too_long"),
            ("missing", "missing"),
            ("d.e", "wrong_type"),
            ("list[1]", "wrong_type"),
            ("list[0].name", "missing"),
            ("u", "unknown_field"),
        ];
        assert_eq!(
            codes(body),
            expected.map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
    }

    #[test]
    fn null_is_as_good_as_missing_and_lengths_count_characters() {
        let mut body = fields(
            r#"{"a": null, "b": "䶮䶮䶮", "t": "2026-03-22T18:24:29+08:00", "x": "2026-03-22"}"#,
        );
        assert_eq!(body.find_text("a", 1..=3), None);
        assert_eq!(body.find_text("b", 1..=3).as_deref(), Some("䶮䶮䶮"));
        assert_eq!(body.find_time("t"), Some(1_774_175_069_000));
        assert_eq!(body.find_time("x"), None);
        assert_eq!(codes(body), [("x".to_owned(), "bad_format".to_owned())]);
    }

    #[test]
    fn urls_are_absolute_http_without_credentials() {
        for (url, sound) in [
            ("https://a.example/x?y=1", true),
            ("http://127.0.0.1:1/", true),
            ("ftp://a.example/", false),
            ("/relative", false),
            ("https://u:p@a.example/", false),
            ("javascript:alert(1)", false),
        ] {
            let mut body = Fields::of(Map::from_iter([("url".to_owned(), url.into())]));
            assert_eq!(body.find_http_url("url").is_some(), sound, "{url}");
            assert_eq!(body.is_sound(), sound, "{url}");
        }
    }
}
