//! Operator keys, operators of an OpenID provider, and the last contract check of a channel.

use sealpost_flow::Digest;
use sealpost_store::{AuditEntry, ContractCheck, Operator, OperatorKey, Role};

use crate::world::{CHANNEL, NOW, World};

fn audit(action: &str) -> AuditEntry {
    AuditEntry {
        at: NOW,
        operator: "王芳".into(),
        action: action.into(),
        subject: None,
        detail: None,
        address: None,
    }
}

async fn actions(world: &World) -> Vec<String> {
    let log = world.audit_log(None, 10).await.unwrap();
    log.into_iter().map(|(_, entry)| entry.action).collect()
}

async fn operator_keys_are_found_by_their_digest_until_revoked(world: World) {
    let key = OperatorKey {
        id: "opk_1".into(),
        name: "监控".into(),
        role: Role::Viewer,
        hash: Digest::of(b"key"),
        created_at: NOW,
        created_by: "王芳".into(),
        revoked_at: None,
    };
    world
        .add_operator_key(key.clone(), audit("operator_key.add"))
        .await
        .unwrap();
    let found = world.find_operator_key(&key.hash).await.unwrap();
    assert_eq!(found.as_ref(), Some(&key));
    let other = world.find_operator_key(&Digest::of(b"other")).await;
    assert_eq!(other.unwrap(), None);

    let revoke = async |id, at| {
        world
            .revoke_operator_key(id, at, audit("operator_key.revoke"))
            .await
            .unwrap()
    };
    assert!(!revoke("opk_2", NOW).await, "there is no such key");
    assert!(revoke("opk_1", NOW + 1).await);
    assert!(revoke("opk_1", NOW + 2).await);
    let revoked = OperatorKey {
        revoked_at: Some(NOW + 1),
        ..key
    };
    assert_eq!(world.operator_keys().await.unwrap(), [revoked]);
    assert_eq!(
        actions(&world).await,
        [
            "operator_key.revoke",
            "operator_key.revoke",
            "operator_key.add"
        ]
    );
}

async fn only_an_invited_operator_is_bound_to_a_subject(world: World) {
    let add = async |name: &str, password: &str| {
        let operator = Operator {
            id: format!("op-{name}"),
            name: name.into(),
            role: Role::Viewer,
            password_hash: password.into(),
            subject: None,
            totp_secret: None,
            totp_step: 0,
            failures: 0,
            locked_until: 0,
            created_at: NOW,
            disabled_at: None,
        };
        let added = world.create_operator(operator, audit("operator.add")).await;
        assert!(added.unwrap());
    };
    add("王芳", "$argon2id$…").await;
    add("李雷", "").await;
    add("韩梅", "").await;
    let bind = async |id: &str, subject: &str| {
        world
            .bind_operator(id, subject.into(), audit("operator.bind"))
            .await
    };
    assert!(
        !bind("op-王芳", "s1").await.unwrap(),
        "whoever has a password is not taken over"
    );
    assert!(bind("op-李雷", "s1").await.unwrap());
    assert!(!bind("op-李雷", "s2").await.unwrap(), "bound once");
    assert!(
        bind("op-韩梅", "s1").await.is_err(),
        "that is somebody else"
    );
    let found = world.find_operator_by_subject("s1").await.unwrap().unwrap();
    assert_eq!(found.id, "op-李雷");

    let set = async |role| {
        world
            .set_operator_role("op-李雷", role, audit("operator.role"))
            .await
            .unwrap()
    };
    assert!(!set(Role::Viewer).await, "that is the role already");
    assert!(set(Role::Operator).await);
    assert_eq!(
        actions(&world).await[..2],
        ["operator.role", "operator.bind"]
    );
}

async fn a_check_takes_the_place_of_one_that_is_over_or_silent(world: World) {
    let check = |run: &str, at| ContractCheck {
        channel_id: CHANNEL.into(),
        run: run.into(),
        started_at: at,
        stepped_at: at,
        ended_at: None,
        report: "{}".into(),
    };
    let begin = async |run: &str, at: i64| {
        world
            .begin_contract_check(check(run, at), at - 60)
            .await
            .unwrap()
    };
    assert!(begin("one", NOW).await);
    assert!(!begin("two", NOW + 59).await, "one is under way");
    assert!(begin("three", NOW + 60).await, "one was cut short");
    let ended = ContractCheck {
        ended_at: Some(NOW + 61),
        report: "{\"cases\":[]}".into(),
        ..check("three", NOW + 60)
    };
    assert!(!world.keep_contract_check(check("one", NOW)).await.unwrap());
    assert!(world.keep_contract_check(ended.clone()).await.unwrap());
    let found = world.find_contract_check(CHANNEL).await.unwrap();
    assert_eq!(found, Some(ended));
    assert!(begin("four", NOW + 62).await);
    assert_eq!(world.find_contract_check("none").await.unwrap(), None);
}

on_every_database! {
    operator_keys_are_found_by_their_digest_until_revoked,
    only_an_invited_operator_is_bound_to_a_subject,
    a_check_takes_the_place_of_one_that_is_over_or_silent,
}
