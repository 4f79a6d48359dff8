//! Documents on disk.

use std::fs;
use std::path::{Path, PathBuf};

use sealpost_flow::Digest;
use sealpost_store::Error;

use crate::world::World;

/// All files under the documents folder, temporary ones included.
fn files(world: &World) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found)
            } else {
                found.push(path)
            }
        }
    }
    let mut found = Vec::new();
    walk(&world.folder().join("documents"), &mut found);
    found
}

fn path(world: &World, digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    world
        .folder()
        .join("documents")
        .join(&hex[..2])
        .join(&hex[2..])
}

#[tokio::test]
async fn a_document_is_kept_once_under_its_digest() {
    let world = World::sqlite().await;
    let digest = world.put_document(b"%PDF-1.7".to_vec()).await.unwrap();
    assert_eq!(digest, Digest::of(b"%PDF-1.7"));
    assert_eq!(
        world.put_document(b"%PDF-1.7".to_vec()).await.unwrap(),
        digest
    );
    assert_eq!(files(&world), [path(&world, &digest)]);
    assert_eq!(world.document(&digest).await.unwrap(), b"%PDF-1.7");
    assert_eq!(
        world.another().document(&digest).await.unwrap(),
        b"%PDF-1.7"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_document_from_many_at_once() {
    let world = World::sqlite().await;
    let bytes = vec![7; 300_000];
    let stores = [world.another(), world.another()];
    let puts: Vec<_> = (0..16)
        .map(|index| {
            let (store, bytes) = (stores[index % 2].clone(), bytes.clone());
            tokio::spawn(async move { store.put_document(bytes).await.unwrap() })
        })
        .collect();
    for put in puts {
        assert_eq!(put.await.unwrap(), Digest::of(&bytes));
    }
    assert_eq!(files(&world).len(), 1);
}

#[tokio::test]
async fn a_damaged_document_is_an_error_until_it_is_kept_again() {
    let world = World::sqlite().await;
    let digest = world.put_document(b"signed".to_vec()).await.unwrap();
    fs::write(path(&world, &digest), b"sighed").unwrap();
    assert!(
        matches!(world.document(&digest).await, Err(Error::DocumentDamaged(damaged)) if damaged == digest)
    );
    world.put_document(b"signed".to_vec()).await.unwrap();
    assert_eq!(world.document(&digest).await.unwrap(), b"signed");
}

#[tokio::test]
async fn a_missing_document_is_an_error() {
    let world = World::sqlite().await;
    let digest = Digest::of(b"never kept");
    assert!(
        matches!(world.document(&digest).await, Err(Error::DocumentMissing(missing)) if missing == digest)
    );
}

#[tokio::test]
async fn a_torn_temporary_file_is_ignored() {
    let world = World::sqlite().await;
    let documents = world.folder().join("documents");
    // What a crash leaves: of this process's number too, should the system give it out again.
    for number in 0..20 {
        fs::write(
            documents.join(format!("tmp-{}-{number}", std::process::id())),
            b"%PDF-1.7 half",
        )
        .unwrap();
    }
    let store = world.another();
    let digest = store
        .put_document(b"%PDF-1.7 whole".to_vec())
        .await
        .unwrap();
    assert_eq!(store.document(&digest).await.unwrap(), b"%PDF-1.7 whole");
}

#[tokio::test]
async fn a_failing_write_leaves_nothing_and_says_where() {
    let world = World::sqlite().await;
    let digest = Digest::of(b"in the way");
    let folder = path(&world, &digest).parent().unwrap().to_owned();
    fs::write(&folder, b"a file where a folder should be").unwrap();
    let error = world
        .put_document(b"in the way".to_vec())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains(folder.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(files(&world), [folder]);
}
