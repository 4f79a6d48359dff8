//! What an ID token says of somebody, and whether it is to be believed (OpenID Connect Core 1.0, section 3.1.3.7).

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use sealpost_contract::UtcMillis;
use sealpost_store::Role;
use serde_json::Value;

use super::NotIn;
use super::provider::{Known, Provider};
use crate::app::operate::NAME_CHARS;

/// By how much the provider's clock may differ from ours, in seconds.
const LEEWAY: i64 = 60;

/// The most characters of a subject (OpenID Connect Core 1.0, section 2).
const SUBJECT_CHARS: usize = 255;

/// What an ID token says of somebody.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The provider's issuer and its subject, in one text.
    pub(super) subject: String,
    pub(super) name: String,
    /// The role that follows from the claim; `None`: no claim decides.
    pub(super) role: Option<Role>,
}

impl Provider {
    /// Checks an ID token (OpenID Connect Core 1.0, section 3.1.3.7) at `now`.
    pub(super) async fn verify(
        &self,
        token: &str,
        nonce: &str,
        now: UtcMillis,
    ) -> Result<Identity, NotIn> {
        let bad = |reason: &str| NotIn::Token(reason.to_owned());
        let header =
            jsonwebtoken::decode_header(token).map_err(|error| NotIn::Token(error.to_string()))?;
        // `none`, HMAC with the public key as the secret, and everything else that is not these two, end here.
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(bad("it is signed neither with RS256 nor with ES256"));
        }
        let known = self.known(header.kid.as_deref(), now).await?;
        let key = known
            .key(header.kid.as_deref(), header.alg)
            .ok_or_else(|| bad("the provider has no such key"))?;
        let key = DecodingKey::from_jwk(key).map_err(|error| NotIn::Token(error.to_string()))?;
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&self.settings().issuer]);
        rules.set_audience(&[&self.settings().client_id]);
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
        if (several || !party.is_null()) && party != self.settings().client_id.as_str() {
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
        let claim = self.settings().name_claim.as_str();
        let name = text(claim).trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS {
            return Err(NotIn::Token(format!(
                "its claim {claim} is missing, or longer than {NAME_CHARS} characters"
            )));
        }
        if claim == "email" && claims["email_verified"] == false {
            return Err(bad("its address is not verified"));
        }
        let role = match &self.settings().role_claim {
            None => None,
            Some(claim) => Some(
                self.role_of(&claims[claim.as_str()])
                    .ok_or_else(|| NotIn::NoRole(name.to_owned()))?,
            ),
        };
        Ok(Identity {
            subject: format!("{}\n{subject}", self.settings().issuer),
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
        let given = self.settings().roles.iter();
        given
            .filter(|(value, _)| values.contains(&value.as_str()))
            .map(|(_, role)| *role)
            .max()
    }
}

impl Known {
    /// The key that a token names; one that names none must leave no choice.
    fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Jwk> {
        let fits = |key: &&Jwk| {
            let family = match &key.algorithm {
                AlgorithmParameters::RSA(_) => Algorithm::RS256,
                AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
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
