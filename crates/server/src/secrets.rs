//! The master secret and everything made from it: the tokens of links, what is encrypted at rest, and new API keys.
//!
//! The master secret is 32 random bytes in `<data>/secret.key` (mode 0600, made on the first start) or in
//! `SEALPOST_SECRET`. Nothing is ever encrypted or authenticated with it directly: each purpose gets its own key, derived
//! by HMAC-SHA256 over the purpose's name, so that no two uses can be played against each other.
//! Who loses the master secret loses the webhook secrets and private keys in the database, and every link changes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sealpost_contract::SignFlowId;
use thiserror::Error;

/// Characters in the token of a link (`/s/…`, `/f/…`): 18 bytes, 144 bits, in base64url.
pub const TOKEN_LENGTH: usize = 24;

/// The master secret's file in the data folder.
pub const SECRET_FILE: &str = "secret.key";

/// What each API key begins with, so that a leaked one is recognised by secret scanners.
pub const API_KEY_PREFIX: &str = "sp_";

/// What each operator key begins with.
pub const OPERATOR_KEY_PREFIX: &str = "spo_";

/// Why the master secret cannot be had, or what was encrypted with it cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read or made.
    #[error("the master secret's file {path} cannot be read or made")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The value is not 32 bytes in base64 or hex.
    #[error("{origin} must hold 32 bytes as base64 or as 64 hex digits")]
    Form {
        /// Where the value came from.
        origin: String,
    },
    /// What was encrypted was made with another master secret, belongs to another place, or was changed.
    #[error(
        "{what} cannot be decrypted: it was encrypted with another master secret, or was changed"
    )]
    NotOurs {
        /// What was to be decrypted.
        what: String,
    },
    /// The system's random generator or the cipher failed.
    #[error("the cryptographic provider failed")]
    Provider,
}

/// The keys derived from the master secret. Its `Debug` shows nothing.
pub struct Secrets {
    tokens: hmac::Key,
    at_rest: LessSafeKey,
    sessions: hmac::Key,
}

/// What a derived token opens. Each purpose derives different tokens for the same flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A signer's page, `/s/{token}`.
    Sign,
    /// The signed file or the void copy, `/f/{token}` (`sign_file_url`).
    File,
}

impl Secrets {
    /// The secret from `value` (the variable `SEALPOST_SECRET`) when there is one, else from `<data>/secret.key`, which is
    /// made if it does not exist.
    pub fn load_or_create(data: &Path, value: Option<&str>) -> Result<Self, SecretError> {
        if let Some(value) = value {
            return Self::from_master(&parse_master(value, "SEALPOST_SECRET")?);
        }
        let path = data.join(SECRET_FILE);
        let failed = |source| SecretError::File {
            path: path.display().to_string(),
            source,
        };
        match fs::read_to_string(&path) {
            Ok(text) => Self::from_master(&parse_master(text.trim(), &path.display().to_string())?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let master: [u8; 32] = random()?;
                match write_new(&path, &STANDARD.encode(master)) {
                    Ok(()) => Self::from_master(&master),
                    // Another process made it a moment ago: theirs is the secret.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        let text = fs::read_to_string(&path).map_err(failed)?;
                        Self::from_master(&parse_master(text.trim(), &path.display().to_string())?)
                    }
                    Err(error) => Err(failed(error)),
                }
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The keys of one master secret.
    pub fn from_master(master: &[u8; 32]) -> Result<Self, SecretError> {
        let master = hmac::Key::new(hmac::HMAC_SHA256, master);
        let derive = |purpose: &str| hmac::sign(&master, purpose.as_bytes());
        let at_rest = UnboundKey::new(&AES_256_GCM, derive("sealpost/at-rest/v1").as_ref())
            .map_err(|_| SecretError::Provider)?;
        Ok(Self {
            tokens: hmac::Key::new(hmac::HMAC_SHA256, derive("sealpost/tokens/v1").as_ref()),
            sessions: hmac::Key::new(hmac::HMAC_SHA256, derive("sealpost/sessions/v1").as_ref()),
            at_rest: LessSafeKey::new(at_rest),
        })
    }

    /// The token of a flow's link: always the same for the same flow, purpose and signer (0 for the file), and impossible
    /// to guess. Only its hash is stored, so a copy of the database opens no link.
    pub fn token(&self, purpose: Purpose, flow: &SignFlowId, signer: u32) -> String {
        let mut context = hmac::Context::with_key(&self.tokens);
        context.update(match purpose {
            Purpose::Sign => b"sign\0",
            Purpose::File => b"file\0",
        });
        context.update(flow.as_str().as_bytes());
        context.update(&signer.to_be_bytes());
        URL_SAFE_NO_PAD.encode(&context.sign().as_ref()[..18])
    }

    /// A value that only this installation can make again, for signing cookies and form tokens.
    pub fn mac(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.sessions);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(message);
        let mut mac = [0; 32];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }

    /// Encrypts what is kept at rest (AES-256-GCM, a random nonce in front). `place` names where it is kept, for example
    /// `channel/lianjia/webhook`: the same bytes moved to another place no longer decrypt.
    pub fn encrypt(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, SecretError> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = plain.to_vec();
        self.at_rest
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SecretError::Provider)?;
        let mut out = nonce.to_vec();
        out.append(&mut sealed);
        Ok(out)
    }

    /// Decrypts what [`Secrets::encrypt`] made for the same `place`.
    pub fn decrypt(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, SecretError> {
        let not_ours = || SecretError::NotOurs {
            what: place.to_owned(),
        };
        let (nonce, body) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or_else(not_ours)?;
        let mut plain = body.to_vec();
        let length = self
            .at_rest
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(place.as_bytes()),
                &mut plain,
            )
            .map_err(|_| not_ours())?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// Random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], SecretError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| SecretError::Provider)?;
    Ok(bytes)
}

/// A new API key: `sp_` and 256 random bits. Only [`sha256`] of it is stored.
pub fn new_api_key() -> Result<String, SecretError> {
    Ok(format!(
        "{API_KEY_PREFIX}{}",
        URL_SAFE_NO_PAD.encode(random::<32>()?)
    ))
}

/// A new operator key: `spo_` and 256 random bits. Only [`sha256`] of it is stored.
pub fn new_operator_key() -> Result<String, SecretError> {
    Ok(format!(
        "{OPERATOR_KEY_PREFIX}{}",
        URL_SAFE_NO_PAD.encode(random::<32>()?)
    ))
}

/// SHA-256, as API keys and tokens are looked up by.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn parse_master(value: &str, origin: &str) -> Result<[u8; 32], SecretError> {
    let bytes = if value.len() == 64 {
        hex::decode(value).ok()
    } else {
        STANDARD.decode(value).ok()
    };
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| SecretError::Form {
            origin: origin.to_owned(),
        })
}

/// Makes a new file that only its owner may read: written and synced under another name first, so that no other process
/// ever reads half a secret, then linked to its place, which fails if there is one already.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    let written = file
        .write_all(format!("{text}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&temporary, path));
    fs::remove_file(&temporary)?;
    written?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        Secrets::from_master(&[7; 32]).unwrap()
    }

    #[test]
    fn tokens_differ_by_purpose_flow_and_signer_and_never_change() {
        let (a, b) = (
            SignFlowId::from_bytes([1; 16]),
            SignFlowId::from_bytes([2; 16]),
        );
        let secrets = secrets();
        let tokens = [
            secrets.token(Purpose::Sign, &a, 1),
            secrets.token(Purpose::Sign, &a, 2),
            secrets.token(Purpose::Sign, &b, 1),
            secrets.token(Purpose::File, &a, 1),
        ];
        for (i, token) in tokens.iter().enumerate() {
            assert_eq!(token.len(), TOKEN_LENGTH);
            assert!(!tokens[..i].contains(token));
        }
        assert_eq!(tokens[0], self::secrets().token(Purpose::Sign, &a, 1));
    }

    #[test]
    fn what_is_encrypted_opens_only_in_its_place_and_unchanged() {
        let secrets = secrets();
        let sealed = secrets.encrypt("channel/a", b"whsec_x").unwrap();
        assert_eq!(secrets.decrypt("channel/a", &sealed).unwrap(), b"whsec_x");
        assert!(secrets.decrypt("channel/b", &sealed).is_err());
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(secrets.decrypt("channel/a", &changed).is_err());
        }
        assert!(secrets.decrypt("channel/a", &sealed[..5]).is_err());
    }

    #[test]
    fn the_file_is_made_once_and_only_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let flow = SignFlowId::from_bytes([1; 16]);
        let first =
            Secrets::load_or_create(folder.path(), None)
                .unwrap()
                .token(Purpose::File, &flow, 0);
        let again =
            Secrets::load_or_create(folder.path(), None)
                .unwrap()
                .token(Purpose::File, &flow, 0);
        assert_eq!(first, again);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(folder.path().join(SECRET_FILE))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(folder.path().join(SECRET_FILE), "short").unwrap();
        assert!(matches!(
            Secrets::load_or_create(folder.path(), None),
            Err(SecretError::Form { .. })
        ));
        assert!(Secrets::load_or_create(folder.path(), Some(&"ab".repeat(32))).is_ok());
    }
}
