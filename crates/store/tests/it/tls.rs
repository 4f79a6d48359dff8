//! TLS to a PostgreSQL server whose certificate a private authority has issued.

use std::path::{Path, PathBuf};

use sealpost_store::{Error, PostgresOptions, Store};

use crate::tls_server::{Server, authority, issue, told};

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
