//! Values of the command line that several of the commands take, and the time.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use sealpost_contract::UtcMillis;
use sealpost_contract::webhook::Secret;

/// The environment's webhook secrets, separated by spaces. Not named SEALPOST_…, which are the server's settings.
const SECRETS_VARIABLE: &str = "WEBHOOK_SECRET";

/// The secrets of the command line, or else those of the environment; `None` when neither says anything. A variable
/// that is there and holds no secret is a mistake, and not a wish to go without.
pub(crate) fn secrets(given: &[Secret]) -> anyhow::Result<Option<Vec<Secret>>> {
    if !given.is_empty() {
        return Ok(Some(given.to_vec()));
    }
    let Some(text) = std::env::var_os(SECRETS_VARIABLE) else {
        return Ok(None);
    };
    let text = text
        .into_string()
        .map_err(|_| anyhow!("{SECRETS_VARIABLE} is not text"))?;
    let secrets: Vec<Secret> = text
        .split_whitespace()
        .map(|secret| secret.parse().context(SECRETS_VARIABLE))
        .collect::<anyhow::Result<_>>()?;
    ensure!(
        !secrets.is_empty(),
        "{SECRETS_VARIABLE} is set, but holds no secret"
    );
    Ok(Some(secrets))
}

/// A length of time: `500ms`, `10s`, `5m`, `2h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a length of time such as 500ms, 10s, 5m or 2h is expected".to_owned();
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(match unit {
        "ms" => Duration::from_millis(number.into()),
        "s" => Duration::from_secs(number.into()),
        "m" => Duration::from_secs(u64::from(number) * 60),
        "h" => Duration::from_secs(u64::from(number) * 3600),
        _ => return Err(wrong()),
    })
}

/// An absolute http or https URL.
pub(crate) fn http_url(text: &str) -> Result<http::Uri, String> {
    let uri: http::Uri = text.parse().map_err(|_| "not a URL".to_owned())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err("an absolute URL such as http://127.0.0.1:8090/callback is expected".to_owned()),
    }
}

/// The path of a route: absolute, plain, without parameters.
pub(crate) fn path(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    if text.starts_with('/') && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a path such as /callback is expected".to_owned())
    }
}

/// The time, read for the whole command line at this one place.
#[expect(
    clippy::disallowed_methods,
    reason = "the commands for channels read the clock here and nowhere else"
)]
pub(crate) fn now() -> UtcMillis {
    jiff::Timestamp::now().as_millisecond()
}

/// A moment as RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc3339(at: UtcMillis) -> String {
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    format!("{at:.3}")
}

/// Writes to standard output. A pipe that was closed (`… | head`) is no reason to fail: the exit code is still wanted,
/// and a command that serves goes on serving.
pub(crate) fn print(text: impl std::fmt::Display) {
    // Locked, so that what belongs together stays together.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Text from outside on its way to a terminal: control characters (escape sequences among them) and what is too long
/// are replaced.
pub(crate) fn printable(text: &str, max_chars: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(max_chars)
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect();
    if text.chars().nth(max_chars).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "5", "s", "-1s", "1.5s", "99999999999s", "1 s", "1d"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn urls_and_paths() {
        assert!(http_url("http://127.0.0.1:80/x?y=1").is_ok());
        for bad in ["", "/x", "ftp://a/", "127.0.0.1:80", "http://"] {
            assert!(http_url(bad).is_err(), "{bad:?}");
        }
        assert!(path("/a/b-c").is_ok());
        for bad in ["", "a", "/{x}", "/a?b", "/*x", "/收"] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_and_text() {
        assert_eq!(rfc3339(1_616_408_669_007), "2021-03-22T10:24:29.007Z");
        assert_eq!(printable("a\u{1b}[2Jb", 10), "a\u{fffd}[2Jb");
        assert_eq!(printable("收收收", 2), "收收…");
    }
}
