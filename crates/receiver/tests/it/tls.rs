//! The PostgreSQL inbox over TLS, against a server whose certificate a private authority has issued.

use std::fs;

use sealpost_receiver::{Error, Inbox as _, Kept, PostgresInbox};

use crate::channel::callback;
use crate::tls_server::{Server, authority, issue, told};

#[tokio::test]
async fn each_ssl_mode_does_what_it_says() {
    let (ours, others) = (authority("ours"), authority("others"));
    let server = Server::start(&ours);
    let ca = server.write("ca.pem", &ours.pem());
    let other_ca = server.write("other.pem", &others.pem());
    let (ca, other_ca) = (ca.display(), other_ca.display());
    let inbox =
        async |host: &str, query: String| PostgresInbox::connect(&server.url(host, &query)).await;

    for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
        let opened = inbox("localhost", format!("sslmode={mode}&sslrootcert={ca}")).await;
        let inbox = opened.unwrap_or_else(|error| panic!("{mode}: {}", told(&error)));
        inbox.keep(&callback(1, "2"), 0).await.unwrap();
    }
    // As words, which is libpq's other form.
    let words = format!(
        "host=localhost port={} user=sealpost dbname=postgres sslmode=verify-full sslrootcert='{ca}'",
        server.port
    );
    let inbox_of_words = PostgresInbox::connect(&words).await.unwrap();
    assert_eq!(
        inbox_of_words.keep(&callback(1, "2"), 0).await.unwrap(),
        Kept::Again { handled: false }
    );

    // An authority that nobody has said to trust, or another.
    for query in [
        "sslmode=prefer".to_owned(),
        format!("sslmode=require&sslrootcert={other_ca}"),
        format!("sslmode=verify-ca&sslrootcert={other_ca}"),
        "sslmode=verify-full".to_owned(),
    ] {
        let refused = inbox("localhost", query.clone()).await.unwrap_err();
        assert!(
            matches!(refused, Error::NotTrusted(_)),
            "{query}: {refused:?}"
        );
        assert!(
            told(&refused).contains("UnknownIssuer"),
            "{}",
            told(&refused)
        );
    }
    // Another host than the one it was issued for.
    for mode in ["prefer", "require", "verify-full"] {
        let refused = inbox("127.0.0.1", format!("sslmode={mode}&sslrootcert={ca}")).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, Error::NotTrusted(_)),
            "{mode}: {refused:?}"
        );
        assert!(
            told(&refused).contains("not valid for name"),
            "{}",
            told(&refused)
        );
    }
    inbox("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"))
        .await
        .unwrap();

    // A file that is not there, or holds no certificate.
    let empty = server.write("empty.pem", "");
    for file in ["/nowhere/ca.pem", empty.to_str().unwrap()] {
        let refused = inbox(
            "localhost",
            format!("sslmode=verify-full&sslrootcert={file}"),
        )
        .await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::Tls(_)), "{refused:?}");
        assert!(told(&refused).contains(file), "{}", told(&refused));
    }
    let unknown = inbox("localhost", "sslmode=perhaps".to_owned())
        .await
        .unwrap_err();
    assert!(told(&unknown).contains("sslmode"), "{}", told(&unknown));

    // A database that wants to see who comes.
    let (certificate, key) = issue(&ours, "sealpost", &[]);
    let own = format!(
        "sslmode=verify-full&sslrootcert={ca}&sslcert={}&sslkey={}",
        server.write("own.crt", &certificate).display(),
        server.write("own.key", &key).display()
    );
    let wanting = server
        .url("localhost", &own)
        .replace("/postgres?", "/template1?");
    PostgresInbox::connect(&wanting).await.unwrap();
    fs::remove_file(server.write("own.key", &key)).unwrap();
    let refused = PostgresInbox::connect(&wanting).await.unwrap_err();
    assert!(matches!(refused, Error::Tls(_)), "{refused:?}");
}
