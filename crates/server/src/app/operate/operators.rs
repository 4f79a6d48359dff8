//! Operators and operator keys, and the audit log: for administrators, and for whoever owns the machine.

use sealpost_flow::Digest;
use sealpost_store::{AuditEntry, IdempotencyKey, Operator, OperatorKey, Remembered, Role};

use super::Operate;
use crate::app::channels::NewKey;
use crate::app::flows::check_same_request;
use crate::app::{App, passwords};
use crate::problem::{Kind, Problem};
use crate::secrets::{SecretError, new_operator_key, random, sha256};

/// Characters of an operator's, and of a key's, name at most.
pub(crate) const NAME_CHARS: usize = 64;

/// Why an operator was not added or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorError {
    /// The name is empty, over 64 characters, or has control characters or white space at its ends.
    #[error("a name is 1 to {NAME_CHARS} characters")]
    Name,
    /// The password is too short or too long.
    #[error(
        "a password is {} to {} characters",
        passwords::MIN_CHARACTERS,
        passwords::MAX_CHARACTERS
    )]
    Password,
    /// Someone has this name.
    #[error("there is an operator of this name already")]
    Taken,
    /// Nobody has this name.
    #[error("there is no operator of this name")]
    Unknown,
    /// The password could not be hashed.
    #[error("the system gives no randomness or no memory for a password's hash")]
    Hash,
    /// No key could be made.
    #[error("the system gives no randomness for a key")]
    Key(#[from] SecretError),
    /// The store does not take it.
    #[error("the store does not take it")]
    Store(#[from] sealpost_store::Error),
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Name => Self::field("name", "bad_format", error.to_string()),
            OperatorError::Password => Self::field("password", "bad_format", error.to_string()),
            OperatorError::Taken => {
                Self::new(Kind::Conflict, "There is an operator of this name already.")
                    .code("name_taken")
            }
            OperatorError::Unknown => Self::not_found("operator"),
            OperatorError::Store(error) => error.into(),
            OperatorError::Key(error) => error.into(),
            OperatorError::Hash => Self::internal("a password cannot be hashed", &error),
        }
    }
}

/// Adds an operator; without a password they are invited, and sign in at the OpenID provider. `by` is who does it, for the
/// audit log.
pub(crate) async fn add_operator(
    app: &App,
    name: &str,
    role: Role,
    password: Option<String>,
    by: AuditEntry,
) -> Result<Operator, OperatorError> {
    let password_hash = match password {
        None => String::new(),
        Some(password) if !passwords::is_fit(&password) => return Err(OperatorError::Password),
        Some(password) => passwords::hash(password).await.ok_or(OperatorError::Hash)?,
    };
    keep_operator(app, name, role, password_hash, None, by).await
}

/// Keeps a new operator, however they sign in.
pub(crate) async fn keep_operator(
    app: &App,
    name: &str,
    role: Role,
    password_hash: String,
    subject: Option<String>,
    by: AuditEntry,
) -> Result<Operator, OperatorError> {
    if !is_name(name) {
        return Err(OperatorError::Name);
    }
    let operator = Operator {
        id: format!("op_{}", hex::encode(random::<8>()?)),
        name: name.to_owned(),
        role,
        password_hash,
        subject,
        totp_secret: None,
        totp_step: 0,
        failures: 0,
        locked_until: 0,
        created_at: app.now(),
        disabled_at: None,
    };
    if app.store().create_operator(operator.clone(), by).await? {
        Ok(operator)
    } else {
        Err(OperatorError::Taken)
    }
}

/// Gives an operator a new password, without a second factor, and ends their sessions: what the machine's owner does for
/// someone who is locked out.
pub(crate) async fn set_operator_password(
    app: &App,
    name: &str,
    password: String,
    by: AuditEntry,
) -> Result<(), OperatorError> {
    if !passwords::is_fit(&password) {
        return Err(OperatorError::Password);
    }
    let store = app.store();
    let known = store
        .find_operator_by_name(name)
        .await?
        .ok_or(OperatorError::Unknown)?;
    let hash = passwords::hash(password).await.ok_or(OperatorError::Hash)?;
    if !store.reset_operator(&known.id, hash, by).await? {
        return Err(OperatorError::Unknown);
    }
    store.end_sessions(&known.id, None).await?;
    Ok(())
}

/// Makes an operator key, told once. `by` is who does it, for the audit log; the key's id becomes its subject.
pub(crate) async fn add_operator_key(
    app: &App,
    name: &str,
    role: Role,
    by: AuditEntry,
) -> Result<NewKey, OperatorError> {
    let new = new_key(app, name, role, &by.operator)?;
    Ok(keep_operator_key(app, new, None, by).await?.0)
}

fn new_key(
    app: &App,
    name: &str,
    role: Role,
    by: &str,
) -> Result<(OperatorKey, String), OperatorError> {
    if !is_name(name) {
        return Err(OperatorError::Name);
    }
    let secret = new_operator_key()?;
    let key = OperatorKey {
        id: format!("opk_{}", hex::encode(random::<8>()?)),
        name: name.to_owned(),
        role,
        hash: Digest::from_bytes(sha256(secret.as_bytes())),
        created_at: app.now(),
        created_by: by.to_owned(),
        revoked_at: None,
    };
    Ok((key, secret))
}

/// Keeps a new operator key, unless the idempotency key was used before: then for what, and the new one is good for nothing.
async fn keep_operator_key(
    app: &App,
    (key, secret): (OperatorKey, String),
    once: Option<IdempotencyKey>,
    by: AuditEntry,
) -> Result<(NewKey, Option<Remembered>), OperatorError> {
    let new = NewKey {
        id: key.id.clone(),
        secret,
    };
    let entry = AuditEntry {
        subject: Some(key.id.clone()),
        detail: Some(format!("{} {}", key.name, key.role)),
        ..by
    };
    let remembered = app.store().add_operator_key_once(key, once, entry).await?;
    Ok((new, remembered))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.trim() == name
        && name.chars().count() <= NAME_CHARS
        && !name.chars().any(char::is_control)
}

impl Operate<'_> {
    /// All operators by name.
    pub(crate) async fn operators(&self) -> Result<Vec<Operator>, Problem> {
        self.by.permit(Role::Administrator)?;
        Ok(self.app.store().operators().await?)
    }

    /// Adds an operator; without a password they sign in at the OpenID provider.
    pub(crate) async fn add_operator(
        &self,
        name: &str,
        role: Role,
        password: Option<String>,
    ) -> Result<Operator, Problem> {
        self.by.permit(Role::Administrator)?;
        let entry = self.by.entry(
            self.app.now(),
            "operator.add",
            Some(name),
            Some(role.as_str()),
        );
        Ok(add_operator(self.app, name, role, password, entry).await?)
    }

    /// Gives an operator another role. Nobody changes their own: the last administrator would be gone by a slip.
    pub(crate) async fn set_role(&self, name: &str, role: Role) -> Result<(), Problem> {
        let known = self.other_operator(name).await?;
        let entry = self.by.entry(
            self.app.now(),
            "operator.role",
            Some(name),
            Some(role.as_str()),
        );
        self.app
            .store()
            .set_operator_role(&known.id, role, entry)
            .await?;
        Ok(())
    }

    /// From now on an operator cannot sign in, and their sessions end.
    pub(crate) async fn disable_operator(&self, name: &str) -> Result<(), Problem> {
        let known = self.other_operator(name).await?;
        let (store, now) = (self.app.store(), self.app.now());
        let entry = self.by.entry(now, "operator.disable", Some(name), None);
        if !store.disable_operator(&known.id, now, entry).await? {
            return Err(Problem::not_found("operator"));
        }
        store.end_sessions(&known.id, None).await?;
        Ok(())
    }

    /// The operator of this name, who is not the one who asks.
    async fn other_operator(&self, name: &str) -> Result<Operator, Problem> {
        self.by.permit(Role::Administrator)?;
        if name == self.by.name {
            let detail = "You cannot do this to yourself.";
            return Err(Problem::new(Kind::Refused, detail).code("yourself"));
        }
        let known = self.app.store().find_operator_by_name(name).await?;
        known.ok_or_else(|| Problem::not_found("operator"))
    }

    /// All operator keys, the oldest first.
    pub(crate) async fn operator_keys(&self) -> Result<Vec<OperatorKey>, Problem> {
        self.by.permit(Role::Administrator)?;
        Ok(self.app.store().operator_keys().await?)
    }

    /// Makes an operator key. `Err` inside: the id of the one that the idempotency key has made before; a key is told once.
    pub(crate) async fn add_operator_key(
        &self,
        name: &str,
        role: Role,
        key: Option<IdempotencyKey>,
    ) -> Result<Result<NewKey, String>, Problem> {
        self.by.permit(Role::Administrator)?;
        let new = new_key(self.app, name, role, &self.by.name)?;
        let entry = self
            .by
            .entry(self.app.now(), "operator_key.add", None, None);
        let (made, remembered) = keep_operator_key(self.app, new, key.clone(), entry).await?;
        if let Some(remembered) = remembered {
            check_same_request(key.as_ref(), &remembered)?;
            return Ok(Err(remembered.resource));
        }
        Ok(Ok(made))
    }

    /// Revokes an operator key at once.
    pub(crate) async fn revoke_operator_key(&self, id: &str) -> Result<(), Problem> {
        self.by.permit(Role::Administrator)?;
        let now = self.app.now();
        let entry = self.by.entry(now, "operator_key.revoke", Some(id), None);
        match self.app.store().revoke_operator_key(id, now, entry).await? {
            true => Ok(()),
            false => Err(Problem::not_found("operator key")),
        }
    }

    /// The audit log, the newest first, older than the entry of this number.
    pub(crate) async fn audit_log(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, AuditEntry)>, Problem> {
        self.by.permit(Role::Administrator)?;
        Ok(self.app.store().audit_log(before, limit).await?)
    }
}
