//! A PostgreSQL server that speaks TLS, and authorities of a test's own. Also part of the receiver's tests.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::cluster::Cluster;

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

/// A server that listens on a port of 127.0.0.1 with TLS, under the name `localhost`. The database `template1` wants the
/// client's certificate, too.
pub(crate) struct Server {
    cluster: Cluster,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start(authority: &Authority) -> Server {
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

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.cluster.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn url(&self, host: &str, query: &str) -> String {
        let port = self.port;
        format!("postgres://sealpost@{host}:{port}/postgres?{query}")
    }
}

pub(crate) fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, as PEM.
pub(crate) fn issue(authority: &Authority, name: &str, hosts: &[&str]) -> (String, String) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The error with all of its sources.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
