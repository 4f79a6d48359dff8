//! A client certificate for a channel's endpoint, set by the command line while the server runs.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::delivery_process::{post_callback, sealpost, start_server_by};

/// The authority of a channel that runs its own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "the channel's authority");
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// An endpoint that acknowledges to who shows a certificate of its authority, and notes which.
async fn start_endpoint(authority: &Authority) -> (u16, Arc<Mutex<Vec<Vec<u8>>>>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let root = authority.0.pem();
    roots
        .add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap())
        .unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let (certificate, key) = authority.issue("127.0.0.1");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shown: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let log = Arc::clone(&shown);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let certificates = stream.get_ref().1.peer_certificates().unwrap();
                log.lock().unwrap().push(certificates[0].to_vec());
                let mut request = [0; 8192];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let answer =
                        "HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{\"response_code\":\"000\"}";
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, shown)
}

/// Runs a command that must succeed; what it prints, as JSON if it is.
fn run(folder: &Path, args: &[&str]) -> Value {
    let output = sealpost(folder).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Waits until the callback is in this state, redelivering it as often as it fails; the newest attempt.
async fn until(folder: &Path, id: &str, state: &str) -> Value {
    let began = Instant::now();
    loop {
        let callback = run(folder, &["callbacks", "show", id, "--json"]);
        if callback["state"] == state {
            return callback["attempts"]
                .as_array()
                .unwrap()
                .last()
                .unwrap()
                .clone();
        }
        if callback["state"] == "failed" {
            run(folder, &["callbacks", "redeliver", id]);
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{callback}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_shown_the_certificate_that_the_command_line_was_given() {
    let authority = Authority::new();
    let (port, shown) = start_endpoint(&authority).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let (certificate, key) = authority.issue("sealpost");
    write("ca.pem", &authority.0.pem());
    write("ours.pem", &certificate);
    write("ours.key", &key);
    write("other.key", &authority.issue("other").1);

    let url = format!("https://127.0.0.1:{port}/callback");
    let add = [
        "channel",
        "add",
        "lianjia",
        "--json",
        "--callback-url",
        &url,
    ];
    let channel = run(
        folder,
        &[&add[..], &["--schedule", "10ms,10ms,10ms"]].concat(),
    );
    let api_key = channel["api_key"].as_str().unwrap();
    let mut with_ca = std::process::Command::new("env");
    with_ca.arg("SEALPOST_DELIVERY_CA_FILE=ca.pem");
    let (mut server, address) = start_server_by(with_ca, folder).await;
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let (_, answer) = post_callback(&mut stream, api_key, "f1").await.unwrap();
    let accepted: Value = serde_json::from_slice(&answer).unwrap();
    let first = accepted["id"].as_str().unwrap();

    let refused = until(folder, first, "failed").await["reason"].clone();
    assert!(
        refused == "tls" || refused == "connection_closed",
        "{refused}"
    );
    assert!(shown.lock().unwrap().is_empty());

    let certificate_command = |rest: &[&str]| {
        let command = ["channel", "client-certificate", "lianjia"];
        let command = [&command[..], rest].concat();
        sealpost(folder).args(command).output().unwrap()
    };
    let wrong = certificate_command(&["--certificate", "ours.pem", "--key", "other.key"]);
    assert!(!wrong.status.success(), "the key of another certificate");
    let right = certificate_command(&["--certificate", "ours.pem", "--key", "ours.key"]);
    assert!(right.status.success());
    let attempt = until(folder, first, "acknowledged").await;
    assert_eq!(attempt["http_status"], 200);
    let ours = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    assert_eq!(
        shown.lock().unwrap().first().map(Vec::as_slice),
        Some(&ours[..])
    );

    assert!(certificate_command(&["--remove"]).status.success());
    server.kill().unwrap();
    server.wait().unwrap();
}
