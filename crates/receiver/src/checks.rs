//! What a request must pass before it counts as a callback. Pure: the clock is an argument.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use sealpost_contract::webhook::{self, Headers, Secret, Unverified};
use sealpost_contract::{Answer, Callback, MAX_BODY_BYTES, Malformed, UtcMillis};

/// Which checks a receiver makes. The default reads up to 64 KiB, wants JSON by its content type, and no signature.
#[derive(Debug, Clone)]
pub struct Checks {
    /// The most bytes of a body.
    pub max_body_bytes: usize,
    /// Whether a content type other than JSON is refused. A missing one is let pass: the page names none.
    pub json_content_type: bool,
    /// The secrets one of which must have signed the request. `None` leaves the signature unchecked; an empty list lets
    /// nothing pass, so that a setting that got lost is noticed.
    pub secrets: Option<Vec<Secret>>,
    /// How far the signature's time may lie from the receiver's, in seconds, before or after.
    pub tolerance_seconds: i64,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            max_body_bytes: MAX_BODY_BYTES,
            json_content_type: true,
            secrets: None,
            tolerance_seconds: webhook::DEFAULT_TOLERANCE_SECONDS,
        }
    }
}

impl Checks {
    /// Checks the headers and the whole body, in this order: size, signature, content type, form.
    ///
    /// # Errors
    /// [`Refused`] with the first check that failed.
    pub fn examine(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: UtcMillis,
    ) -> Result<Callback, Refused> {
        if body.len() > self.max_body_bytes {
            return Err(Refused::TooLarge);
        }
        if let Some(secrets) = &self.secrets {
            let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
            let signed = Headers {
                id: text(webhook::ID_HEADER),
                timestamp: text(webhook::TIMESTAMP_HEADER),
                signature: text(webhook::SIGNATURE_HEADER),
            };
            webhook::verify(secrets, signed, body, now, self.tolerance_seconds)?;
        }
        if self.json_content_type && !is_json(headers) {
            return Err(Refused::ContentType);
        }
        Ok(Callback::parse(body)?)
    }
}

/// `application/json` or `application/…+json`, in UTF-8 if a charset is named at all; or no content type.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let mut parts = value
        .split(';')
        .map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    json && parts.all(|parameter| match parameter.strip_prefix("charset=") {
        Some(charset) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
        None => true,
    })
}

/// Why a request is no callback.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The body is over [`Checks::max_body_bytes`].
    #[error("the body is too large")]
    TooLarge,
    /// The body did not arrive whole, or not in time.
    #[error("the body did not arrive whole and in time")]
    Incomplete,
    /// The content type is not JSON in UTF-8.
    #[error("the content type is not application/json")]
    ContentType,
    /// The signature is missing or wrong.
    #[error(transparent)]
    Unsigned(#[from] Unverified),
    /// The body is not the contract's.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Refused {
    /// The answer the contract asks for.
    pub fn answer(&self) -> Answer {
        match self {
            Self::TooLarge => Answer::TooLarge,
            Self::Unsigned(_) => Answer::Unsigned,
            Self::Incomplete | Self::ContentType | Self::Malformed(_) => Answer::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn content_types() {
        let json = |value: &'static str| {
            is_json(&HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_static(value),
            )]))
        };
        assert!(is_json(&HeaderMap::new()));
        for good in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
            "application/cloudevents+json",
            "application/json; boundary=x",
        ] {
            assert!(json(good), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "application/json; charset=gbk",
        ] {
            assert!(!json(bad), "{bad}");
        }
    }
}
