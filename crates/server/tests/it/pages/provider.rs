//! A strict little OpenID provider on loopback: its own sign-in page, codes that are good once, PKCE, client authentication, and
//! tokens signed with real keys. It can be made to lie, one lie at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use aws_lc_rs::{digest, hmac};
use axum::extract::{Form, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

pub(crate) const CLIENT: &str = "sealpost";
pub(crate) const SECRET: &str = "correct:horse+battery";

type Fields = HashMap<String, String>;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    Rs256,
    Es256,
    None,
    /// HMAC, with the RSA key's public modulus as the secret.
    PublicKeyAsSecret,
    /// RS256, and then a claim is changed.
    Tampered,
    /// RS256, under the name of a key that is not published.
    UnknownKey,
}

/// What the next tokens are like.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) signing: Signing,
    /// What is changed in the claims before they are signed.
    pub(crate) claims: Value,
    /// The issuer that answers name.
    pub(crate) answers_as: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Provider(Arc<Inner>);

struct Inner {
    base: String,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    manner: Mutex<Manner>,
    /// What each person's claims are, by the name they type.
    people: Mutex<HashMap<String, Value>>,
    codes: Mutex<HashMap<String, Fields>>,
    /// Whether it answers no question about itself for now, and how many there were.
    hangs: watch::Sender<bool>,
    asked: AtomicUsize,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self(Arc::new(Inner {
            base: format!("http://{}", listener.local_addr().unwrap()),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            manner: Mutex::new(Manner::honest()),
            people: Mutex::default(),
            codes: Mutex::default(),
            hangs: watch::Sender::new(false),
            asked: AtomicUsize::default(),
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/authorize", get(ask).post(authorize))
            .route("/token", axum::routing::post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.0.base
    }

    /// Somebody who may sign in there by typing this name.
    pub(crate) fn knows(&self, typed: &str, claims: Value) {
        let mut people = self.0.people.lock().unwrap();
        people.insert(typed.to_owned(), claims);
    }

    pub(crate) fn behaves(&self, manner: Manner) {
        *self.0.manner.lock().unwrap() = manner;
    }

    pub(crate) fn hangs(&self, hangs: bool) {
        self.0.hangs.send_replace(hangs);
    }

    /// How often it was asked what it says of itself.
    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the provider has a clock of its own"
    )]
    fn id_token(&self, typed: &str, nonce: &str) -> String {
        let manner = self.0.manner.lock().unwrap().clone();
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({
            "iss": self.0.base, "aud": CLIENT, "sub": format!("id of {typed}"),
            "iat": now, "exp": now + 300, "nonce": nonce,
        });
        let own = self.0.people.lock().unwrap()[typed].clone();
        for changes in [own, manner.claims.clone()] {
            for (name, value) in changes.as_object().unwrap() {
                claims[name] = match value
                    .as_i64()
                    .filter(|_| matches!(&**name, "iat" | "exp" | "nbf"))
                {
                    Some(seconds) => (now + seconds).into(),
                    None => value.clone(),
                };
            }
        }
        let header = match manner.signing {
            Signing::Rs256 | Signing::Tampered => json!({ "alg": "RS256", "kid": "r" }),
            Signing::UnknownKey => json!({ "alg": "RS256", "kid": "x" }),
            Signing::Es256 => json!({ "alg": "ES256", "kid": "e" }),
            Signing::None => json!({ "alg": "none" }),
            Signing::PublicKeyAsSecret => json!({ "alg": "HS256", "kid": "r" }),
        };
        let encode = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let random = SystemRandom::new();
        let signature = match manner.signing {
            Signing::None => Vec::new(),
            Signing::Es256 => {
                let signature = self.0.ec.sign(&random, signed.as_bytes()).unwrap();
                signature.as_ref().to_vec()
            }
            Signing::PublicKeyAsSecret => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &self.modulus());
                hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            Signing::Rs256 | Signing::Tampered | Signing::UnknownKey => {
                let mut signature = vec![0; self.0.rsa.public_modulus_len()];
                self.0
                    .rsa
                    .sign(
                        &RSA_PKCS1_SHA256,
                        &random,
                        signed.as_bytes(),
                        &mut signature,
                    )
                    .unwrap();
                signature
            }
        };
        let signed = if manner.signing == Signing::Tampered {
            claims["sub"] = "somebody else".into();
            format!("{}.{}", encode(&header), encode(&claims))
        } else {
            signed
        };
        format!("{signed}.{}", BASE64.encode(signature))
    }

    fn modulus(&self) -> Vec<u8> {
        let modulus = self.0.rsa.public_key().modulus();
        modulus.big_endian_without_leading_zero().to_vec()
    }
}

impl Manner {
    pub(crate) fn honest() -> Self {
        Self {
            signing: Signing::Rs256,
            claims: json!({}),
            answers_as: None,
        }
    }
}

async fn discovery(State(provider): State<Provider>) -> Json<Value> {
    provider.0.asked.fetch_add(1, Ordering::SeqCst);
    let mut hangs = provider.0.hangs.subscribe();
    hangs.wait_for(|hangs| !hangs).await.unwrap();
    let base = &provider.0.base;
    Json(json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "jwks_uri": format!("{base}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn keys(State(provider): State<Provider>) -> Json<Value> {
    let exponent = provider.0.rsa.public_key().exponent();
    let point = provider.0.ec.public_key().as_ref();
    Json(json!({ "keys": [
        { "kty": "new kind", "kid": "n" },
        { "kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256",
          "n": BASE64.encode(provider.modulus()), "e": BASE64.encode(exponent.big_endian_without_leading_zero()) },
        { "kty": "EC", "kid": "e", "use": "sig", "crv": "P-256", "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..]) },
    ] }))
}

/// The provider's own sign-in page.
async fn ask(Query(asked): Query<Fields>) -> Html<String> {
    let hidden: String = asked
        .iter()
        .map(|(name, value)| format!("<input type=hidden name='{name}' value='{value}'>"))
        .collect();
    Html(format!(
        "<!doctype html><title>Provider</title><form method=post action=/authorize>{hidden}<input id=who name=who><button>OK</button></form>"
    ))
}

async fn authorize(State(provider): State<Provider>, Form(asked): Form<Fields>) -> Response {
    let is = |name: &str, value: &str| asked.get(name).is_some_and(|given| given == value);
    if !is("response_type", "code")
        || !is("client_id", CLIENT)
        || !is("code_challenge_method", "S256")
    {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let mut back = url::Url::parse(&asked["redirect_uri"]).unwrap();
    let manner = provider.0.manner.lock().unwrap().clone();
    let issuer = manner.answers_as.unwrap_or_else(|| provider.0.base.clone());
    back.query_pairs_mut()
        .append_pair("state", &asked["state"])
        .append_pair("iss", &issuer);
    if provider
        .0
        .people
        .lock()
        .unwrap()
        .contains_key(&asked["who"])
    {
        let mut codes = provider.0.codes.lock().unwrap();
        let code = format!("code {}", codes.len());
        back.query_pairs_mut().append_pair("code", &code);
        codes.insert(code, asked);
    } else {
        back.query_pairs_mut().append_pair("error", "access_denied");
    }
    Redirect::to(back.as_str()).into_response()
}

async fn token(
    State(provider): State<Provider>,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Response {
    let refuse =
        |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let encoded: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let wanted = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{encoded}")));
    if headers
        .get("authorization")
        .is_none_or(|given| given != wanted.as_str())
    {
        return refuse("invalid_client");
    }
    let Some(asked) = provider.0.codes.lock().unwrap().remove(&form["code"]) else {
        return refuse("invalid_grant");
    };
    let challenge = digest::digest(&digest::SHA256, form["code_verifier"].as_bytes());
    if BASE64.encode(challenge) != asked["code_challenge"]
        || form["redirect_uri"] != asked["redirect_uri"]
        || form["grant_type"] != "authorization_code"
    {
        return refuse("invalid_grant");
    }
    Json(json!({
        "access_token": "unused", "token_type": "Bearer",
        "id_token": provider.id_token(&asked["who"], &asked["nonce"]),
    }))
    .into_response()
}
