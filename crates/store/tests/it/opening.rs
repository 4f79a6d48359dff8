//! Opening: what is there, what is not ours, what is newer.

use std::fs;

use std::time::Duration;

use rusqlite::Connection;
use sealpost_store::{Error, Store};

use crate::world::{NOW, World, flow_id};

#[tokio::test]
async fn what_was_kept_is_there_after_opening_again() {
    let world = World::sqlite().await;
    let kept = world.keep(1, NOW).await;
    assert_eq!(
        world.another().find_flow(&flow_id(1)).await.unwrap(),
        Some(kept)
    );
}

#[test]
fn many_may_open_a_new_folder_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Store::open(folder.path()).map(drop)))
            .collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let database = Connection::open(folder.path().join("sealpost.sqlite")).unwrap();
    database.pragma_update(None, "user_version", 999).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::TooNew { found: 999, .. }), "{error}");
    let version: i64 = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 999);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_keeps_nobody_from_opening() {
    let world = World::postgres().await;
    let url = world.postgres_options().url;
    let (backup, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    // As pg_dump does, until it is done.
    let all = "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')";
    let all = &world.ask(all)[0][0];
    assert!(all.contains("sealpost_schema") && all.contains("attempts_default"));
    backup
        .batch_execute(&format!("BEGIN; LOCK TABLE {all} IN ACCESS SHARE MODE"))
        .await
        .unwrap();
    // Whoever waited for one of the tables would do so for three seconds, and be seen.
    let waits = "SELECT relation::regclass::text FROM pg_locks WHERE NOT granted AND relation IN (
        SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)";
    let other = std::thread::scope(|scope| {
        let opening = scope.spawn(|| world.another());
        while !opening.is_finished() {
            assert_eq!(world.ask(waits), Vec::<Vec<String>>::new());
            std::thread::sleep(Duration::from_millis(5));
        }
        opening.join().unwrap()
    });
    other.make_partitions().await.unwrap();
    other.prove_writable(NOW).await.unwrap();
    backup.batch_execute("COMMIT").await.unwrap();
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealpost.sqlite");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE flows (id)")
        .unwrap();
    let before = fs::read(&path).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Foreign(_)), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("sealpost.sqlite"),
        "not a database, but long enough to be taken for one".repeat(20),
    )
    .unwrap();
    assert!(matches!(
        Store::open(folder.path()),
        Err(Error::Database(_))
    ));
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().join("data");
    let error = Store::open(&folder).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot create {}", folder.display())
    );
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_what_is_kept() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    drop(Store::open(&data).unwrap());
    assert_eq!(fs::metadata(data).unwrap().permissions().mode() & 0o077, 0);
}
