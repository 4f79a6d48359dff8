//! Lists in pages.

use sealpost_flow::{Operation, Status};
use sealpost_store::{Cursor, FlowFilter, PAGE_LIMIT};

use crate::world::{
    CHANNEL, NOW, World, advance, api_key, buyer, channel, flow_id, initiator, keep, new_flow, sign,
};

/// The references on all pages of a list, a page per inner list.
async fn pages(world: &World, filter: &FlowFilter, limit: u32) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = world
            .list_flows(filter.clone(), after, limit)
            .await
            .unwrap();
        pages.push(
            page.items
                .iter()
                .map(|stored| stored.flow.reference.clone())
                .collect(),
        );
        // Through text and back, as a client would.
        after = page.next.map(|cursor| cursor.to_string().parse().unwrap());
        if after.is_none() {
            return pages;
        }
    }
}

async fn listed(world: &World, filter: FlowFilter) -> Vec<String> {
    pages(world, &filter, 100).await.concat()
}

async fn pages_are_newest_first_and_neither_repeat_nor_skip(world: World) {
    // Two share each moment: then the id decides.
    for number in 1..=7 {
        world.keep(number, NOW + i64::from(number / 2)).await;
    }
    let everything = FlowFilter::default();
    let expected = [
        vec!["R-7", "R-6", "R-5"],
        vec!["R-4", "R-3", "R-2"],
        vec!["R-1"],
    ];
    assert_eq!(pages(&world, &everything, 3).await, expected);
    assert_eq!(
        pages(&world, &everything, 7).await.len(),
        1,
        "a full last page promises no other"
    );

    let first = world.list_flows(everything.clone(), None, 3).await.unwrap();
    world.keep(8, NOW + 100).await;
    world.keep(9, NOW - 100).await;
    let second = world.list_flows(everything, first.next, 3).await.unwrap();
    let references: Vec<_> = second
        .items
        .iter()
        .map(|stored| stored.flow.reference.as_str())
        .collect();
    assert_eq!(
        references,
        ["R-4", "R-3", "R-2"],
        "what comes meanwhile moves nothing"
    );
}

async fn filters_combine(world: World) {
    assert!(
        world
            .create_channel(channel("ch-other", "贝壳"), api_key("k2", "ch-other"))
            .await
            .unwrap()
    );
    for number in 1..=4 {
        world.keep(number, NOW + i64::from(number)).await;
    }
    let mut foreign = new_flow(5, NOW + 5);
    foreign.channel_id = "ch-other".into();
    foreign.change.flow.reference = "R-1".into();
    keep(&world, foreign).await;
    let find = async |number| world.find_flow(&flow_id(number)).await.unwrap().unwrap();
    let revoke = Operation::Revoke {
        reason: "填错金额".into(),
    };
    advance(&world, &find(2).await, revoke, &initiator(), NOW).await;
    advance(&world, &find(3).await, sign(), &buyer(), NOW).await;

    let any = FlowFilter::default;
    let ours = || FlowFilter {
        channel_id: Some(CHANNEL.into()),
        ..any()
    };
    assert_eq!(
        listed(&world, any()).await,
        ["R-1", "R-4", "R-3", "R-2", "R-1"]
    );
    assert_eq!(listed(&world, ours()).await, ["R-4", "R-3", "R-2", "R-1"]);
    let status = |status, filter| FlowFilter {
        status: Some(status),
        ..filter
    };
    assert_eq!(
        listed(&world, status(Status::Signing, ours())).await,
        ["R-4", "R-3", "R-1"],
        "sealing is 1 too"
    );
    assert_eq!(
        listed(&world, status(Status::Revoked, any())).await,
        ["R-2"]
    );
    assert_eq!(
        listed(&world, status(Status::Expired, any())).await,
        [""; 0]
    );
    let reference = |filter| FlowFilter {
        reference: Some("R-1".into()),
        ..filter
    };
    assert_eq!(listed(&world, reference(any())).await.len(), 2);
    assert_eq!(listed(&world, reference(ours())).await.len(), 1);
    assert_eq!(
        listed(&world, reference(status(Status::Revoked, ours())))
            .await
            .len(),
        0
    );
    let time = FlowFilter {
        created_from: Some(NOW + 2),
        created_before: Some(NOW + 4),
        ..any()
    };
    assert_eq!(pages(&world, &time, 1).await, [["R-3"], ["R-2"]]);
    let text = |text: &str| FlowFilter {
        text: Some(text.into()),
        ..any()
    };
    assert_eq!(listed(&world, text("单元3室")).await, ["R-3"]);
    assert_eq!(listed(&world, text("张*")).await.len(), 5);
    assert_eq!(
        listed(&world, text("%")).await.len(),
        0,
        "no pattern, just text"
    );
}

async fn a_page_has_a_limit(world: World) {
    for number in 0..=PAGE_LIMIT {
        world.keep(number, NOW).await;
    }
    let page = world
        .list_flows(FlowFilter::default(), None, u32::MAX)
        .await
        .unwrap();
    assert_eq!(page.items.len(), PAGE_LIMIT as usize);
    let page = world
        .list_flows(FlowFilter::default(), page.next, 0)
        .await
        .unwrap();
    assert_eq!((page.items.len(), page.next), (1, None));
}

on_every_database! {
    pages_are_newest_first_and_neither_repeat_nor_skip,
    filters_combine,
    a_page_has_a_limit,
}
