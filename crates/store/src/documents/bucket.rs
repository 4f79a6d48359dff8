//! Documents as objects of a bucket that speaks S3: `prefix/ab/cdef…`.
//!
//! An object is put only if there is none of its name; who finds one there reads it, and writes it anew if it is damaged. Where
//! the storage has no such condition (it answers 501), we look first and then put. Two who do so at once put the same bytes, so
//! nothing is lost but some work. Every request may be repeated, since the name says the content. S3 answers a put when the
//! object is durable.

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig,
};
use sealpost_flow::Digest;
use tokio::sync::Semaphore;

use super::transport::{MAX_ANSWER, NotImplemented, Transport};
use super::{checked, names};
use crate::error::{Error, Result};

/// Requests to the bucket at one moment; each may hold a whole document.
const AT_ONCE: usize = 32;

/// Which bucket, and how it is reached.
#[derive(Clone)]
pub struct BucketOptions {
    /// The bucket's name.
    pub bucket: String,
    /// What the names of all objects begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The URL of the storage, without the bucket; `None` means Amazon's.
    pub endpoint: Option<String>,
    /// The region that requests are signed for; `None` means `us-east-1`.
    pub region: Option<String>,
    /// Who we are; `None` means what Amazon's variables (`AWS_…`), a web identity, the container or the machine say.
    pub credentials: Option<BucketCredentials>,
    /// The bucket is a part of the host's name and not of the path.
    pub virtual_host: bool,
    /// Whether the endpoint may be plain http.
    pub allow_http: bool,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// How long keeping or reading one document may take, with all that is tried again.
    pub patience: Duration,
}

/// A key to the bucket.
#[derive(Clone)]
pub struct BucketCredentials {
    /// The access key's id.
    pub access_key_id: String,
    /// The access key.
    pub secret_access_key: String,
    /// What comes with a key that is good for some hours only.
    pub session_token: Option<String>,
}

/// A text is no `s3://bucket/prefix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be s3://bucket or s3://bucket/prefix")]
pub struct NotABucket;

impl BucketOptions {
    /// The bucket and prefix of `s3://bucket/prefix`, with the defaults for the rest: Amazon, its own credentials, https only, 15
    /// seconds.
    ///
    /// # Errors
    /// [`NotABucket`].
    pub fn parse(url: &str) -> Result<BucketOptions, NotABucket> {
        let rest = url.strip_prefix("s3://").ok_or(NotABucket)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let prefix = prefix.trim_end_matches('/');
        let is_a_part = |part: &str| {
            !part.is_empty() && part.chars().all(of_a_name) && part != "." && part != ".."
        };
        let fits = (3..=63).contains(&bucket.len())
            && is_a_part(bucket)
            && prefix.len() <= 512
            && (prefix.is_empty() || prefix.split('/').all(is_a_part));
        if !fits {
            return Err(NotABucket);
        }
        Ok(BucketOptions {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
            credentials: None,
            virtual_host: false,
            allow_http: false,
            ca_file: None,
            patience: Duration::from_secs(15),
        })
    }
}

impl BucketOptions {
    /// Which bucket it is, for whoever reaches it likewise: the same for all that lead to the same objects.
    pub(super) fn place(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{self} at {endpoint}"),
            None => self.to_string(),
        }
    }
}

/// As it was written: `s3://bucket/prefix`.
impl fmt::Display for BucketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        match self.prefix.as_str() {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}

/// Without the credentials.
impl fmt::Debug for BucketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketOptions")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Without the key.
impl fmt::Debug for BucketCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketCredentials").finish_non_exhaustive()
    }
}

/// The bucket of documents.
#[derive(Debug)]
pub(crate) struct Bucket {
    objects: AmazonS3,
    place: String,
    prefix: String,
    room: Semaphore,
    patience: Duration,
    /// The storage has been found to know no `If-None-Match`.
    unconditional: AtomicBool,
}

impl Bucket {
    pub(super) fn open(options: &BucketOptions) -> Result<Bucket> {
        let builder = match &options.credentials {
            None => AmazonS3Builder::from_env(),
            Some(credentials) => {
                let builder = AmazonS3Builder::new()
                    .with_access_key_id(&credentials.access_key_id)
                    .with_secret_access_key(&credentials.secret_access_key);
                match &credentials.session_token {
                    Some(token) => builder.with_token(token),
                    None => builder,
                }
            }
        };
        let mut builder = builder
            .with_bucket_name(&options.bucket)
            .with_virtual_hosted_style_request(options.virtual_host)
            .with_allow_http(options.allow_http)
            .with_http_connector(Transport::new(
                options.ca_file.as_deref(),
                options.patience / 3,
            )?)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(100),
                    max_backoff: Duration::from_secs(2),
                    base: 2.0,
                },
                max_retries: 10,
                retry_timeout: options.patience,
            });
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint_of(endpoint, options));
        }
        let objects = builder
            .build()
            .map_err(|error| Error::bucket("reach", error))?;
        Ok(Bucket {
            objects,
            place: options.place(),
            prefix: options.prefix.clone(),
            room: Semaphore::new(AT_ONCE),
            patience: options.patience,
            unconditional: AtomicBool::new(false),
        })
    }

    /// Whether the storage has been found to know no `If-None-Match`.
    pub(super) fn is_unconditional(&self) -> bool {
        self.unconditional.load(Ordering::Relaxed)
    }

    /// Which bucket it is.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) async fn put(&self, bytes: Vec<u8>) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        let (key, payload) = (self.key(&digest), PutPayload::from(bytes));
        let put = async {
            if !self.is_unconditional() {
                let create = PutMode::Create.into();
                match self.objects.put_opts(&key, payload.clone(), create).await {
                    Err(object_store::Error::AlreadyExists { .. }) => {}
                    Err(error) if is_not_implemented(&error) => {
                        self.unconditional.store(true, Ordering::Relaxed);
                    }
                    put => {
                        return put
                            .map(drop)
                            .map_err(|error| failed("write to", &key, error));
                    }
                }
            }
            match self.fetch(&digest).await {
                // What is there is damaged, or was in the middle of being put by another; or there is nothing, which S3 says
                // is forbidden to whoever may not list the bucket.
                Err(
                    Error::DocumentDamaged(_)
                    | Error::DocumentMissing(_)
                    | Error::BucketRefused { .. },
                ) => {
                    let put = self.objects.put(&key, payload).await;
                    put.map(drop)
                        .map_err(|error| failed("write to", &key, error))
                }
                fetched => fetched.map(drop),
            }
        };
        self.in_time("write to", put).await.map(|()| digest)
    }

    pub(super) async fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.in_time("read from", self.fetch(digest)).await
    }

    async fn fetch(&self, digest: &Digest) -> Result<Vec<u8>> {
        let key = self.key(digest);
        let failed = |error| match failed("read from", &key, error) {
            Error::BucketRefused {
                status: NOT_FOUND,
                reason,
                ..
            } if *reason != *"NoSuchBucket" => Error::DocumentMissing(*digest),
            failed => failed,
        };
        let found = self.objects.get(&key).await.map_err(failed)?;
        if found.meta.size > MAX_ANSWER as u64 {
            return Err(Error::DocumentDamaged(*digest));
        }
        checked(digest, found.bytes().await.map_err(failed)?.into())
    }

    async fn in_time<T>(
        &self,
        action: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let late = |_| {
            let source = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(Error::bucket(action, source))
        };
        // Waiting for those before is a part of it: behind a bucket that hangs, nobody waits for their turn to hang.
        let work = async {
            let _room = self.room.acquire().await.map_err(|_| Error::Stopped)?;
            work.await
        };
        tokio::time::timeout(self.patience, work)
            .await
            .unwrap_or_else(late)
    }

    fn key(&self, digest: &Digest) -> Key {
        let (folder, name) = names(digest);
        let prefix = self.prefix.split('/').filter(|part| !part.is_empty());
        prefix.chain([folder.as_str(), name.as_str()]).collect()
    }
}

/// What went wrong: whether it is worth trying again, or somebody has to do something first. Of an answer its body is not kept, in
/// which S3 repeats what was signed or sent, a session token among it.
fn failed(action: &'static str, key: &Key, error: object_store::Error) -> Error {
    let Some(answer) = Answer::read(&error.to_string()) else {
        return Error::bucket(action, error);
    };
    // Not by the status alone, for it may be somebody else's who was asked for the key.
    let is_refusal = matches!(
        error,
        object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }
            | object_store::Error::NotFound { .. }
    );
    // A redirect is not followed: it leads to another region.
    let is_redirect = (300..400).contains(&answer.status);
    let code = answer.code.as_deref().unwrap_or_default();
    if is_refusal || is_redirect || REFUSALS.contains(&code) {
        let reason = match code {
            _ if is_redirect => "PermanentRedirect",
            "" => "no reason given",
            code => code,
        };
        return Error::BucketRefused {
            reason: reason.into(),
            status: answer.status,
            path: key.as_ref().into(),
        };
    }
    Error::bucket(action, answer)
}

const NOT_FOUND: u16 = 404;

/// S3's codes for what is wrong with a key or with what was set, although the status says only that the request is bad.
const REFUSALS: [&str; 4] = [
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
];

/// What was answered, as far as it is told.
#[derive(Debug, thiserror::Error)]
#[error("{request}answered with {status} {}", .code.as_deref().unwrap_or("and no code"))]
struct Answer {
    /// What was asked, in object_store's words, which end in a dash.
    request: Box<str>,
    status: u16,
    /// S3's code for it, such as `SlowDown`.
    code: Option<Box<str>>,
}

impl Answer {
    /// Out of an error's text, since object_store does not tell it otherwise; `None` where no answer came.
    fn read(text: &str) -> Option<Answer> {
        if let Some((request, _)) = text.split_once("Received redirect without LOCATION") {
            return Some(Answer {
                request: request.into(),
                status: 301,
                code: None,
            });
        }
        let (request, answered) = text.split_once("Server returned ")?;
        let status = answered
            .strip_prefix("non-2xx status code: ")
            .and_then(|status| status.get(..3)?.parse().ok());
        Some(Answer {
            request: request.into(),
            // An error may also come with this status.
            status: status.unwrap_or(200),
            code: code(answered),
        })
    }
}

/// S3's code for what went wrong, such as `SignatureDoesNotMatch`, out of an error's text.
fn code(text: &str) -> Option<Box<str>> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_code = (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    is_code.then(|| code.into())
}

fn is_not_implemented(error: &object_store::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<NotImplemented>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The endpoint as object_store wants it: with the bucket in the host where that is its place.
fn endpoint_of(endpoint: &str, options: &BucketOptions) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) if options.virtual_host => {
            format!("{scheme}://{}.{host}", options.bucket)
        }
        _ => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_bucket() {
        for (url, bucket, prefix) in [
            ("s3://receipts", "receipts", ""),
            ("s3://receipts/", "receipts", ""),
            ("s3://receipts/a/b/", "receipts", "a/b"),
        ] {
            let options = BucketOptions::parse(url).unwrap();
            assert_eq!(
                (options.bucket.as_str(), options.prefix.as_str()),
                (bucket, prefix)
            );
        }
        for url in [
            "receipts",
            "s3://",
            "s3://ab",
            "s3://a b c",
            "s3://receipts/../x",
            "s3://receipts//x",
            "https://receipts",
        ] {
            assert!(BucketOptions::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_credentials_are_not_shown() {
        let mut options = BucketOptions::parse("s3://receipts/a").unwrap();
        options.credentials = Some(BucketCredentials {
            access_key_id: "id".into(),
            secret_access_key: "hush".into(),
            session_token: Some("hush".into()),
        });
        assert!(!format!("{options:?} {options} {:?}", options.credentials).contains("hush"));
        assert!(!format!("{:?}", Bucket::open(&options).unwrap()).contains("hush"));
    }

    #[test]
    fn of_an_answer_its_body_is_not_told() {
        let asked = "Generic S3 error: Error performing GET http://s/b/k in 3ms - ";
        let body = "<Error><Code>ExpiredToken</Code><Token-0>hush</Token-0></Error>";
        for (text, told) in [
            (
                format!("{asked}Server returned non-2xx status code: 400 Bad Request: {body}"),
                Some("answered with 400 ExpiredToken"),
            ),
            (
                format!(
                    "{asked}Server returned non-2xx status code: 503 Service Unavailable: hush"
                ),
                Some("answered with 503 and no code"),
            ),
            (
                format!("{asked}Server returned error response: {body}"),
                Some("answered with 200 ExpiredToken"),
            ),
            ("connection refused".to_owned(), None),
        ] {
            let read = Answer::read(&text).map(|answer| answer.to_string());
            assert_eq!(read, told.map(|told| format!("{asked}{told}")));
        }
    }
}
