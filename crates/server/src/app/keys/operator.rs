//! The operator's own seal keys: which there are (a TOML file, `keys.seals`), and opening them.
//!
//! A key is in a PKCS#12 file, in a hardware module (PKCS#11) or behind a signing service of the operator's. Passwords and PINs are
//! in files or variables of their own, never in the list, and in no log.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sealpost_pdf::{Credential, SignError};
use serde::Deserialize;
use thiserror::Error;

use crate::config::read_toml;

use super::pkcs11::{ModuleError, ModuleKey, Wanted};
use super::remote::{RemoteError, RemoteKey};

/// The most bytes of a file with a password, a PIN or certificates.
const MAX_FILE: u64 = 1 << 20;

/// Why the operator's keys cannot be used. Every text says which key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OperatorKeyError {
    /// The list cannot be read.
    #[error("the list of seal keys {path} cannot be read")]
    List {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The list is no TOML, or has an unknown key or a value of another type.
    #[error("the list of seal keys {path} is wrong: {wrong}")]
    Form {
        /// The file.
        path: String,
        /// Where and why.
        wrong: crate::config::Wrong,
    },
    /// An entry contradicts itself or another.
    #[error("the seal key of {whose}: {reason}")]
    Entry {
        /// Whose key.
        whose: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of an entry cannot be read.
    #[error("the seal key of {whose}: {path} cannot be read")]
    File {
        /// Whose key.
        whose: String,
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The key or its certificate cannot be used.
    #[error("the seal key of {whose} cannot be used")]
    Key {
        /// Whose key.
        whose: String,
        /// Why.
        source: SignError,
    },
    /// The hardware module does not give the key.
    #[error("the seal key of {whose} cannot be had")]
    Module {
        /// Whose key.
        whose: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The file's shape.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    seal: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    organization: Option<String>,
    pkcs12: Option<PathBuf>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    pkcs11: Option<PathBuf>,
    token: Option<String>,
    key: Option<String>,
    key_id: Option<String>,
    pin_file: Option<PathBuf>,
    pin_env: Option<String>,
    remote: Option<String>,
    authorization_file: Option<PathBuf>,
    authorization_env: Option<String>,
    certificates: Option<PathBuf>,
}

/// The operator's seal keys. Reading the list opens none of them.
#[derive(Default)]
pub(crate) struct OperatorKeys(Vec<OperatorKey>);

/// One of them.
pub(crate) struct OperatorKey {
    /// Whose seal it is; `None`: of every organization that has no key of its own.
    organization: Option<String>,
    place: Place,
    surroundings: Arc<Surroundings>,
    credential: OnceLock<Arc<Credential>>,
}

/// What all entries share.
struct Surroundings {
    /// The list's folder, which paths are relative to.
    folder: PathBuf,
    /// Further root certificates for services over TLS.
    ca_file: Option<PathBuf>,
}

/// Where a key is.
enum Place {
    Pkcs12 {
        file: PathBuf,
        password: Hidden,
    },
    Pkcs11 {
        module: PathBuf,
        token: String,
        label: Option<String>,
        id: Option<Vec<u8>>,
        pin: Hidden,
        certificates: Option<PathBuf>,
    },
    Remote {
        url: String,
        authorization: Option<Hidden>,
        certificates: PathBuf,
    },
}

/// Where a secret is.
#[derive(Clone)]
enum Hidden {
    File(PathBuf),
    Variable(String),
}

impl OperatorKeys {
    /// Reads the list and checks what can be checked without opening a key. The certificates in `ca_file` are believed
    /// beside the system's when a signing service is called over TLS.
    pub(crate) fn read(path: &Path, ca_file: Option<&Path>) -> Result<Self, OperatorKeyError> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| OperatorKeyError::List {
            path: name(),
            source,
        })?;
        // Somebody may have written a password where its file belongs.
        let list: List = read_toml(&text, |_| false).map_err(|wrong| OperatorKeyError::Form {
            path: name(),
            wrong,
        })?;
        let surroundings = Arc::new(Surroundings {
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            ca_file: ca_file.map(Path::to_owned),
        });
        let mut keys: Vec<OperatorKey> = Vec::with_capacity(list.seal.len());
        for entry in list.seal {
            let key = entry.check(&surroundings)?;
            if keys
                .iter()
                .any(|other| other.organization == key.organization)
            {
                return Err(key.wrong("there is another one".to_owned()));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// The key that seals for an organization: its own, or the one for all.
    pub(crate) fn find(&self, organization: &str) -> Option<&OperatorKey> {
        let of = |wanted: Option<&str>| {
            let mut keys = self.0.iter();
            keys.find(|key| key.organization.as_deref() == wanted)
        };
        of(Some(organization)).or_else(|| of(None))
    }

    /// Opens every key. Blocks: files are read, and hardware modules and services are asked.
    pub(crate) fn open(&self) -> Result<(), OperatorKeyError> {
        self.0.iter().try_for_each(|key| key.credential().map(drop))
    }

    /// What has been opened so far: whose it is, and the key.
    pub(crate) fn opened(&self) -> impl Iterator<Item = (String, &Arc<Credential>)> {
        let keys = self.0.iter();
        keys.filter_map(|key| Some((key.whose(), key.credential.get()?)))
    }
}

impl Entry {
    fn check(self, surroundings: &Arc<Surroundings>) -> Result<OperatorKey, OperatorKeyError> {
        let whose = whose(self.organization.as_deref());
        let wrong = |reason: &str| OperatorKeyError::Entry {
            whose: whose.clone(),
            reason: reason.to_owned(),
        };
        let hidden = |file, variable, what: &str| match (file, variable) {
            (Some(file), None) => Ok(Some(Hidden::File(file))),
            (None, Some(variable)) => Ok(Some(Hidden::Variable(variable))),
            (None, None) => Ok(None),
            _ => Err(wrong(&format!(
                "{what}_file and {what}_env exclude each other"
            ))),
        };
        let password = hidden(self.password_file, self.password_env, "password")?;
        let pin = hidden(self.pin_file, self.pin_env, "pin")?;
        let authorization = hidden(
            self.authorization_file,
            self.authorization_env,
            "authorization",
        )?;
        let of_module = self.token.is_some() || self.key.is_some() || self.key_id.is_some();
        let place = match (self.pkcs12, self.pkcs11, self.remote) {
            (Some(file), None, None) => {
                if of_module
                    || pin.is_some()
                    || authorization.is_some()
                    || self.certificates.is_some()
                {
                    return Err(wrong(
                        "with pkcs12 there may be password_file or password_env alone",
                    ));
                }
                let needed = "pkcs12 needs password_file or password_env";
                Place::Pkcs12 {
                    file,
                    password: password.ok_or_else(|| wrong(needed))?,
                }
            }
            (None, Some(module), None) => {
                if password.is_some() || authorization.is_some() {
                    return Err(wrong(
                        "pkcs11 has a PIN (pin_file, pin_env) and nothing else that is secret",
                    ));
                }
                if self.key.is_none() && self.key_id.is_none() {
                    return Err(wrong("pkcs11 needs key (a label) or key_id (hex)"));
                }
                let id = self.key_id.map(hex::decode).transpose();
                Place::Pkcs11 {
                    module,
                    token: self
                        .token
                        .ok_or_else(|| wrong("pkcs11 needs token (a label)"))?,
                    label: self.key,
                    id: id.map_err(|_| wrong("key_id must be hex"))?,
                    pin: pin.ok_or_else(|| wrong("pkcs11 needs pin_file or pin_env"))?,
                    certificates: self.certificates,
                }
            }
            (None, None, Some(url)) => {
                if of_module || pin.is_some() || password.is_some() {
                    return Err(wrong(
                        "with remote there may be authorization_file or authorization_env, and certificates",
                    ));
                }
                let needed = "remote needs certificates (PEM, the key's own first)";
                Place::Remote {
                    url,
                    authorization,
                    certificates: self.certificates.ok_or_else(|| wrong(needed))?,
                }
            }
            _ => return Err(wrong("it must have one of pkcs12, pkcs11 and remote")),
        };
        Ok(OperatorKey {
            organization: self.organization,
            place,
            surroundings: Arc::clone(surroundings),
            credential: OnceLock::new(),
        })
    }
}

impl OperatorKey {
    /// The key, opened at first use. Blocks then, as [`OperatorKeys::open`] does.
    pub(crate) fn credential(&self) -> Result<Arc<Credential>, OperatorKeyError> {
        if let Some(credential) = self.credential.get() {
            return Ok(Arc::clone(credential));
        }
        let opened = Arc::new(self.open()?);
        Ok(Arc::clone(self.credential.get_or_init(|| opened)))
    }

    fn open(&self) -> Result<Credential, OperatorKeyError> {
        let unusable = |source| OperatorKeyError::Key {
            whose: self.whose(),
            source,
        };
        match &self.place {
            Place::Pkcs12 { file, password } => {
                let file = self.read(file)?;
                let password = self.secret(password)?;
                Credential::from_pkcs12(&file, &password).map_err(unusable)
            }
            Place::Pkcs11 {
                module,
                token,
                label,
                id,
                pin,
                certificates,
            } => {
                let refused = |source: ModuleError| self.unavailable(source);
                let wanted = Wanted {
                    module: module.clone(),
                    token: token.clone(),
                    label: label.clone(),
                    id: id.clone(),
                    pin: self.pin(pin),
                };
                let key = ModuleKey::open(wanted).map_err(refused)?;
                let chain = match certificates {
                    Some(path) => self.certificates(path)?,
                    None => vec![key.certificate().map_err(refused)?],
                };
                Credential::external(Arc::new(key), chain).map_err(unusable)
            }
            Place::Remote {
                url,
                authorization,
                certificates,
            } => {
                let ca_file = self.surroundings.ca_file.as_deref();
                let authorization = authorization.as_ref().map(|hidden| self.secret(hidden));
                let refused = |source: RemoteError| self.unavailable(source);
                let key =
                    RemoteKey::new(url, authorization.transpose()?, ca_file).map_err(refused)?;
                Credential::external(Arc::new(key), self.certificates(certificates)?)
                    .map_err(unusable)
            }
        }
    }

    fn whose(&self) -> String {
        whose(self.organization.as_deref())
    }

    fn wrong(&self, reason: String) -> OperatorKeyError {
        wrong(&self.whose(), reason)
    }

    fn unavailable(
        &self,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> OperatorKeyError {
        OperatorKeyError::Module {
            whose: self.whose(),
            source: Box::new(source),
        }
    }

    fn secret(&self, hidden: &Hidden) -> Result<String, OperatorKeyError> {
        self.surroundings.secret(&self.whose(), hidden)
    }

    /// Reads a PIN whenever it is needed: one that was put right need not wait for the next start.
    fn pin(&self, hidden: &Hidden) -> Box<dyn Fn() -> Result<String, ModuleError> + Send + Sync> {
        let (whose, hidden) = (self.whose(), hidden.clone());
        let surroundings = Arc::clone(&self.surroundings);
        Box::new(move || {
            let pin = surroundings.secret(&whose, &hidden);
            pin.map_err(|error| ModuleError::Pin(Box::new(error)))
        })
    }

    fn certificates(&self, path: &Path) -> Result<Vec<Vec<u8>>, OperatorKeyError> {
        let pem = self.read(path)?;
        let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .filter_map(Result::ok)
            .map(|der| der.to_vec())
            .collect();
        if found.is_empty() {
            let reason = format!("{} holds no certificate in PEM", path.display());
            return Err(self.wrong(reason));
        }
        Ok(found)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, OperatorKeyError> {
        self.surroundings.read(&self.whose(), path)
    }
}

impl Surroundings {
    fn secret(&self, whose: &str, hidden: &Hidden) -> Result<String, OperatorKeyError> {
        match hidden {
            Hidden::File(path) => {
                let text = String::from_utf8(self.read(whose, path)?);
                let text =
                    text.map_err(|_| wrong(whose, format!("{} holds no text", path.display())))?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            Hidden::Variable(name) => std::env::var(name)
                .map_err(|_| wrong(whose, format!("the variable {name} is not set"))),
        }
    }

    fn read(&self, whose: &str, path: &Path) -> Result<Vec<u8>, OperatorKeyError> {
        let path = self.folder.join(path);
        let failed = |source| OperatorKeyError::File {
            whose: whose.to_owned(),
            path: path.display().to_string(),
            source,
        };
        let length = std::fs::metadata(&path).map_err(failed)?.len();
        if length > MAX_FILE {
            return Err(wrong(
                whose,
                format!("{} is larger than 1 MiB", path.display()),
            ));
        }
        std::fs::read(&path).map_err(failed)
    }
}

fn wrong(whose: &str, reason: String) -> OperatorKeyError {
    OperatorKeyError::Entry {
        whose: whose.to_owned(),
        reason,
    }
}

fn whose(organization: Option<&str>) -> String {
    organization.unwrap_or("all organizations").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_a_list_is_understood() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../examples/operators/seal-keys.toml"
        );
        let keys = OperatorKeys::read(Path::new(path), None).unwrap();
        let whose = |organization: &str| keys.find(organization).unwrap().whose();
        assert_eq!(whose("上海云锦置业有限公司"), "上海云锦置业有限公司");
        assert_eq!(whose("某某公司"), "all organizations");
        assert_eq!(keys.opened().count(), 0);
    }
}
