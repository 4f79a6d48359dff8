//! Documents and marks, named by their SHA-256: in a folder of this machine, or in a bucket that speaks S3.
//!
//! Both promise the same. What [`Store::put_document`] has answered is safe, and only then may a row name it; equal bytes are
//! kept once; bytes are compared with their name whenever they are read. Nothing is ever changed or removed.
//!
//! The folder is our own code and not object_store's `LocalFileSystem`, which syncs neither a file nor its folder.

mod bucket;
mod folder;
mod transport;

use std::path::Path;
use std::sync::Arc;

use sealpost_flow::Digest;

use self::bucket::Bucket;
pub use self::bucket::{BucketCredentials, BucketOptions, NotABucket};
use self::folder::Folder;
use crate::Store;
use crate::error::{Error, Result};

/// Where the documents are.
#[derive(Debug)]
pub(crate) enum Documents {
    Folder(Arc<Folder>),
    Bucket(Bucket),
}

impl Store {
    /// Keeps a document; once this has answered, it is safe and a row may name it.
    ///
    /// # Errors
    /// [`Error::File`], for example when the disk is full, and [`Error::Bucket`]; then a row must not name it.
    pub async fn put_document(&self, bytes: Vec<u8>) -> Result<Digest> {
        match &*self.documents {
            Documents::Folder(folder) => {
                let folder = Arc::clone(folder);
                let writing = tokio::task::spawn_blocking(move || folder.put(&bytes));
                writing.await.map_err(|_| Error::Stopped)?
            }
            Documents::Bucket(bucket) => bucket.put(bytes).await,
        }
    }

    /// The bytes of a document that a row names.
    ///
    /// # Errors
    /// [`Error::DocumentMissing`], [`Error::DocumentDamaged`] when the bytes no longer have this digest, [`Error::File`],
    /// [`Error::Bucket`].
    pub async fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        match &*self.documents {
            Documents::Folder(folder) => {
                let (folder, digest) = (Arc::clone(folder), *digest);
                let reading = tokio::task::spawn_blocking(move || folder.read(&digest));
                reading.await.map_err(|_| Error::Stopped)?
            }
            Documents::Bucket(bucket) => bucket.read(digest).await,
        }
    }

    /// Keeps a small document and reads it back, to show that documents can be kept. It is the same each time, and stays.
    ///
    /// # Errors
    /// Those of [`Store::put_document`] and [`Store::document`].
    pub async fn prove_documents(&self) -> Result<()> {
        let digest = self.put_document(b"sealpost\n".to_vec()).await?;
        self.document(&digest).await.map(drop)
    }

    /// Which bucket or folder it is, the same from wherever it is looked at: a folder is known by a file in it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn documents_place(&self) -> Result<String> {
        match &*self.documents {
            Documents::Folder(folder) => folder.place(),
            Documents::Bucket(bucket) => Ok(bucket.place().to_owned()),
        }
    }
}

impl Documents {
    /// In a folder, which is made if it is missing and proved to be writable.
    pub(crate) fn folder(folder: &Path) -> Result<Documents> {
        Ok(Documents::Folder(Arc::new(Folder::open(folder)?)))
    }

    /// In a bucket; nothing is asked of it yet.
    pub(crate) fn bucket(options: &BucketOptions) -> Result<Documents> {
        Bucket::open(options).map(Documents::Bucket)
    }
}

/// What a document is called, in either place: the first two digits of its digest, and the rest.
fn names(digest: &Digest) -> (String, String) {
    let mut folder = digest.to_string();
    let name = folder.split_off(2);
    (folder, name)
}

/// The bytes, if they are what their name says.
fn checked(digest: &Digest, bytes: Vec<u8>) -> Result<Vec<u8>> {
    if Digest::of(&bytes) == *digest {
        Ok(bytes)
    } else {
        Err(Error::DocumentDamaged(*digest))
    }
}
