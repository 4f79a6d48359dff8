//! Every case of the contract's `requests.json`, with both inboxes.

use sealpost_receiver::contract::vectors;
use sealpost_receiver::{Inbox, MemoryInbox, Receiver, SqliteInbox};

use crate::channel::{Channel, reply};

pub(crate) async fn every_vector_holds(inbox: impl Inbox) {
    let channel = Channel::open(Receiver::new(inbox, ())).await;
    // Twice: the second time each accepted callback is a repeat.
    for round in 1..=2 {
        for case in vectors::requests() {
            assert_eq!(
                channel.post(case.body).await,
                reply(&case.answer),
                "{} (round {round})",
                case.name
            );
        }
    }
}

#[tokio::test]
async fn every_vector_holds_with_the_memory_inbox() {
    every_vector_holds(MemoryInbox::new()).await;
}

#[tokio::test]
async fn every_vector_holds_with_the_sqlite_inbox() {
    let folder = tempfile::tempdir().unwrap();
    every_vector_holds(SqliteInbox::open(folder.path().join("inbox.db")).unwrap()).await;
}
