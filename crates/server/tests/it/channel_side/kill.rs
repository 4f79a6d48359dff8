//! SIGKILL at random moments under load: whatever was answered `000` is on disk, once, and is handed on.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::actors::{Endpoint, Platform, Program, callback, eventually, status};

const LIVES: u64 = 10;
const SENDERS: u64 = 8;

#[tokio::test]
async fn whatever_was_answered_000_is_on_disk_once() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Endpoint::start(|_| (200, Bytes::new())).await;
    let arguments = ["--no-fetch", "--forward", &ledger.url];
    let platform = Platform::new();
    let acknowledged: Arc<Mutex<HashSet<String>>> = Arc::default();
    let unanswered: Arc<Mutex<Vec<String>>> = Arc::default();
    let next = Arc::new(AtomicU64::new(0));

    for life in 0..LIVES {
        let receive = Program::receive(folder.path(), &arguments);
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (platform, url) = (platform.clone(), receive.url.clone());
                let (acknowledged, unanswered) =
                    (Arc::clone(&acknowledged), Arc::clone(&unanswered));
                let next = Arc::clone(&next);
                tokio::spawn(async move {
                    loop {
                        // Like a platform: what was not acknowledged is sent again, in the next life if need be.
                        let left = unanswered.lock().unwrap().pop();
                        let id = left.unwrap_or_else(|| {
                            format!("{:032x}", next.fetch_add(1, Ordering::Relaxed))
                        });
                        match platform.post(&url, callback(&id, "2", "http://")).await {
                            Some((200, code)) if code == "000" => {
                                acknowledged.lock().unwrap().insert(id)
                            }
                            Some(other) => panic!("{id} was answered {other:?}"),
                            None => break unanswered.lock().unwrap().push(id),
                        };
                    }
                })
            })
            .collect();
        // Between 20 and 320 ms after the first answer.
        let before = acknowledged.lock().unwrap().len();
        eventually("an answer came", || {
            (acknowledged.lock().unwrap().len() > before).then_some(())
        })
        .await;
        let random = RandomState::new().build_hasher().finish();
        tokio::time::sleep(Duration::from_millis(20 + random % 300)).await;
        receive.kill();
        for sender in senders {
            sender.await.unwrap();
        }
        println!(
            "life {life}: {} acknowledged",
            acknowledged.lock().unwrap().len()
        );
    }

    let acknowledged = acknowledged.lock().unwrap().clone();
    let mut kept: HashMap<String, usize> = HashMap::new();
    for entry in status(folder.path())["callbacks"].as_array().unwrap() {
        let id = entry["callback"]["sign_flow_id"]
            .as_str()
            .unwrap()
            .to_owned();
        *kept.entry(id).or_default() += 1;
    }
    for id in &acknowledged {
        assert_eq!(kept.get(id), Some(&1), "{id} was answered 000");
    }
    // What is there beyond that was sent, and its answer lost.
    let lost_answers: HashSet<String> = unanswered.lock().unwrap().iter().cloned().collect();
    assert!(
        kept.keys()
            .all(|id| acknowledged.contains(id) || lost_answers.contains(id))
    );

    // One more life: everything is handed on, and what comes again is still known.
    let receive = Program::receive(folder.path(), &arguments);
    for id in acknowledged.iter().take(50) {
        let answer = platform
            .post(&receive.url, callback(id, "2", "http://"))
            .await;
        assert_eq!(answer, Some((200, "000".to_owned())));
        let other = platform
            .post(&receive.url, callback(id, "3", "http://"))
            .await;
        assert_eq!(other, Some((409, "409".to_owned())));
    }
    let done = || (status(folder.path())["counts"]["waiting"] == 0).then_some(());
    eventually("everything was handed on", done).await;
    let handed_on: HashSet<String> = ledger
        .received()
        .iter()
        .map(|one| one.headers["idempotency-key"].to_str().unwrap().to_owned())
        .collect();
    assert!(acknowledged.is_subset(&handed_on));
    println!(
        "{} acknowledged, {} kept, {} hand-ons",
        acknowledged.len(),
        kept.len(),
        ledger.received().len()
    );
}
