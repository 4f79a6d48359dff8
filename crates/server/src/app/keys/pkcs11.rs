//! Keys in hardware modules, through the module's PKCS#11 library (OASIS PKCS #11 2.40): the key never leaves the module.
//!
//! Where the key is and what its PIN is, the operator says; what is signed with it is no business of this file.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use sealpost_pdf::{ExternalKey, ExternalKeyError, KeyAlgorithm, pki};
use thiserror::Error as ErrorTrait;

/// Why a key in a module cannot be used.
#[derive(Debug, ErrorTrait)]
pub(crate) enum ModuleError {
    /// The library cannot be loaded, or refused an operation.
    #[error("the PKCS#11 module refused or cannot be loaded")]
    Module(#[from] Error),
    /// The PIN cannot be read.
    #[error("the PIN cannot be read")]
    Pin(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The token refused the PIN, now or before.
    #[error(
        "the token {0:?} refused the PIN, which is not tried again until it is changed or the server starts anew: a token locks itself"
    )]
    PinRefused(String),
    /// No token has the label.
    #[error("no token is labelled {0:?}")]
    NoToken(String),
    /// The token holds no such object, or several.
    #[error("the token holds {found} {what} of that label and id, and one is needed")]
    NotOne {
        /// How many there are.
        found: usize,
        /// Of what.
        what: &'static str,
    },
    /// PKCS#11 has no way to sign with the algorithm.
    #[error("PKCS#11 has no mechanism for {0}")]
    Algorithm(KeyAlgorithm),
    /// The key's signature has no form that is known.
    #[error("the module's signature has no form that is known")]
    Signature(#[source] sealpost_pdf::SignError),
}

/// Which key of which token.
pub(crate) struct Wanted {
    /// The module's library.
    pub(crate) module: PathBuf,
    /// The token's label.
    pub(crate) token: String,
    /// The key's label (`CKA_LABEL`).
    pub(crate) label: Option<String>,
    /// The key's id (`CKA_ID`).
    pub(crate) id: Option<Vec<u8>>,
    /// Reads the user's PIN, before each login.
    pub(crate) pin: Box<dyn Fn() -> Result<String, ModuleError> + Send + Sync>,
}

/// A key of a token, and the session in which it signs.
pub(crate) struct ModuleKey {
    wanted: Wanted,
    session: Mutex<Option<Open>>,
}

struct Open {
    session: Session,
    key: ObjectHandle,
}

impl ModuleKey {
    /// Logs in to the token and finds the key.
    pub(crate) fn open(wanted: Wanted) -> Result<Self, ModuleError> {
        let open = Open::new(&wanted)?;
        Ok(Self {
            wanted,
            session: Mutex::new(Some(open)),
        })
    }

    /// The certificate in DER that the token keeps under the key's id.
    pub(crate) fn certificate(&self) -> Result<Vec<u8>, ModuleError> {
        self.with_session(|open| {
            let mut template = vec![Attribute::Class(ObjectClass::CERTIFICATE)];
            let wanted = open
                .session
                .get_attributes(open.key, &[AttributeType::Id])?;
            template.extend(wanted);
            let found = only(&open.session, &template, "certificates")?;
            let value = open
                .session
                .get_attributes(found, &[AttributeType::Value])?;
            let value = value.into_iter().find_map(|attribute| match attribute {
                Attribute::Value(der) => Some(der),
                _ => None,
            });
            value.ok_or(ModuleError::NotOne {
                found: 0,
                what: "certificates",
            })
        })
    }

    /// Uses the session; one that fails may have died with its token, so it is replaced and the work tried once more.
    fn with_session<T>(
        &self,
        work: impl Fn(&Open) -> Result<T, ModuleError>,
    ) -> Result<T, ModuleError> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = session.as_ref() {
            match work(open) {
                Err(ModuleError::Module(error)) => {
                    tracing::warn!(%error, "a session with a hardware module is made anew");
                }
                done => return done,
            }
        }
        // The old one is closed first: a module may have room for one alone.
        *session = None;
        let open = Open::new(&self.wanted)?;
        let done = work(&open);
        *session = Some(open);
        done
    }
}

impl ExternalKey for ModuleKey {
    fn sign(&self, algorithm: KeyAlgorithm, message: &[u8]) -> Result<Vec<u8>, ExternalKeyError> {
        // Modules digest for RSA; for ECDSA the older of them want the digest.
        let (mechanism, input) = match algorithm {
            KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
                (Mechanism::Sha256RsaPkcs, message.to_vec())
            }
            KeyAlgorithm::P256 => (Mechanism::Ecdsa, digest(&SHA256, message).as_ref().to_vec()),
            KeyAlgorithm::P384 => (Mechanism::Ecdsa, digest(&SHA384, message).as_ref().to_vec()),
            other => return Err(ModuleError::Algorithm(other).into()),
        };
        let signature =
            self.with_session(|open| Ok(open.session.sign(&mechanism, open.key, &input)?))?;
        match algorithm {
            KeyAlgorithm::P256 | KeyAlgorithm::P384 => {
                let encoded = pki::ecdsa_signature(&signature);
                Ok(encoded.map_err(ModuleError::Signature)?)
            }
            _ => Ok(signature),
        }
    }
}

impl Open {
    fn new(wanted: &Wanted) -> Result<Self, ModuleError> {
        let module = module(&wanted.module)?;
        let mut token = None;
        for slot in module.get_slots_with_initialized_token()? {
            if module.get_token_info(slot)?.label() == wanted.token {
                token = Some(slot);
            }
        }
        let token = token.ok_or_else(|| ModuleError::NoToken(wanted.token.clone()))?;
        let session = module.open_ro_session(token)?;
        log_in(&session, wanted)?;
        let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        let label = wanted.label.as_ref();
        template.extend(label.map(|label| Attribute::Label(label.clone().into_bytes())));
        template.extend(wanted.id.clone().map(Attribute::Id));
        let key = only(&session, &template, "private keys")?;
        Ok(Self { session, key })
    }
}

/// Logs in, unless the token has refused this PIN before, for whichever of its keys: a few more of them, and it would lock itself.
fn log_in(session: &Session, wanted: &Wanted) -> Result<(), ModuleError> {
    let pin = (wanted.pin)()?;
    let given = digest(&SHA256, pin.as_bytes()).as_ref().to_vec();
    let gate = gate(wanted);
    // Held while the token is asked: of two sessions that begin at once, the second must know what the first has met.
    let mut refused = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let refusal = || ModuleError::PinRefused(wanted.token.clone());
    if refused.contains(&given) {
        return Err(refusal());
    }
    match session.login(UserType::User, Some(&AuthPin::from(pin))) {
        // Logging in is for all of a process's sessions with a token at once.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
            _,
        )) => {
            if refused.len() == REFUSED {
                refused.pop_front();
            }
            refused.push_back(given);
            Err(refusal())
        }
        Err(error) => Err(error.into()),
    }
}

/// The digests of the PINs that a token has refused, the oldest first.
type Gate = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// PINs that are remembered for one token: more than any lets be tried.
const REFUSED: usize = 32;

/// The gate of a token, which all keys of it share.
fn gate(wanted: &Wanted) -> Gate {
    static GATES: Mutex<BTreeMap<(PathBuf, String), Gate>> = Mutex::new(BTreeMap::new());
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    let token = (wanted.module.clone(), wanted.token.clone());
    Arc::clone(gates.entry(token).or_default())
}

/// The one object that fits.
fn only(
    session: &Session,
    template: &[Attribute],
    what: &'static str,
) -> Result<ObjectHandle, ModuleError> {
    match session.find_objects(template)?[..] {
        [one] => Ok(one),
        ref other => Err(ModuleError::NotOne {
            found: other.len(),
            what,
        }),
    }
}

/// The module of a library. It is loaded and initialized once for the whole process, as the standard wants it, and stays.
fn module(path: &Path) -> Result<Pkcs11, ModuleError> {
    static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(error.into()),
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}
