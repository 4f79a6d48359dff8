//! The URL that people and channels reach this server under.

use std::net::SocketAddr;

use super::{ConfigError, unfit};
use crate::secrets::TOKEN_LENGTH;

/// The most characters that `sign_file_url` may have (the callback contract).
const SIGN_FILE_URL_MAX: usize = 128;

/// The most characters of a public URL: what is left of `sign_file_url` beside `/f/` and the token.
pub const PUBLIC_URL_MAX: usize = SIGN_FILE_URL_MAX - "/f/".len() - TOKEN_LENGTH;

/// A base URL under which `/f/{token}` fits into the 128 characters of `sign_file_url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Checks a base URL: http or https, no query, fragment or credentials, at most [`PUBLIC_URL_MAX`] characters without
    /// a slash at its end.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = url::Url::parse(text).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("it must be an absolute http or https URL".to_owned());
        }
        if url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err("it must have no query, fragment or credentials".to_owned());
        }
        let base = url.as_str().trim_end_matches('/');
        let length = base.chars().count();
        if length > PUBLIC_URL_MAX {
            return Err(format!(
                "it has {length} characters; at most {PUBLIC_URL_MAX} are possible, because {base}/f/ and a token of \
                 {TOKEN_LENGTH} characters must fit into the {SIGN_FILE_URL_MAX} characters of sign_file_url"
            ));
        }
        Ok(Self(base.to_owned()))
    }

    /// `http://` and an address that is listened on.
    pub fn of_address(address: SocketAddr) -> Result<Self, ConfigError> {
        let text = format!("http://{address}");
        Self::parse(&text).map_err(|reason| unfit("listen", &text, reason))
    }

    /// The URL without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is https.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }
}

impl std::fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_must_leave_room_for_the_file_link() {
        let longest = format!(
            "https://{}.cn",
            "a".repeat(PUBLIC_URL_MAX - "https://.cn".len())
        );
        let url = PublicUrl::parse(&format!("{longest}/")).unwrap();
        assert_eq!(
            format!("{url}/f/{}", "x".repeat(TOKEN_LENGTH)).len(),
            SIGN_FILE_URL_MAX
        );
        let reason = PublicUrl::parse(&format!("{longest}n")).unwrap_err();
        assert!(
            reason.contains("102") && reason.contains("101") && reason.contains("128"),
            "{reason}"
        );
    }
}
