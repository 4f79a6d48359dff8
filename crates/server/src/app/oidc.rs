//! Signing in at an OpenID provider (OpenID Connect Core 1.0, authorization code flow with PKCE, RFC 7636): where the browser
//! is sent, and what becomes of the code that it brings back.
//!
//! Between the two steps nothing is kept here: state, nonce and PKCE verifier travel in a cookie, encrypted, so that any node
//! can do the second. What the provider says counts only as far as its ID token goes (`token`): signature (RS256 or ES256, by a key
//! of the provider's, which `provider` fetches), issuer, audience, nonce, and time by our own clock.

mod provider;
mod token;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealpost_contract::UtcMillis;
use sealpost_store::{AuditEntry, Operator, Role};
use serde::{Deserialize, Serialize};

use self::token::Identity;
use super::App;
use super::operate::{OperatorError, keep_operator};
use super::view::Origin;
use crate::problem::Problem;
use crate::secrets::{random, sha256};

pub(crate) use self::provider::Provider;

/// How long somebody may take at the provider.
pub(crate) const AT_PROVIDER: UtcMillis = 10 * 60 * 1000;

/// What the cookie is encrypted for.
const PLACE: &str = "console/oidc";

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
        let known = provider.known(None, self.now()).await?;
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
            .append_pair("client_id", &provider.settings().client_id)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("scope", &provider.settings().scopes.join(" "))
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
        let known = provider.known(None, self.now()).await?;
        // A provider that names itself in its answers must be the one that was asked (RFC 9207, section 2.4).
        let names_itself = known
            .endpoints
            .authorization_response_iss_parameter_supported;
        if arrival
            .issuer
            .map_or(names_itself, |issuer| issuer != provider.settings().issuer)
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
            .await
            .map_err(NotIn::Provider)?;
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
                None if provider.settings().creates => {
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
