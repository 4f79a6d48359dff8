//! Single attempts against endpoints that fail in every way there is.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealpost_contract::Schedule;
use sealpost_delivery::Reason;
use sealpost_delivery::attempt::{self, Endpoint, Verdict};
use sealpost_delivery::client::{Client, Failure, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_delivery::guard::Policy;
use sealpost_store::CallbackId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Does, TestEndpoint, eventually, http, local, ok};

/// Of attempts that must meet it.
const DEADLINE: Duration = Duration::from_millis(400);

/// Of attempts that must meet it, and before that send something or read it, however busy the machine is.
const LONG_DEADLINE: Duration = Duration::from_secs(8);

/// Of attempts that must not, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

fn client(policy: Policy, resolver: Resolver) -> Client {
    Client::new(
        Arc::new(policy),
        resolver,
        &Trust::load(None).unwrap(),
        None,
    )
    .unwrap()
}

/// One attempt that has all the time it wants.
async fn attempt_with(client: &Client, url: &str) -> Verdict {
    attempt_within(PATIENCE, client, url).await.0
}

async fn attempt_within(deadline: Duration, client: &Client, url: &str) -> (Verdict, Duration) {
    let url = client
        .policy()
        .check_url(url)
        .map(|target| target.as_str().parse().unwrap());
    let endpoint = Endpoint {
        url,
        secrets: Vec::new(),
        schedule: Schedule::default(),
    };
    let id = CallbackId::new(1_800_000_000_000, 1);
    let began = Instant::now();
    let made = attempt::make(
        client,
        &endpoint,
        id,
        Bytes::from_static(b"{}"),
        deadline,
        1_800_000_000_000,
    )
    .await;
    (made.verdict, began.elapsed())
}

async fn attempt(url: &str) -> Verdict {
    attempt_with(&client(local(), Resolver::System), url).await
}

/// An attempt that must not come to an end before its deadline.
async fn attempt_in_vain(deadline: Duration, url: &str) -> Verdict {
    let client = client(local(), Resolver::System);
    let (verdict, took) = attempt_within(deadline, &client, url).await;
    assert!(deadline <= took && took < PATIENCE, "{took:?}");
    verdict
}

fn reason(verdict: &Verdict) -> Reason {
    match verdict {
        Verdict::Failed { reason, .. } => *reason,
        other => panic!("not failed: {other:?}"),
    }
}

/// Runs one attempt against an endpoint that always does this.
async fn against(does: Does) -> Verdict {
    let endpoint = TestEndpoint::start(move |_| does.clone()).await;
    attempt(&endpoint.url()).await
}

#[tokio::test]
async fn an_acknowledgement_is_one() {
    let verdict = against(ok()).await;
    assert!(
        matches!(&verdict, Verdict::Acknowledged { status: 200, answer } if answer == r#"{"response_code":"000"}"#)
    );
}

#[tokio::test]
async fn each_way_to_fail_has_its_reason() {
    let cases = [
        (
            Does::Answer(http("200 OK", r#"{"response_code":"999"}"#)),
            Reason::ResponseCode,
        ),
        (
            Does::Answer(http("200 OK", r#"{"response_code":0}"#)),
            Reason::ResponseCode,
        ),
        (Does::Answer(http("200 OK", "{}")), Reason::ResponseCode),
        (Does::Answer(http("200 OK", "OK")), Reason::NotJson),
        (Does::Answer(http("204 No Content", "")), Reason::NotJson),
        (
            Does::Answer(http(
                "500 Internal Server Error",
                r#"{"response_code":"000"}"#,
            )),
            Reason::HttpStatus,
        ),
        (Does::Answer(http("410 Gone", "")), Reason::Gone),
        (
            Does::Answer("ICY 200 OK\r\n\r\n".to_owned()),
            Reason::BadHttp,
        ),
        (
            Does::AnswerAndClose("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned()),
            Reason::ConnectionClosed,
        ),
        (
            Does::AnswerAndClose("HTTP/1.1 2".to_owned()),
            Reason::ConnectionClosed,
        ),
        (Does::Close, Reason::ConnectionClosed),
        (Does::Flood, Reason::AnswerTooLarge),
        (
            Does::Answer("HTTP/1.1 200 OK\r\ncontent-length: 9000000000\r\n\r\n".to_owned()),
            Reason::AnswerTooLarge,
        ),
        (
            // A head that goes on for longer than is buffered.
            Does::Answer(format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100_000))),
            Reason::AnswerTooLarge,
        ),
        (
            Does::Answer(format!(
                "HTTP/1.1 200 OK\r\n{}\r\n",
                "x: y\r\n".repeat(1000)
            )),
            Reason::AnswerTooLarge,
        ),
    ];
    for (does, expected) in cases {
        let verdict = against(does.clone()).await;
        assert_eq!(reason(&verdict), expected, "{does:?}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = TestEndpoint::start(|_| ok()).await;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let head = format!(
            "HTTP/1.1 {status}\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
            elsewhere.url()
        );
        assert_eq!(
            reason(&against(Does::Answer(head)).await),
            Reason::Redirect,
            "{status}"
        );
    }
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn an_endpoint_that_says_nothing() {
    let endpoint = TestEndpoint::start(|_| Does::Hang).await;
    assert_eq!(
        reason(&attempt_in_vain(DEADLINE, &endpoint.url()).await),
        Reason::Timeout
    );
}

#[tokio::test]
async fn one_deadline_covers_an_endpoint_that_drips() {
    let endpoint = TestEndpoint::start(|_| Does::Drip(Duration::from_millis(20))).await;
    let verdict = attempt_in_vain(LONG_DEADLINE, &endpoint.url()).await;
    assert!(
        matches!(
            verdict,
            Verdict::Failed {
                reason: Reason::Timeout,
                status: Some(200),
                ..
            }
        ),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(
        reason(&attempt(&format!("http://{address}/")).await),
        Reason::ConnectRefused
    );
}

#[tokio::test]
async fn an_answer_that_came_while_we_stood_still_is_read() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sent, is_sent) = tokio::sync::oneshot::channel();
    let (stands_still, we_stand_still) = std::sync::mpsc::channel();
    let (answered, is_answered) = std::sync::mpsc::channel();
    let endpoint = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 8192]).unwrap() > 0);
        sent.send(()).unwrap();
        we_stand_still.recv().unwrap();
        let answer = http("200 OK", r#"{"response_code":"000"}"#);
        stream.write_all(answer.as_bytes()).unwrap();
        answered.send(()).unwrap();
        stream
    });
    let client = client(local(), Resolver::System);
    let attempt = attempt_within(LONG_DEADLINE, &client, &url);
    let (verdict, ()) = tokio::join!(attempt, async {
        is_sent.await.unwrap();
        // From now on the one thread that everything here runs on does not go on.
        stands_still.send(()).unwrap();
        is_answered.recv().unwrap();
        std::thread::sleep(LONG_DEADLINE + Duration::from_millis(1500));
    });
    assert!(
        matches!(verdict.0, Verdict::Acknowledged { .. }),
        "{verdict:?}"
    );
    endpoint.join().unwrap();
}

#[tokio::test]
async fn an_endpoint_that_never_accepts() {
    // The connection is made by the kernel; nobody ever reads from it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    assert_eq!(
        reason(&attempt_in_vain(DEADLINE, &url).await),
        Reason::Timeout
    );
}

#[tokio::test]
async fn an_endpoint_that_accepts_and_never_reads() {
    // A callback fits into the system's buffers; a body that does not must not wait for ever either.
    for body in [Bytes::from_static(b"{}"), Bytes::from(vec![b' '; 64 << 20])] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let holding = tokio::spawn(async move {
            let accepted = listener.accept().await.unwrap();
            std::future::pending::<()>().await;
            drop(accepted);
        });
        let began = Instant::now();
        let client = client(local(), Resolver::System);
        let post = client.post(url.parse().unwrap(), http::HeaderMap::new(), body, DEADLINE);
        let failure = post.await.unwrap_err();
        assert!(
            matches!(
                failure,
                Failure::Theirs {
                    reason: Reason::Timeout,
                    status: None,
                    ..
                }
            ),
            "{failure:?}"
        );
        assert!(began.elapsed() >= DEADLINE);
        holding.abort();
    }
}

#[tokio::test]
async fn tls_against_something_else() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let (garbage, _stream) = tokio::join!(attempt(&url), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"this is no TLS\r\n").await.unwrap();
        stream
    });
    assert_eq!(reason(&garbage), Reason::Tls);
    // An endpoint that waits for a request that it can read never gets one.
    let client = client(local(), Resolver::System);
    let url = format!("https://{}/", endpoint.address);
    let (closing, _) = attempt_within(DEADLINE, &client, &url).await;
    assert!(matches!(
        reason(&closing),
        Reason::Timeout | Reason::Tls | Reason::ConnectionClosed
    ));
}

#[tokio::test]
async fn the_guard_stands_at_the_connection() {
    let endpoint = TestEndpoint::start(|_| ok()).await;
    // The URL is harmless; what the name resolves to is not.
    let inside = Resolver::Custom(Arc::new(|_| Ok(vec![IpAddr::from([127, 0, 0, 1])])));
    let strict = client(
        Policy {
            allow_http: true,
            ..Policy::default()
        },
        inside,
    );
    let url = format!("http://channel.example:{}/", endpoint.address.port());
    assert_eq!(
        reason(&attempt_with(&strict, &url).await),
        Reason::BlockedAddress
    );

    let mixed = Resolver::Custom(Arc::new(|_| {
        Ok(vec![
            IpAddr::from([1, 1, 1, 1]),
            IpAddr::from([10, 0, 0, 1]),
        ])
    }));
    let mixed = client(
        Policy {
            allow_http: true,
            ..Policy::default()
        },
        mixed,
    );
    assert_eq!(
        reason(&attempt_with(&mixed, &url).await),
        Reason::BlockedAddress
    );

    let by_address = client(
        Policy {
            allow_http: true,
            ..Policy::default()
        },
        Resolver::System,
    );
    assert_eq!(
        reason(&attempt_with(&by_address, &endpoint.url()).await),
        Reason::BlockedAddress
    );
    assert_eq!(
        reason(&attempt_with(&by_address, "http://localhost/").await),
        Reason::BlockedAddress
    );
    assert_eq!(
        reason(&attempt_with(&by_address, "ftp://example.com/").await),
        Reason::BlockedUrl
    );
    assert!(endpoint.received().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_mind_between_attempts_is_caught() {
    // Each attempt is answered with a close, so each resolves anew; from the second on the name points inside.
    let endpoint =
        TestEndpoint::start(|_| Does::AnswerAndClose(http("200 OK", r#"{"response_code":"1"}"#)))
            .await;
    let asked = AtomicUsize::new(0);
    let resolver = Resolver::Custom(Arc::new(move |_| {
        Ok(vec![IpAddr::from(
            if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                [127, 0, 0, 2]
            } else {
                [127, 0, 0, 1]
            },
        )])
    }));
    // 127.0.0.2 plays the public address here.
    let policy = Policy {
        allow: vec!["127.0.0.2".parse().unwrap()],
        allow_http: true,
        ports: Vec::new(),
    };
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let url = format!(
        "http://channel.example:{}/",
        listener.local_addr().unwrap().port()
    );
    let outside = TestEndpoint::on(listener, |_| {
        Does::AnswerAndClose(http("200 OK", r#"{"response_code":"1"}"#))
    });
    let client = client(policy, resolver);
    assert_eq!(
        reason(&attempt_with(&client, &url).await),
        Reason::ResponseCode
    );
    assert_eq!(
        reason(&attempt_with(&client, &url).await),
        Reason::BlockedAddress
    );
    assert_eq!(
        (outside.received().len(), endpoint.received().len()),
        (1, 0)
    );
}

#[tokio::test]
async fn a_name_without_an_answer() {
    let resolver = Resolver::Custom(Arc::new(|_| Err(std::io::Error::other("no such host"))));
    assert_eq!(
        reason(&attempt_with(&client(local(), resolver), "http://nowhere.example/").await),
        Reason::Dns
    );
    let empty = Resolver::Custom(Arc::new(|_| Ok(Vec::new())));
    assert_eq!(
        reason(&attempt_with(&client(local(), empty), "http://nowhere.example/").await),
        Reason::BlockedAddress
    );
}

#[tokio::test]
async fn retry_after_is_read() {
    let head = "HTTP/1.1 503 Busy\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n".to_owned();
    let verdict = against(Does::Answer(head)).await;
    assert!(
        matches!(
            verdict,
            Verdict::Failed {
                retry_after: Some(120_000),
                status: Some(503),
                ..
            }
        ),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn a_long_answer_is_kept_short() {
    let body = format!(r#"{{"response_code":"1","x":"{}"}}"#, "y".repeat(20_000));
    let verdict = against(Does::Answer(http("200 OK", &body))).await;
    assert!(matches!(&verdict, Verdict::Failed { answer, .. } if answer.len() == 4096));
}

/// Fills the listener's queue: whoever connects from now on gets no answer, as from a machine that is switched off. On loopback a
/// connection that fits into the queue is made by the call that asks for it, so none of this takes time.
async fn fill(listener: &TcpListener) -> Vec<impl Sized> {
    let address = listener.local_addr().unwrap();
    let mut connecting = Vec::new();
    for _ in 0..16 {
        let mut stream = Box::pin(TcpStream::connect(address));
        let polled = std::future::poll_fn(|context| Poll::Ready(stream.as_mut().poll(context)));
        connecting.push((polled.await, stream));
    }
    connecting
}

#[tokio::test]
async fn an_address_that_swallows_everything_does_not_cost_the_attempt() {
    // Both addresses of the name have the same port.
    let (dead, port, alive) = loop {
        let dead = tokio::net::TcpSocket::new_v4().unwrap();
        dead.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let port = dead.local_addr().unwrap().port();
        if let Ok(alive) = TcpListener::bind(("127.0.0.1", port)).await {
            break (dead, port, alive);
        }
    };
    let dead = dead.listen(1).unwrap();
    let _connecting = fill(&dead).await;
    let endpoint = TestEndpoint::on(alive, |_| ok());
    let both = Resolver::Custom(Arc::new(|_| {
        Ok(vec![
            IpAddr::from([127, 0, 0, 2]),
            IpAddr::from([127, 0, 0, 1]),
        ])
    }));
    let url = format!("http://channel.example:{port}/");
    let verdict = attempt_with(&client(local(), both), &url).await;
    assert!(
        matches!(verdict, Verdict::Acknowledged { .. }),
        "{verdict:?}"
    );
    assert_eq!(endpoint.received().len(), 1);
    // Where nobody listens at the first, the second is tried at once; where nobody listens at all, that is the reason.
    drop(endpoint);
    let nobody = Resolver::Custom(Arc::new(|_| {
        Ok(vec![
            IpAddr::from([127, 0, 0, 3]),
            IpAddr::from([127, 0, 0, 4]),
        ])
    }));
    assert_eq!(
        reason(&attempt_with(&client(local(), nobody), &url).await),
        Reason::ConnectRefused
    );
}

#[tokio::test]
async fn attempts_at_a_host_whose_name_server_hangs_hold_one_thread() {
    let (answer, answers) = std::sync::mpsc::channel::<()>();
    let answers = std::sync::Mutex::new(answers);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let hangs = Resolver::Custom(Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = answers.lock().unwrap().recv();
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }));
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let client = client(local(), hangs);
    let url = format!("http://channel.example:{}/", endpoint.address.port());
    // Given up one after the other, while the first look-up still hangs.
    for _ in 0..3 {
        let (verdict, _) = attempt_within(DEADLINE, &client, &url).await;
        assert_eq!(reason(&verdict), Reason::Timeout);
    }
    eventually("the look-up begins", async || {
        (asked.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // From now on it answers, and nothing of it is kept: the next attempt asks anew.
    drop(answer);
    let verdict = attempt_with(&client, &url).await;
    assert!(
        matches!(verdict, Verdict::Acknowledged { .. }),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn look_ups_that_hang_leave_threads_for_others() {
    let (answer, answers) = std::sync::mpsc::channel::<()>();
    let answers = std::sync::Mutex::new(answers);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let hangs = Resolver::Custom(Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = answers.lock().unwrap().recv();
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }));
    let endpoint = TestEndpoint::start(|_| ok()).await;
    let client = client(local(), hangs);
    let port = endpoint.address.port();
    let attempts: Vec<_> = (0..160)
        .map(|host| {
            let (client, url) = (
                client.clone(),
                format!("http://channel{host}.example:{port}/"),
            );
            tokio::spawn(async move { attempt_with(&client, &url).await })
        })
        .collect();
    eventually("as many look-ups as may be are under way", async || {
        (asked.load(Ordering::Relaxed) == 128).then_some(())
    })
    .await;
    for attempt in attempts {
        attempt.abort();
        assert!(attempt.await.unwrap_err().is_cancelled());
    }
    // Those that have not begun are given up with their attempts.
    drop(answer);
    let verdict = attempt_with(&client, &format!("http://another.example:{port}/")).await;
    assert!(
        matches!(verdict, Verdict::Acknowledged { .. }),
        "{verdict:?}"
    );
    assert_eq!(asked.load(Ordering::Relaxed), 129);
}

#[tokio::test]
async fn a_connection_whose_request_took_another_ends_at_its_deadline() {
    let shown = rcgen::generate_simple_self_signed(vec!["channel.example".to_owned()]).unwrap();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(shown.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let here = Resolver::Custom(Arc::new(|_| Ok(vec![IpAddr::from([127, 0, 0, 1])])));
    let trust = Trust::only(shown.cert.pem().as_bytes()).unwrap();
    let client = Client::new(Arc::new(local()), here, &trust, None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://channel.example:{}/",
        listener.local_addr().unwrap().port()
    );

    let (first_client, first_url) = (client.clone(), url.clone());
    let first = tokio::spawn(async move { attempt_with(&first_client, &first_url).await });
    let mut served = acceptor
        .accept(listener.accept().await.unwrap().0)
        .await
        .unwrap();
    let mut request = [0; 8192];
    assert!(served.read(&mut request).await.unwrap() > 0);
    // A second one needs a connection of its own, which never finishes TLS; then the first is answered, and its own is free.
    let second = tokio::spawn(async move { attempt_within(LONG_DEADLINE, &client, &url).await });
    let mut silent = listener.accept().await.unwrap().0;
    let answer = http("200 OK", r#"{"response_code":"000"}"#);
    served.write_all(answer.as_bytes()).await.unwrap();
    first.await.unwrap();
    // On it the second is sent, unless the machine is so busy that its time is over.
    if matches!(served.read(&mut request).await, Ok(1..)) {
        let _ = served.write_all(answer.as_bytes()).await;
    }
    second.await.unwrap();
    let closed = async { while matches!(silent.read(&mut request).await, Ok(1..)) {} };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
}
