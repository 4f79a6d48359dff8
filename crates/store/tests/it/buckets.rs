//! Documents in a bucket: the same promises as in a folder, over a network that fails.

use std::time::{Duration, Instant};

use sealpost_flow::Digest;
use sealpost_store::{BucketOptions, Error, Store};
use tempfile::TempDir;

use crate::front::{Front, Mind};
use crate::storage::{Storage, Way};

/// A store that keeps its documents in the bucket.
fn store(options: &BucketOptions) -> (Store, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_with(folder.path(), None, Some(options)).unwrap();
    (store, folder)
}

#[tokio::test]
async fn a_document_is_an_object_named_by_its_digest() {
    let storage = Storage::start("named").await;
    let (here, folder) = store(&storage.options());
    let (there, _folder) = store(&storage.options());
    let digest = here.put_document(b"%PDF-1.7".to_vec()).await.unwrap();
    assert_eq!(digest, Digest::of(b"%PDF-1.7"));
    assert_eq!(storage.object(&digest).await.unwrap(), b"%PDF-1.7");
    assert_eq!(there.document(&digest).await.unwrap(), b"%PDF-1.7");
    let again = there.put_document(b"%PDF-1.7".to_vec()).await.unwrap();
    assert_eq!(again, digest);
    let totals = there.document_totals();
    assert_eq!((totals.put.operations, totals.put.failed), (1, 0));
    assert_eq!((totals.read.operations, totals.read.failed), (1, 0));
    assert!(!folder.path().join("documents").exists());
    here.prove_documents().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_document_from_many_at_once() {
    let storage = Storage::start("many").await;
    let bytes = vec![7; 300_000];
    let nodes = [store(&storage.options()), store(&storage.options())];
    let puts: Vec<_> = (0..16)
        .map(|index| {
            let (store, bytes) = (nodes[index % 2].0.clone(), bytes.clone());
            tokio::spawn(async move { store.put_document(bytes).await.unwrap() })
        })
        .collect();
    for put in puts {
        assert_eq!(put.await.unwrap(), Digest::of(&bytes));
    }
    assert_eq!(
        nodes[0].0.document(&Digest::of(&bytes)).await.unwrap(),
        bytes
    );
}

#[tokio::test]
async fn a_damaged_document_is_an_error_until_it_is_kept_again() {
    let storage = Storage::start("damaged").await;
    let (store, _folder) = store(&storage.options());
    let digest = store.put_document(b"signed".to_vec()).await.unwrap();
    storage.overwrite(&digest, b"sighed").await;
    assert!(
        matches!(store.document(&digest).await, Err(Error::DocumentDamaged(damaged)) if damaged == digest)
    );
    store.put_document(b"signed".to_vec()).await.unwrap();
    assert_eq!(store.document(&digest).await.unwrap(), b"signed");
}

#[tokio::test]
async fn a_missing_document_and_a_missing_bucket_are_errors() {
    let storage = Storage::start("missing").await;
    let digest = Digest::of(b"never kept");
    let (found, _folder) = store(&storage.options());
    assert!(
        matches!(found.document(&digest).await, Err(Error::DocumentMissing(missing)) if missing == digest)
    );
    let mut options = storage.options();
    options.bucket = "nobody-made-this".into();
    let (lost, _folder) = store(&options);
    let error = lost.prove_documents().await.unwrap_err();
    assert!(
        matches!(&error, Error::BucketRefused { reason, .. } if **reason == *"NoSuchBucket"),
        "{error}"
    );
}

#[tokio::test]
async fn of_a_refusal_what_was_sent_is_not_told() {
    let storage = Storage::start("refusals").await;
    let mut options = storage.options();
    options.credentials.as_mut().unwrap().session_token = Some("hush".into());
    for (status, code, refused) in [
        (403, "SignatureDoesNotMatch", true),
        (403, "AccessDenied", true),
        (401, "Unauthorized", true),
        (400, "ExpiredToken", true),
        (400, "AuthorizationHeaderMalformed", true),
        (301, "PermanentRedirect", true),
        (404, "NoSuchBucket", true),
        (400, "BadDigest", false),
        (503, "SlowDown", false),
    ] {
        let front = Front::before(storage.server(), Mind::Refusing(status, code)).await;
        options.endpoint = Some(format!("http://{}", front.address));
        // A refusal is the answer at once, so long as it comes in time; the rest is tried again until the time is over.
        options.patience = Duration::from_secs(if refused { 60 } else { 1 });
        let (store, _folder) = store(&options);
        let put = store.put_document(b"kept".to_vec()).await.unwrap_err();
        let read = store.document(&Digest::of(b"kept")).await.unwrap_err();
        for error in [put, read] {
            let mut told = format!("{error} {error:?}");
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                told += &format!(" {error} {error:?}");
                source = error.source();
            }
            assert!(!told.contains("hush"), "{told}");
            if refused {
                assert_eq!(error.refused_for(), code, "{told}");
                assert!(told.contains(&status.to_string()), "{told}");
            } else {
                assert!(matches!(error, Error::Bucket { .. }), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn a_storage_that_knows_no_conditions_is_looked_into_first() {
    let storage = Storage::start("unconditional").await;
    let front = Front::before(storage.server(), Mind::Unconditional).await;
    let mut options = storage.options();
    options.endpoint = Some(format!("http://{}", front.address));
    let (store, _folder) = store(&options);
    assert!(!store.documents_are_put_unconditionally());
    let digest = store.put_document(b"%PDF-1.7".to_vec()).await.unwrap();
    assert!(store.documents_are_put_unconditionally());
    assert_eq!(storage.object(&digest).await.unwrap(), b"%PDF-1.7");
    assert_eq!((front.refused(), front.put()), (1, 1));

    // What is there is not put again, unless it is damaged; and nobody asks for the impossible twice.
    store.put_document(b"%PDF-1.7".to_vec()).await.unwrap();
    assert_eq!((front.refused(), front.put()), (1, 1));
    storage.overwrite(&digest, b"%PDF-0.0").await;
    store.put_document(b"%PDF-1.7".to_vec()).await.unwrap();
    assert_eq!(store.document(&digest).await.unwrap(), b"%PDF-1.7");
    assert_eq!((front.refused(), front.put()), (1, 2));
    store.prove_documents().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_conditions_the_same_document_from_many_at_once() {
    let storage = Storage::start("unconditional-many").await;
    let front = Front::before(storage.server(), Mind::Unconditional).await;
    let mut options = storage.options();
    options.endpoint = Some(format!("http://{}", front.address));
    let bytes = vec![7; 300_000];
    let nodes = [store(&options), store(&options)];
    let puts: Vec<_> = (0..16)
        .map(|index| {
            let (store, bytes) = (nodes[index % 2].0.clone(), bytes.clone());
            tokio::spawn(async move { store.put_document(bytes).await.unwrap() })
        })
        .collect();
    for put in puts {
        assert_eq!(put.await.unwrap(), Digest::of(&bytes));
    }
    let kept = nodes[1].0.document(&Digest::of(&bytes)).await.unwrap();
    assert_eq!(kept, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_a_moment_is_tried_again() {
    let storage = Storage::start("moment").await;
    let mut options = storage.options();
    options.patience = Duration::from_secs(60);
    let (store, _folder) = store(&options);
    // Either way nothing is put until the way is clear, however long that takes on a busy machine.
    for way in [Way::Refusing, Way::Slow(Duration::from_secs(3600))] {
        storage.set_way(way);
        let bytes = format!("{way:?}").into_bytes();
        let putting = tokio::spawn({
            let (store, bytes) = (store.clone(), bytes.clone());
            async move { store.put_document(bytes).await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!putting.is_finished());
        storage.set_way(Way::Clear);
        let digest = putting.await.unwrap().unwrap();
        assert_eq!(storage.object(&digest).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn what_fails_for_longer_is_an_error_in_time() {
    let storage = Storage::start("longer").await;
    // What is to succeed is asked by one who has time.
    let (patient, _folder) = store(&storage.options());
    let mut options = storage.options();
    options.patience = Duration::from_secs(1);
    let (store, _folder) = store(&options);
    let digest = patient.put_document(b"kept".to_vec()).await.unwrap();
    for way in [Way::Refusing, Way::Silent] {
        storage.set_way(way);
        let begun = Instant::now();
        let error = store.put_document(b"not kept".to_vec()).await.unwrap_err();
        assert!(matches!(error, Error::Bucket { .. }), "{error}");
        let error = store.document(&digest).await.unwrap_err();
        assert!(matches!(error, Error::Bucket { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    storage.set_way(Way::Clear);
    assert_eq!(patient.document(&digest).await.unwrap(), b"kept");
    let totals = patient.document_totals();
    assert_eq!((totals.put.operations, totals.put.failed), (1, 0));
    assert_eq!((totals.read.operations, totals.read.failed), (1, 0));
    let totals = store.document_totals();
    assert_eq!((totals.put.operations, totals.put.failed), (2, 2));
    assert_eq!((totals.read.operations, totals.read.failed), (2, 2));
    assert!(totals.put.took >= Duration::from_secs(2), "{totals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_storage_that_hangs_nobody_waits_for_a_turn() {
    /// As many as are asked at one moment, eight times over.
    const MANY: usize = 8 * 32;
    let storage = Storage::start("turns").await;
    let mut options = storage.options();
    options.patience = Duration::from_secs(3);
    let (patient, _folder) = store(&storage.options());
    let digest = patient.put_document(b"kept".to_vec()).await.unwrap();
    let (store, _folder) = store(&options);
    storage.set_way(Way::Silent);
    let begun = Instant::now();
    let reads: Vec<_> = (0..MANY)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.document(&digest).await })
        })
        .collect();
    for read in reads {
        let error = read.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Bucket { .. }), "{error}");
    }
    // One after the other they would take eight times as long.
    assert!(begun.elapsed() < Duration::from_secs(20));
}
