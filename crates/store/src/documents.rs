//! Documents and marks, named by their SHA-256: in a folder of this machine, or in a bucket that speaks S3.
//!
//! Both promise the same. What [`Store::put_document`] has answered is safe, and only then may a row name it; equal bytes are
//! kept once; bytes are compared with their name whenever they are read. Nothing is ever changed or removed.
//!
//! The folder is our own code and not object_store's `LocalFileSystem`, which syncs neither a file nor its folder.

mod bucket;
mod folder;
mod moving;
mod tally;
mod transport;

use std::path::Path;
use std::sync::Arc;

use sealpost_flow::Digest;

use self::bucket::Bucket;
pub use self::bucket::{BucketCredentials, BucketOptions, NotABucket};
use self::folder::Folder;
pub use self::moving::{DocumentsAt, MovedDocuments};
use self::tally::Tally;
pub use self::tally::{DocumentTotals, OperationTotals};
use crate::Store;
use crate::error::{Error, Result};

/// Documents, where they are.
#[derive(Debug)]
pub(crate) struct Documents {
    at: At,
    put: Tally,
    read: Tally,
}

/// Where they are.
#[derive(Debug)]
enum At {
    Folder(Arc<Folder>),
    Bucket(Bucket),
}

impl Store {
    /// Keeps a document; once this has answered, it is safe and a row may name it.
    ///
    /// # Errors
    /// [`Error::File`], for example when the disk is full, and [`Error::Bucket`] and [`Error::BucketRefused`]; then a row must
    /// not name it.
    pub async fn put_document(&self, bytes: Vec<u8>) -> Result<Digest> {
        self.documents.put(bytes).await
    }

    /// The bytes of a document that a row names.
    ///
    /// # Errors
    /// [`Error::DocumentMissing`], [`Error::DocumentDamaged`] when the bytes no longer have this digest, [`Error::File`],
    /// [`Error::Bucket`], [`Error::BucketRefused`].
    pub async fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.documents.read(digest).await
    }

    /// Keeps a small document and reads it back, to show that documents can be kept. It is the same each time, and stays.
    ///
    /// # Errors
    /// Those of [`Store::put_document`] and [`Store::document`].
    pub async fn prove_documents(&self) -> Result<()> {
        let digest = self.put_document(b"sealpost\n".to_vec()).await?;
        self.document(&digest).await.map(drop)
    }

    /// What this process has asked of the place of documents since it started.
    pub fn document_totals(&self) -> DocumentTotals {
        DocumentTotals {
            put: self.documents.put.totals(),
            read: self.documents.read.totals(),
        }
    }

    /// Whether documents are in a bucket of a storage that has been found to know no `If-None-Match`, so that each is looked for
    /// before it is put.
    pub fn documents_are_put_unconditionally(&self) -> bool {
        match &self.documents.at {
            At::Folder(_) => false,
            At::Bucket(bucket) => bucket.is_unconditional(),
        }
    }

    /// Which bucket or folder it is, the same from wherever it is looked at: a folder is known by a file in it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn documents_place(&self) -> Result<String> {
        self.documents.place()
    }
}

impl Documents {
    /// In a folder, which is made if it is missing and proved to be writable.
    pub(crate) fn folder(folder: &Path) -> Result<Documents> {
        Ok(Documents::at(At::Folder(Arc::new(Folder::open(folder)?))))
    }

    /// In a folder that is there, to read from; nothing is written.
    fn folder_to_read(folder: &Path) -> Result<Documents> {
        let folder = Folder::existing(folder)?;
        Ok(Documents::at(At::Folder(Arc::new(folder))))
    }

    /// In a bucket; nothing is asked of it yet.
    pub(crate) fn bucket(options: &BucketOptions) -> Result<Documents> {
        Ok(Documents::at(At::Bucket(Bucket::open(options)?)))
    }

    fn at(at: At) -> Documents {
        Documents {
            at,
            put: Tally::default(),
            read: Tally::default(),
        }
    }

    async fn put(&self, bytes: Vec<u8>) -> Result<Digest> {
        let put = async {
            match &self.at {
                At::Folder(folder) => {
                    let folder = Arc::clone(folder);
                    let writing = tokio::task::spawn_blocking(move || folder.put(&bytes));
                    writing.await.map_err(|_| Error::Stopped)?
                }
                At::Bucket(bucket) => bucket.put(bytes).await,
            }
        };
        self.put.count(put).await
    }

    async fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let read = async {
            match &self.at {
                At::Folder(folder) => {
                    let (folder, digest) = (Arc::clone(folder), *digest);
                    let reading = tokio::task::spawn_blocking(move || folder.read(&digest));
                    reading.await.map_err(|_| Error::Stopped)?
                }
                At::Bucket(bucket) => bucket.read(digest).await,
            }
        };
        self.read.count(read).await
    }

    fn place(&self) -> Result<String> {
        match &self.at {
            At::Folder(folder) => folder.place(),
            At::Bucket(bucket) => Ok(bucket.place().to_owned()),
        }
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
