//! Channel participants (渠道参与方): made by an operator, known by their API keys.

use sealpost_contract::webhook::Secret;
use sealpost_contract::{Schedule, UtcMillis};
use sealpost_flow::Digest;
use sealpost_store::{ApiKey, AuditEntry, Channel, IdempotencyKey, Pause, SealedSecret};

use super::App;
use super::callbacks::webhook_place;
use super::callers::FRESH;
use super::flows::{Caller, check_same_request};
use crate::problem::{Kind, Problem};
use crate::secrets::{new_api_key, random, sha256};

/// How long the former webhook secrets still sign after a rotation.
const ROTATION_OVERLAP: UtcMillis = 24 * 60 * 60 * 1000;

/// A channel's name at most, in characters.
pub(crate) const NAME_CHARS: usize = 64;

/// What a new channel is told once and never again.
#[derive(Debug)]
pub struct NewChannel {
    /// The channel.
    pub channel: Channel,
    /// Its API key; only the hash is kept.
    pub api_key: String,
    /// Its webhook secret, `whsec_…`.
    pub webhook_secret: String,
}

/// A key that is told once; only its hash is kept.
#[derive(Debug)]
pub(crate) struct NewKey {
    /// Names it to whoever wants to revoke it.
    pub(crate) id: String,
    /// The key.
    pub(crate) secret: String,
}

impl App {
    /// Makes a channel with an API key and a webhook secret. Without a callback URL its callbacks wait until it has one.
    pub async fn add_channel(
        &self,
        name: &str,
        callback_url: Option<&str>,
        schedule: Schedule,
    ) -> Result<NewChannel, Problem> {
        let name = name.trim();
        if !(1..=NAME_CHARS).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err(Problem::field(
                "name",
                "bad_format",
                format!("it must have 1 to {NAME_CHARS} characters"),
            ));
        }
        let callback_url = self.permitted_callback_url(callback_url)?;
        let id = format!("ch_{}", hex::encode(random::<8>()?));
        let now = self.now();
        let (secret, sealed) = self.new_webhook_secret(&id, now)?;
        let (api_key, key) = self.new_key(&id, now)?;
        let channel = Channel {
            id,
            name: name.to_owned(),
            callback_url,
            schedule,
            created_at: now,
            paused: None,
            secrets: vec![sealed],
        };
        if !self.store().create_channel(channel.clone(), key).await? {
            return Err(Problem::new(
                Kind::Conflict,
                format!("There is a channel named {name:?} already."),
            ));
        }
        Ok(NewChannel {
            channel,
            api_key,
            webhook_secret: secret.expose(),
        })
    }

    /// All channels by name.
    pub async fn channels(&self) -> Result<Vec<Channel>, Problem> {
        Ok(self.store().channels().await?)
    }

    /// The channel of this name or id.
    pub async fn find_channel(&self, name_or_id: &str) -> Result<Option<Channel>, Problem> {
        match self.store().find_channel_by_name(name_or_id).await? {
            Some(channel) => Ok(Some(channel)),
            None => Ok(self.store().find_channel(name_or_id).await?),
        }
    }

    /// The channel of this id; that there is none is a problem.
    pub(crate) async fn channel(&self, id: &str) -> Result<Channel, Problem> {
        self.store()
            .find_channel(id)
            .await?
            .ok_or_else(|| Problem::not_found("channel"))
    }

    /// A channel's address as it is kept, if what was given may be called.
    fn permitted_callback_url(&self, given: Option<&str>) -> Result<Option<String>, Problem> {
        let Some(given) = given else {
            return Ok(None);
        };
        match self.check_callback_url(given) {
            Ok(url) => Ok(Some(url.as_str().to_owned())),
            Err(refused) => Err(Problem::field(
                "callback_url",
                "not_permitted",
                refused.to_string(),
            )),
        }
    }

    /// Changes where and when a channel is told.
    pub async fn set_channel_delivery(
        &self,
        id: &str,
        callback_url: Option<&str>,
        schedule: Schedule,
    ) -> Result<(), Problem> {
        let callback_url = self.permitted_callback_url(callback_url)?;
        let changed = self
            .store()
            .set_channel_delivery(id, callback_url, schedule)
            .await?;
        self.channel_told(id, changed)
    }

    /// Gives a channel a new webhook secret; the former ones sign along for another day.
    pub async fn rotate_webhook_secret(&self, id: &str) -> Result<String, Problem> {
        let now = self.now();
        let (secret, sealed) = self.new_webhook_secret(id, now)?;
        let changed = self
            .store()
            .rotate_secret(id, sealed, now + ROTATION_OVERLAP)
            .await?;
        self.channel_told(id, changed)?;
        Ok(secret.expose())
    }

    /// As [`App::rotate_webhook_secret`], once for each idempotency key, with an entry of the audit log in the same commit.
    /// `None`: the key has done so before, and a secret is told once.
    pub(crate) async fn rotate_webhook_secret_once(
        &self,
        id: &str,
        once: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Option<String>, Problem> {
        let now = self.now();
        let (secret, sealed) = self.new_webhook_secret(id, now)?;
        let retire_at = now + ROTATION_OVERLAP;
        let rotated = self
            .store()
            .rotate_secret_once(id, sealed, retire_at, once.clone(), audit);
        if let Some(remembered) = rotated.await? {
            check_same_request(once.as_ref(), &remembered)?;
            return Ok(None);
        }
        self.channel_changed(id);
        Ok(Some(secret.expose()))
    }

    /// Gives a channel another API key.
    pub async fn add_api_key(&self, channel_id: &str) -> Result<String, Problem> {
        let (secret, key) = self.new_key(channel_id, self.now())?;
        self.store().add_api_key(key).await?;
        Ok(secret)
    }

    /// As [`App::add_api_key`], once for each idempotency key, with an entry of the audit log in the same commit. `Err` inside:
    /// the id of the one that the key has made before; a key is told once.
    pub(crate) async fn add_api_key_once(
        &self,
        channel_id: &str,
        once: Option<IdempotencyKey>,
        audit: AuditEntry,
    ) -> Result<Result<NewKey, String>, Problem> {
        let (secret, key) = self.new_key(channel_id, self.now())?;
        let id = key.id.clone();
        let added = self.store().add_api_key_once(key, once.clone(), audit);
        if let Some(remembered) = added.await? {
            check_same_request(once.as_ref(), &remembered)?;
            return Ok(Err(remembered.resource));
        }
        Ok(Ok(NewKey { id, secret }))
    }

    /// A channel's keys, the oldest first.
    pub async fn api_keys(&self, channel_id: &str) -> Result<Vec<ApiKey>, Problem> {
        Ok(self.store().api_keys(channel_id).await?)
    }

    /// Revokes a key by its id.
    pub async fn revoke_api_key(&self, key_id: &str) -> Result<(), Problem> {
        match self.store().revoke_api_key(key_id, self.now()).await? {
            true => {
                self.0.callers.forget();
                // A look-up under way may still remember it; it is told apart by the count that it began with.
                self.store().read_channel_revision().await?;
                Ok(())
            }
            false => Err(Problem::not_found("API key")),
        }
    }

    /// Lets a channel's deliveries rest; nothing is dropped.
    pub async fn pause_channel(&self, id: &str, reason: &str) -> Result<(), Problem> {
        let pause = Pause {
            at: self.now(),
            reason: reason.to_owned(),
        };
        let changed = self.store().pause_channel(id, pause).await?;
        self.channel_told(id, changed)
    }

    /// Lets a channel's deliveries run again.
    pub async fn resume_channel(&self, id: &str) -> Result<(), Problem> {
        let changed = self.store().resume_channel(id).await?;
        self.channel_told(id, changed)
    }

    /// Who an API key speaks for. A key that is unknown and one that was revoked take the same way: a hash, one look-up by it,
    /// one comparison; and get the same answer.
    pub(crate) async fn find_caller(&self, key: &str) -> Result<Option<Caller>, Problem> {
        let hash = Digest::from_bytes(sha256(key.as_bytes()));
        if let Some(caller) = self.0.callers.find(&hash, self.store()) {
            return Ok(Some(caller));
        }
        let reading = self.store().begin_reading(FRESH);
        let found = self.store().find_api_key(&hash).await?;
        let valid = found.filter(|key| key.revoked_at.is_none());
        Ok(valid.map(|key| {
            let caller = Caller {
                channel_id: key.channel_id,
                key_id: key.id,
            };
            self.0.callers.keep(hash, caller.clone(), reading);
            caller
        }))
    }

    fn channel_told(&self, id: &str, changed: bool) -> Result<(), Problem> {
        if !changed {
            return Err(Problem::not_found("channel"));
        }
        self.channel_changed(id);
        Ok(())
    }

    fn new_webhook_secret(
        &self,
        channel_id: &str,
        now: UtcMillis,
    ) -> Result<(Secret, SealedSecret), Problem> {
        let secret = Secret::from_bytes(random::<32>()?)
            .map_err(|error| Problem::internal("a webhook secret was not made", &error))?;
        let ciphertext = self
            .secrets()
            .encrypt(&webhook_place(channel_id), secret.as_bytes())?;
        Ok((
            secret,
            SealedSecret {
                created_at: now,
                retires_at: None,
                ciphertext,
            },
        ))
    }

    fn new_key(&self, channel_id: &str, now: UtcMillis) -> Result<(String, ApiKey), Problem> {
        let api_key = new_api_key()?;
        let key = ApiKey {
            id: format!("key_{}", hex::encode(random::<8>()?)),
            channel_id: channel_id.to_owned(),
            hash: Digest::from_bytes(sha256(api_key.as_bytes())),
            created_at: now,
            revoked_at: None,
        };
        Ok((api_key, key))
    }
}
