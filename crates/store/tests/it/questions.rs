//! Asks the store everything that it is asked while it serves, so that a test can look at how the databases find the answers. Also
//! part of the store's own tests. What an operation answers is tested elsewhere.

use sealpost_flow::{Actor, Digest, Operation, Status};
use sealpost_store::{
    AuditEntry, CallbackFilter, CallbackId, CallbackState, ContractCheck, FailedSince, Finished,
    FlowFilter, Holder, IdempotencyKey, LaneId, Lease, NewCode, Next, Node, Operator, OperatorKey,
    OperatorSession, Outcome, Pause, Rate, RevokedCertificate, Role, SealedSecret, Store,
    StoredSeal,
};

use super::world::{
    CHANNEL, DAY, NOW, advance, api_key, buyer, callback, commit_of, flow_id, initiator, keep,
    new_flow, sign, token,
};

const ME: Holder = Holder(1);

/// Everything, of a store that has the channel and a started flow, number 1.
pub(crate) async fn ask_everything(store: &Store) {
    flows(store).await;
    callbacks(store).await;
    redeliveries(store).await;
    channels(store).await;
    operators(store).await;
    codes_and_keys(store).await;
    beside(store).await;
}

async fn flows(store: &Store) {
    for asked in 0..16 {
        let filter = FlowFilter {
            channel_id: (asked & 1 != 0).then(|| CHANNEL.into()),
            status: (asked & 2 != 0).then_some(Status::Completed),
            reference: (asked & 4 != 0).then(|| "R-77".into()),
            text: (asked & 8 != 0).then(|| "R-77".into()),
            created_from: (asked & 8 != 0).then_some(NOW - 100),
            ..FlowFilter::default()
        };
        let page = store.list_flows(filter.clone(), None, 20).await.unwrap();
        store.list_flows(filter, page.next, 20).await.unwrap();
    }
    store.find_flow(&flow_id(1)).await.unwrap();
    store.events(&flow_id(1)).await.unwrap();
    store.find_token(&token(1, "file")).await.unwrap();
    let soon = (i64::MIN, None);
    store.flows_due_to_expire(NOW, 10).await.unwrap();
    store.flows_expiring(soon.clone(), NOW, 10).await.unwrap();
    store.flows_to_renew(soon, NOW, 10).await.unwrap();
    store.count_flows_to_renew(NOW, 10).await.unwrap();
    store.sealing_backlog().await.unwrap();
    store.flow_counts().await.unwrap();
    store.flows_by_day(NOW, 0).await.unwrap();

    // Two flows go their ways: one is signed and waits to be sealed, one is revoked.
    let mut new = new_flow(2, NOW);
    new.idempotency = Some(key("create"));
    let signed = keep(store, new).await;
    advance(store, &signed, sign(), &buyer(), NOW + 1).await;
    let claimed = store.claim_flows_to_seal(NOW + 1, NOW + 2, 10).await;
    assert_eq!(claimed.unwrap(), [flow_id(2)]);
    let revoked = keep(store, new_flow(3, NOW)).await;
    let revoke = Operation::Revoke {
        reason: "填错金额".into(),
    };
    let mut commit = commit_of(&revoked, revoke, &initiator(), NOW + 1);
    commit.idempotency = Some(key("revoke"));
    store.commit_flow(commit).await.unwrap();
    let overdue = keep(store, new_flow(4, NOW)).await;
    let late = overdue.flow.expires_at;
    advance(store, &overdue, Operation::Expire, &Actor::SYSTEM, late).await;
}

fn outcome(id: CallbackId, fence: i64, next: Next) -> Outcome {
    let attempt = Finished {
        at: NOW,
        duration_ms: 5,
        http_status: Some(200),
        reason: None,
        detail: None,
        answer: Vec::new().into(),
    };
    Outcome {
        id,
        fence,
        attempt: Some(attempt),
        next,
    }
}

async fn callbacks(store: &Store) {
    store
        .accept_callback(callback(&flow_id(70), "2", NOW))
        .await
        .unwrap();
    store
        .accept_callback(callback(&flow_id(71), "2", NOW))
        .await
        .unwrap();
    let lanes = store.due_lanes().await.unwrap();
    let asks = lanes.iter().map(|lane| (lane.id, 10)).collect();
    let lease = Lease {
        holder: ME,
        until: NOW + 1,
    };
    let claims = store.claim_due(asks, lease, NOW + 1).await.unwrap();
    let taken: Vec<_> = claims.into_iter().flat_map(|claim| claim.taken).collect();
    assert!(taken.len() >= 2, "{taken:?}");
    let outcomes: Vec<Outcome> = taken
        .iter()
        .enumerate()
        .map(|(place, claimed)| {
            let next = match place % 3 {
                0 => Next::Failed(NOW + 1),
                1 => Next::Acknowledged(NOW + 1),
                _ => Next::Due(NOW + 1),
            };
            outcome(claimed.id, claimed.fence, next)
        })
        .collect();
    store.finish(ME, outcomes.into()).await.unwrap();
    store.release_others(Holder(2), NOW).await.unwrap();
    store.backlog(NOW).await.unwrap();
    for state in [
        None,
        Some(CallbackState::Waiting),
        Some(CallbackState::Acknowledged),
        Some(CallbackState::Failed),
    ] {
        for channel_id in [None, Some(CHANNEL.to_owned())] {
            let filter = CallbackFilter {
                channel_id,
                state,
                ..CallbackFilter::default()
            };
            store.callbacks(filter, None, 20).await.unwrap();
        }
    }
    let found = store.find_callback_of_flow(CHANNEL.into(), flow_id(70));
    let found = found.await.unwrap().unwrap();
    store.find_callback(found.id).await.unwrap();
    store.attempts(found.id).await.unwrap();
    store.find_lane_channel(lanes[0].id).await.unwrap();
    store.find_lane_channel(LaneId(-1)).await.unwrap();
    store.channel_figures(NOW).await.unwrap();
}

async fn redeliveries(store: &Store) {
    for channel_id in [None, Some(CHANNEL.to_owned())] {
        let which = FailedSince {
            channel_id: channel_id.clone(),
            since: NOW - 500,
            until: NOW + 1,
        };
        let begun = store.start_redelivery(which, NOW).await.unwrap();
        store.step_redelivery(begun.id, NOW).await.unwrap().unwrap();
        store.find_redelivery(begun.id).await.unwrap().unwrap();
        store.unfinished_redeliveries().await.unwrap();
        store.redeliveries(channel_id, 20).await.unwrap();
    }
    let found = store.find_callback_of_flow(CHANNEL.into(), flow_id(71));
    let id = found.await.unwrap().unwrap().id;
    store.redeliver(id, NOW).await.unwrap();
    store
        .redeliver_once(id, key("redeliver"), NOW)
        .await
        .unwrap();
}

async fn channels(store: &Store) {
    store.read_channel_revision().await.unwrap();
    store.channels().await.unwrap();
    let channel = store.find_channel(CHANNEL).await.unwrap().unwrap();
    store.find_channel_by_name(&channel.name).await.unwrap();
    store
        .set_channel_delivery(CHANNEL, channel.callback_url, channel.schedule)
        .await
        .unwrap();
    let secret = SealedSecret {
        created_at: NOW + 1,
        retires_at: None,
        ciphertext: b"sealed 2".to_vec(),
    };
    store.rotate_secret(CHANNEL, secret, NOW + 2).await.unwrap();
    let pause = Pause {
        at: NOW,
        reason: "test".into(),
    };
    store.pause_channel(CHANNEL, pause).await.unwrap();
    store.resume_channel(CHANNEL).await.unwrap();
    store.add_api_key(api_key("k9", CHANNEL)).await.unwrap();
    store.find_api_key(&Digest::of(b"k9")).await.unwrap();
    store.api_keys(CHANNEL).await.unwrap();
    store.revoke_api_key("k9", NOW).await.unwrap();
    let check = ContractCheck {
        channel_id: CHANNEL.into(),
        run: "r".into(),
        started_at: NOW,
        stepped_at: NOW,
        ended_at: None,
        report: "{}".into(),
    };
    store
        .begin_contract_check(check.clone(), NOW - 1)
        .await
        .unwrap();
    store.keep_contract_check(check).await.unwrap();
    store.find_contract_check(CHANNEL).await.unwrap();
    for (id, channel_id) in [("s1", None), ("s2", Some(CHANNEL.to_owned()))] {
        let seal = StoredSeal {
            id: id.into(),
            channel_id,
            name: "财务".into(),
            spec: "{}".into(),
            created_at: NOW,
        };
        store.create_seal(seal, 10).await.unwrap();
    }
    store.find_seal("s1").await.unwrap();
    store.seals(None).await.unwrap();
    store.seals(Some(CHANNEL)).await.unwrap();
    store.remove_seal("s1").await.unwrap();
}

fn audit() -> AuditEntry {
    AuditEntry {
        at: NOW,
        operator: "王芳".into(),
        action: "test".into(),
        subject: None,
        detail: None,
        address: None,
    }
}

async fn operators(store: &Store) {
    let operator = Operator {
        id: "op".into(),
        name: "王芳".into(),
        role: Role::Viewer,
        password_hash: "one".into(),
        subject: None,
        totp_secret: None,
        totp_step: 0,
        failures: 0,
        locked_until: 0,
        created_at: NOW,
        disabled_at: None,
    };
    store.create_operator(operator, audit()).await.unwrap();
    store.operators().await.unwrap();
    store.find_operator_by_name("王芳").await.unwrap();
    store.find_operator_by_subject("s").await.unwrap();
    store.count_sign_in("王芳", 5, NOW, NOW + 1).await.unwrap();
    store
        .change_password("op", "one".into(), "two".into(), audit())
        .await
        .unwrap();
    store
        .set_totp("op", b"t".to_vec(), 1, audit())
        .await
        .unwrap();
    store.use_totp_step("op", 2).await.unwrap();
    store
        .set_operator_role("op", Role::Operator, audit())
        .await
        .unwrap();
    store
        .bind_operator("op", "s".into(), audit())
        .await
        .unwrap();
    let session = OperatorSession {
        hash: Digest::of(b"cookie"),
        operator_id: "op".into(),
        created_at: NOW,
        seen_at: NOW,
        expires_at: NOW + DAY,
        address: "::1".into(),
        user_agent: None,
    };
    let hash = session.hash;
    store.begin_session(session, audit()).await.unwrap();
    store.find_session(&hash, NOW).await.unwrap().unwrap();
    store.touch_session(&hash, NOW).await.unwrap();
    store.sessions_of("op", NOW).await.unwrap();
    store.end_session(&hash).await.unwrap();
    store.end_sessions("op", Some(&hash)).await.unwrap();
    store.end_sessions("op", None).await.unwrap();
    store
        .reset_operator("op", "three".into(), audit())
        .await
        .unwrap();
    store.disable_operator("op", NOW, audit()).await.unwrap();
    let key = OperatorKey {
        id: "opk".into(),
        name: "监控".into(),
        role: Role::Viewer,
        hash: Digest::of(b"operator key"),
        created_at: NOW,
        created_by: "王芳".into(),
        revoked_at: None,
    };
    let hash = key.hash;
    store.add_operator_key(key, audit()).await.unwrap();
    store.find_operator_key(&hash).await.unwrap();
    store.operator_keys().await.unwrap();
    store
        .revoke_operator_key("opk", NOW, audit())
        .await
        .unwrap();
    store.log_audit(audit()).await.unwrap();
    let log = store.audit_log(None, 1).await.unwrap();
    store.audit_log(Some(log[0].0), 1).await.unwrap();
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey {
        caller_id: CHANNEL.into(),
        key: name.into(),
        request: Digest::of(name.as_bytes()),
        at: NOW,
    }
}

async fn codes_and_keys(store: &Store) {
    let owner = (flow_id(1), 1);
    let code = NewCode {
        owner: owner.clone(),
        digest: Digest::of(b"123456"),
        issued_at: NOW,
        expires_at: NOW + 1,
        next_at: NOW,
        tries: 3,
        rates: vec![Rate {
            key: Digest::of(b"phone"),
            window: DAY,
            limit: 5,
        }],
    };
    store.issue_code(code).await.unwrap();
    store
        .try_code(owner.clone(), Digest::of(b"123456"), NOW)
        .await
        .unwrap();
    store.spend_code(owner.clone()).await.unwrap();
    store
        .withdraw_code(owner, vec![Digest::of(b"phone")])
        .await
        .unwrap();
    store.forget_codes(NOW + 2).await.unwrap();
    store
        .count_within(&Digest::of(b"address"), DAY, 5, NOW)
        .await
        .unwrap();
    let address = Digest::of(b"address");
    store.close_until(&address, NOW + DAY).await.unwrap();
    store.find_limit(&address, 1, NOW).await.unwrap();
    store.forget_rates(NOW + 2 * DAY).await.unwrap();
    store.find_idempotency_key(key("new")).await.unwrap();
    store
        .remember_idempotency_key(key("new"), "one".into())
        .await
        .unwrap();
    store.forget_idempotency_keys(NOW + 30 * DAY).await.unwrap();
}

async fn beside(store: &Store) {
    store
        .keep_credential("a", b"1".to_vec(), NOW)
        .await
        .unwrap();
    store
        .replace_credential("a", b"2".to_vec(), NOW)
        .await
        .unwrap();
    store.find_credential("a").await.unwrap();
    store.credentials().await.unwrap();
    let revoked = RevokedCertificate {
        serial: "0a".into(),
        subject: "CN=a".into(),
        reason: None,
        revoked_at: NOW,
    };
    store.revoke_certificate(revoked).await.unwrap();
    store.is_revoked("0a").await.unwrap();
    store.revoked_certificates().await.unwrap();
    let node = Node {
        id: "n1".into(),
        name: "here".into(),
        documents: "folder 1".into(),
        started_at: NOW,
        seen_at: NOW,
    };
    store.join(node.clone()).await.unwrap();
    store.keep_joined(node).await.unwrap();
    store.nodes(NOW).await.unwrap();
    store.leave("n1").await.unwrap();
    store.prove_writable(NOW).await.unwrap();
    store.refuse_unfinished_copy().await.unwrap();
    store.make_partitions().await.unwrap();
}
