//! Documents on their way from a folder to a bucket and back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sealpost_flow::{
    Actor, Digest, Level, NewFlow, NewSigner, Operation, Party, Place, apply, create,
};
use sealpost_flow::{Change, Proof};
use sealpost_store::{DocumentsAt, Error, MovedDocuments, StoredSeal};

use crate::front::{Front, Mind};
use crate::storage::Storage;
use crate::world::{DAY, NOW, World, advance, buyer, flow_id, initiator, keep, new_flow};

/// Keeps flows that were signed, sealed and renewed, with all their documents in the world's own folder. Answers the documents.
async fn kept(world: &World, flows: u32) -> Vec<Digest> {
    let put = async |text: String| world.put_document(text.into_bytes()).await.unwrap();
    let mut documents = Vec::new();
    for number in 1..=flows {
        let original = put(format!("original {number}")).await;
        let mark = put(format!("mark {number}")).await;
        let signed = put(format!("signed {number}")).await;
        let renewed = put(format!("renewed {number}")).await;
        let again = put(format!("renewed again {number}")).await;
        let picture = put("the seal on every flow".to_owned()).await;
        let new = NewFlow {
            id: flow_id(number),
            reference: format!("R-{number}"),
            title: "定金收据".into(),
            document: original,
            signers: vec![NewSigner {
                order: 1,
                party: Party::Person {
                    name: "张三".into(),
                },
                place: Place {
                    page: 1,
                    rect: [100.0, 100.0, 200.0, 150.0],
                },
            }],
            expires_at: NOW + 7 * DAY,
        };
        let created = create(new, &initiator(), NOW).unwrap();
        let started = apply(&created.flow, Operation::Start, &initiator(), NOW).unwrap();
        let mut stored = new_flow(number, NOW);
        stored.change = Change {
            flow: started.flow,
            events: [created.events, started.events].concat(),
        };
        stored.details = Some(format!(
            r#"{{"facts":[["note","{}"]],"marks":[{{"seal":{{"kind":"picture","png":"{picture}"}}}}]}}"#,
            Digest::of(b"the channel's own words")
        ));
        keep(world, stored).await;
        let preserve = |base, document| Operation::Preserve {
            base,
            document,
            level: Level::BLTA,
            renew_by: Some(NOW + 90 * DAY),
            downgrade: None,
        };
        let sign = Operation::Sign {
            mark,
            document: original,
            proof: Proof::default(),
        };
        let applied = Operation::Apply {
            signer: 1,
            base: original,
            document: signed,
            certificate: "01".into(),
            level: Level::BT,
            downgrade: None,
        };
        for (operation, actor) in [
            (sign, buyer()),
            (applied, Actor::SYSTEM),
            (preserve(signed, renewed), Actor::SYSTEM),
            (preserve(renewed, again), Actor::SYSTEM),
        ] {
            let found = world.find_flow(&flow_id(number)).await.unwrap().unwrap();
            advance(world, &found, operation, &actor, NOW + 1).await;
        }
        documents.extend([original, mark, signed, renewed, again, picture]);
    }
    let seal = put("a kept seal".to_owned()).await;
    let spec = format!(r#"{{"kind":"picture","png":"{seal}"}}"#);
    world
        .create_seal(
            StoredSeal {
                id: "s1".into(),
                channel_id: None,
                name: "财务".into(),
                spec,
                created_at: NOW,
            },
            10,
        )
        .await
        .unwrap();
    documents.push(seal);
    documents.sort_unstable();
    documents.dedup();
    documents
}

fn file(folder: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    folder.join(&hex[..2]).join(&hex[2..])
}

async fn moved(world: &World, from: &DocumentsAt, to: &DocumentsAt) -> MovedDocuments {
    let mut last = MovedDocuments::default();
    let moved = world
        .move_documents(from, to, |moved| last = moved.clone())
        .await
        .unwrap();
    assert_eq!(moved, last);
    moved
}

#[tokio::test(flavor = "multi_thread")]
async fn to_a_bucket_with_a_break_and_back() {
    let world = World::sqlite().await;
    let documents = kept(&world, 5).await;
    let count = documents.len() as u64;
    assert_eq!(count, 5 * 5 + 2);
    let storage = Storage::start("moving").await;
    let front = Front::before(storage.server(), Mind::Tiring(7)).await;
    let folder = DocumentsAt::Folder(world.folder().join("documents"));
    let mut options = storage.options();
    let bucket = DocumentsAt::Bucket(options.clone());
    options.endpoint = Some(format!("http://{}", front.address));
    options.patience = Duration::from_secs(6);
    let broken = DocumentsAt::Bucket(options);

    let error = world.move_documents(&folder, &broken, |_| ()).await;
    assert!(matches!(error, Err(Error::Bucket { .. })), "{error:?}");
    assert!(front.put() >= 7);

    let rest = moved(&world, &folder, &bucket).await;
    // Those that were under way may have arrived, too.
    assert!((7..count).contains(&rest.there), "{rest:?}");
    assert_eq!(
        (rest.there + rest.copied, rest.flows, rest.lost),
        (count, 5, 0)
    );
    for digest in &documents {
        assert_eq!(Digest::of(&storage.object(digest).await.unwrap()), *digest);
    }
    let again = moved(&world, &folder, &bucket).await;
    assert_eq!((again.there, again.copied), (count, 0));

    let elsewhere = tempfile::tempdir().unwrap();
    let back = DocumentsAt::Folder(elsewhere.path().to_owned());
    let whole = moved(&world, &bucket, &back).await;
    assert_eq!((whole.there, whole.copied, whole.lost), (0, count, 0));
    for digest in &documents {
        let bytes = fs::read(file(elsewhere.path(), digest)).unwrap();
        assert_eq!(Digest::of(&bytes), *digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_missing_is_told_and_the_rest_moves() {
    let world = World::sqlite().await;
    let documents = kept(&world, 2).await;
    let count = documents.len() as u64;
    let own = world.folder().join("documents");
    let (missing, damaged) = (Digest::of(b"mark 1"), Digest::of(b"signed 2"));
    let seals = ["the seal on every flow", "a kept seal"].map(str::as_bytes);
    fs::remove_file(file(&own, &missing)).unwrap();
    fs::write(file(&own, &damaged), b"sighed 2").unwrap();
    for seal in seals {
        fs::remove_file(file(&own, &Digest::of(seal))).unwrap();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    // What is damaged there is put right.
    let one = Digest::of(b"original 1");
    fs::create_dir_all(file(elsewhere.path(), &one).parent().unwrap()).unwrap();
    fs::write(file(elsewhere.path(), &one), b"half").unwrap();
    let (from, to) = (
        DocumentsAt::Folder(own.clone()),
        DocumentsAt::Folder(elsewhere.path().to_owned()),
    );
    let first = moved(&world, &from, &to).await;
    assert_eq!((first.copied, first.there, first.lost), (count - 4, 0, 4));
    let told = first.lost_first.concat();
    assert!(
        told.contains(&format!("document {missing} is missing")),
        "{told}"
    );
    assert!(
        told.contains(&format!("document {damaged} is damaged")),
        "{told}"
    );
    // Once they are found again, so are they moved.
    fs::write(file(&own, &missing), b"mark 1").unwrap();
    fs::write(file(&own, &damaged), b"signed 2").unwrap();
    for seal in seals {
        fs::write(file(&own, &Digest::of(seal)), seal).unwrap();
    }
    let second = moved(&world, &from, &to).await;
    assert_eq!(
        (second.copied, second.there, second.lost),
        (4, count - 4, 0)
    );
    for digest in &documents {
        assert!(file(elsewhere.path(), digest).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_folder_mends_it_and_is_only_read() {
    let world = World::sqlite().await;
    let documents = kept(&world, 1).await;
    let own = world.folder().join("documents");
    // Nodes know the folder by a file in it, which is copied like every other.
    let known = world.documents_place().unwrap();
    let backups = tempfile::tempdir().unwrap();
    let backup = backups.path().join("documents");
    let copied = Command::new("cp").arg("-a").args([&own, &backup]).status();
    assert!(copied.unwrap().success());
    let written = || {
        let folder = fs::metadata(&backup).unwrap().modified().unwrap();
        (folder, fs::read_dir(&backup).unwrap().count())
    };
    let before = written();
    fs::remove_file(file(&own, &documents[0])).unwrap();
    fs::write(file(&own, &documents[1]), b"half").unwrap();
    let (from, to) = (
        DocumentsAt::Folder(backup.clone()),
        DocumentsAt::Folder(own.clone()),
    );
    let mended = moved(&world, &from, &to).await;
    assert_eq!((mended.copied, mended.lost), (2, 0));
    assert_eq!(written(), before);
    assert_eq!(world.documents_place().unwrap(), known);

    let link = backups.path().join("link");
    std::os::unix::fs::symlink(&own, &link).unwrap();
    for same in [own.clone(), link, own.join("../documents")] {
        let error = world
            .move_documents(&DocumentsAt::Folder(same), &to, |_| ())
            .await;
        assert!(matches!(error, Err(Error::SamePlace)), "{error:?}");
    }
    let nowhere = DocumentsAt::Folder(backups.path().join("nowhere"));
    let error = world.move_documents(&nowhere, &to, |_| ()).await;
    assert!(matches!(error, Err(Error::File { .. })), "{error:?}");
    assert!(!backups.path().join("nowhere").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_may_not_be_listed_denies_what_is_missing() {
    let world = World::sqlite().await;
    let documents = kept(&world, 3).await;
    let count = documents.len() as u64;
    let storage = Storage::start("unlisted").await;
    let folder = DocumentsAt::Folder(world.folder().join("documents"));
    let missing = Digest::of(b"original 1");
    fs::remove_file(file(&world.folder().join("documents"), &missing)).unwrap();
    let through = async |mind| {
        let front = Front::before(storage.server(), mind).await;
        let mut options = storage.options();
        options.endpoint = Some(format!("http://{}", front.address));
        DocumentsAt::Bucket(options)
    };
    let unlisted = through(Mind::Unlisted).await;
    let first = moved(&world, &folder, &unlisted).await;
    assert_eq!((first.copied, first.lost), (count - 1, 1));

    // Also where the source is asked for nothing but what it has not got.
    let elsewhere = tempfile::tempdir().unwrap();
    let back = DocumentsAt::Folder(elsewhere.path().to_owned());
    for (copied, there) in [(count - 1, 0), (0, count - 1)] {
        let told = moved(&world, &unlisted, &back).await;
        assert_eq!((told.copied, told.there, told.lost), (copied, there, 1));
        let lost = &told.lost_first[0];
        assert!(
            lost.contains(&format!("document {missing} is missing"))
                && lost.contains("AccessDenied"),
            "{lost}"
        );
    }

    // One that gives nothing at all has not lost everything.
    let mut no_such_bucket = storage.options();
    no_such_bucket.bucket = "nobody-made-this".into();
    for (from, says) in [
        (
            through(Mind::Refusing(403, "AccessDenied")).await,
            "AccessDenied",
        ),
        (
            through(Mind::Refusing(403, "InvalidAccessKeyId")).await,
            "InvalidAccessKeyId",
        ),
        (DocumentsAt::Bucket(no_such_bucket), "NoSuchBucket"),
    ] {
        let nothing = tempfile::tempdir().unwrap();
        let to = DocumentsAt::Folder(nothing.path().to_owned());
        let error = world.move_documents(&from, &to, |_| ()).await.unwrap_err();
        assert_eq!(error.refused_for(), says, "{error:?}");
        let error = world.move_documents(&folder, &from, |_| ()).await;
        assert_eq!(error.unwrap_err().refused_for(), says);
    }
}
