//! Requests to a bucket are signed (SigV4), and a storage that checks the signature takes them.

use sealpost_store::{BucketCredentials, Error, Store};

use crate::strict_storage::StrictStorage;

#[tokio::test]
async fn a_storage_that_checks_signatures_takes_ours_and_no_others() {
    let storage = StrictStorage::start().await;
    let folder = tempfile::tempdir().unwrap();
    let options = storage.options();
    let store = Store::open_with(folder.path(), None, Some(&options)).unwrap();
    store.prove_documents().await.unwrap();
    // Sent, found, and read, also where it is long.
    for length in [0, 1, 300_000] {
        let bytes = vec![7; length];
        let digest = store.put_document(bytes.clone()).await.unwrap();
        assert_eq!(store.put_document(bytes.clone()).await.unwrap(), digest);
        assert_eq!(store.document(&digest).await.unwrap(), bytes);
    }

    let right = options.credentials.clone().unwrap();
    let wrong_secret = BucketCredentials {
        secret_access_key: "hush".into(),
        ..right.clone()
    };
    let wrong_id = BucketCredentials {
        access_key_id: "nobody".into(),
        ..right
    };
    for (credentials, says) in [
        (wrong_secret, "SignatureDoesNotMatch"),
        (wrong_id, "InvalidAccessKeyId"),
    ] {
        let mut options = options.clone();
        options.credentials = Some(credentials);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_with(folder.path(), None, Some(&options)).unwrap();
        let error = store.prove_documents().await.unwrap_err();
        assert!(matches!(error, Error::BucketRefused { .. }), "{error:?}");
        assert_eq!(error.refused_for(), says);
        assert!(!format!("{error} {error:?}").contains("hush"));
    }
}
