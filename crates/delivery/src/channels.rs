//! What is known of channels: address, secrets, schedule, pause, certificate; read from the store and kept until they change.
//!
//! The store counts the changes, whoever makes them, and the engine reads that count as often as it polls; where it has not
//! been read lately, what is known is believed for a moment only. The server tells of its own changes at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use sealpost_contract::UtcMillis;
use sealpost_store::{LaneId, Reading, Store};

use crate::attempt::Endpoint;
use crate::client::{Client, Identity, Trust};
use crate::connector::{Open, Resolver};
use crate::engine::{FindIdentity, OpenSecret};
use crate::error::Error;
use crate::guard::{Policy, Refused};

/// How long what was read is believed without a word from the store, and how old such a word may be.
const FRESH: Duration = Duration::from_secs(2);

/// Channels remembered at most; beyond, all are forgotten and read anew.
const MOST: usize = 10_000;

/// The endpoint of one lane and the channel behind it.
#[derive(Debug, Clone)]
pub(crate) struct LaneEndpoint {
    pub(crate) channel_id: Arc<str>,
    /// The channel's address as the store has it; `None`: the callback has one of its own.
    pub(crate) address: Option<Arc<str>>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) client: Client,
}

#[derive(Debug)]
pub(crate) struct Known {
    /// `None`: the channel rests, or has no address, or is gone.
    endpoint: Option<LaneEndpoint>,
    channel_id: Arc<str>,
    reading: Reading,
    /// When the first of the secrets retires.
    until: Option<UtcMillis>,
}

pub(crate) struct Channels {
    pub(crate) store: Store,
    pub(crate) policy: Arc<Policy>,
    pub(crate) open_secret: OpenSecret,
    pub(crate) clients: Clients,
    pub(crate) known: Mutex<HashMap<LaneId, Known>>,
}

/// The HTTP clients: one for all channels, and one for each that wants to see a certificate of ours.
pub(crate) struct Clients {
    shared: Client,
    /// What all of them have open together.
    open: Open,
    policy: Arc<Policy>,
    resolver: Resolver,
    trust: Trust,
    find_identity: Option<FindIdentity>,
    /// Kept by channel, so that its connections stay open.
    own: Mutex<HashMap<Arc<str>, (Identity, Client)>>,
}

impl Clients {
    pub(crate) fn new(
        policy: Arc<Policy>,
        resolver: Resolver,
        trust: Trust,
        find_identity: Option<FindIdentity>,
        connections_kept: usize,
    ) -> Result<Self, Error> {
        let open = Open::new(connections_kept);
        let shared = Client::counting(
            Arc::clone(&policy),
            resolver.clone(),
            &trust,
            None,
            open.clone(),
        )?;
        Ok(Self {
            shared,
            open,
            policy,
            resolver,
            trust,
            find_identity,
            own: Mutex::default(),
        })
    }

    async fn client(&self, channel_id: &Arc<str>) -> sealpost_store::Result<Client> {
        let identity = match &self.find_identity {
            Some(find) => find(channel_id).await?,
            None => None,
        };
        let Some(identity) = identity else {
            return Ok(self.shared.clone());
        };
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = own.get(channel_id)
            && *known == identity
        {
            return Ok(client.clone());
        }
        Ok(
            match Client::counting(
                Arc::clone(&self.policy),
                self.resolver.clone(),
                &self.trust,
                Some(&identity),
                self.open.clone(),
            ) {
                Ok(client) => {
                    if own.len() >= MOST {
                        own.clear();
                    }
                    own.insert(Arc::clone(channel_id), (identity, client.clone()));
                    client
                }
                // Without it the endpoint refuses the handshake, and the attempts say so.
                Err(error) => {
                    tracing::error!(channel = %channel_id, %error, "a channel's client certificate cannot be used");
                    self.shared.clone()
                }
            },
        )
    }
}

impl Channels {
    /// Where a callback of this lane goes; `url` is its own address, if it has one. `None` while the channel rests.
    pub(crate) async fn endpoint(
        &self,
        lane: LaneId,
        url: Option<&str>,
        now: UtcMillis,
    ) -> Result<Option<LaneEndpoint>, sealpost_store::Error> {
        let known = self.remembered(lane, now);
        let endpoint = match known {
            Some(endpoint) => endpoint,
            None => self.read(lane, now).await?,
        };
        let Some(mut found) = endpoint else {
            return Ok(None);
        };
        match url {
            Some(url) => {
                let endpoint = Endpoint {
                    url: parse(&self.policy, url),
                    ..(*found.endpoint).clone()
                };
                found.endpoint = Arc::new(endpoint);
                found.address = None;
                Ok(Some(found))
            }
            // The channel has no address (yet); what goes to it waits.
            None if matches!(found.endpoint.url, Err(Refused::Missing)) => Ok(None),
            None => Ok(Some(found)),
        }
    }

    /// Forgets a channel.
    pub(crate) fn forget(&self, channel_id: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| *known.channel_id != *channel_id);
    }

    fn remembered(&self, lane: LaneId, now: UtcMillis) -> Option<Option<LaneEndpoint>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&lane)
            .filter(|known| self.store.still_holds(&known.reading, FRESH))
            .filter(|known| known.until.is_none_or(|until| now < until))
            .map(|known| known.endpoint.clone())
    }

    async fn read(
        &self,
        lane: LaneId,
        now: UtcMillis,
    ) -> Result<Option<LaneEndpoint>, sealpost_store::Error> {
        let reading = self.store.begin_reading(FRESH);
        let Some(channel_id) = self.store.find_lane_channel(lane).await? else {
            return Ok(None);
        };
        let Some(channel) = self.store.find_channel(&channel_id).await? else {
            return Ok(None);
        };
        let channel_id: Arc<str> = channel_id.into();
        let client = self.clients.client(&channel_id).await?;
        let signing = || {
            let secrets = channel.secrets.iter();
            secrets.filter(|secret| secret.retires_at.is_none_or(|at| at > now))
        };
        let until = signing().filter_map(|secret| secret.retires_at).min();
        let endpoint = channel.paused.is_none().then(|| {
            let secrets = signing()
                .filter_map(|secret| (self.open_secret)(&channel_id, &secret.ciphertext))
                .collect();
            let url = channel
                .callback_url
                .as_deref()
                .map_or(Err(Refused::Missing), |url| parse(&self.policy, url));
            let endpoint = Endpoint {
                url,
                secrets,
                schedule: channel.schedule,
            };
            LaneEndpoint {
                channel_id: Arc::clone(&channel_id),
                address: channel.callback_url.as_deref().map(Arc::from),
                endpoint: Arc::new(endpoint),
                client,
            }
        });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(
            lane,
            Known {
                endpoint: endpoint.clone(),
                channel_id,
                reading,
                until,
            },
        );
        Ok(endpoint)
    }
}

fn parse(policy: &Policy, url: &str) -> Result<Uri, Refused> {
    policy.check_url(url).map(|target| target.uri().clone())
}
