//! Every failure an HTTP client can meet, as an RFC 9457 problem; made here and nowhere else.
//!
//! A problem has a stable `code`, a `title` that belongs to the code, a `detail` for this occurrence, and for bad input
//! `errors`: one entry a field, each with its own stable `code` and, where a limit was broken, the `limit`. `type` points
//! into `/docs`, where each code is explained. What went wrong inside is logged here once and never shown to the client.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use sealpost_contract::UtcMillis;
use serde::Serialize;
use serde_json::{Map, Value};

/// What kind of problem it is: decides the HTTP status, the code and the title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The body is not JSON, or the request cannot be understood at all.
    MalformedRequest,
    /// The request was understood but fields of it are wrong; `errors` says which.
    InvalidFields,
    /// No key, or one that is unknown or revoked.
    Unauthorized,
    /// What the caller may not do.
    Forbidden,
    /// There is nothing here, or nothing that the caller may see.
    NotFound,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// The state forbids the operation; `sign_flow_status` and `state` say which state.
    Refused,
    /// Something else exists under the same name already.
    Conflict,
    /// The idempotency key was used with another request.
    IdempotencyKeyReused,
    /// The body is over its limit; `limit` says which.
    TooLarge,
    /// The body is of a type that this call does not read.
    UnsupportedMediaType,
    /// Too many tries; `retry-after` says when again.
    TooManyRequests,
    /// The request took too long to arrive.
    Timeout,
    /// A fault of ours.
    Internal,
    /// Too busy, or a part that is needed does not work at the moment; worth a retry.
    Unavailable,
    /// The disk is full or cannot be written.
    StorageFull,
}

impl Kind {
    /// All kinds, for the documentation and its test.
    pub const ALL: [Self; 16] = [
        Self::MalformedRequest,
        Self::InvalidFields,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Refused,
        Self::Conflict,
        Self::IdempotencyKeyReused,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::TooManyRequests,
        Self::Timeout,
        Self::Internal,
        Self::Unavailable,
        Self::StorageFull,
    ];

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The stable code in `code` and at the end of `type`.
    pub fn code(self) -> &'static str {
        self.parts().1
    }

    /// The title, the same for each occurrence.
    pub fn title(self) -> &'static str {
        self.parts().2
    }

    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (
                StatusCode::BAD_REQUEST,
                "malformed_request",
                "The request cannot be read",
            ),
            Self::InvalidFields => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_fields",
                "Fields of the request are wrong",
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "A valid API key is needed",
            ),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "This is not permitted"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is nothing here"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This path does not take this method",
            ),
            Self::Refused => (
                StatusCode::CONFLICT,
                "refused",
                "The state of the sign flow forbids this",
            ),
            Self::Conflict => (
                StatusCode::CONFLICT,
                "conflict",
                "Something else exists already",
            ),
            Self::IdempotencyKeyReused => (
                StatusCode::CONFLICT,
                "idempotency_key_reused",
                "The idempotency key was used with another request",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "The body is over its limit",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body is of another type",
            ),
            Self::TooManyRequests => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too many tries",
            ),
            Self::Timeout => (
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "The request took too long",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "A fault on our side",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Not available at the moment",
            ),
            Self::StorageFull => (
                StatusCode::INSUFFICIENT_STORAGE,
                "storage_full",
                "The storage takes no more",
            ),
        }
    }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where: members joined by dots, elements of a list in brackets, for example `signers[1].name`.
    pub field: String,
    /// A stable code, for programs: `required`, `unknown_field`, `type`, `too_long`, `out_of_range`, `format`, …
    pub code: String,
    /// The same in words, for people.
    pub message: String,
    /// The limit that was broken, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Value>,
}

impl FieldError {
    /// An error of a field without a limit.
    pub fn new(
        field: impl Into<String>,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            code: code.into(),
            message: message.into(),
            limit: None,
        }
    }

    /// The same with the limit that was broken.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<Value>) -> Self {
        self.limit = Some(limit.into());
        self
    }
}

/// One RFC 9457 problem.
#[derive(Debug, Clone)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: Kind,
    /// A refinement of the kind's code, for example the flow's refusal.
    code: Option<&'static str>,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem of this kind; `detail` is read by the client.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let mut headers = HeaderMap::new();
        if kind == Kind::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Self(Box::new(Inner {
            kind,
            code: None,
            detail: detail.into(),
            errors: Vec::new(),
            members: Map::new(),
            headers,
        }))
    }

    /// Wrong fields; `errors` must not be empty.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.field, only.message),
            many => format!("{} fields are wrong; see errors", many.len()),
        };
        let mut problem = Self::new(Kind::InvalidFields, detail);
        problem.0.errors = errors;
        problem
    }

    /// One wrong field.
    pub fn field(
        field: impl Into<String>,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::fields(vec![FieldError::new(field, code, message)])
    }

    /// Nothing here, or nothing that the caller may see.
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("There is no such {what}."))
    }

    /// A body over `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            Kind::TooLarge,
            format!("The body may have at most {limit} bytes."),
        )
        .with("limit", limit)
    }

    /// A fault of ours: logged here, once, with its sources; the client only learns that it was ours.
    pub fn internal(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %Chain(error), "{what}");
        Self::new(
            Kind::Internal,
            "Something failed on our side. It is in our log under this request's id.",
        )
    }

    /// A refinement of the kind's code.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.0.code = Some(code);
        self
    }

    /// A further member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(member.to_owned(), value.into());
        self
    }

    /// Asks the client to wait before it tries again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0
            .headers
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
        self
    }

    /// Whole seconds from `now` until `at`, one at least, for [`Problem::retry_after`].
    pub(crate) fn seconds_until(at: UtcMillis, now: UtcMillis) -> u32 {
        let seconds = at.saturating_sub(now).max(1).saturating_add(999) / 1000;
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The stable code: that of the kind, or its refinement.
    pub fn stable_code(&self) -> &'static str {
        self.0.code.unwrap_or(self.0.kind.code())
    }

    /// The words for this occurrence.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The wrong fields.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }
}

/// For the command line: what happened, field by field.
impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.detail)?;
        if self.0.errors.len() > 1 {
            for error in &self.0.errors {
                write!(f, "\n  {}: {}", error.field, error.message)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl From<sealpost_store::Error> for Problem {
    fn from(error: sealpost_store::Error) -> Self {
        use sealpost_store::Error;
        match &error {
            Error::Full(_) => {
                tracing::error!(error = %Chain(&error), "the disk is full");
                Self::new(
                    Kind::StorageFull,
                    "The disk is full. Nothing of this request was kept.",
                )
            }
            Error::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                tracing::error!(error = %Chain(&error), "the disk is full");
                Self::new(
                    Kind::StorageFull,
                    "The disk is full. Nothing of this request was kept.",
                )
            }
            Error::ReadOnly(_) => {
                tracing::error!(error = %Chain(&error), "the data folder is read-only");
                Self::new(
                    Kind::StorageFull,
                    "The data folder is read-only. Nothing of this request was kept.",
                )
                .code("storage_read_only")
            }
            Error::Busy(_) => Self::new(
                Kind::Unavailable,
                "The database is busy. Nothing of this request was kept.",
            )
            .retry_after(1),
            Error::Io(_) => {
                tracing::error!(error = %Chain(&error), "the database's files cannot be used");
                Self::new(
                    Kind::Unavailable,
                    "The database cannot be written at the moment. Nothing of this request was kept.",
                )
                .retry_after(5)
            }
            Error::Unreachable(_) => {
                tracing::error!(error = %Chain(&error), "the database cannot be reached");
                Self::new(
                    Kind::Unavailable,
                    "The database cannot be reached. If the request was under way when it went, it may have been kept: send it again with the same idempotency key.",
                )
                .retry_after(5)
            }
            Error::Bucket { .. } | Error::BucketRefused { .. } => {
                tracing::error!(error = %Chain(&error), "the bucket of documents cannot be used");
                Self::new(
                    Kind::Unavailable,
                    "Documents cannot be kept or read at the moment. Nothing of this request was kept.",
                )
                .code("documents_unavailable")
                .retry_after(5)
            }
            _ => Self::internal("the store failed", &error),
        }
    }
}

impl From<crate::secrets::SecretError> for Problem {
    fn from(error: crate::secrets::SecretError) -> Self {
        Self::internal("a secret cannot be used", &error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = self.0.kind;
        let code = self.stable_code();
        let inner = *self.0;
        let mut body = Map::new();
        body.insert(
            "type".into(),
            format!("/docs#problem-{}", kind.code()).into(),
        );
        body.insert("title".into(), kind.title().into());
        body.insert("status".into(), kind.status().as_u16().into());
        body.insert("code".into(), code.into());
        body.insert("detail".into(), inner.detail.into());
        if !inner.errors.is_empty() {
            body.insert(
                "errors".into(),
                serde_json::to_value(&inner.errors).unwrap_or_default(),
            );
        }
        body.extend(inner.members);
        let mut response = (kind.status(), Json(Value::Object(body))).into_response();
        let headers = response.headers_mut();
        headers.extend(inner.headers);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// An error and its sources on one line, for the log.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
