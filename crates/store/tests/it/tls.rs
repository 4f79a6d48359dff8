//! TLS to a PostgreSQL server whose certificate a private authority has issued.

use std::error::Error as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use sealpost_store::{Error, PostgresOptions, Store};

use crate::cluster::Cluster;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A server that listens on a port of 127.0.0.1 with TLS, under the name `localhost`. The database `template1` wants the
/// client's certificate, too.
struct Server {
    cluster: Cluster,
    port: u16,
}

impl Server {
    fn start(authority: &Authority) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let cluster = Cluster::make();
        let server = Server { cluster, port };
        let (certificate, key) = issue(authority, "localhost", &["localhost"]);
        server.write("server.crt", &certificate);
        let key = server.write("server.key", &key);
        fs::set_permissions(key, PermissionsExt::from_mode(0o600)).unwrap();
        server.write("clients.pem", &authority.pem());
        fs::write(
            server.cluster.data().join("pg_hba.conf"),
            "local all all trust\nhostssl template1 all 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 trust\n",
        )
        .unwrap();
        let folder = server.cluster.path().display();
        server.cluster.start(&format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c ssl=on -c ssl_cert_file={folder}/server.crt \
             -c ssl_key_file={folder}/server.key -c ssl_ca_file={folder}/clients.pem"
        ));
        server
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.cluster.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn url(&self, host: &str, query: &str) -> String {
        let port = self.port;
        format!("postgres://sealpost@{host}:{port}/postgres?{query}")
    }
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, as PEM.
fn issue(authority: &Authority, name: &str, hosts: &[&str]) -> (String, String) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The error with all of its sources.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

#[test]
fn each_ssl_mode_does_what_it_says() {
    let (ours, others) = (authority("ours"), authority("others"));
    let server = Server::start(&ours);
    let ca = server.write("ca.pem", &ours.pem());
    let other_ca = server.write("other.pem", &others.pem());
    let folder = tempfile::tempdir().unwrap();
    let open = |url: String, ca: Option<&Path>| {
        let mut options = PostgresOptions::new(url);
        options.ca_file = ca.map(Path::to_owned);
        options.sessions = 1;
        Store::open_postgres(options, folder.path()).map(drop)
    };

    for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
        let url = server.url("localhost", &format!("sslmode={mode}"));
        open(url, Some(&ca)).unwrap_or_else(|error| panic!("{mode}: {}", told(&error)));
    }
    // Named in the URL, as libpq has it.
    let named = format!("sslmode=verify-full&sslrootcert={}", ca.display()).replace('/', "%2F");
    open(server.url("localhost", &named), None).unwrap();

    // An authority that nobody has said to trust, or another.
    for (mode, ca) in [
        ("prefer", None),
        ("require", Some(&other_ca)),
        ("verify-ca", Some(&other_ca)),
        ("verify-full", None),
    ] {
        let url = server.url("localhost", &format!("sslmode={mode}"));
        let refused = open(url, ca.map(PathBuf::as_path)).unwrap_err();
        assert!(
            matches!(refused, Error::NotTrusted(_)),
            "{mode}: {refused:?}"
        );
        let text = told(&refused);
        assert!(
            text.starts_with("the database's certificate is not trusted: ")
                && text.contains("UnknownIssuer"),
            "{text}"
        );
    }
    // Another host than the one it was issued for.
    for mode in ["prefer", "require", "verify-full"] {
        let url = server.url("127.0.0.1", &format!("sslmode={mode}"));
        let refused = open(url, Some(&ca)).unwrap_err();
        assert!(
            matches!(refused, Error::NotTrusted(_)),
            "{mode}: {refused:?}"
        );
        let text = told(&refused);
        assert!(text.contains("not valid for name"), "{text}");
    }
    let any_name = server.url("127.0.0.1", "sslmode=verify-ca");
    open(any_name, Some(&ca)).unwrap();

    // A database that wants to see who comes.
    let (certificate, key) = issue(&ours, "sealpost", &[]);
    let own = format!(
        "sslmode=verify-full&sslcert={}&sslkey={}",
        server.write("own.crt", &certificate).display(),
        server.write("own.key", &key).display()
    );
    let wanting = |query: &str| {
        server
            .url("localhost", query)
            .replace("/postgres?", "/template1?")
    };
    open(wanting(&own), Some(&ca)).unwrap();
    let refused = open(wanting("sslmode=verify-full"), Some(&ca)).unwrap_err();
    assert!(
        told(&refused).contains("client certificate"),
        "{}",
        told(&refused)
    );
}
