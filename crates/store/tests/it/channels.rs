//! Channels, secrets, API keys, credentials.

use std::time::Duration;

use sealpost_flow::Digest;
use sealpost_store::{Pause, SealedSecret};

use crate::world::{CHANNEL, DAY, NOW, World, api_key, channel};

async fn a_channel_is_found_by_id_and_by_name(world: World) {
    let expected = channel(CHANNEL, "链家");
    assert_eq!(
        world.find_channel(CHANNEL).await.unwrap(),
        Some(expected.clone())
    );
    assert_eq!(
        world.find_channel_by_name("链家").await.unwrap(),
        Some(expected.clone())
    );
    assert_eq!(world.find_channel("链家").await.unwrap(), None);
    assert_eq!(world.channels().await.unwrap(), [expected]);
}

async fn a_name_is_taken_once(world: World) {
    let second = world
        .create_channel(channel("ch-2", "链家"), api_key("k2", "ch-2"))
        .await
        .unwrap();
    assert!(!second);
    assert_eq!(world.find_channel("ch-2").await.unwrap(), None);
    assert_eq!(world.find_api_key(&Digest::of(b"k2")).await.unwrap(), None);
}

async fn address_and_schedule_can_be_changed(world: World) {
    let schedule = "1s,2s,3s".parse().unwrap();
    assert!(
        world
            .set_channel_delivery(CHANNEL, None, schedule)
            .await
            .unwrap()
    );
    assert!(
        !world
            .set_channel_delivery("no such channel", None, schedule)
            .await
            .unwrap()
    );
    let found = world.find_channel(CHANNEL).await.unwrap().unwrap();
    assert_eq!((found.callback_url, found.schedule), (None, schedule));
}

async fn an_old_secret_signs_along_until_it_retires(world: World) {
    let secret = |name: &str, at| SealedSecret {
        created_at: at,
        retires_at: None,
        ciphertext: name.into(),
    };
    let secrets = async || {
        let found = world.find_channel(CHANNEL).await.unwrap().unwrap();
        let secret = |secret: SealedSecret| {
            (
                String::from_utf8(secret.ciphertext).unwrap(),
                secret.retires_at,
            )
        };
        found.secrets.into_iter().map(secret).collect::<Vec<_>>()
    };
    let rotate = async |name, at| {
        world
            .rotate_secret(CHANNEL, secret(name, at), at + DAY)
            .await
            .unwrap()
    };

    assert!(rotate("sealed 2", NOW + 1).await);
    assert_eq!(
        secrets().await,
        [
            ("sealed 2".into(), None),
            ("sealed 1".into(), Some(NOW + 1 + DAY))
        ]
    );
    assert!(rotate("sealed 3", NOW + DAY).await);
    let retired = |name: &str, at| (name.to_owned(), Some(at));
    assert_eq!(
        secrets().await[1..],
        [
            retired("sealed 2", NOW + 2 * DAY),
            retired("sealed 1", NOW + 1 + DAY)
        ]
    );
    assert!(rotate("sealed 4", NOW + 1 + DAY).await);
    assert_eq!(secrets().await.len(), 3, "what no longer signs is gone");
    assert!(
        !world
            .rotate_secret("no such channel", secret("x", NOW), NOW)
            .await
            .unwrap()
    );
}

async fn a_pause_keeps_its_first_reason(world: World) {
    let pause = |at, reason: &str| Pause {
        at,
        reason: reason.into(),
    };
    assert!(
        world
            .pause_channel(CHANNEL, pause(NOW, "410"))
            .await
            .unwrap()
    );
    assert!(
        world
            .pause_channel(CHANNEL, pause(NOW + 1, "by hand"))
            .await
            .unwrap()
    );
    let paused = async || world.find_channel(CHANNEL).await.unwrap().unwrap().paused;
    assert_eq!(paused().await, Some(pause(NOW, "410")));
    assert!(world.resume_channel(CHANNEL).await.unwrap());
    assert_eq!(paused().await, None);
    assert!(!world.resume_channel("no such channel").await.unwrap());
}

async fn keys_are_found_by_their_digest_also_when_revoked(world: World) {
    world.add_api_key(api_key("k2", CHANNEL)).await.unwrap();
    assert!(world.revoke_api_key("k1", NOW + 1).await.unwrap());
    assert!(world.revoke_api_key("k1", NOW + 2).await.unwrap());
    assert!(!world.revoke_api_key("k3", NOW).await.unwrap());
    let revoked_at = async |id: &str| {
        world
            .find_api_key(&Digest::of(id.as_bytes()))
            .await
            .unwrap()
            .map(|key| key.revoked_at)
    };
    assert_eq!(revoked_at("k1").await, Some(Some(NOW + 1)));
    assert_eq!(revoked_at("k2").await, Some(None));
    assert_eq!(revoked_at("k3").await, None);
    assert_eq!(world.api_keys(CHANNEL).await.unwrap().len(), 2);
    world
        .add_api_key(api_key("k4", "no such channel"))
        .await
        .unwrap_err();
}

async fn of_two_who_make_a_credential_both_use_the_first(world: World) {
    assert_eq!(world.find_credential("ca").await.unwrap(), None);
    assert_eq!(
        world
            .keep_credential("ca", b"one".to_vec(), NOW)
            .await
            .unwrap(),
        b"one"
    );
    assert_eq!(
        world
            .another()
            .keep_credential("ca", b"two".to_vec(), NOW)
            .await
            .unwrap(),
        b"one"
    );
    world
        .replace_credential("ca", b"three".to_vec(), NOW)
        .await
        .unwrap();
    assert_eq!(
        world.find_credential("ca").await.unwrap(),
        Some(b"three".to_vec())
    );
}

async fn the_revision_grows_with_whatever_is_remembered(world: World) {
    let whatever = Duration::from_secs(3600);
    assert_eq!(world.channel_revision(whatever), None);
    let mut last = world.read_channel_revision().await.unwrap();
    let mut grown = async |what: &str, expected: bool| {
        // Read by another, to whom this store tells nothing.
        let now = world.another().read_channel_revision().await.unwrap();
        assert_eq!(now > last, expected, "{what}: {last}, then {now}");
        last = now;
    };
    grown("nothing", false).await;
    let keep = world.keep(1, NOW);
    keep.await;
    grown("a flow", false).await;
    let schedule = "1s,2s,3s".parse().unwrap();
    let set = world.set_channel_delivery(CHANNEL, None, schedule);
    set.await.unwrap();
    grown("an address", true).await;
    let pause = Pause {
        at: NOW,
        reason: "for a test".into(),
    };
    world.pause_channel(CHANNEL, pause).await.unwrap();
    grown("a pause", true).await;
    world.resume_channel(CHANNEL).await.unwrap();
    grown("its end", true).await;
    let secret = SealedSecret {
        created_at: NOW + 1,
        retires_at: None,
        ciphertext: b"new".into(),
    };
    let rotate = world.rotate_secret(CHANNEL, secret, NOW + DAY);
    assert!(rotate.await.unwrap());
    grown("a secret", true).await;
    let key = api_key("k2", CHANNEL);
    world.add_api_key(key).await.unwrap();
    grown("a key", true).await;
    assert!(world.revoke_api_key("k2", NOW).await.unwrap());
    grown("its end", true).await;
    let credential = world.replace_credential("channel/x", b"one".to_vec(), NOW);
    credential.await.unwrap();
    grown("a credential", true).await;
    let name_taken = world.create_channel(channel("ch-2", "链家"), api_key("k3", "ch-2"));
    assert!(!name_taken.await.unwrap());
    grown("nothing again", false).await;

    let read = world.read_channel_revision().await.unwrap();
    assert_eq!(world.channel_revision(whatever), Some(read));
    assert_eq!(world.channel_revision(Duration::ZERO), None);
}

#[test]
fn a_sealed_secret_is_not_printed() {
    let secret = SealedSecret {
        created_at: NOW,
        retires_at: None,
        ciphertext: vec![0xaa; 4],
    };
    assert_eq!(
        format!("{secret:?}"),
        "SealedSecret { created_at: 1790000000000, retires_at: None, .. }"
    );
}

on_every_database! {
    a_channel_is_found_by_id_and_by_name,
    a_name_is_taken_once,
    address_and_schedule_can_be_changed,
    an_old_secret_signs_along_until_it_retires,
    a_pause_keeps_its_first_reason,
    keys_are_found_by_their_digest_also_when_revoked,
    of_two_who_make_a_credential_both_use_the_first,
    the_revision_grows_with_whatever_is_remembered,
}
