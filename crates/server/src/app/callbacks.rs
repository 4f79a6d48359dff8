//! Callbacks: made with the end of a flow or handed over by another platform, listed, sent again. The delivery engine, where
//! one runs in this process, is told at once; another process's engine sees them in the database.

use std::sync::Arc;

use bytes::Bytes;
use sealpost_contract::webhook::Secret;
use sealpost_contract::{Callback, SignFlowId, UtcMillis};
use sealpost_delivery::guard::{Policy, Refused, Target};
use sealpost_delivery::{Engine, client};
use sealpost_store::{
    Accepted, Attempt, CallbackFilter, CallbackId, FailedSince, IdempotencyKey, NewCallback,
    Placed, Redelivered, RedeliveredOnce, Redelivery, RedeliveryId, StoredCallback,
};

use super::App;
use super::flows::check_same_request;
use crate::problem::{Kind, Problem};
use crate::secrets::random;

impl App {
    /// Starts delivering callbacks in this process.
    pub(crate) async fn start_delivery(
        &self,
        trust: client::Trust,
    ) -> Result<Engine, sealpost_delivery::Error> {
        let settings = &self.config().delivery;
        let mut config = sealpost_delivery::Config::new(trust);
        config.policy = self.callback_policy();
        config.deadline = settings.attempt_timeout;
        // Other nodes have leases of their own, which must be left to them.
        config.sole = self.config().database.is_none();
        config.alert_url = match &settings.alert_url {
            Some(url) => Some(
                Policy::unrestricted()
                    .check_url(url)
                    .map_err(sealpost_delivery::Error::AlertUrl)?,
            ),
            None => None,
        };
        let weak = Arc::downgrade(&self.0);
        let identity_of = weak.clone();
        config.find_identity = Some(Arc::new(move |channel: &str| {
            let (app, channel) = (identity_of.upgrade().map(App), channel.to_owned());
            Box::pin(async move {
                match app {
                    Some(app) => app.find_client_certificate(&channel).await,
                    None => Ok(None),
                }
            })
        }));
        let clock_of = weak.clone();
        let clock = move || clock_of.upgrade().map_or(0, |inner| inner.clock.now());
        let open_secret = move |channel: &str, sealed: &[u8]| {
            let app = App(weak.upgrade()?);
            app.open_webhook_secret(channel, sealed)
        };
        let seed = u64::from_ne_bytes(random::<8>().unwrap_or_default());
        let engine = Engine::start(
            self.store().clone(),
            config,
            Arc::new(clock),
            Arc::new(open_secret),
            seed,
        )
        .await?;
        Ok(self.0.delivery.get_or_init(|| engine).clone())
    }

    /// Which URLs, ports and addresses callbacks may go to.
    pub(crate) fn callback_policy(&self) -> Policy {
        let settings = &self.config().delivery;
        Policy {
            allow: settings.allow_networks.clone(),
            allow_http: settings.allow_http,
            ports: settings.ports.clone(),
        }
    }

    /// A callback URL that may be called, in the spelling that is used from here on.
    pub(crate) fn check_callback_url(&self, text: &str) -> Result<Target, Refused> {
        self.callback_policy().check_url(text)
    }

    /// The row of a callback that is about to be committed.
    pub(crate) fn new_callback(
        &self,
        channel_id: &str,
        url: Option<&str>,
        callback: &Callback,
    ) -> Result<NewCallback, Problem> {
        // It was checked when it was handed in; if the policy has become stricter since, the engine refuses it, visibly.
        let target = url.and_then(|url| self.check_callback_url(url).ok());
        match self.delivery() {
            Some(engine) if url.is_none() || target.is_some() => {
                Ok(engine.new_callback(channel_id, target.as_ref(), callback))
            }
            _ => Ok(NewCallback {
                id: self.new_callback_id()?,
                channel_id: channel_id.to_owned(),
                url: url.map(str::to_owned),
                sign_flow_id: callback.sign_flow_id.clone(),
                body: Bytes::from(callback.to_json()),
                due_at: self.now(),
                lease: None,
            }),
        }
    }

    /// Gives the engine a callback that has been committed.
    pub(crate) fn hand_over(&self, callback: NewCallback, placed: Placed) {
        if let Some(engine) = self.delivery() {
            engine.hand_over(callback, placed);
        }
    }

    pub(crate) fn poke_delivery(&self) {
        if let Some(engine) = self.delivery() {
            engine.poke();
        }
    }

    /// Tells the engine that a channel was changed.
    pub(crate) fn channel_changed(&self, channel_id: &str) {
        if let Some(engine) = self.delivery() {
            engine.channel_changed(channel_id);
        }
    }

    /// A channel's webhook secret from what the store keeps.
    pub(crate) fn open_webhook_secret(&self, channel: &str, sealed: &[u8]) -> Option<Secret> {
        let opened = self
            .secrets()
            .decrypt(&webhook_place(channel), sealed)
            .map(Secret::from_bytes);
        match opened {
            Ok(Ok(secret)) => Some(secret),
            Ok(Err(_)) | Err(_) => {
                tracing::error!(
                    channel,
                    "a webhook secret cannot be opened; callbacks go out without its signature"
                );
                None
            }
        }
    }

    /// Keeps a callback of a flow that ended elsewhere. Once this has answered, it is safe on disk.
    pub(crate) async fn accept_callback(
        &self,
        channel_id: &str,
        callback: &Callback,
    ) -> Result<CallbackId, Problem> {
        if let Some(engine) = self.delivery() {
            engine.wait_for_room(channel_id).await;
        }
        let new = self.new_callback(channel_id, None, callback)?;
        match self.store().accept_callback(new.clone()).await? {
            Accepted::New(placed) => {
                self.hand_over(new, placed);
                Ok(placed.id)
            }
            Accepted::Before(id) => Ok(id),
            Accepted::Conflict => {
                let detail = "A callback of this sign flow was handed over with other members, or the flow is one of ours.";
                Err(Problem::new(Kind::Conflict, detail)
                    .code("callback_conflict")
                    .with("sign_flow_id", callback.sign_flow_id.as_str()))
            }
        }
    }

    /// A callback of this channel with its attempts. Another channel's is as good as none.
    pub(crate) async fn find_callback(
        &self,
        channel_id: Option<&str>,
        id: CallbackId,
    ) -> Result<Option<(StoredCallback, Vec<Attempt>)>, Problem> {
        let found = self.store().find_callback(id).await?;
        match found
            .filter(|callback| channel_id.is_none_or(|channel| callback.channel_id == channel))
        {
            Some(callback) => Ok(Some((callback, self.store().attempts(id).await?))),
            None => Ok(None),
        }
    }

    /// The callback of a flow of this channel.
    pub(crate) async fn find_callback_of_flow(
        &self,
        channel_id: &str,
        flow: &SignFlowId,
    ) -> Result<Option<StoredCallback>, Problem> {
        Ok(self
            .store()
            .find_callback_of_flow(channel_id.to_owned(), flow.clone())
            .await?)
    }

    /// A page of callbacks, newest first, older than `before`.
    pub(crate) async fn list_callbacks(
        &self,
        filter: CallbackFilter,
        before: Option<CallbackId>,
        limit: usize,
    ) -> Result<Vec<StoredCallback>, Problem> {
        Ok(self.store().callbacks(filter, before, limit).await?)
    }

    /// Starts a new round of attempts for a callback. The caller has made sure that it may.
    pub(crate) async fn redeliver(&self, id: CallbackId) -> Result<(), Problem> {
        match self.store().redeliver(id, self.now()).await? {
            Redelivered::NotFound => Err(Problem::not_found("callback")),
            Redelivered::StillWaiting => Err(still_waiting()),
            Redelivered::Due => {
                self.poke_delivery();
                Ok(())
            }
        }
    }

    /// As [`App::redeliver`], once for each idempotency key; whether the key has done so before.
    pub(crate) async fn redeliver_once(
        &self,
        id: CallbackId,
        key: Option<IdempotencyKey>,
    ) -> Result<bool, Problem> {
        let Some(key) = key else {
            self.redeliver(id).await?;
            return Ok(false);
        };
        let redelivered = self
            .store()
            .redeliver_once(id, key.clone(), self.now())
            .await?;
        match redelivered {
            RedeliveredOnce::Now(Redelivered::Due) => {
                self.poke_delivery();
                Ok(false)
            }
            RedeliveredOnce::Now(Redelivered::StillWaiting) => Err(still_waiting()),
            RedeliveredOnce::Now(Redelivered::NotFound) => Err(Problem::not_found("callback")),
            RedeliveredOnce::Remembered(remembered) => {
                check_same_request(Some(&key), &remembered)?;
                Ok(true)
            }
        }
    }

    /// As [`App::start_redelivery`], once for each idempotency key; whether the key has done so before. Of two requests with
    /// one key at one moment both may begin, which sends nothing twice: the second finds nothing that failed any more.
    pub(crate) async fn start_redelivery_once(
        &self,
        channel_id: Option<String>,
        since: UtcMillis,
        key: Option<IdempotencyKey>,
    ) -> Result<(Redelivery, bool), Problem> {
        let Some(key) = key else {
            return Ok((self.start_redelivery(channel_id, since).await?, false));
        };
        if let Some(remembered) = self.store().find_idempotency_key(key.clone()).await? {
            check_same_request(Some(&key), &remembered)?;
            let redelivery = self.redelivery_of_any_channel(&remembered.resource).await?;
            return Ok((redelivery, true));
        }
        let redelivery = self.start_redelivery(channel_id, since).await?;
        self.was_done_before(Some(key), &redelivery.id.to_string())
            .await?;
        Ok((redelivery, false))
    }

    /// Begins a new round for all that failed since a time: takes the first steps at once, so that some hundreds are done when
    /// this answers. The rest is done step by step by [`App::step_redelivery`], which a server's worker sees to.
    pub(crate) async fn start_redelivery(
        &self,
        channel_id: Option<String>,
        since: UtcMillis,
    ) -> Result<Redelivery, Problem> {
        /// Steps that a request waits for.
        const AT_ONCE: usize = 4;
        let which = FailedSince {
            channel_id,
            since,
            until: self.now(),
        };
        let mut redelivery = self.store().start_redelivery(which, self.now()).await?;
        for _ in 0..AT_ONCE {
            if redelivery.finished_at.is_some() {
                break;
            }
            redelivery = self.step_redelivery(redelivery.id).await?;
        }
        Ok(redelivery)
    }

    /// Takes one step of a redelivery, and tells the engine.
    pub(crate) async fn step_redelivery(&self, id: RedeliveryId) -> Result<Redelivery, Problem> {
        let stepped = self.store().step_redelivery(id, self.now()).await?;
        self.poke_delivery();
        stepped.ok_or_else(|| Problem::not_found("redelivery"))
    }

    /// A redelivery of this channel. Another channel's is as good as none.
    pub(crate) async fn find_redelivery(
        &self,
        channel_id: &str,
        id: RedeliveryId,
    ) -> Result<Option<Redelivery>, Problem> {
        let found = self.store().find_redelivery(id).await?;
        Ok(found.filter(|found| found.which.channel_id.as_deref() == Some(channel_id)))
    }
}

/// What a channel's webhook secrets are bound to when they are encrypted.
pub(crate) fn webhook_place(channel: &str) -> String {
    format!("channel/{channel}/webhook")
}

/// The refusal to send again what is being sent.
pub(crate) fn still_waiting() -> Problem {
    let detail = "The callback is still being delivered; there is nothing to send again.";
    Problem::new(Kind::Refused, detail)
        .code("still_waiting")
        .with("state", "waiting")
}
