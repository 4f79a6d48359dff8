//! Lists in pages.

use sealpost_flow::{Operation, Status};
use sealpost_store::{
    CallbackFilter, CallbackId, CallbackState, Cursor, FlowFilter, NewCallback, PAGE_LIMIT,
};

use crate::world::{
    CHANNEL, NOW, World, advance, api_key, buyer, callback, channel, flow_id, initiator, keep,
    new_flow, sign,
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

/// Keeps a callback of another channel, which is made if there is none yet.
async fn keep_callback_of(world: &World, channel_id: &str, number: u32, at: i64) {
    let known = world.find_channel(channel_id).await.unwrap().is_some();
    if !known {
        let key = api_key(&format!("key of {channel_id}"), channel_id);
        let made = world.create_channel(channel(channel_id, channel_id), key);
        assert!(made.await.unwrap());
    }
    let new = NewCallback {
        channel_id: channel_id.into(),
        ..callback(&flow_id(number), "2", at)
    };
    world.accept_callback(new).await.unwrap();
}

async fn callbacks_of_all_channels_in_a_state_are_one_list(world: World) {
    for number in 0..60 {
        let channel_id = format!("ch-{}", number * number % 7);
        keep_callback_of(&world, &channel_id, number, NOW + i64::from(number)).await;
    }
    // Of one channel all have failed, of another all wait; of the rest a third each.
    world
        .tamper(&format!(
            "UPDATE callbacks SET state = (due_at - {NOW}) % 3, ended_at = due_at;
             UPDATE callbacks SET state = 2 WHERE channel_lane = (SELECT id FROM lanes WHERE channel_id = 'ch-1');
             UPDATE callbacks SET state = 0 WHERE channel_lane = (SELECT id FROM lanes WHERE channel_id = 'ch-2')"
        ))
        .unwrap();
    let everything = CallbackFilter::default();
    let all = world
        .callbacks(everything.clone(), None, 100)
        .await
        .unwrap();
    assert_eq!(all.len(), 60);
    for state in [
        CallbackState::Waiting,
        CallbackState::Acknowledged,
        CallbackState::Failed,
    ] {
        for (since, until) in [(None, None), (Some(NOW + 10), Some(NOW + 47))] {
            let within = |at: i64| {
                since.is_none_or(|since| since <= at) && until.is_none_or(|until| at < until)
            };
            let expected: Vec<CallbackId> = all
                .iter()
                .filter(|callback| callback.state == state && within(callback.created_at))
                .map(|callback| callback.id)
                .collect();
            assert!(!expected.is_empty());
            let filter = CallbackFilter {
                state: Some(state),
                since,
                until,
                ..everything.clone()
            };
            for limit in [1, 4, 60] {
                let (mut before, mut listed) = (None, Vec::new());
                loop {
                    let page = world
                        .callbacks(filter.clone(), before, limit)
                        .await
                        .unwrap();
                    assert!(page.iter().all(|callback| callback.state == state));
                    listed.extend(page.iter().map(|callback| callback.id));
                    before = listed.last().copied();
                    if page.len() < limit {
                        break;
                    }
                }
                assert_eq!(listed, expected, "{filter:?} by {limit}");
            }
        }
    }
}

/// Of the channel with the newest callbacks all are acknowledged. Of another, 20,000 older ones wait, and 100 still older ones
/// have failed. Then the planner is told.
const GROW: &str = "
    INSERT INTO callbacks (id, channel_lane, lane_id, sign_flow_id, body, state, round, attempts, due_at, fence, ended_at)
    SELECT (due_at + n) * 4194304, channel_lane, lane_id, 'new' || n, body, 1, 1, 1, due_at + n, 1, due_at + n
    FROM callbacks JOIN lanes ON lanes.id = lane_id, generate_series(1, 20000) AS n WHERE channel_id = 'ch-new';
    INSERT INTO callbacks (id, channel_lane, lane_id, sign_flow_id, body, state, round, attempts, due_at, fence, ended_at)
    SELECT (due_at - n) * 4194304, channel_lane, lane_id, 'old' || n, body, CASE WHEN n <= 20000 THEN 0 ELSE 2 END, 1, 1, due_at - n, 1, due_at - n
    FROM callbacks JOIN lanes ON lanes.id = lane_id, generate_series(1, 20100) AS n WHERE channel_id = 'ch-old';
    ANALYZE";

/// Of 300 further channels each has 300 failed callbacks, by turns. Then the planner is told.
const WIDEN: &str = "
    INSERT INTO lanes (id, channel_id, origin) SELECT 1000 + n, 'wide ' || n, '' FROM generate_series(0, 299) AS n;
    INSERT INTO callbacks (id, channel_lane, lane_id, sign_flow_id, body, state, round, attempts, due_at, fence, ended_at)
    SELECT n * 4194304, 1000 + n % 300, 1000 + n % 300, 'wide' || n, '{}', 2, 1, 1, n, 1, n
    FROM generate_series(CAST(1 AS BIGINT), 90000) AS n;
    ANALYZE";

/// How many entries of indexes over callbacks, and rows past them, have been read.
fn callbacks_read(world: &World) -> u64 {
    // Sessions report what they have read when they end, and these are waited for.
    world.lose_sessions();
    let read = world.ask(
        "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
         WHERE schemaname = current_schema() AND relname = 'callbacks'
         UNION ALL
         SELECT seq_tup_read FROM pg_stat_user_tables
         WHERE schemaname = current_schema() AND relname = 'callbacks'",
    );
    read.iter().map(|row| row[0].parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_postgresql_a_page_of_many_channels_is_merged_by_little_more_than_it_shows() {
    let world = World::postgres().await;
    world
        .tamper(&format!("SET session_replication_role = replica; {WIDEN}"))
        .unwrap();
    let filter = CallbackFilter {
        state: Some(CallbackState::Failed),
        ..CallbackFilter::default()
    };
    for (below, shown) in [(None, 90_000), (Some(70_000), 69_999), (Some(101), 100)] {
        let before = callbacks_read(&world);
        let below = below.map(CallbackId::first_at);
        let page = world.another().callbacks(filter.clone(), below, 200).await;
        let found: Vec<i64> = page.unwrap().iter().map(|each| each.created_at).collect();
        let expected: Vec<i64> = (1..=shown).rev().take(200).collect();
        assert_eq!(found, expected);
        // The page of each of 200 channels would be 40,000.
        let read = callbacks_read(&world) - before;
        assert!((100..3000).contains(&read), "read {read}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_postgresql_a_list_of_callbacks_reads_little_more_than_it_shows() {
    let world = World::postgres().await;
    keep_callback_of(&world, "ch-old", 1, NOW).await;
    keep_callback_of(&world, "ch-new", 2, NOW).await;
    world.tamper(GROW).unwrap();
    let (waiting, failed) = (CallbackState::Waiting, CallbackState::Failed);
    for (channel_id, state, shown) in [
        (None, None, 20),
        (None, Some(waiting), 20),
        (None, Some(CallbackState::Acknowledged), 20),
        (None, Some(failed), 20),
        (Some("ch-old"), None, 20),
        (Some("ch-old"), Some(waiting), 20),
        (Some("ch-old"), Some(failed), 20),
        (Some("ch-new"), Some(waiting), 1),
        (Some("ch-new"), Some(failed), 0),
    ] {
        let filter = CallbackFilter {
            channel_id: channel_id.map(str::to_owned),
            state,
            ..CallbackFilter::default()
        };
        let before = callbacks_read(&world);
        let page = world.another().callbacks(filter.clone(), None, 20).await;
        assert_eq!(page.unwrap().len(), shown, "{filter:?}");
        let read = callbacks_read(&world) - before;
        assert!(
            (shown as u64..500).contains(&read),
            "{filter:?} read {read}"
        );
    }
}

on_every_database! {
    pages_are_newest_first_and_neither_repeat_nor_skip,
    filters_combine,
    a_page_has_a_limit,
    callbacks_of_all_channels_in_a_state_are_one_list,
}
