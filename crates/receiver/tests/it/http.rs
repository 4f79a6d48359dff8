//! What is refused before it counts as a callback: size, content type, signature, method, a body that stops.

use std::time::Duration;

use sealpost_receiver::contract::webhook::{self, Secret};
use sealpost_receiver::{MemoryInbox, Receiver};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::channel::{Channel, Runs, callback, reply};

/// 2021-03-22 18:24:29 in Shanghai.
const NOW: i64 = 1_616_408_669_000;

#[tokio::test]
async fn a_body_up_to_the_limit_is_read_and_one_byte_more_is_413() {
    let channel = Channel::open(Receiver::new(MemoryInbox::new(), ())).await;
    let padded = |length: usize| {
        let body = callback(1, "2").to_json();
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    assert_eq!(channel.post(padded(64 * 1024)).await, reply("000"));
    assert_eq!(channel.post(padded(64 * 1024 + 1)).await, reply("413"));
    assert_eq!(channel.post(padded(512 * 1024)).await, reply("413"));
}

#[tokio::test]
async fn an_endless_body_is_refused_without_being_read() {
    let channel = Channel::open(Receiver::new(MemoryInbox::new(), ())).await;
    let head = "POST /callback HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n{";
    assert!(raw(&channel, head).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_body_that_stops_is_answered_when_its_time_is_up() {
    let receiver = Receiver::new(MemoryInbox::new(), ()).body_limit(Duration::from_millis(50));
    let channel = Channel::open(receiver).await;
    let head =
        "POST /callback HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{\"sign_end_time\"";
    let answer = raw(&channel, head).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with(r#"{"response_code":"400"}"#), "{answer}");
}

#[tokio::test]
async fn a_slow_sender_within_the_limit_is_served() {
    let channel = Channel::open(Receiver::new(MemoryInbox::new(), ())).await;
    let body = callback(1, "2").to_json();
    let mut stream = TcpStream::connect(channel.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let head = format!(
        "POST /callback HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    for byte in head.bytes().chain(body.bytes()) {
        stream.write_all(&[byte]).await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(r#"{"response_code":"000"}"#), "{answer}");
}

#[tokio::test]
async fn only_json_and_only_post() {
    let channel = Channel::open(Receiver::new(MemoryInbox::new(), ())).await;
    let body = callback(1, "2").to_json();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(channel.post_with(body.clone(), &form).await, reply("400"));
    assert_eq!(channel.post_with(body.clone(), &[]).await, reply("000"));
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let answer = channel
            .send(
                method,
                body.clone(),
                &[("content-type", "application/json")],
            )
            .await;
        assert_eq!(answer, reply("405"), "{method}");
    }
}

#[tokio::test]
async fn a_signature_when_it_is_required() {
    let (old, new) = (
        Secret::from_bytes([1; 32]).unwrap(),
        Secret::from_bytes([2; 32]).unwrap(),
    );
    let runs = Runs::default();
    let receiver = Receiver::new(MemoryInbox::new(), runs.handler())
        .require_signature(vec![new.clone(), old.clone()])
        .clock(|| NOW);
    let channel = Channel::open(receiver).await;
    let body = callback(1, "2").to_json();
    let post = async |signed_at: i64, signature: String| {
        let signed_at = signed_at.to_string();
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", &*signed_at),
            ("webhook-signature", &*signature),
        ];
        channel.post_with(body.clone(), &headers).await
    };
    let now = NOW / 1000;
    let sign = |secret: &Secret, at| webhook::sign(secret, "msg_1", at, body.as_bytes());

    assert_eq!(channel.post(body.clone()).await, reply("401"));
    assert_eq!(post(now, "v1,AAAA".to_owned()).await, reply("401"));
    assert_eq!(
        post(now, sign(&Secret::from_bytes([3; 32]).unwrap(), now)).await,
        reply("401")
    );
    assert_eq!(post(now - 301, sign(&old, now - 301)).await, reply("401"));
    assert_eq!(runs.count(), 0);

    assert_eq!(post(now - 300, sign(&old, now - 300)).await, reply("000"));
    assert_eq!(post(now, sign(&new, now)).await, reply("000"));
    assert_eq!(runs.count(), 1);

    // A secret that got lost from the settings lets nothing pass.
    let without = Receiver::new(MemoryInbox::new(), ()).require_signature(Vec::new());
    assert_eq!(
        Channel::open(without).await.post(body.clone()).await,
        reply("401")
    );

    // A body that is no callback is not worth a word to who cannot sign it.
    assert_eq!(channel.post("nonsense").await, reply("401"));
}

async fn raw(channel: &Channel, request: &str) -> String {
    let mut stream = TcpStream::connect(channel.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The server closes; whether by FIN or RST depends on what it left unread.
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(answer).unwrap()
}
