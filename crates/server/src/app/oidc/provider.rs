//! The provider: what it says of itself, asked for when it is needed and by one at a time, and redeeming a code there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use jsonwebtoken::jwk::Jwk;
use sealpost_contract::UtcMillis;
use sealpost_delivery::client::{Client, MAX_ANSWER_BYTES, Reply, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_delivery::guard::Policy;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use super::NotIn;
use crate::config::Oidc;

/// How long each request to the provider may take, and all that it takes to learn what it says of itself.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long what the provider says of itself is believed, and how soon its keys are asked for again when one is missing.
const FRESH: UtcMillis = 10 * 60 * 1000;
const KEYS_AGAIN: UtcMillis = 30 * 1000;

/// The provider, and what it has said of itself. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Provider(Arc<Inner>);

struct Inner {
    settings: Oidc,
    client: Client,
    policy: Arc<Policy>,
    said: Mutex<Said>,
}

/// What the provider has said, and the question that is under way.
#[derive(Default)]
struct Said {
    known: Option<Arc<Known>>,
    asking: Option<watch::Receiver<Answer>>,
}

/// What came of a question, once there is something.
type Answer = Option<Result<Arc<Known>, String>>;

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({:?})", self.0.settings)
    }
}

/// The discovery document, as far as it is used, and the provider's keys.
pub(super) struct Known {
    pub(super) endpoints: Endpoints,
    pub(super) keys: Vec<Jwk>,
    /// As of when.
    at: UtcMillis,
}

#[derive(Clone, Deserialize)]
pub(super) struct Endpoints {
    issuer: String,
    pub(super) authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    /// Whether its answers name their issuer (RFC 9207).
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Provider {
    /// The provider of the configuration. The certificates in `ca_file` are believed beside the system's.
    pub(crate) fn new(
        settings: &Oidc,
        ca_file: Option<&std::path::Path>,
    ) -> Result<Self, sealpost_delivery::Error> {
        let policy = Arc::new(Policy {
            allow: settings.allow_networks.clone(),
            allow_http: settings.allow_http,
            ports: Vec::new(),
        });
        let trust = Trust::load(ca_file)?;
        Ok(Self(Arc::new(Inner {
            client: Client::new(Arc::clone(&policy), Resolver::System, &trust, None)?,
            settings: settings.clone(),
            policy,
            said: Mutex::default(),
        })))
    }

    pub(super) fn settings(&self) -> &Oidc {
        &self.0.settings
    }

    /// What the provider says of itself, asked for again when it is old or lacks the key `wanted`. Whoever needs that at the same
    /// time waits for the one answer, and for no longer than the deadline; whoever does not, does not wait.
    pub(super) async fn known(
        &self,
        wanted: Option<&str>,
        now: UtcMillis,
    ) -> Result<Arc<Known>, NotIn> {
        let mut answer = {
            let mut said = self.said();
            if let Some(known) = &said.known {
                // A clock that was set back makes nothing younger.
                let age = (now - known.at).abs();
                let has_it = wanted.is_none_or(|wanted| known.has_key(wanted));
                if age < FRESH && (has_it || age < KEYS_AGAIN) {
                    return Ok(Arc::clone(known));
                }
            }
            match &said.asking {
                Some(asking) => asking.clone(),
                None => said.asking.insert(self.clone().begin_to_ask(now)).clone(),
            }
        };
        let told = answer.wait_for(Option::is_some).await;
        let told = told.ok().and_then(|told| told.clone());
        let told = told.unwrap_or_else(|| {
            // Whoever asked has died, and the next asks again.
            self.said().asking = None;
            Err("the question was not finished".to_owned())
        });
        told.map_err(NotIn::Provider)
    }

    /// Asks the provider, whether or not those who wait go on waiting.
    fn begin_to_ask(self, now: UtcMillis) -> watch::Receiver<Answer> {
        let (tell, answer) = watch::channel(None);
        tokio::spawn(async move {
            let asked = tokio::time::timeout(DEADLINE, self.ask(now)).await;
            let known = match asked {
                Ok(Ok(known)) => Ok(Arc::new(known)),
                Ok(Err(reason)) => Err(reason),
                Err(_) => Err("it takes too long".to_owned()),
            };
            let mut said = self.said();
            if let Ok(known) = &known {
                said.known = Some(Arc::clone(known));
            }
            said.asking = None;
            drop(said);
            tell.send_replace(Some(known));
        });
        answer
    }

    async fn ask(&self, now: UtcMillis) -> Result<Known, String> {
        let issuer = self.settings().issuer.trim_end_matches('/');
        let document = self
            .fetch(&format!("{issuer}/.well-known/openid-configuration"))
            .await?;
        let endpoints: Endpoints = serde_json::from_value(document)
            .map_err(|error| format!("its discovery document: {error}"))?;
        if endpoints.issuer != self.settings().issuer {
            return Err(format!(
                "its discovery document is of the issuer {:?}",
                endpoints.issuer
            ));
        }
        let set = self.fetch(&endpoints.jwks_uri).await?;
        let keys = set["keys"].as_array().cloned().unwrap_or_default();
        Ok(Known {
            endpoints,
            // Keys of a kind that is unknown here are passed over.
            keys: keys
                .into_iter()
                .filter_map(|key| serde_json::from_value(key).ok())
                .collect(),
            at: now,
        })
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, url: &str) -> Result<Value, String> {
        let target = self.check(url)?;
        let fetched = self
            .0
            .client
            .fetch(target, MAX_ANSWER_BYTES, DEADLINE)
            .await;
        read(url, fetched)
    }

    fn check(&self, url: &str) -> Result<http::Uri, String> {
        let target = self
            .0
            .policy
            .check_url(url)
            .map_err(|refused| format!("{url}: {refused}"))?;
        Ok(target.uri().clone())
    }

    /// The ID token for a code.
    pub(super) async fn redeem(
        &self,
        endpoints: &Endpoints,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<String, String> {
        let url = &endpoints.token_endpoint;
        let (headers, body) = self.token_request(endpoints, code, verifier, redirect_uri);
        let answered = self
            .0
            .client
            .post(self.check(url)?, headers, body, DEADLINE)
            .await;
        let answer = read(url, answered)?;
        answer["id_token"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("{url}: there is no ID token in its answer"))
    }

    /// The headers and the form that redeem a code (RFC 6749, section 4.1.3, and RFC 7636, section 4.5).
    fn token_request(
        &self,
        endpoints: &Endpoints,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> (HeaderMap, Bytes) {
        let client_id = &self.settings().client_id;
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_verifier", verifier);
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        let methods = &endpoints.token_endpoint_auth_methods_supported;
        let takes = |method: &str| methods.iter().any(|known| known == method);
        match &self.settings().client_secret {
            None => {
                form.append_pair("client_id", client_id);
            }
            // What a provider takes that says nothing of it is the header (OpenID Connect Discovery 1.0, section 3).
            Some(secret) if methods.is_empty() || takes("client_secret_basic") => {
                let encoded = |text: &str| {
                    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                };
                let pair = STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret)));
                if let Ok(mut value) = HeaderValue::try_from(format!("Basic {pair}")) {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
            }
            Some(secret) => {
                form.append_pair("client_id", client_id)
                    .append_pair("client_secret", secret);
            }
        }
        (headers, Bytes::from(form.finish()))
    }
}

impl Known {
    fn has_key(&self, id: &str) -> bool {
        self.keys
            .iter()
            .any(|key| key.common.key_id.as_deref() == Some(id))
    }
}

/// The JSON of a good answer.
fn read(
    url: &str,
    answer: Result<Reply, sealpost_delivery::client::Failure>,
) -> Result<Value, String> {
    let reply = answer.map_err(|failure| format!("{url}: {failure:?}"))?;
    let value: Option<Value> = serde_json::from_slice(&reply.body).ok();
    match value {
        Some(value) if reply.status == http::StatusCode::OK => Ok(value),
        // The code of RFC 6749, section 5.2, is worth logging; the rest could be anything.
        Some(value) => Err(format!(
            "{url}: HTTP {} {}",
            reply.status.as_u16(),
            value["error"].as_str().unwrap_or_default()
        )),
        None => Err(format!(
            "{url}: HTTP {}, and no JSON",
            reply.status.as_u16()
        )),
    }
}
