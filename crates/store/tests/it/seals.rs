//! Seals that are kept under a name.

use sealpost_store::{NewSeal, StoredSeal};

use crate::world::{CHANNEL, NOW, World, api_key, channel};

fn seal(id: &str, channel_id: Option<&str>, name: &str) -> StoredSeal {
    StoredSeal {
        id: id.into(),
        channel_id: channel_id.map(str::to_owned),
        name: name.into(),
        spec: r#"{"kind":"name","name":"张三"}"#.into(),
        created_at: NOW,
    }
}

async fn a_channel_has_its_own_seals_and_those_for_all(world: World) {
    world
        .create_channel(channel("ch-2", "贝壳"), api_key("k2", "ch-2"))
        .await
        .unwrap();
    let [own, all, other] = [
        seal("s1", Some(CHANNEL), "财务"),
        seal("s2", None, "合同"),
        seal("s3", Some("ch-2"), "财务"),
    ];
    for seal in [&own, &all, &other] {
        let kept = world.create_seal(seal.clone(), 10).await.unwrap();
        assert_eq!(kept, NewSeal::Created);
    }
    assert_eq!(
        world.seals(Some("ch-2")).await.unwrap(),
        sorted([&other, &all])
    );
    assert_eq!(
        world.seals(Some(CHANNEL)).await.unwrap(),
        sorted([&own, &all])
    );
    assert_eq!(world.seals(None).await.unwrap().len(), 3);
    assert_eq!(world.find_seal("s1").await.unwrap(), Some(own));
    assert_eq!(world.find_seal("s4").await.unwrap(), None);
}

fn sorted<const N: usize>(seals: [&StoredSeal; N]) -> Vec<StoredSeal> {
    let mut seals = seals.map(Clone::clone);
    seals.sort_by(|one, other| one.name.cmp(&other.name));
    seals.into()
}

async fn names_are_taken_once_and_there_is_a_limit(world: World) {
    let keep = async |seal, most| world.create_seal(seal, most).await.unwrap();
    assert_eq!(keep(seal("s1", None, "甲"), 2).await, NewSeal::Created);
    assert_eq!(keep(seal("s2", None, "甲"), 2).await, NewSeal::NameTaken);
    assert_eq!(
        keep(seal("s3", Some(CHANNEL), "甲"), 2).await,
        NewSeal::Created
    );
    assert_eq!(keep(seal("s4", None, "乙"), 2).await, NewSeal::Created);
    assert_eq!(keep(seal("s5", None, "丙"), 2).await, NewSeal::TooMany);
}

async fn of_many_who_keep_one_at_once_no_more_are_let_through(world: World) {
    let stores = [world.another(), world.another()];
    let keeping: Vec<_> = (0..12)
        .map(|number| {
            let (store, id) = (stores[number % 2].clone(), format!("s{number}"));
            tokio::spawn(async move { store.create_seal(seal(&id, None, &id), 3).await })
        })
        .collect();
    let mut created = 0;
    for each in keeping {
        created += usize::from(each.await.unwrap().unwrap() == NewSeal::Created);
    }
    assert_eq!(created, 3);
    assert_eq!(world.seals(None).await.unwrap().len(), 3);
}

async fn a_removed_seal_is_gone_once(world: World) {
    world.create_seal(seal("s1", None, "甲"), 2).await.unwrap();
    assert!(world.remove_seal("s1").await.unwrap());
    assert!(!world.remove_seal("s1").await.unwrap());
    assert_eq!(world.find_seal("s1").await.unwrap(), None);
}

on_every_database! {
    a_channel_has_its_own_seals_and_those_for_all,
    names_are_taken_once_and_there_is_a_limit,
    of_many_who_keep_one_at_once_no_more_are_let_through,
    a_removed_seal_is_gone_once,
}
