//! Idempotency keys.

use sealpost_flow::{Digest, Operation};
use sealpost_store::{
    AuditEntry, Committed, Created, IDEMPOTENCY_MILLIS, IdempotencyKey, Remembered, SealedSecret,
    Store, StoredFlow,
};

use crate::world::{CHANNEL, NOW, World, api_key, commit_of, flow_id, initiator, new_flow};

fn key(at: i64, request: &str) -> IdempotencyKey {
    IdempotencyKey {
        caller_id: CHANNEL.into(),
        key: "once".into(),
        request: Digest::of(request.as_bytes()),
        at,
    }
}

fn remembered(request: &str, resource: &str) -> Remembered {
    Remembered {
        request: Digest::of(request.as_bytes()),
        resource: resource.into(),
    }
}

async fn a_repeated_creation_creates_nothing(world: World) {
    let create = async |number, request, at| {
        let mut new = new_flow(number, NOW);
        new.idempotency = Some(key(at, request));
        world.create_flow(new).await.unwrap()
    };
    assert!(matches!(create(1, "a", NOW).await, Created::New(_)));
    let again = Created::Remembered(remembered("a", flow_id(1).as_str()));
    assert_eq!(create(2, "a", NOW + 1).await, again);
    assert_eq!(
        create(2, "b", NOW + 1).await,
        again,
        "the caller sees that the request differs"
    );
    assert_eq!(world.find_flow(&flow_id(2)).await.unwrap(), None);
    assert!(
        matches!(
            create(3, "c", NOW + IDEMPOTENCY_MILLIS).await,
            Created::New(_)
        ),
        "after 24 hours it is forgotten"
    );
}

async fn a_repeated_change_changes_nothing(world: World) {
    let kept = world.keep(1, NOW).await;
    let revoke = Operation::Revoke {
        reason: "填错金额".into(),
    };
    let commit = commit_of(&kept, revoke, &initiator(), NOW).with_idempotency(Some(key(NOW, "a")));
    assert!(matches!(
        world.commit_flow(commit.clone()).await.unwrap(),
        Committed::Done { .. }
    ));
    let again = Committed::Remembered(remembered("a", flow_id(1).as_str()));
    assert_eq!(world.commit_flow(commit).await.unwrap(), again);
    assert_eq!(world.find(&kept).await.version, 2);
}

async fn a_conflict_uses_no_key(world: World) {
    let kept = world.keep(1, NOW).await;
    let revoke = Operation::Revoke {
        reason: "填错金额".into(),
    };
    let mut commit =
        commit_of(&kept, revoke, &initiator(), NOW).with_idempotency(Some(key(NOW, "a")));
    commit.version = 7;
    assert_eq!(
        world.commit_flow(commit).await.unwrap(),
        Committed::Conflict
    );
    assert_eq!(
        world.find_idempotency_key(key(NOW, "a")).await.unwrap(),
        None
    );
}

async fn one_key_for_two_changes_on_two_nodes_changes_one(world: World) {
    let nodes = [world.another(), world.another()];
    for number in 0..8 {
        let at = NOW + i64::from(number) * IDEMPOTENCY_MILLIS;
        let (first, second) = (
            world.keep(2 * number, NOW).await,
            world.keep(2 * number + 1, NOW).await,
        );
        let commit = |node: Store, stored: &StoredFlow, request: &str| {
            let revoke = Operation::Revoke {
                reason: "填错金额".into(),
            };
            let commit = commit_of(stored, revoke, &initiator(), NOW)
                .with_idempotency(Some(key(at, request)));
            tokio::spawn(async move { node.commit_flow(commit).await.unwrap() })
        };
        let (a, b) = (
            commit(nodes[0].clone(), &first, "a"),
            commit(nodes[1].clone(), &second, "b"),
        );
        let committed = [a.await.unwrap(), b.await.unwrap()];
        let done = committed
            .iter()
            .filter(|committed| matches!(committed, Committed::Done { .. }))
            .count();
        let told = committed
            .iter()
            .filter(|committed| matches!(committed, Committed::Remembered(_)))
            .count();
        assert_eq!((done, told), (1, 1), "{committed:?}");
        let versions = [
            world.find(&first).await.version,
            world.find(&second).await.version,
        ];
        assert_eq!(versions.iter().sum::<i64>(), 3, "{versions:?}");
    }
}

async fn what_tells_a_secret_and_its_key_are_one_commit(world: World) {
    let entry = AuditEntry {
        at: NOW,
        operator: "boss".into(),
        action: "channel.add_key".into(),
        subject: Some(CHANNEL.into()),
        detail: None,
        address: None,
    };
    let once = Some(key(NOW, "a"));
    // What cannot be done leaves neither a key nor an entry.
    for _ in 0..2 {
        let nobody = api_key("k9", "no such channel");
        let failed = world.add_api_key_once(nobody, once.clone(), entry.clone());
        assert!(failed.await.is_err());
        let secret = SealedSecret {
            created_at: NOW,
            retires_at: None,
            ciphertext: vec![1],
        };
        let failed =
            world.rotate_secret_once("no such channel", secret, NOW, once.clone(), entry.clone());
        assert!(failed.await.is_err());
    }
    assert_eq!(world.audit_log(None, 10).await.unwrap(), []);
    let add = async |id: &str, once| {
        let added = world.add_api_key_once(api_key(id, CHANNEL), once, entry.clone());
        added.await.unwrap()
    };
    let before = world.api_keys(CHANNEL).await.unwrap().len();
    assert_eq!(add("k7", once.clone()).await, None);
    assert_eq!(add("k8", once).await, Some(remembered("a", "k7")));
    assert_eq!(add("k8", None).await, None);
    assert_eq!(world.api_keys(CHANNEL).await.unwrap().len(), before + 2);
    assert_eq!(world.audit_log(None, 10).await.unwrap().len(), 2);
}

async fn keys_are_forgotten_after_a_day(world: World) {
    let forget = async |now| world.forget_idempotency_keys(now).await.unwrap();
    assert_eq!(
        world
            .remember_idempotency_key(key(NOW, "a"), "x".into())
            .await
            .unwrap(),
        None
    );
    let other = world
        .remember_idempotency_key(key(NOW, "b"), "y".into())
        .await
        .unwrap();
    assert_eq!(other, Some(remembered("a", "x")));
    assert_eq!(forget(NOW + IDEMPOTENCY_MILLIS - 1).await, 0);
    assert_eq!(forget(NOW + IDEMPOTENCY_MILLIS).await, 1);
    assert_eq!(
        world.find_idempotency_key(key(NOW, "a")).await.unwrap(),
        None
    );
}

on_every_database! {
    a_repeated_creation_creates_nothing,
    a_repeated_change_changes_nothing,
    a_conflict_uses_no_key,
    one_key_for_two_changes_on_two_nodes_changes_one,
    what_tells_a_secret_and_its_key_are_one_commit,
    keys_are_forgotten_after_a_day,
}
