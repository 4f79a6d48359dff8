//! TLS: an operator's own authority, what is refused, and client certificates per channel.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sealpost_contract::Schedule;
use sealpost_delivery::Reason;
use sealpost_delivery::attempt::{self, Endpoint, Verdict};
use sealpost_delivery::client::{Client, Identity, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_store::{CallbackId, CallbackState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{TestStore, callback, eventually, http, local, new_id};

/// An authority of the operator's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "the operator's authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this name, good until this year.
    fn issue(&self, name: &str, until: i32) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificates_pem: certificate.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
        }
    }
}

/// An https endpoint that acknowledges; with `clients`, only to those who show a certificate of that authority.
async fn endpoint(shows: &Identity, clients: Option<&Authority>) -> u16 {
    let builder = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
                .unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(&shows.certificates_pem).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&shows.key_pem).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut request = [0; 8192];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let answer = http("200 OK", r#"{"response_code":"000"}"#);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// One attempt to `https://{name}:{port}/`, where every name is this machine.
async fn attempt_to(name: &str, port: u16, trust: &Trust, identity: Option<&Identity>) -> Verdict {
    let here = Resolver::Custom(Arc::new(|_| Ok(vec![[127, 0, 0, 1].into()])));
    let client = Client::new(Arc::new(local()), here, trust, identity).unwrap();
    let url = format!("https://{name}:{port}/").parse().unwrap();
    let endpoint = Endpoint {
        url: Ok(url),
        secrets: Vec::new(),
        schedule: Schedule::default(),
    };
    let id = CallbackId::new(1, 1);
    attempt::make(
        &client,
        &endpoint,
        id,
        Bytes::from_static(b"{}"),
        Duration::from_secs(60),
        1_800_000_000_000,
    )
    .await
    .verdict
}

/// In TLS 1.3 a server refuses a client's certificate after the client has gone on; then the connection may be gone before
/// the reason is read.
fn refused(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Failed {
            reason: Reason::Tls | Reason::ConnectionClosed,
            ..
        }
    )
}

fn failed_with_tls(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Failed {
            reason: Reason::Tls,
            ..
        }
    )
}

#[tokio::test]
async fn an_operators_own_authority_is_believed_beside_the_systems() {
    let authority = Authority::new();
    let port = endpoint(&authority.issue("channel.example", 2040), None).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own-ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let own = Trust::load(Some(&file)).unwrap();
    let verdict = attempt_to("channel.example", port, &own, None).await;
    assert!(
        matches!(verdict, Verdict::Acknowledged { .. }),
        "{verdict:?}"
    );

    std::fs::write(&file, "no certificate").unwrap();
    assert!(Trust::load(Some(&file)).is_err());
    assert!(Trust::load(Some(&folder.path().join("missing"))).is_err());
}

#[tokio::test]
async fn what_must_not_be_believed_is_not() {
    let authority = Authority::new();
    let own = Trust::only(authority.pem().as_bytes()).unwrap();
    let good = endpoint(&authority.issue("channel.example", 2040), None).await;
    let unknown = attempt_to("channel.example", good, &Trust::load(None).unwrap(), None).await;
    assert!(
        failed_with_tls(&unknown),
        "an authority nobody knows: {unknown:?}"
    );
    let name = attempt_to("other.example", good, &own, None).await;
    assert!(failed_with_tls(&name), "another name: {name:?}");
    let expired = endpoint(&authority.issue("channel.example", 2020), None).await;
    let expired = attempt_to("channel.example", expired, &own, None).await;
    assert!(
        failed_with_tls(&expired),
        "an expired certificate: {expired:?}"
    );
}

#[tokio::test]
async fn a_client_certificate_opens_an_endpoint_that_asks_for_one() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let trust = Trust::only(authority.pem().as_bytes()).unwrap();
    let port = endpoint(&authority.issue("channel.example", 2040), Some(&authority)).await;
    let ours = authority.issue("sealpost", 2040);
    let verdict = attempt_to("channel.example", port, &trust, Some(&ours)).await;
    assert!(
        matches!(verdict, Verdict::Acknowledged { .. }),
        "{verdict:?}"
    );
    for identity in [None, Some(strangers.issue("sealpost", 2040))] {
        let verdict = attempt_to("channel.example", port, &trust, identity.as_ref()).await;
        assert!(refused(&verdict), "{verdict:?}");
    }
    let mixed = Identity {
        key_pem: strangers.issue("x", 2040).key_pem,
        ..ours
    };
    assert!(
        Client::new(Arc::new(local()), Resolver::System, &trust, Some(&mixed)).is_err(),
        "another certificate's key"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_channel_has_its_own_client_certificate() {
    let authority = Authority::new();
    let port = endpoint(&authority.issue("channel.example", 2040), Some(&authority)).await;
    let url = format!("https://channel.example:{port}/");
    let test = TestStore::new();
    let with = test.channel("with", Some(&url), "8h,8h,8h").await;
    let without = test.channel("without", Some(&url), "8h,8h,8h").await;
    let ours = authority.issue("sealpost", 2040);
    let engine = test
        .engine(|config| {
            config.trust = Trust::only(authority.pem().as_bytes()).unwrap();
            config.resolver = Resolver::Custom(Arc::new(|_| Ok(vec![[127, 0, 0, 1].into()])));
            config.find_identity = Some(Arc::new(move |channel| {
                let found = (channel == "ch_with").then(|| ours.clone());
                Box::pin(async move { Ok(found) })
            }));
        })
        .await;
    let first = new_id(engine.accept(&with, None, &callback(1)).await.unwrap());
    let second = new_id(engine.accept(&without, None, &callback(2)).await.unwrap());
    test.until(first, CallbackState::Acknowledged).await;
    eventually("the refusal is recorded", async || {
        (test.find(second).await.attempts == 1).then_some(())
    })
    .await;
    let reasons = test.reasons(second).await;
    assert!(
        reasons == ["tls"] || reasons == ["connection_closed"],
        "{reasons:?}"
    );
    engine.shut_down(Duration::from_secs(30)).await;
}
