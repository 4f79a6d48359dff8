//! `sealpost listen`: shows what comes, passes it on as it came, and answers what the program answered.

use bytes::Bytes;

use super::actors::{Endpoint, Platform, Program, callback, sealpost};

#[tokio::test]
async fn callbacks_are_shown_and_passed_on() {
    let endpoint = Endpoint::start(|number| match number {
        0 => (200, Bytes::from_static(br#"{"response_code":"000"}"#)),
        _ => (
            200,
            Bytes::from_static(br#"{"response_code":0, "\u001b[2J":"\u001b"}"#),
        ),
    })
    .await;
    let mut command = sealpost();
    let listen = Program::start(command.args([
        "listen",
        "--listen",
        "127.0.0.1:0",
        "--forward",
        &endpoint.url,
    ]));
    let platform = Platform::new();
    let body = callback("587a2f4738d44391835198df570b6ee6", "7", "http://");
    let headers = [("webhook-id", "msg_1")];
    let answer = platform
        .post_with(&listen.url, body.clone(), &headers)
        .await;
    assert_eq!(answer, Some((200, "000".to_owned())));
    let received = endpoint.received();
    assert_eq!(received[0].body, body);
    assert_eq!(received[0].headers["webhook-id"], "msg_1");

    let second = http::Request::post(&listen.url)
        .body(http_body_util::Full::new(Bytes::from("\u{1b}[2J")))
        .unwrap();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http();
    client.request(second).await.unwrap();

    let output = listen.output();
    for shown in [
        "587a2f4738d44391835198df570b6ee6",
        "7 已拒签 rejected",
        "acknowledges",
        "response_code is not a string",
    ] {
        assert!(output.contains(shown), "{shown:?} in {output}");
    }
    assert!(
        !output.contains('\u{1b}'),
        "what comes from outside does not move the cursor"
    );
}

#[tokio::test]
async fn without_a_program_it_answers_as_the_contract_says() {
    let mut command = sealpost();
    let listen = Program::start(command.args(["listen", "--listen", "127.0.0.1:0"]));
    let platform = Platform::new();
    let body = callback("1", "2", "http://");
    assert_eq!(
        platform.post(&listen.url, body).await,
        Some((200, "000".to_owned()))
    );
    assert_eq!(
        platform.post(&listen.url, "{}").await,
        Some((400, "400".to_owned()))
    );
    assert!(listen.output().contains("sign_end_time is missing"));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_failure() {
    let mut command = sealpost();
    let nowhere = "http://127.0.0.1:2/";
    let listen =
        Program::start(command.args(["listen", "--listen", "127.0.0.1:0", "--forward", nowhere]));
    let answer = Platform::new()
        .post(&listen.url, callback("1", "2", "http://"))
        .await;
    assert_eq!(answer, Some((500, "500".to_owned())));
    assert!(listen.output().contains("connect_refused"));
}
