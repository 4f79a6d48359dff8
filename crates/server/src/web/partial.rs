//! Conditional requests and ranges (RFC 9110 sections 13 and 14) for bytes that never change under their tag.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{Method, StatusCode};

use crate::secrets::sha256;

/// What of the bytes is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// From the first to the last of these, which is one of them.
    Part(usize, usize),
    /// A part that there is not.
    Beyond,
}

/// The bytes, or the part that is asked for, or word that the asker has them already, or that they are not those that were meant.
pub(crate) fn answer(method: &Method, asked: &HeaderMap, bytes: Bytes) -> Response {
    let (length, tag) = (bytes.len(), format!("\"{}\"", hex::encode(sha256(&bytes))));
    let wanted = match *method {
        Method::GET => wanted(asked, &tag, length),
        // A range is asked for by GET alone.
        _ => Wanted::Whole,
    };
    let mut response = if !is_meant(asked, &tag) {
        with(StatusCode::PRECONDITION_FAILED, Bytes::new())
    } else if is_known(asked, &tag) {
        with(StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        match wanted {
            Wanted::Whole => with(StatusCode::OK, bytes),
            Wanted::Part(first, last) => {
                let part = with(StatusCode::PARTIAL_CONTENT, bytes.slice(first..=last));
                ranged(part, &format!("bytes {first}-{last}/{length}"))
            }
            Wanted::Beyond => {
                let nothing = with(StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new());
                ranged(nothing, &format!("bytes */{length}"))
            }
        }
    };
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    response
}

fn with(status: StatusCode, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response
}

fn ranged(mut response: Response, range: &str) -> Response {
    if let Ok(range) = HeaderValue::try_from(range) {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    response
}

/// Whether `If-Match`, if there is one, names the tag; a strong comparison.
fn is_meant(asked: &HeaderMap, tag: &str) -> bool {
    !asked.contains_key(IF_MATCH) || tags(asked, IF_MATCH).any(|meant| meant == "*" || meant == tag)
}

/// Whether `If-None-Match` names the tag; a weak comparison, as for all that is read.
fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    tags(asked, IF_NONE_MATCH)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn tags(asked: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = asked.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// What `Range` asks for. Several ranges at once, and what is no range, are passed over, as the RFC permits.
fn wanted(asked: &HeaderMap, tag: &str, length: usize) -> Wanted {
    let text = |name| {
        asked
            .get(&name)
            .map(|value: &HeaderValue| value.to_str().unwrap_or_default())
    };
    let Some(range) = text(RANGE) else {
        return Wanted::Whole;
    };
    if text(IF_RANGE).is_some_and(|known| known != tag) {
        return Wanted::Whole;
    }
    let Some((unit, spec)) = range.split_once('=') else {
        return Wanted::Whole;
    };
    let Some((from, to)) = spec.trim().split_once('-') else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // What does not fit is more than there is.
        digits.then(|| text.parse().unwrap_or(usize::MAX))
    };
    let end = length.saturating_sub(1);
    match (from, number(from), to, number(to)) {
        ("", _, _, Some(count)) if count == 0 || length == 0 => Wanted::Beyond,
        ("", _, _, Some(count)) => Wanted::Part(length.saturating_sub(count), end),
        (_, Some(first), _, Some(last)) if last < first => Wanted::Whole,
        (_, Some(first), "", _) | (_, Some(first), _, Some(_)) if first >= length => Wanted::Beyond,
        (_, Some(first), "", _) => Wanted::Part(first, end),
        (_, Some(first), _, Some(last)) => Wanted::Part(first, last.min(end)),
        _ => Wanted::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(http::HeaderName, &str)| (name.clone(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn ranges_as_the_rfc_has_them() {
        for (range, expected) in [
            ("bytes=0-4", Wanted::Part(0, 4)),
            ("bytes=5-", Wanted::Part(5, 9)),
            ("bytes=-3", Wanted::Part(7, 9)),
            ("bytes=-99", Wanted::Part(0, 9)),
            ("bytes=8-99999999999999999999999", Wanted::Part(8, 9)),
            ("BYTES = 9-9", Wanted::Part(9, 9)),
            ("bytes=10-", Wanted::Beyond),
            ("bytes=10-12", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=4-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=0-4", Wanted::Whole),
            ("bytes", Wanted::Whole),
        ] {
            assert_eq!(
                wanted(&headers(&[(RANGE, range)]), "\"t\"", 10),
                expected,
                "{range}"
            );
        }
        let resumed = |tag| {
            wanted(
                &headers(&[(RANGE, "bytes=5-"), (IF_RANGE, tag)]),
                "\"t\"",
                10,
            )
        };
        assert_eq!(resumed("\"t\""), Wanted::Part(5, 9));
        assert_eq!(resumed("\"other\""), Wanted::Whole);
        assert_eq!(resumed("Tue, 24 Nov 2026 00:00:00 GMT"), Wanted::Whole);
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let whole = answer(
            &Method::GET,
            &HeaderMap::new(),
            Bytes::from_static(b"%PDF-1.7"),
        );
        let tag = whole.headers()[ETAG].to_str().unwrap().to_owned();
        for known in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".to_owned(),
        ] {
            let again = answer(
                &Method::GET,
                &headers(&[(IF_NONE_MATCH, &known)]),
                Bytes::from_static(b"%PDF-1.7"),
            );
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
        }
        let other = answer(
            &Method::GET,
            &headers(&[(IF_NONE_MATCH, &tag)]),
            Bytes::from_static(b"%PDF-2.0"),
        );
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[test]
    fn what_was_not_meant_is_not_sent() {
        let bytes = Bytes::from_static(b"%PDF-1.7");
        let status = |asked: &[(HeaderName, &str)]| {
            answer(&Method::GET, &headers(asked), bytes.clone()).status()
        };
        let tag = format!("\"{}\"", hex::encode(sha256(&bytes)));
        for meant in [tag.clone(), format!("\"x\", {tag}"), "*".to_owned()] {
            assert_eq!(status(&[(IF_MATCH, &meant)]), StatusCode::OK, "{meant}");
        }
        for other in ["\"x\"".to_owned(), format!("W/{tag}")] {
            let asked = [
                (IF_MATCH, other.as_str()),
                (IF_NONE_MATCH, tag.as_str()),
                (RANGE, "bytes=0-1"),
            ];
            assert_eq!(status(&asked), StatusCode::PRECONDITION_FAILED, "{other}");
        }
    }

    #[test]
    fn only_get_gets_a_part() {
        let asked = headers(&[(RANGE, "bytes=0-1")]);
        let status = |method| answer(&method, &asked, Bytes::from_static(b"%PDF-1.7")).status();
        assert_eq!(status(Method::GET), StatusCode::PARTIAL_CONTENT);
        assert_eq!(status(Method::HEAD), StatusCode::OK);
    }
}
