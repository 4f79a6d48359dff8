//! `oidc.*`: signing in to the console at an OpenID provider.

use sealpost_delivery::guard::IpRange;
use sealpost_store::Role;
use serde::Deserialize;

use super::check::network;
use super::{ConfigError, unfit};

/// Where and how operators sign in to the console at an OpenID provider.
#[derive(Clone)]
pub struct Oidc {
    /// The provider's issuer, exactly as it writes it.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// What proves it; a public client has none.
    pub client_secret: Option<String>,
    /// What the button says.
    pub label: String,
    /// What is asked for; `openid` is among them.
    pub scopes: Vec<String>,
    /// The claim that is an operator's name here.
    pub name_claim: String,
    /// The claim that says the role: a text, or a list of texts. `None`: the role is the one an administrator gave.
    pub role_claim: Option<String>,
    /// Which values of it give which role.
    pub roles: Vec<(String, Role)>,
    /// Whether an operator is made when somebody signs in who is none yet; else they must have been invited.
    pub creates: bool,
    /// Networks that the provider may be in although they are not public.
    pub allow_networks: Vec<IpRange>,
    /// Whether the provider may be reached over plain http.
    pub allow_http: bool,
}

/// Without the secret.
impl std::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oidc")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOidc {
    issuer: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    label: Option<String>,
    scopes: Option<Vec<String>>,
    name_claim: Option<String>,
    role_claim: Option<String>,
    viewers: Option<Vec<String>>,
    operators: Option<Vec<String>>,
    administrators: Option<Vec<String>>,
    first_sign_in: Option<String>,
    allow_networks: Option<Vec<String>>,
    allow_http: Option<bool>,
}

/// Without the secret.
impl std::fmt::Debug for RawOidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawOidc").finish_non_exhaustive()
    }
}

impl RawOidc {
    /// `None`: operators sign in with a password only.
    pub(super) fn check(self) -> Result<Option<Oidc>, ConfigError> {
        let Some(issuer) = self.issuer else {
            if self.client_id.is_some() {
                return Err(unfit(
                    "oidc.issuer",
                    "",
                    "it is needed beside oidc.client_id",
                ));
            }
            return Ok(None);
        };
        let allow_http = self.allow_http.unwrap_or_default();
        let url = url::Url::parse(&issuer)
            .map_err(|error| unfit("oidc.issuer", &issuer, error.to_string()))?;
        if url.scheme() != "https" && !(allow_http && url.scheme() == "http") {
            let reason =
                "it must be an https URL; oidc.allow_http permits http, for trying out only";
            return Err(unfit("oidc.issuer", &issuer, reason));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(unfit(
                "oidc.issuer",
                &issuer,
                "it must have no query or fragment",
            ));
        }
        let client_id = self
            .client_id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| unfit("oidc.client_id", "", "it is needed beside oidc.issuer"))?;
        let given = [
            (self.viewers, Role::Viewer),
            (self.operators, Role::Operator),
            (self.administrators, Role::Administrator),
        ];
        let roles: Vec<(String, Role)> = given
            .into_iter()
            .flat_map(|(values, role)| values.into_iter().flatten().map(move |value| (value, role)))
            .collect();
        if self.role_claim.is_some() == roles.is_empty() {
            let reason = "it and at least one of oidc.viewers, oidc.operators and oidc.administrators go together";
            return Err(unfit(
                "oidc.role_claim",
                self.role_claim.as_deref().unwrap_or(""),
                reason,
            ));
        }
        let creates = match self.first_sign_in.as_deref() {
            None | Some("invitation") => false,
            Some("create") => true,
            Some(other) => {
                return Err(unfit(
                    "oidc.first_sign_in",
                    other,
                    "it must be invitation or create",
                ));
            }
        };
        let mut scopes = self
            .scopes
            .unwrap_or_else(|| vec!["profile".to_owned(), "email".to_owned()]);
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        let networks = self.allow_networks.into_iter().flatten();
        Ok(Some(Oidc {
            issuer,
            client_id,
            client_secret: self.client_secret.filter(|secret| !secret.is_empty()),
            label: self.label.unwrap_or_else(|| "SSO".to_owned()),
            scopes,
            name_claim: self
                .name_claim
                .unwrap_or_else(|| "preferred_username".to_owned()),
            role_claim: self.role_claim,
            roles,
            creates,
            allow_networks: networks
                .map(|text| network("oidc.allow_networks", &text))
                .collect::<Result<_, _>>()?,
            allow_http,
        }))
    }
}
