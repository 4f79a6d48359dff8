//! The handler runs once per flow: repeats, two copies at once, failures, hang-ups, restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sealpost_receiver::{Inbox, Kept, MemoryInbox, Receiver, SqliteInbox, handler_fn};
use tokio::io::AsyncWriteExt as _;

use crate::channel::{Channel, Runs, callback, reply};

/// Runs a story against both inboxes.
macro_rules! with_both_inboxes {
    ($($story:ident),* $(,)?) => {$(
        mod $story {
            #[tokio::test]
            async fn in_memory() {
                super::$story(super::MemoryInbox::new()).await;
            }

            #[tokio::test]
            async fn in_sqlite() {
                let folder = tempfile::tempdir().unwrap();
                super::$story(super::SqliteInbox::open(folder.path().join("inbox.db")).unwrap()).await;
            }
        }
    )*};
}

with_both_inboxes!(
    a_repeat_is_acknowledged_and_not_handled_again,
    copies_at_once_are_handled_once,
    another_end_is_refused_and_nothing_changes,
    a_failed_handler_runs_again_when_the_callback_comes_again,
    a_panicking_handler_is_a_failed_one,
    a_handler_over_its_limit_is_a_failed_one,
    a_sender_that_hangs_up_does_not_stop_the_handler,
    what_a_crash_left_kept_is_handled_later,
    what_failed_is_tried_again_without_the_sender,
    answered_once_kept_and_handled_afterwards,
);

pub(crate) async fn a_repeat_is_acknowledged_and_not_handled_again(inbox: impl Inbox) {
    let runs = Runs::default();
    let channel = Channel::open(Receiver::new(inbox, runs.handler())).await;
    for _ in 0..3 {
        assert_eq!(channel.post(callback(1, "2").to_json()).await, reply("000"));
    }
    // The same four members in other clothes are the same callback.
    let dressed = callback(1, "2")
        .to_json()
        .replace(',', " ,\n")
        .replace('}', r#", "x": 1}"#);
    assert_eq!(channel.post(dressed).await, reply("000"));
    assert_eq!(runs.count(), 1);
}

pub(crate) async fn copies_at_once_are_handled_once(inbox: impl Inbox) {
    let runs = Runs::default();
    let channel = Channel::open(Receiver::new(inbox, runs.handler())).await;
    let body = callback(1, "2").to_json();
    let copies = (0..8).map(|_| channel.post(body.clone()));
    for answer in join_all(copies).await {
        assert_eq!(answer, reply("000"));
    }
    assert_eq!(runs.count(), 1);
}

pub(crate) async fn another_end_is_refused_and_nothing_changes(inbox: impl Inbox) {
    let runs = Runs::default();
    let channel = Channel::open(Receiver::new(inbox, runs.handler())).await;
    assert_eq!(channel.post(callback(1, "2").to_json()).await, reply("000"));
    assert_eq!(channel.post(callback(1, "7").to_json()).await, reply("409"));
    assert_eq!(channel.post(callback(1, "2").to_json()).await, reply("000"));
    assert_eq!(channel.post(callback(2, "7").to_json()).await, reply("000"));
    assert_eq!(runs.count(), 2);
}

pub(crate) async fn a_failed_handler_runs_again_when_the_callback_comes_again(inbox: impl Inbox) {
    let runs = Runs::failing_first(2);
    let channel = Channel::open(Receiver::new(inbox, runs.handler())).await;
    let body = callback(1, "2").to_json();
    for code in ["500", "500", "000", "000"] {
        assert_eq!(channel.post(body.clone()).await, reply(code));
    }
    assert_eq!(runs.count(), 3);
}

pub(crate) async fn a_panicking_handler_is_a_failed_one(inbox: impl Inbox) {
    let handler = handler_fn(|_| async { panic!("on purpose") });
    let channel = Channel::open(Receiver::new(inbox, handler)).await;
    assert_eq!(channel.post(callback(1, "2").to_json()).await, reply("500"));
}

pub(crate) async fn a_handler_over_its_limit_is_a_failed_one(inbox: impl Inbox) {
    let handler = handler_fn(|_| std::future::pending());
    let receiver = Receiver::new(inbox, handler).handler_limit(Duration::from_millis(20));
    let channel = Channel::open(receiver).await;
    assert_eq!(channel.post(callback(1, "2").to_json()).await, reply("500"));
}

pub(crate) async fn a_sender_that_hangs_up_does_not_stop_the_handler(inbox: impl Inbox) {
    let (begun, mut has_begun) = tokio::sync::mpsc::channel::<()>(1);
    let (done, mut is_done) = tokio::sync::mpsc::channel::<()>(1);
    let hung_up = Arc::new(tokio::sync::Notify::new());
    let go_on = Arc::clone(&hung_up);
    let handler = handler_fn(move |_| {
        let (begun, done, go_on) = (begun.clone(), done.clone(), Arc::clone(&go_on));
        async move {
            begun.send(()).await?;
            go_on.notified().await;
            done.send(()).await?;
            Ok(())
        }
    });
    let channel = Channel::open(Receiver::new(inbox, handler)).await;
    let body = callback(1, "2").to_json();
    let mut stream = tokio::net::TcpStream::connect(channel.address)
        .await
        .unwrap();
    let head = format!(
        "POST /callback HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    has_begun.recv().await.unwrap();
    drop(stream);
    hung_up.notify_one();
    is_done.recv().await.unwrap();
    assert_eq!(channel.post(body).await, reply("000"));
}

pub(crate) async fn what_a_crash_left_kept_is_handled_later(inbox: impl Inbox) {
    // Kept, and then the process died.
    assert_eq!(
        inbox.keep(&callback(1, "2"), 0).await.unwrap(),
        Kept::New { handled: false }
    );
    let (handled, mut is_handled) = tokio::sync::mpsc::channel(1);
    let handler = handler_fn(move |callback| {
        let handled = handled.clone();
        async move { Ok(handled.send(callback).await?) }
    });
    let receiver = Receiver::new(inbox, handler);
    let work = tokio::spawn(receiver.work(std::future::pending()));
    assert_eq!(is_handled.recv().await.unwrap(), callback(1, "2"));
    work.abort();
}

pub(crate) async fn what_failed_is_tried_again_without_the_sender(inbox: impl Inbox) {
    let runs = Runs::failing_first(3);
    let clock = Arc::new(AtomicI64::new(0));
    let read = Arc::clone(&clock);
    let receiver =
        Receiver::new(inbox.clone(), runs.handler()).clock(move || read.load(Ordering::SeqCst));
    let channel = Channel::open(receiver.clone()).await;
    assert_eq!(channel.post(callback(1, "2").to_json()).await, reply("500"));
    let work = tokio::spawn(receiver.work(std::future::pending()));
    // After 1 s, 2 s and 4 s; each time moved by hand, until there is nothing left to do.
    for _ in 0..1000 {
        if inbox.keep(&callback(1, "2"), 0).await.unwrap() == (Kept::Again { handled: true }) {
            break;
        }
        clock.fetch_add(500, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(runs.count(), 4);
    assert!(clock.load(Ordering::SeqCst) >= 7_000);
    work.abort();
}

pub(crate) async fn answered_once_kept_and_handled_afterwards(inbox: impl Inbox) {
    let answered = Arc::new(tokio::sync::Notify::new());
    let go_on = Arc::clone(&answered);
    let (handled, mut is_handled) = tokio::sync::mpsc::channel(8);
    let handler = handler_fn(move |callback| {
        let (handled, go_on) = (handled.clone(), Arc::clone(&go_on));
        async move {
            go_on.notified().await;
            Ok(handled.send(callback).await?)
        }
    });
    let receiver = Receiver::new(inbox, handler).answer_once_kept();
    let channel = Channel::open(receiver.clone()).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let work = tokio::spawn(receiver.work(async {
        let _ = stopped.await;
    }));
    assert_eq!(channel.post(callback(1, "2").to_json()).await, reply("000"));
    assert_eq!(channel.post(callback(1, "2").to_json()).await, reply("000"));
    answered.notify_one();
    assert_eq!(is_handled.recv().await.unwrap(), callback(1, "2"));
    // On shutdown the handlers that run are waited for, and there is no second one.
    stop.send(()).unwrap();
    work.await.unwrap();
    assert!(is_handled.try_recv().is_err());
}

async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if outputs.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
