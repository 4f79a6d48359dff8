//! What must be renewed, and what was revoked.

use sealpost_flow::{Actor, Level, Operation};
use sealpost_store::RevokedCertificate;

use crate::world::{DAY, NOW, World, advance, buyer, flow_id, sign};

async fn documents_are_due_in_the_order_of_their_timestamps(world: World) {
    for (number, days) in [(1, 30), (2, 10), (3, 20)] {
        let kept = world.keep(number, NOW).await;
        advance(&world, &kept, sign(), &buyer(), NOW + 1).await;
        let signed = world.find(&kept).await;
        let base = signed.flow.document;
        let made = sealpost_flow::Digest::of(b"signed");
        let apply = Operation::Apply {
            signer: 1,
            base,
            document: made,
            certificate: "01".into(),
            level: Level::BT,
            downgrade: None,
        };
        advance(&world, &signed, apply, &Actor::SYSTEM, NOW + 2).await;
        let applied = world.find(&kept).await;
        let preserve = Operation::Preserve {
            base: made,
            document: made,
            level: Level::BLTA,
            renew_by: Some(NOW + days * DAY),
            downgrade: None,
        };
        advance(&world, &applied, preserve, &Actor::SYSTEM, NOW + 3).await;
    }
    let due = async |after, days| {
        let found = world.flows_to_renew(after, NOW + days * DAY, 2).await;
        found.unwrap()
    };
    let start = (i64::MIN, None);
    assert_eq!(due(start.clone(), 9).await, []);
    let first = due(start, 30).await;
    assert_eq!(
        first,
        [(NOW + 10 * DAY, flow_id(2)), (NOW + 20 * DAY, flow_id(3))]
    );
    let after = (NOW + 20 * DAY, Some(flow_id(3)));
    assert_eq!(due(after, 30).await, [(NOW + 30 * DAY, flow_id(1))]);
    for (days, at_most, counted) in [(9, 10, 0), (20, 10, 2), (30, 10, 3), (30, 2, 2)] {
        let found = world.count_flows_to_renew(NOW + days * DAY, at_most).await;
        assert_eq!(found.unwrap(), counted);
    }
}

async fn a_certificate_is_revoked_once(world: World) {
    let revoked = |serial: &str, at| RevokedCertificate {
        serial: serial.to_owned(),
        subject: "CN=上海某某置业有限公司".to_owned(),
        reason: Some("key lost".to_owned()),
        revoked_at: at,
    };
    assert!(!world.is_revoked("0a").await.unwrap());
    assert!(
        world
            .revoke_certificate(revoked("0b", NOW + 1))
            .await
            .unwrap()
    );
    assert!(world.revoke_certificate(revoked("0a", NOW)).await.unwrap());
    assert!(
        !world
            .revoke_certificate(revoked("0a", NOW + 9))
            .await
            .unwrap()
    );
    assert!(world.another().is_revoked("0a").await.unwrap());
    assert_eq!(
        world.revoked_certificates().await.unwrap(),
        [revoked("0a", NOW), revoked("0b", NOW + 1)]
    );
}

on_every_database! {
    documents_are_due_in_the_order_of_their_timestamps,
    a_certificate_is_revoked_once,
}
