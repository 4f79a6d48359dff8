//! What only the SQLite inbox promises: it outlives the process, is shared, and can run an effect in its own commit.

use sealpost_receiver::{Error, Inbox, Kept, Receiver, SqliteInbox, State};

use crate::channel::{Channel, Runs, callback, reply};

#[tokio::test]
async fn a_process_that_died_after_handling_does_not_handle_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let runs = Runs::default();
    let first = Channel::open(Receiver::new(
        SqliteInbox::open(&path).unwrap(),
        runs.handler(),
    ))
    .await;
    assert_eq!(first.post(callback(1, "2").to_json()).await, reply("000"));
    drop(first);
    let second = Channel::open(Receiver::new(
        SqliteInbox::open(&path).unwrap(),
        runs.handler(),
    ))
    .await;
    assert_eq!(second.post(callback(1, "2").to_json()).await, reply("000"));
    assert_eq!(second.post(callback(1, "3").to_json()).await, reply("409"));
    assert_eq!(runs.count(), 1);

    let entries = SqliteInbox::entries(&path, false, 10).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].attempts, entries[0].conflicts), (1, 1));
    assert!(matches!(entries[0].state, State::Handled { .. }));
    assert!(SqliteInbox::entries(&path, true, 10).unwrap().is_empty());
}

#[tokio::test]
async fn two_receivers_over_one_file_handle_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let runs = Runs::default();
    let one = Channel::open(Receiver::new(
        SqliteInbox::open(&path).unwrap(),
        runs.handler(),
    ))
    .await;
    let two = Channel::open(Receiver::new(
        SqliteInbox::open(&path).unwrap(),
        runs.handler(),
    ))
    .await;
    for number in 1..=5 {
        let body = callback(number, "2").to_json();
        let answers = tokio::join!(
            one.post(body.clone()),
            two.post(body.clone()),
            one.post(body.clone())
        );
        assert_eq!(answers, (reply("000"), reply("000"), reply("000")));
        assert_eq!(runs.count(), usize::from(number));
    }
}

#[tokio::test]
async fn an_effect_commits_with_the_callback_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let inbox = SqliteInbox::open(&path)
        .unwrap()
        .with_effect(|connection, callback| {
            connection.execute_batch("CREATE TABLE IF NOT EXISTS receipts (id TEXT)")?;
            connection.execute(
                "INSERT INTO receipts VALUES (?1)",
                [callback.sign_flow_id.as_str()],
            )?;
            match callback.sign_flow_status.code() {
                "7" => Err("not today".into()),
                "5" => panic!("on purpose"),
                _ => Ok(()),
            }
        });
    let channel = Channel::open(Receiver::new(inbox, ())).await;
    let body = callback(1, "2").to_json();
    let answers = tokio::join!(channel.post(body.clone()), channel.post(body.clone()));
    assert_eq!(answers, (reply("000"), reply("000")));
    assert_eq!(channel.post(callback(2, "7").to_json()).await, reply("500"));
    assert_eq!(channel.post(callback(3, "5").to_json()).await, reply("500"));
    assert_eq!(channel.post(callback(4, "3").to_json()).await, reply("000"));

    let rows = |sql: &str| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(rows("SELECT count(*) FROM receipts"), 2);
    assert_eq!(
        rows("SELECT count(*) FROM callbacks WHERE handled_at IS NOT NULL"),
        2
    );
    assert_eq!(rows("SELECT count(*) FROM callbacks"), 2);
}

#[tokio::test]
async fn odd_ids_are_kept_as_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = SqliteInbox::open(folder.path().join("inbox.db")).unwrap();
    let mut odd = callback(1, "2");
    odd.sign_flow_id = "../收'\0\u{feff}".parse().unwrap();
    assert_eq!(
        inbox.keep(&odd, 0).await.unwrap(),
        Kept::New { handled: false }
    );
    assert_eq!(
        inbox.keep(&odd, 0).await.unwrap(),
        Kept::Again { handled: false }
    );
    assert_eq!(inbox.due(0, 1).await.unwrap(), [odd]);
}

#[tokio::test]
async fn a_claim_that_ran_out_records_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = SqliteInbox::open(folder.path().join("inbox.db")).unwrap();
    a_claim_runs_out(&inbox).await;
    a_claim_runs_out(&sealpost_receiver::MemoryInbox::new()).await;
}

pub(crate) async fn a_claim_runs_out(inbox: &impl Inbox) {
    use sealpost_receiver::{Claim, Outcome};
    let callback = callback(1, "2");
    let id = &callback.sign_flow_id;
    assert_eq!(inbox.claim(id, 0, 100).await.unwrap(), Claim::Unknown);
    inbox.keep(&callback, 0).await.unwrap();
    assert_eq!(
        inbox.claim(id, 0, 100).await.unwrap(),
        Claim::Granted {
            claim: 1,
            attempt: 1
        }
    );
    assert_eq!(inbox.claim(id, 99, 200).await.unwrap(), Claim::Busy);
    assert!(inbox.due(99, 10).await.unwrap().is_empty());
    assert_eq!(inbox.due(100, 10).await.unwrap().len(), 1);
    assert_eq!(
        inbox.claim(id, 100, 200).await.unwrap(),
        Claim::Granted {
            claim: 2,
            attempt: 2
        }
    );
    assert!(
        !inbox
            .finish(id, 1, &Outcome::Handled { at: 101 })
            .await
            .unwrap()
    );
    let failed = Outcome::Failed {
        reason: "not today".to_owned(),
        retry_at: 500,
    };
    assert!(inbox.finish(id, 2, &failed).await.unwrap());
    assert!(inbox.due(499, 10).await.unwrap().is_empty());
    assert_eq!(
        inbox.claim(id, 300, 400).await.unwrap(),
        Claim::Granted {
            claim: 3,
            attempt: 3
        }
    );
    assert!(
        inbox
            .finish(id, 3, &Outcome::Handled { at: 301 })
            .await
            .unwrap()
    );
    assert_eq!(inbox.claim(id, 302, 400).await.unwrap(), Claim::Handled);
    assert_eq!(
        inbox.keep(&callback, 303).await.unwrap(),
        Kept::Again { handled: true }
    );
}

#[test]
fn another_programs_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE precious (x)")
        .unwrap();
    assert!(matches!(SqliteInbox::open(&path), Err(Error::NotAnInbox)));
    assert!(
        SqliteInbox::open(folder.path()).is_err(),
        "a folder is no database"
    );
}
