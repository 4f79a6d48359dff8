//! What is known of channels: address, secrets, schedule, pause; read from the store and kept for a moment.
//!
//! A change made by another process is seen when the moment has passed; the server tells of its own changes at once.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use sealpost_contract::UtcMillis;
use sealpost_store::{LaneId, Store};

use crate::attempt::Endpoint;
use crate::engine::OpenSecret;
use crate::guard::{Policy, Refused};

/// How long what was read is believed.
const FRESH: Duration = Duration::from_secs(2);

/// Channels remembered at most; beyond, all are forgotten and read anew.
const MOST: usize = 10_000;

/// The endpoint of one lane and the channel behind it.
#[derive(Debug, Clone)]
pub(crate) struct LaneEndpoint {
    pub(crate) channel_id: Arc<str>,
    pub(crate) endpoint: Arc<Endpoint>,
}

#[derive(Debug)]
struct Known {
    /// `None`: the channel rests, or has no address, or is gone.
    endpoint: Option<LaneEndpoint>,
    channel_id: Arc<str>,
    read_at: Instant,
}

pub(crate) struct Channels {
    store: Store,
    policy: Arc<Policy>,
    open_secret: OpenSecret,
    known: Mutex<HashMap<LaneId, Known>>,
}

impl Channels {
    pub(crate) fn new(store: Store, policy: Arc<Policy>, open_secret: OpenSecret) -> Self {
        Self {
            store,
            policy,
            open_secret,
            known: Mutex::default(),
        }
    }

    /// Where a callback of this lane goes; `url` is its own address, if it has one. `None` while the channel rests.
    pub(crate) async fn endpoint(
        &self,
        lane: LaneId,
        url: Option<&str>,
        now: UtcMillis,
    ) -> Result<Option<LaneEndpoint>, sealpost_store::Error> {
        let known = self.remembered(lane);
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

    fn remembered(&self, lane: LaneId) -> Option<Option<LaneEndpoint>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&lane)
            .filter(|known| known.read_at.elapsed() < FRESH)
            .map(|known| known.endpoint.clone())
    }

    async fn read(
        &self,
        lane: LaneId,
        now: UtcMillis,
    ) -> Result<Option<LaneEndpoint>, sealpost_store::Error> {
        let Some(channel_id) = self.store.find_lane_channel(lane).await? else {
            return Ok(None);
        };
        let Some(channel) = self.store.find_channel(&channel_id).await? else {
            return Ok(None);
        };
        let channel_id: Arc<str> = channel_id.into();
        let endpoint = channel.paused.is_none().then(|| {
            let secrets = channel
                .secrets
                .iter()
                .filter(|secret| secret.retires_at.is_none_or(|at| at > now))
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
                endpoint: Arc::new(endpoint),
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
                read_at: Instant::now(),
            },
        );
        Ok(endpoint)
    }
}

fn parse(policy: &Policy, url: &str) -> Result<Uri, Refused> {
    let target = policy.check_url(url)?;
    Uri::from_str(target.as_str()).map_err(|_| Refused::Syntax)
}
