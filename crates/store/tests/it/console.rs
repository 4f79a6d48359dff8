//! Operators, sessions, the audit log, and the figures that a console draws.

use bytes::Bytes;
use sealpost_flow::{Digest, Operation, Status};
use sealpost_store::{
    AuditEntry, CallbackId, DayCount, Finished, Holder, Lease, NewCallback, Next, Operator,
    OperatorSession, Outcome, Role,
};

use crate::world::{CHANNEL, DAY, NOW, World, advance, callback, flow_id, initiator};

fn operator(name: &str) -> Operator {
    Operator {
        id: format!("op-{name}"),
        name: name.into(),
        role: Role::Operator,
        password_hash: "$argon2id$…".into(),
        totp_secret: None,
        totp_step: 0,
        failures: 0,
        locked_until: 0,
        created_at: NOW,
        disabled_at: None,
        subject: None,
    }
}

fn audit(action: &str) -> AuditEntry {
    AuditEntry {
        at: NOW,
        operator: "王芳".into(),
        action: action.into(),
        subject: Some("subject".into()),
        detail: None,
        address: None,
    }
}

fn session(name: &str, at: i64) -> OperatorSession {
    OperatorSession {
        hash: Digest::of(name.as_bytes()),
        operator_id: "op-王芳".into(),
        created_at: at,
        seen_at: at,
        expires_at: at + DAY,
        address: "192.0.2.7".into(),
        user_agent: None,
    }
}

async fn find(world: &World) -> Operator {
    world.find_operator_by_name("王芳").await.unwrap().unwrap()
}

async fn operators_are_kept_changed_and_logged(world: World) {
    let new = operator("王芳");
    assert!(
        world
            .create_operator(new.clone(), audit("operator.add"))
            .await
            .unwrap()
    );
    assert!(
        !world
            .create_operator(new.clone(), audit("operator.add"))
            .await
            .unwrap(),
        "the name is taken"
    );
    assert_eq!(find(&world).await, new);
    let change = async |id: &str, from: &str, to: &str| {
        world
            .change_password(id, from.into(), to.into(), audit("operator.change"))
            .await
            .unwrap()
    };
    assert!(change("op-王芳", "$argon2id$…", "second").await);
    assert!(!change("op-谁", "$argon2id$…", "second").await);
    let changed = Operator {
        password_hash: "second".into(),
        ..new
    };
    assert_eq!(world.operators().await.unwrap(), [changed]);

    let log = world.audit_log(None, 10).await.unwrap();
    let actions: Vec<_> = log.iter().map(|(_, entry)| entry.action.as_str()).collect();
    assert_eq!(actions, ["operator.change", "operator.add"]);
    assert_eq!(log[0].1, audit("operator.change"));
    assert_eq!(world.audit_log(Some(log[0].0), 10).await.unwrap(), log[1..]);
    for sql in ["UPDATE audit SET at = 0", "DELETE FROM audit"] {
        assert_eq!(
            world.tamper(sql),
            Err("the audit log is append-only".into())
        );
    }
}

async fn a_change_touches_nothing_but_its_own(world: World) {
    world
        .create_operator(operator("王芳"), audit("operator.add"))
        .await
        .unwrap();
    let id = "op-王芳";
    let entry = || audit("operator.change");
    let password = async |from: &str, to: &str| {
        world
            .change_password(id, from.into(), to.into(), entry())
            .await
            .unwrap()
    };
    let totp = async |step| world.set_totp(id, vec![1], step, entry()).await.unwrap();
    let disable = async |id, at| world.disable_operator(id, at, entry()).await.unwrap();

    assert!(totp(7).await);
    assert!(password("$argon2id$…", "second").await);
    assert!(
        !password("$argon2id$…", "third").await,
        "who read the first password comes too late"
    );
    assert!(disable(id, NOW + 1).await);
    assert!(disable(id, NOW + 2).await);
    assert!(!disable("op-谁", NOW).await);
    let disabled = Operator {
        password_hash: "second".into(),
        totp_secret: Some(vec![1]),
        totp_step: 7,
        disabled_at: Some(NOW + 1),
        ..operator("王芳")
    };
    assert_eq!(find(&world).await, disabled);

    let logged = world.audit_log(None, 10).await.unwrap().len();
    assert!(!password("second", "third").await, "it is too late");
    assert!(!totp(8).await);
    assert_eq!(find(&world).await, disabled);
    assert_eq!(world.audit_log(None, 10).await.unwrap().len(), logged);

    let reset = async |id| world.reset_operator(id, "fourth".into(), entry()).await;
    assert!(reset(id).await.unwrap());
    assert!(!reset("op-谁").await.unwrap());
    let let_in = Operator {
        password_hash: "fourth".into(),
        totp_step: 7,
        ..operator("王芳")
    };
    assert_eq!(find(&world).await, let_in);
}

async fn a_time_step_is_used_once(world: World) {
    world
        .create_operator(operator("王芳"), audit("operator.add"))
        .await
        .unwrap();
    let used = async |step| world.use_totp_step("op-王芳", step).await.unwrap();
    assert!(used(7).await);
    assert!(!used(7).await);
    assert!(!used(6).await);
    assert!(used(8).await);
}

async fn attempts_to_sign_in_are_counted_before_they_are_made(world: World) {
    world
        .create_operator(operator("王芳"), audit("operator.add"))
        .await
        .unwrap();
    let until = NOW + DAY;
    let attempt = async |name: &str, now| world.count_sign_in(name, 3, now, until).await.unwrap();
    let state = async || (find(&world).await.failures, find(&world).await.locked_until);
    assert_eq!(attempt("谁", NOW).await, None);
    let counted = Operator {
        failures: 1,
        ..operator("王芳")
    };
    assert_eq!(attempt("王芳", NOW).await, Some(counted));
    world
        .begin_session(session("a", NOW), audit("sign_in"))
        .await
        .unwrap();
    assert_eq!(state().await, (0, 0), "one that succeeds takes it back");

    // Many at once, over two processes: as many as would be let through one after another.
    let stores = [world.another(), world.another()];
    let attempts: Vec<_> = (0..20)
        .map(|index| {
            let store = stores[index % 2].clone();
            tokio::spawn(async move { store.count_sign_in("王芳", 3, NOW, until).await.unwrap() })
        })
        .collect();
    let mut let_through = 0;
    for attempt in attempts {
        let_through += u32::from(attempt.await.unwrap().is_some());
    }
    assert_eq!((let_through, state().await), (3, (0, until)));
    assert_eq!(attempt("王芳", until - 1).await, None);
    assert!(attempt("王芳", until).await.is_some());

    // What was right although it was the last that could be tried does not lock.
    assert!(attempt("王芳", until).await.is_some());
    assert!(attempt("王芳", until).await.is_some());
    world
        .begin_session(session("b", until), audit("sign_in"))
        .await
        .unwrap();
    assert_eq!(state().await, (0, 0));

    world
        .disable_operator("op-王芳", until, audit("operator.disable"))
        .await
        .unwrap();
    assert_eq!(attempt("王芳", until).await, None);
}

async fn sessions_end_by_time_by_hand_and_with_their_operator(world: World) {
    world
        .create_operator(operator("王芳"), audit("operator.add"))
        .await
        .unwrap();
    for (name, at) in [("a", NOW), ("b", NOW + 1), ("c", NOW + 2)] {
        world
            .begin_session(session(name, at), audit("session.begin"))
            .await
            .unwrap();
    }
    let hash = |name: &str| Digest::of(name.as_bytes());
    let found = async |name: &str, now| world.find_session(&hash(name), now).await.unwrap();
    let (kept, owner) = found("a", NOW).await.unwrap();
    assert_eq!((kept, owner), (session("a", NOW), operator("王芳")));
    assert!(found("a", NOW + DAY).await.is_none());

    world.touch_session(&hash("b"), NOW + 50).await.unwrap();
    assert_eq!(found("b", NOW).await.unwrap().0.seen_at, NOW + 50);
    let count = async || world.sessions_of("op-王芳", NOW).await.unwrap().len();
    assert_eq!(count().await, 3);
    world.end_session(&hash("a")).await.unwrap();
    assert_eq!(count().await, 2);
    assert_eq!(
        world
            .end_sessions("op-王芳", Some(&hash("b")))
            .await
            .unwrap(),
        1
    );
    assert_eq!(world.end_sessions("op-王芳", None).await.unwrap(), 1);
    assert_eq!(count().await, 0);

    world
        .begin_session(session("d", NOW), audit("session.begin"))
        .await
        .unwrap();
    world
        .disable_operator("op-王芳", NOW, audit("operator.disable"))
        .await
        .unwrap();
    assert!(found("d", NOW).await.is_none());
}

async fn figures_count_flows_by_day_and_callbacks_by_channel(world: World) {
    let midnight = NOW - NOW % DAY;
    for (number, at) in [(1, midnight), (2, midnight + DAY - 1), (3, midnight + DAY)] {
        world.keep(number, at).await;
    }
    let revoked = world.find_flow(&flow_id(1)).await.unwrap().unwrap();
    let revoke = Operation::Revoke {
        reason: "填错金额".into(),
    };
    advance(&world, &revoked, revoke, &initiator(), midnight).await;
    let day = |day, status, flows| DayCount { day, status, flows };
    let mut days = world.flows_by_day(midnight, 0).await.unwrap();
    days.sort_by_key(|count| (count.day, count.status));
    let expected = [
        day(midnight, Status::Signing, 1),
        day(midnight, Status::Revoked, 1),
        day(midnight + DAY, Status::Signing, 1),
    ];
    assert_eq!(days, expected);

    let lane = {
        let new = NewCallback {
            id: CallbackId::new(midnight, 9),
            ..callback(&flow_id(9), "2", midnight)
        };
        world.accept_callback(new).await.unwrap();
        world.due_lanes().await.unwrap()[0].id
    };
    let lease = Lease {
        holder: Holder(1),
        until: midnight + 1000,
    };
    let claimed = world
        .claim_due(vec![(lane, 10)], lease, midnight)
        .await
        .unwrap()
        .remove(0)
        .taken;
    let finished = |duration_ms| Finished {
        at: midnight,
        duration_ms,
        http_status: Some(200),
        reason: None,
        detail: None,
        answer: Bytes::new(),
    };
    let outcomes = claimed
        .iter()
        .zip([10, 30])
        .map(|(claimed, duration)| Outcome {
            id: claimed.id,
            fence: claimed.fence,
            attempt: Some(finished(duration)),
            next: Next::Acknowledged(midnight),
        });
    assert_eq!(
        world.finish(Holder(1), outcomes.collect()).await.unwrap(),
        [true, true]
    );
    let figures = world.channel_figures(midnight).await.unwrap().remove(0);
    assert_eq!(figures.channel_id, CHANNEL);
    assert_eq!(
        (
            figures.waiting,
            figures.acknowledged,
            figures.failed,
            figures.attempts
        ),
        (0, 2, 0, 2)
    );
    assert_eq!((figures.median_ms, figures.p95_ms), (Some(10), Some(30)));
}

on_every_database! {
    operators_are_kept_changed_and_logged,
    a_change_touches_nothing_but_its_own,
    a_time_step_is_used_once,
    attempts_to_sign_in_are_counted_before_they_are_made,
    sessions_end_by_time_by_hand_and_with_their_operator,
    figures_count_flows_by_day_and_callbacks_by_channel,
}
