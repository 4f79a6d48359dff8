//! Signing in at an OpenID provider (OpenID Connect Core 1.0, authorization code flow with PKCE, RFC 7636): where the browser
//! is sent, and what becomes of the code that it brings back.
//!
//! Between the two steps nothing is kept here: state, nonce and PKCE verifier travel in a cookie, encrypted, so that any node
//! can do the second. What the provider says counts only as far as its ID token goes, which is checked here: signature (RS256
//! or ES256, by a key of the provider's), issuer, audience, nonce, and time by our own clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use sealpost_contract::UtcMillis;
use sealpost_delivery::client::{Client, MAX_ANSWER_BYTES, Reply, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_delivery::guard::Policy;
use sealpost_store::{AuditEntry, Operator, Role};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

use super::App;
use super::operate::{NAME_CHARS, OperatorError, keep_operator};
use super::view::Origin;
use crate::config::Oidc;
use crate::problem::Problem;
use crate::secrets::{random, sha256};

/// How long each request to the provider may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long what the provider says of itself is believed, and how soon its keys are asked for again when one is missing.
const FRESH: Duration = Duration::from_secs(10 * 60);
const KEYS_AGAIN: Duration = Duration::from_secs(30);

/// How long somebody may take at the provider.
pub(crate) const AT_PROVIDER: UtcMillis = 10 * 60 * 1000;

/// By how much the provider's clock may differ from ours, in seconds.
const LEEWAY: i64 = 60;

/// The most characters of a subject (OpenID Connect Core 1.0, section 2).
const SUBJECT_CHARS: usize = 255;

/// What the cookie is encrypted for.
const PLACE: &str = "console/oidc";

/// The provider, and what it has said of itself.
pub(crate) struct Provider {
    settings: Oidc,
    client: Client,
    policy: Arc<Policy>,
    known: Mutex<Option<Arc<Known>>>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({:?})", self.settings)
    }
}

/// The discovery document, as far as it is used, and the provider's keys.
struct Known {
    endpoints: Endpoints,
    keys: Vec<Jwk>,
    at: Instant,
}

#[derive(Clone, Deserialize)]
struct Endpoints {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    /// Whether its answers name their issuer (RFC 9207).
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What a browser carries to the provider and back.
#[derive(Serialize, Deserialize)]
struct Pending {
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    until: UtcMillis,
}

/// Where a browser is sent, and what it carries.
pub(crate) struct Departure {
    pub(crate) address: String,
    /// The cookie's value.
    pub(crate) cookie: String,
}

/// What a browser brings back.
pub(crate) struct Arrival<'a> {
    pub(crate) cookie: &'a str,
    pub(crate) state: &'a str,
    pub(crate) code: &'a str,
    /// The issuer that the answer names.
    pub(crate) issuer: Option<&'a str>,
}

/// Why somebody does not get in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotIn {
    /// The answer belongs to no sign-in that this browser has begun here, or to one of long ago.
    #[error("the answer belongs to no sign-in that this browser has begun")]
    NotBegun,
    /// The provider does not answer, or not as it should: its doing or the network's. Logged, not shown.
    #[error("the provider cannot be used: {0}")]
    Provider(String),
    /// The ID token is not to be believed.
    #[error("the ID token is not to be believed: {0}")]
    Token(String),
    /// The provider knows them, and here they are nobody.
    #[error("{0} is not an operator here")]
    Nobody(String),
    /// Somebody else has the name.
    #[error("the name {0} belongs to another operator")]
    NameTaken(String),
    /// None of their groups has a role.
    #[error("no role follows from the role claim of {0}")]
    NoRole(String),
    /// They are disabled.
    #[error("{0} is disabled")]
    Disabled(String),
    /// A fault of ours.
    #[error("it failed here")]
    Ours(Problem),
}

impl From<Problem> for NotIn {
    fn from(problem: Problem) -> Self {
        Self::Ours(problem)
    }
}

impl From<sealpost_store::Error> for NotIn {
    fn from(error: sealpost_store::Error) -> Self {
        Self::Ours(error.into())
    }
}

/// What an ID token says of somebody.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    /// The provider's issuer and its subject, in one text.
    subject: String,
    name: String,
    /// The role that follows from the claim; `None`: no claim decides.
    role: Option<Role>,
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
        Ok(Self {
            client: Client::new(Arc::clone(&policy), Resolver::System, &trust, None)?,
            settings: settings.clone(),
            policy,
            known: Mutex::default(),
        })
    }

    /// What the provider says of itself, asked for again when it is old or lacks the key `wanted`.
    async fn known(&self, wanted: Option<&str>) -> Result<Arc<Known>, NotIn> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref() {
            let age = known.at.elapsed();
            let has_it = wanted.is_none_or(|wanted| known.has_key(wanted));
            if age < FRESH && (has_it || age < KEYS_AGAIN) {
                return Ok(Arc::clone(known));
            }
        }
        let issuer = self.settings.issuer.trim_end_matches('/');
        let document = self
            .fetch(&format!("{issuer}/.well-known/openid-configuration"))
            .await?;
        let endpoints: Endpoints = serde_json::from_value(document)
            .map_err(|error| NotIn::Provider(format!("its discovery document: {error}")))?;
        if endpoints.issuer != self.settings.issuer {
            return Err(NotIn::Provider(format!(
                "its discovery document is of the issuer {:?}",
                endpoints.issuer
            )));
        }
        let set = self.fetch(&endpoints.jwks_uri).await?;
        let keys = set["keys"].as_array().cloned().unwrap_or_default();
        let fresh = Arc::new(Known {
            endpoints,
            // Keys of a kind that is unknown here are passed over.
            keys: keys
                .into_iter()
                .filter_map(|key| serde_json::from_value(key).ok())
                .collect(),
            at: Instant::now(),
        });
        *known = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    async fn fetch(&self, url: &str) -> Result<Value, NotIn> {
        let target = self.check(url)?;
        let fetched = self.client.fetch(target, MAX_ANSWER_BYTES, DEADLINE).await;
        read(url, fetched)
    }

    fn check(&self, url: &str) -> Result<http::Uri, NotIn> {
        let target = self
            .policy
            .check_url(url)
            .map_err(|refused| NotIn::Provider(format!("{url}: {refused}")))?;
        Ok(target.uri().clone())
    }

    /// The ID token for a code.
    async fn redeem(
        &self,
        endpoints: &Endpoints,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<String, NotIn> {
        let url = &endpoints.token_endpoint;
        let (headers, body) = self.token_request(endpoints, code, verifier, redirect_uri);
        let answered = self
            .client
            .post(self.check(url)?, headers, body, DEADLINE)
            .await;
        let answer = read(url, answered)?;
        answer["id_token"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| NotIn::Provider(format!("{url}: there is no ID token in its answer")))
    }

    /// The headers and the form that redeem a code (RFC 6749, section 4.1.3, and RFC 7636, section 4.5).
    fn token_request(
        &self,
        endpoints: &Endpoints,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> (HeaderMap, Bytes) {
        let client_id = &self.settings.client_id;
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
        match &self.settings.client_secret {
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

    /// Checks an ID token (OpenID Connect Core 1.0, section 3.1.3.7) at `now`.
    async fn verify(&self, token: &str, nonce: &str, now: UtcMillis) -> Result<Identity, NotIn> {
        let bad = |reason: &str| NotIn::Token(reason.to_owned());
        let header =
            jsonwebtoken::decode_header(token).map_err(|error| NotIn::Token(error.to_string()))?;
        // `none`, HMAC with the public key as the secret, and everything else that is not these two, end here.
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(bad("it is signed neither with RS256 nor with ES256"));
        }
        let known = self.known(header.kid.as_deref()).await?;
        let key = known
            .key(header.kid.as_deref(), header.alg)
            .ok_or_else(|| bad("the provider has no such key"))?;
        let key = DecodingKey::from_jwk(key).map_err(|error| NotIn::Token(error.to_string()))?;
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&self.settings.issuer]);
        rules.set_audience(&[&self.settings.client_id]);
        rules.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Times are judged below, by our own clock.
        rules.validate_exp = false;
        let claims = jsonwebtoken::decode::<Value>(token, &key, &rules)
            .map_err(|error| NotIn::Token(error.to_string()))?
            .claims;
        self.judge(&claims, nonce, now.div_euclid(1000))
    }

    /// What remains to be checked of a token whose signature, issuer and audience are right.
    fn judge(&self, claims: &Value, nonce: &str, now: i64) -> Result<Identity, NotIn> {
        let bad = |reason: &str| NotIn::Token(reason.to_owned());
        let text = |name: &str| claims[name].as_str().unwrap_or_default();
        let given = text("nonce").as_bytes();
        if aws_lc_rs::constant_time::verify_slices_are_equal(given, nonce.as_bytes()).is_err() {
            return Err(bad("it is of another sign-in (nonce)"));
        }
        let several = claims["aud"].as_array().is_some_and(|all| all.len() > 1);
        let party = &claims["azp"];
        if (several || !party.is_null()) && party != self.settings.client_id.as_str() {
            return Err(bad("it was made for another party (azp)"));
        }
        let seconds = |name: &str| claims[name].as_f64().map(|seconds| seconds as i64);
        if seconds("exp").is_none_or(|end| end.saturating_add(LEEWAY) <= now) {
            return Err(bad("it has expired"));
        }
        if seconds("nbf").is_some_and(|begin| begin.saturating_sub(LEEWAY) > now) {
            return Err(bad("it is not valid yet"));
        }
        if seconds("iat").is_none_or(|made| made.saturating_sub(LEEWAY) > now) {
            return Err(bad("it was made in the future, or says not when"));
        }
        let subject = text("sub");
        if subject.is_empty() || subject.chars().count() > SUBJECT_CHARS {
            return Err(bad("its subject is empty or too long"));
        }
        let claim = self.settings.name_claim.as_str();
        let name = text(claim).trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS {
            return Err(NotIn::Token(format!(
                "its claim {claim} is missing, or longer than {NAME_CHARS} characters"
            )));
        }
        if claim == "email" && claims["email_verified"] == false {
            return Err(bad("its address is not verified"));
        }
        let role = match &self.settings.role_claim {
            None => None,
            Some(claim) => Some(
                self.role_of(&claims[claim.as_str()])
                    .ok_or_else(|| NotIn::NoRole(name.to_owned()))?,
            ),
        };
        Ok(Identity {
            subject: format!("{}\n{subject}", self.settings.issuer),
            name: name.to_owned(),
            role,
        })
    }

    /// The highest role of those that the claim's values give.
    fn role_of(&self, claim: &Value) -> Option<Role> {
        let values: Vec<&str> = match claim {
            Value::String(one) => vec![one],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let given = self.settings.roles.iter();
        given
            .filter(|(value, _)| values.contains(&value.as_str()))
            .map(|(_, role)| *role)
            .max()
    }
}

impl Known {
    fn has_key(&self, id: &str) -> bool {
        self.keys
            .iter()
            .any(|key| key.common.key_id.as_deref() == Some(id))
    }

    /// The key that a token names; one that names none must leave no choice.
    fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Jwk> {
        let fits = |key: &&Jwk| {
            let family = match &key.algorithm {
                jsonwebtoken::jwk::AlgorithmParameters::RSA(_) => Algorithm::RS256,
                jsonwebtoken::jwk::AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
                _ => return false,
            };
            family == algorithm
                && !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption))
        };
        let mut fitting = self
            .keys
            .iter()
            .filter(fits)
            .filter(|key| id.is_none() || key.common.key_id.as_deref() == id);
        let first = fitting.next()?;
        (id.is_some() || fitting.next().is_none()).then_some(first)
    }
}

/// The JSON of a good answer.
fn read(
    url: &str,
    answer: Result<Reply, sealpost_delivery::client::Failure>,
) -> Result<Value, NotIn> {
    let reply = answer.map_err(|failure| NotIn::Provider(format!("{url}: {failure:?}")))?;
    let value: Option<Value> = serde_json::from_slice(&reply.body).ok();
    match value {
        Some(value) if reply.status == http::StatusCode::OK => Ok(value),
        // The code of RFC 6749, section 5.2, is worth logging; the rest could be anything.
        Some(value) => Err(NotIn::Provider(format!(
            "{url}: HTTP {} {}",
            reply.status.as_u16(),
            value["error"].as_str().unwrap_or_default()
        ))),
        None => Err(NotIn::Provider(format!(
            "{url}: HTTP {}, and no JSON",
            reply.status.as_u16()
        ))),
    }
}

impl App {
    /// The name of the OpenID provider, where operators may sign in at one.
    pub(crate) fn provider_label(&self) -> Option<&str> {
        self.config().oidc.as_ref().map(|oidc| oidc.label.as_str())
    }

    fn redirect_uri(&self) -> String {
        format!("{}/console/oidc/callback", self.public_url())
    }

    /// Where to send a browser that wants to sign in at the provider; `next` is where it wants to be afterwards.
    pub(crate) async fn depart(&self, provider: &Provider, next: &str) -> Result<Departure, NotIn> {
        let known = provider.known(None).await?;
        let secret = || -> Result<String, Problem> { Ok(URL_SAFE_NO_PAD.encode(random::<32>()?)) };
        let pending = Pending {
            state: secret()?,
            nonce: secret()?,
            verifier: secret()?,
            next: next.to_owned(),
            until: self.now() + AT_PROVIDER,
        };
        let endpoint = &known.endpoints.authorization_endpoint;
        let mut address = url::Url::parse(endpoint)
            .map_err(|error| NotIn::Provider(format!("{endpoint}: {error}")))?;
        if !matches!(address.scheme(), "https" | "http") {
            return Err(NotIn::Provider(format!("{endpoint} is no web page")));
        }
        let challenge = URL_SAFE_NO_PAD.encode(sha256(pending.verifier.as_bytes()));
        address
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.settings.client_id)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("scope", &provider.settings.scopes.join(" "))
            .append_pair("state", &pending.state)
            .append_pair("nonce", &pending.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let plain = serde_json::to_vec(&pending)
            .map_err(|error| Problem::internal("a sign-in cannot be written", &error))?;
        let sealed = self
            .secrets()
            .encrypt(PLACE, &plain)
            .map_err(Problem::from)?;
        Ok(Departure {
            address: address.into(),
            cookie: URL_SAFE_NO_PAD.encode(sealed),
        })
    }

    /// The operator that a browser brings back from the provider, and where they want to be. The first time, an operator is
    /// made, or found among those who were invited.
    pub(crate) async fn arrive(
        &self,
        provider: &Provider,
        arrival: Arrival<'_>,
        origin: &Origin,
    ) -> Result<(Operator, String), NotIn> {
        let pending = self.pending(&arrival).ok_or(NotIn::NotBegun)?;
        let known = provider.known(None).await?;
        // A provider that names itself in its answers must be the one that was asked (RFC 9207, section 2.4).
        let names_itself = known
            .endpoints
            .authorization_response_iss_parameter_supported;
        if arrival
            .issuer
            .map_or(names_itself, |issuer| issuer != provider.settings.issuer)
        {
            return Err(NotIn::Token("the answer is of another issuer".to_owned()));
        }
        let token = provider
            .redeem(
                &known.endpoints,
                arrival.code,
                &pending.verifier,
                &self.redirect_uri(),
            )
            .await?;
        let identity = provider.verify(&token, &pending.nonce, self.now()).await?;
        let operator = self.operator_of(provider, identity, origin).await?;
        Ok((operator, pending.next))
    }

    fn pending(&self, arrival: &Arrival<'_>) -> Option<Pending> {
        let sealed = URL_SAFE_NO_PAD.decode(arrival.cookie).ok()?;
        let plain = self.secrets().decrypt(PLACE, &sealed).ok()?;
        let pending: Pending = serde_json::from_slice(&plain).ok()?;
        let state = arrival.state.as_bytes();
        let same =
            aws_lc_rs::constant_time::verify_slices_are_equal(state, pending.state.as_bytes());
        (same.is_ok() && self.now() < pending.until).then_some(pending)
    }

    async fn operator_of(
        &self,
        provider: &Provider,
        identity: Identity,
        origin: &Origin,
    ) -> Result<Operator, NotIn> {
        let Identity {
            subject,
            name,
            role,
        } = identity;
        let entry = |action: &str, name: &str, detail: &str| AuditEntry {
            at: self.now(),
            operator: "single sign-on".to_owned(),
            action: action.to_owned(),
            subject: Some(name.to_owned()),
            detail: (!detail.is_empty()).then(|| detail.to_owned()),
            address: Some(origin.address.to_string()),
        };
        let store = self.store();
        let known = match store.find_operator_by_subject(&subject).await? {
            Some(known) => known,
            None => match store.find_operator_by_name(&name).await? {
                Some(invited) => {
                    // An operator with a password is never taken over by whoever has their name at the provider.
                    let bound = store
                        .bind_operator(
                            &invited.id,
                            subject.clone(),
                            entry("operator.bind", &name, ""),
                        )
                        .await?;
                    if !bound {
                        return Err(NotIn::NameTaken(name));
                    }
                    invited
                }
                None if provider.settings.creates => {
                    let role = role.unwrap_or(Role::Viewer);
                    let by = entry("operator.add", &name, role.as_str());
                    match keep_operator(self, &name, role, String::new(), Some(subject), by).await {
                        Ok(operator) => operator,
                        Err(OperatorError::Taken) => return Err(NotIn::NameTaken(name)),
                        Err(error) => return Err(NotIn::Ours(error.into())),
                    }
                }
                None => return Err(NotIn::Nobody(name)),
            },
        };
        if known.disabled_at.is_some() {
            return Err(NotIn::Disabled(known.name));
        }
        let Some(role) = role.filter(|role| *role != known.role) else {
            return Ok(known);
        };
        let by = entry("operator.role", &known.name, role.as_str());
        store.set_operator_role(&known.id, role, by).await?;
        Ok(Operator { role, ..known })
    }
}
