//! Documents as files of a folder: `documents/ab/cdef…`.
//!
//! A file is written under a temporary name, synced, renamed, and its folder synced; only then may a row name it. Who finds the
//! document there syncs it too, for its writer may not have come so far. So a crash leaves at worst a temporary file that nobody
//! reads, or a document that no row names.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sealpost_flow::Digest;

use super::{checked, names};
use crate::error::{Error, Result};

/// The folder of documents.
#[derive(Debug)]
pub(crate) struct Folder {
    folder: PathBuf,
    /// Numbers the temporary files of this process.
    writes: AtomicU64,
    /// Of the folders `00` to `ff`, whether this process has made the name durable.
    durable: [AtomicBool; 256],
}

impl Folder {
    /// Makes the folder if it is missing, and proves that it can be written.
    pub(super) fn open(folder: &Path) -> Result<Folder> {
        fs::create_dir_all(folder).map_err(|error| Error::file("create", folder, error))?;
        let documents = Folder {
            folder: folder.to_owned(),
            writes: AtomicU64::new(0),
            durable: [const { AtomicBool::new(false) }; 256],
        };
        let (trial, _) = documents.create_temporary()?;
        fs::remove_file(&trial).map_err(|error| Error::file("remove", &trial, error))?;
        if let Some(parent) = folder.parent() {
            sync(parent)?;
        }
        Ok(documents)
    }

    /// A folder that is there, to read from; nothing is written.
    pub(super) fn existing(folder: &Path) -> Result<Folder> {
        fs::read_dir(folder).map_err(|error| Error::file("read", folder, error))?;
        Ok(Folder {
            folder: folder.to_owned(),
            writes: AtomicU64::new(0),
            durable: [const { AtomicBool::new(false) }; 256],
        })
    }

    /// Which folder it is: what the file `folder.id` says, which whoever first asks writes there, and the number that the file
    /// system gives that file. The number is the same from each machine that shares the folder, and another in a copy of it.
    pub(super) fn place(&self) -> Result<String> {
        let path = self.folder.join("folder.id");
        let read = || -> std::io::Result<String> {
            let (id, number) = (fs::read_to_string(&path)?, file_number(&path)?);
            Ok(format!("folder {}{number}", id.trim()))
        };
        match read() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => return read.map_err(|error| Error::file("read", &path, error)),
        }
        // What tells two folders apart need not be a secret: where and when it was made, and by whom.
        let made = fs::metadata(&self.folder).and_then(|folder| folder.modified());
        let made = format!("{:?} {made:?} {}", self.folder, std::process::id());
        let id = Digest::of(made.as_bytes()).to_string();
        let (temporary, file) = self.create_temporary()?;
        write_synced(&temporary, file, format!("{id}\n").as_bytes())?;
        // Fails where another node was faster, and then what it wrote counts.
        let _ = fs::hard_link(&temporary, &path);
        fs::remove_file(&temporary).map_err(|error| Error::file("remove", &temporary, error))?;
        sync(&self.folder)?;
        read().map_err(|error| Error::file("read", &path, error))
    }

    pub(super) fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.path(&digest);
        if self.holds(&path, bytes) {
            // Another writer may have renamed it a moment ago and be about to sync.
            sync(&path)?;
            self.sync_folders(&digest, &path)?;
            return Ok(digest);
        }
        let (temporary, file) = self.create_temporary()?;
        let written = write_synced(&temporary, file, bytes)
            .and_then(|()| self.rename(&temporary, &digest, &path));
        if written.is_err() {
            // Half a temporary file helps nobody; that it may be gone already is no second error.
            let _ = fs::remove_file(&temporary);
        }
        written.map(|()| digest)
    }

    /// Whether the document is there whole. One that was damaged is written anew.
    fn holds(&self, path: &Path, bytes: &[u8]) -> bool {
        fs::read(path).is_ok_and(|kept| kept == bytes)
    }

    fn rename(&self, temporary: &Path, digest: &Digest, path: &Path) -> Result<()> {
        match path.parent().map(fs::create_dir) {
            Some(Ok(())) => self.name_is_durable(digest).store(false, Ordering::Release),
            Some(Err(error)) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::file("create the folder of", path, error));
            }
            Some(Err(_)) | None => {}
        }
        fs::rename(temporary, path).map_err(|error| Error::file("rename to", path, error))?;
        self.sync_folders(digest, path)
    }

    /// Makes a document's name durable, and the first time that of its folder, which another writer may have made and not synced yet.
    fn sync_folders(&self, digest: &Digest, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), sync)?;
        if !self.name_is_durable(digest).load(Ordering::Acquire) {
            sync(&self.folder)?;
            self.name_is_durable(digest).store(true, Ordering::Release);
        }
        Ok(())
    }

    fn name_is_durable(&self, digest: &Digest) -> &AtomicBool {
        &self.durable[usize::from(digest.as_bytes()[0])]
    }

    pub(super) fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::DocumentMissing(*digest),
            _ => Error::file("read", &path, error),
        })?;
        checked(digest, bytes)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let (folder, name) = names(digest);
        self.folder.join(folder).join(name)
    }

    /// A new file that nobody else writes: another process may have this one's number (in another container, or before a
    /// crash), so a name that is taken is left alone and the next one tried.
    fn create_temporary(&self) -> Result<(PathBuf, File)> {
        loop {
            let number = self.writes.fetch_add(1, Ordering::Relaxed);
            let path = self
                .folder
                .join(format!("tmp-{}-{number}", std::process::id()));
            match File::create_new(&path) {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::file("create", &path, error)),
            }
        }
    }
}

/// What the file system calls the file, as the rest of its folder's name; nothing where it does not say.
#[cfg(unix)]
fn file_number(path: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::MetadataExt as _;

    fs::metadata(path).map(|file| format!(" #{}", file.ino()))
}

#[cfg(not(unix))]
fn file_number(_: &Path) -> std::io::Result<String> {
    Ok(String::new())
}

fn write_synced(path: &Path, mut file: File, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes)
        .map_err(|error| Error::file("write", path, error))?;
    file.sync_all()
        .map_err(|error| Error::file("sync", path, error))
}

/// Makes the bytes of a file durable, or the names in a folder.
fn sync(path: &Path) -> Result<()> {
    let opened = File::open(path).map_err(|error| Error::file("open", path, error))?;
    opened
        .sync_all()
        .map_err(|error| Error::file("sync", path, error))
}
