//! Who reads a page, as far as the page cares: the language; and how an HTML page is answered.

use std::convert::Infallible;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::response::{Html, IntoResponse, Response};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::lang::Lang;
use crate::problem::{Kind, Problem};

/// Remembers what the language switch said, for a year.
const LANG_COOKIE: &str = "sealpost_lang";

/// Only our own files, and pictures that the script makes (`data:`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The reader's language, from the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) lang: Lang,
    /// The language was switched by this very request.
    switched: bool,
}

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        let switch = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "lang")
            .map(|(_, value)| value);
        let accept = parts
            .headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok());
        let remembered = find_cookie(&parts.headers, LANG_COOKIE);
        Ok(Self {
            lang: Lang::choose(switch.as_deref(), remembered, accept),
            switched: switch.is_some(),
        })
    }
}

/// The value of a cookie.
pub(crate) fn find_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

impl Reader {
    /// Answers with a page: never stored by the browser or a proxy, never found by a search engine.
    pub(crate) fn respond(self, status: StatusCode, page: &impl Template) -> Response {
        let html = match page.render() {
            Ok(html) => html,
            Err(error) => {
                return Problem::internal("a page could not be rendered", &error).into_response();
            }
        };
        let mut response = (status, Html(html)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            "x-robots-tag",
            HeaderValue::from_static("noindex, nofollow"),
        );
        headers.insert(
            header::VARY,
            HeaderValue::from_static("accept-language, cookie"),
        );
        if self.switched {
            let cookie = format!(
                "{LANG_COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly",
                self.lang
            );
            if let Ok(value) = HeaderValue::from_str(&cookie) {
                headers.append(header::SET_COOKIE, value);
            }
        }
        response
    }

    /// Answers with a page that says in words what kept the one asked for from being shown.
    pub(crate) fn trouble(self, problem: &Problem) -> Response {
        let status = problem.kind().status();
        match problem.kind() {
            Kind::NotFound => self.respond(status, &super::view::MissingPage { lang: self.lang }),
            _ => self.respond(
                status,
                &super::view::TroublePage {
                    lang: self.lang,
                    status: status.as_u16(),
                },
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("xsealpost_lang=zh; sealpost_lang=en"),
        );
        assert_eq!(find_cookie(&headers, LANG_COOKIE), Some("en"));
        assert_eq!(find_cookie(&headers, "sealpost"), None);
    }
}
