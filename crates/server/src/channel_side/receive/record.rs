//! What is known of one callback beyond the callback itself: the file, its verdict, whether it was handed on. One JSON
//! file each; it is also what `--forward` and `--exec` are given.

use sealpost_contract::{Callback, UtcMillis};
use serde::{Deserialize, Serialize};

use crate::channel_side::values::rfc3339;

/// One callback's record, as it is on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// The four members.
    #[serde(with = "members")]
    pub(super) callback: Callback,
    /// The signed file.
    pub(super) file: File,
    /// When the result was forwarded, if it is to be.
    pub(super) forwarded_at: Option<UtcMillis>,
    /// When the command had succeeded with it, if there is one.
    pub(super) executed_at: Option<UtcMillis>,
}

/// Where the signed file stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum File {
    /// To be fetched.
    Wanted {
        /// Attempts so far.
        attempts: u32,
        /// Why the last one failed.
        failure: Option<String>,
    },
    /// Not fetched, because the command was told not to.
    Skipped,
    /// Not to be had.
    GivenUp {
        /// Attempts made.
        attempts: u32,
        /// Why the last one failed.
        failure: String,
    },
    /// Fetched, stored and verified.
    Fetched {
        /// The file's name in the folder.
        name: String,
        /// Its length.
        bytes: u64,
        /// Its digest, in hex.
        sha256: String,
        /// When it was stored.
        fetched_at: UtcMillis,
        /// What its signatures are worth.
        signatures: Signatures,
    },
}

/// The verdict on the file's signatures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Signatures {
    /// `valid`, `indeterminate`, `invalid`, `unsigned`, or `unreadable` when it is no PDF.
    pub(super) verdict: String,
    /// When it was verified.
    pub(super) verified_at: UtcMillis,
    /// The whole report of the verifier, or why there is none.
    pub(super) report: serde_json::Value,
}

impl Record {
    /// A record of which nothing is known yet.
    pub(super) fn new(callback: Callback, fetch: bool) -> Self {
        let file = if fetch {
            File::Wanted {
                attempts: 0,
                failure: None,
            }
        } else {
            File::Skipped
        };
        Self {
            callback,
            file,
            forwarded_at: None,
            executed_at: None,
        }
    }

    /// What is handed on: the callback's four members as they came, and the file with its verdict.
    pub(super) fn to_result(&self, folder: &std::path::Path) -> serde_json::Value {
        let (file, failure) = match &self.file {
            File::Fetched {
                name,
                bytes,
                sha256,
                fetched_at,
                signatures,
            } => {
                let file = serde_json::json!({
                    "path": folder.join(name),
                    "bytes": bytes,
                    "sha256": sha256,
                    "fetched_at": rfc3339(*fetched_at),
                    "signatures": {
                        "verdict": signatures.verdict,
                        "verified_at": rfc3339(signatures.verified_at),
                        "report": signatures.report,
                    },
                });
                (Some(file), None)
            }
            File::GivenUp { failure, .. } => (None, Some(failure.clone())),
            File::Wanted { failure, .. } => (None, failure.clone()),
            File::Skipped => (None, None),
        };
        serde_json::json!({ "callback": self.callback, "file": file, "file_failure": failure })
    }

    /// The file's state in one word or two, for a table.
    pub(super) fn file_state(&self) -> String {
        match &self.file {
            File::Wanted { attempts: 0, .. } => "wanted".to_owned(),
            File::Wanted { attempts, .. } => format!("failed {attempts}×"),
            File::Skipped => "skipped".to_owned(),
            File::GivenUp { .. } => "given up".to_owned(),
            File::Fetched { signatures, .. } => signatures.verdict.clone(),
        }
    }
}

/// The four members as an object; read back by the contract's own parser.
mod members {
    use sealpost_contract::Callback;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(
        callback: &Callback,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        callback.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Callback, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Callback::parse(value.to_string().as_bytes()).map_err(D::Error::custom)
    }
}
