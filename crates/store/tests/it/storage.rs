//! A bucket on the S3 server for tests, behind a proxy that can fail in the ways in which networks and storages do.

use std::net::SocketAddr;
use std::time::Duration;

use sealpost_flow::Digest;
use sealpost_store::{BucketCredentials, BucketOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The endpoint of an S3 server for tests, as `http://127.0.0.1:port`. `cargo xtask test` starts one.
const SERVER: &str = "TEST_S3_ENDPOINT";

/// The server for tests wants a signature to be there, and believes it.
const AS_ANYBODY: &str = "authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n";

/// What the way to the storage is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it should be.
    Clear,
    /// Every request is answered with `503 SlowDown`.
    Refusing,
    /// Connections are taken, and nothing is ever answered.
    Silent,
    /// Each connection waits for this long first.
    Slow(Duration),
}

/// A way to a server that can be changed.
pub(crate) struct Passage {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Passage {
    /// To the server at `address:port`.
    pub(crate) async fn to(server: &str) -> Passage {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, _) = watch::channel(Way::Clear);
        tokio::spawn(pass_on(listener, server.to_owned(), way.clone()));
        Passage { address, way }
    }

    /// Changes the way, and cuts every connection that is on it.
    pub(crate) fn set_way(&self, way: Way) {
        self.way.send_replace(way);
    }
}

/// A bucket of its own.
pub(crate) struct Storage {
    server: String,
    bucket: String,
    passage: Passage,
}

impl Storage {
    /// Makes the bucket `name`, which no other test may use.
    pub(crate) async fn start(name: &str) -> Storage {
        let server = std::env::var(SERVER)
            .unwrap_or_else(|_| panic!("{SERVER} names no S3 server; run: cargo xtask test"));
        let server = server.trim_start_matches("http://").to_owned();
        let passage = Passage::to(&server).await;
        let storage = Storage {
            server,
            bucket: format!("{name}-{}", std::process::id()),
            passage,
        };
        assert_eq!(storage.ask("PUT", "", b"").await.0, 200);
        storage
    }

    pub(crate) fn options(&self) -> BucketOptions {
        let mut options = BucketOptions::parse(&format!("s3://{}/kept/here", self.bucket)).unwrap();
        options.endpoint = Some(format!("http://{}", self.passage.address));
        options.allow_http = true;
        options.credentials = Some(BucketCredentials {
            access_key_id: "test".into(),
            secret_access_key: "test".into(),
            session_token: None,
        });
        options
    }

    /// `address:port` of the server itself.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Changes the way to it, and cuts every connection that is on it.
    pub(crate) fn set_way(&self, way: Way) {
        self.passage.set_way(way);
    }

    /// The bytes of a document's object, asked of the server itself.
    pub(crate) async fn object(&self, digest: &Digest) -> Option<Vec<u8>> {
        let (status, bytes) = self.ask("GET", &key(digest), b"").await;
        (status == 200).then_some(bytes)
    }

    /// Puts other bytes where a document is.
    pub(crate) async fn overwrite(&self, digest: &Digest, bytes: &[u8]) {
        assert_eq!(self.ask("PUT", &key(digest), bytes).await.0, 200);
    }

    async fn ask(&self, method: &str, key: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let (server, bucket, length) = (&self.server, &self.bucket, body.len());
        let head = format!(
            "{method} /{bucket}{key} HTTP/1.0\r\nhost: {server}\r\n{AS_ANYBODY}content-length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(end.unwrap() + 4);
        let head = String::from_utf8(answer).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body)
    }
}

fn key(digest: &Digest) -> String {
    let hex = digest.to_string();
    format!("/kept/here/{}/{}", &hex[..2], &hex[2..])
}

async fn pass_on(listener: TcpListener, server: String, way: watch::Sender<Way>) {
    loop {
        let (inbound, _) = listener.accept().await.unwrap();
        let (server, mut changes) = (server.clone(), way.subscribe());
        tokio::spawn(async move {
            let now = *changes.borrow_and_update();
            tokio::select! {
                _ = changes.changed() => {}
                () = connect(inbound, &server, now) => {}
            }
        });
    }
}

/// One connection; whichever side goes away, it ends.
async fn connect(mut inbound: TcpStream, server: &str, way: Way) {
    match way {
        Way::Silent => std::future::pending().await,
        Way::Refusing => {
            let mut some = vec![0; 64 * 1024];
            let _ = inbound.read(&mut some).await;
            let answer =
                b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = inbound.write_all(answer).await;
            // What is left unread would reset the connection before the answer is read.
            while inbound.read(&mut some).await.is_ok_and(|read| read > 0) {}
            return;
        }
        Way::Slow(wait) => tokio::time::sleep(wait).await,
        Way::Clear => {}
    }
    if let Ok(mut outbound) = TcpStream::connect(server).await {
        let _ = copy_bidirectional(&mut inbound, &mut outbound).await;
    }
}
