//! Whether the bucket of documents takes us, asked before anybody needs it.

use std::time::Duration;

use sealpost_store::{Error, Store};

/// How long the start waits for the bucket's answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keeps a small document and reads it back. A bucket that refuses is an error; one that does not answer yet may do so when it is
/// needed.
pub(crate) async fn prove(store: &Store) -> Result<(), Error> {
    match tokio::time::timeout(PATIENCE, store.prove_documents()).await {
        Ok(Ok(())) => {}
        Ok(Err(error @ Error::BucketRefused { .. })) => return Err(error),
        Ok(Err(error)) => {
            tracing::warn!(%error, "documents cannot be kept yet; what needs them waits");
        }
        Err(_) => {
            tracing::warn!("the bucket of documents does not answer yet; what needs it waits");
        }
    }
    if store.documents_are_put_unconditionally() {
        tracing::info!(
            "the bucket's storage knows no If-None-Match: each document is looked for before it is put"
        );
    }
    Ok(())
}

/// What to do about a refusal of the bucket, as far as its code says; for people.
pub(crate) fn advice(reason: &str) -> &'static str {
    match reason {
        "SignatureDoesNotMatch" => {
            "documents.secret_access_key is not the secret of documents.access_key_id, or this machine's clock is wrong"
        }
        "InvalidAccessKeyId" => "the storage does not know documents.access_key_id",
        "NoSuchBucket" => "there is no such bucket: make it, or correct documents.url",
        "AccessDenied" => "the key needs GetObject and PutObject on the bucket's objects",
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
            "documents.session_token is good no longer"
        }
        "RequestTimeTooSkewed" => "this machine's clock is wrong",
        "AuthorizationHeaderMalformed" | "PermanentRedirect" => "documents.region is another one",
        _ => "see documents.* in the settings",
    }
}
