//! The folder that keeps everything: the inbox, and per flow one record and one file. Whatever is written appears
//! whole or not at all, and is synced before it counts.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use aws_lc_rs::digest;
use sealpost_contract::SignFlowId;

use super::record::Record;

/// An opened folder. While one lives, no other process can open it; clones share the lock.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
    files: PathBuf,
    _lock: Arc<File>,
}

impl Folder {
    /// Opens the folder, making it if needed.
    pub(super) fn open(root: &Path) -> anyhow::Result<Self> {
        let files = root.join("files");
        fs::create_dir_all(&files)
            .with_context(|| format!("cannot make the folder {}", files.display()))?;
        let root = root
            .canonicalize()
            .with_context(|| format!("cannot find {}", root.display()))?;
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let lock = lock.with_context(|| format!("cannot write to {}", root.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("{} is in use by another sealpost receive", root.display())
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the folder"),
        }
        Ok(Self {
            files: root.join("files"),
            root,
            _lock: Arc::new(lock),
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of records and signed files.
    pub(super) fn files(&self) -> &Path {
        &self.files
    }

    pub(super) fn inbox(&self) -> PathBuf {
        inbox_in(&self.root)
    }

    /// The record of a flow, if there is one.
    pub(super) fn find_record(&self, id: &SignFlowId) -> anyhow::Result<Option<Record>> {
        read_record(&self.files.join(format!("{}.json", file_stem(id))))
    }

    pub(super) fn write_record(&self, record: &Record) -> anyhow::Result<()> {
        let name = format!("{}.json", file_stem(&record.callback.sign_flow_id));
        self.write(&name, &serde_json::to_vec_pretty(record)?)
    }

    /// Every record, in no order.
    pub(super) fn records(&self) -> anyhow::Result<Vec<Record>> {
        records_in(&self.root)
    }

    /// Writes a file whole: under another name, synced, then renamed, and the folder synced.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.files.join(name);
        let unfinished = self.files.join(format!("{name}.part"));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(&self.files)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Where the inbox is in a folder.
pub(super) fn inbox_in(root: &Path) -> PathBuf {
    root.join("inbox.db")
}

/// Every record in a folder that another process may be using.
pub(super) fn records_in(root: &Path) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(root.join("files"))
        .with_context(|| format!("cannot read {}", root.display()))?
    {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            records.extend(read_record(&path)?);
        }
    }
    Ok(records)
}

fn read_record(path: &Path) -> anyhow::Result<Option<Record>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .with_context(|| format!("{} is damaged", path.display()))
}

/// The name under which a flow's record and file are stored: its id where that is a plain name on every file system,
/// otherwise a digest of it. The two cannot meet, since the latter is longer than any id.
pub(super) fn file_stem(id: &SignFlowId) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    if id.as_str().bytes().all(plain) && !is_device(id.as_str()) {
        id.as_str().to_owned()
    } else {
        format!(
            "id-{}",
            hex::encode(digest::digest(&digest::SHA256, id.as_str().as_bytes()))
        )
    }
}

/// Names that Windows keeps for itself, whatever extension follows.
fn is_device(name: &str) -> bool {
    let numbered = name
        .strip_prefix("com")
        .or_else(|| name.strip_prefix("lpt"));
    matches!(name, "con" | "prn" | "aux" | "nul")
        || numbered.is_some_and(|number| number.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_leads_out_of_the_folder() {
        let stem = |id: &str| file_stem(&id.parse().unwrap());
        assert_eq!(
            stem("587a2f4738d44391835198df570b6ee6"),
            "587a2f4738d44391835198df570b6ee6"
        );
        assert_eq!(stem("42"), "42");
        for odd in [
            "../../etc/passwd",
            "/",
            ".",
            "..",
            "a\0b",
            "收",
            "A",
            "a.json",
            "nul",
            "com1",
            "c:x",
            " ",
        ] {
            let name = stem(odd);
            assert!(
                name.starts_with("id-") && name.len() == 67,
                "{odd:?}: {name}"
            );
        }
        assert_ne!(stem("A"), stem("B"));
    }

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(&root.path().join("new")).unwrap();
        let refusal = Folder::open(folder.root()).unwrap_err();
        assert!(refusal.to_string().contains("in use"), "{refusal:#}");
        drop(folder);
        Folder::open(&root.path().join("new")).unwrap();
    }
}
