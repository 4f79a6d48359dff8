//! What is done to one flow on different nodes at one moment ends it once, and tells of one end.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use super::Shared;
use crate::support::{Channel, Flow, PATIENCE, TestApp, receipt, receipt_for, signature};

/// Rounds of each kind of race.
const ROUNDS: usize = 4;

/// The state of a flow once it has ended, which all nodes must agree on, and its only callback.
async fn ended(channel: &Channel, nodes: &[TestApp], flow: &Flow) -> String {
    let begun = Instant::now();
    let shown = loop {
        let shown = channel.show(flow).await;
        if matches!(
            shown["sign_flow_status"].as_str(),
            Some("2" | "3" | "5" | "7")
        ) {
            break shown;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end: {shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for node in nodes {
        let there = channel.through(node).show(flow).await;
        assert_eq!(there["sign_flow_status"], shown["sign_flow_status"]);
    }
    let status = shown["sign_flow_status"].as_str().unwrap().to_owned();
    assert_eq!(channel.received(flow).await.sign_flow_status.code(), status);
    let callbacks = channel
        .get(&format!("/v1/callbacks?sign_flow_id={}", flow.id))
        .await
        .json();
    assert_eq!(
        callbacks["data"].as_array().unwrap().len(),
        1,
        "{callbacks}"
    );
    let told = channel.all_received();
    let mut told = told
        .iter()
        .filter(|callback| callback.sign_flow_id.as_str() == flow.id);
    assert!(told.all(|callback| callback.sign_flow_status.code() == status));
    status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_revoke_and_reject_at_one_moment() {
    let shared = Shared::start("race").await;
    let nodes: [TestApp; 3] = shared.nodes().await;
    let [a, b, c] = &nodes;
    let channel = a.channel("lianjia").await;
    let mut ends = Vec::new();
    for round in 0..ROUNDS {
        let flow = channel.create_flow(receipt_for(&["张三"])).await;
        let (png, signer) = (signature(), a.signer("张三"));
        let (signing, rejecting) = (signer.through(b), signer.through(c));
        let revoking = channel.through(&nodes[round % 3]);
        let (path, reason) = (
            format!("/v1/sign-flows/{}/revoke", flow.id),
            json!({ "reason": "重开" }),
        );
        let (signed, rejected, revoked) = tokio::join!(
            signing.tries_to_sign(&png),
            rejecting.tries_to_reject("金额不对"),
            revoking.post(&path, &reason)
        );
        let accepted = [signed, rejected, revoked].map(|answer| answer.status.as_u16());
        for status in accepted {
            assert!([200, 409].contains(&status), "{accepted:?}");
        }
        // Revoking also ends what is being sealed, so that a signature may have been accepted before.
        assert!(accepted.contains(&200), "{accepted:?}");
        ends.push(ended(&channel, &nodes, &flow).await);
    }
    println!("ended as {ends:?}");
    for node in nodes {
        node.stop().await;
    }
}

/// Numbers that look random, and are the same for the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Signing, revoking, rejecting and the deadline strike many flows around one moment, each on a node by chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_four_at_one_moment() {
    const BATCHES: usize = 3;
    const FLOWS: usize = 8;
    let seed = std::env::var("TEST_SEED").map_or_else(
        |_| u64::from(std::process::id()) ^ std::time::UNIX_EPOCH.elapsed().unwrap().as_secs(),
        |seed| seed.parse().unwrap(),
    );
    println!("TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let shared = Shared::start("four").await;
    let nodes: [TestApp; 3] = shared.nodes().await;
    let channel = nodes[0].channel("lianjia").await;
    let png = signature();
    // How long before the deadline the first act is, in milliseconds; the last is as long after it.
    let mut lead = 300;
    let mut ends: HashMap<String, usize> = HashMap::new();
    for batch in 0..BATCHES {
        // The deadline is a day away, and the clocks are moved to just before it.
        let deadline = nodes[0].app().now() + 24 * 3_600_000;
        let mut flows = Vec::new();
        for _ in 0..FLOWS {
            let mut request = receipt_for(&["张三"]);
            let expires_at = jiff::Timestamp::from_millisecond(deadline).unwrap();
            request["expires_at"] = expires_at.to_string().into();
            let flow = channel.create_flow(request).await;
            flows.push((flow, nodes[0].signer("张三")));
        }
        for node in &nodes {
            node.app().move_clock(deadline - lead - node.app().now());
        }
        let wait = |dice: &mut Dice| Duration::from_millis(dice.below(2 * lead as u64));
        let mut acts = JoinSet::new();
        for (flow, signer) in &flows {
            let at = [(); 3].map(|()| dice.below(3) as usize);
            let (signing, rejecting) =
                (signer.through(&nodes[at[0]]), signer.through(&nodes[at[1]]));
            let revoking = channel.through(&nodes[at[2]]);
            let path = format!("/v1/sign-flows/{}/revoke", flow.id);
            let (first, second, third) = (wait(&mut dice), wait(&mut dice), wait(&mut dice));
            let png = png.clone();
            acts.spawn(async move {
                tokio::time::sleep(first).await;
                signing.tries_to_sign(&png).await.status
            });
            acts.spawn(async move {
                tokio::time::sleep(second).await;
                rejecting.tries_to_reject("金额不对").await.status
            });
            acts.spawn(async move {
                tokio::time::sleep(third).await;
                revoking
                    .post(&path, &json!({ "reason": "重开" }))
                    .await
                    .status
            });
        }
        while let Some(status) = acts.join_next().await {
            let status = status.unwrap().as_u16();
            // Whoever comes too late is told so, and nobody of a fault.
            assert!(
                [200, 409, 410].contains(&status),
                "{status}; TEST_SEED={seed}"
            );
        }
        let before = ends.get("5").copied().unwrap_or_default();
        for (flow, _) in &flows {
            *ends.entry(ended(&channel, &nodes, flow).await).or_default() += 1;
        }
        if ends.get("5").copied().unwrap_or_default() - before == FLOWS && batch + 1 < BATCHES {
            // The machine is so busy that nobody was in time.
            lead *= 4;
        }
    }
    println!("ended as {ends:?}");
    let told: HashSet<_> = channel
        .all_received()
        .iter()
        .map(|told| told.sign_flow_id.to_string())
        .collect();
    assert_eq!(told.len(), BATCHES * FLOWS);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_strike_once() {
    let shared = Shared::start("expiry").await;
    let nodes: [TestApp; 3] = shared.nodes().await;
    let channel = nodes[0].channel("lianjia").await;
    let mut flows = Vec::new();
    for round in 0..ROUNDS {
        let through = channel.through(&nodes[round % 3]);
        flows.push(through.create_flow(receipt_for(&["张三"])).await);
    }
    for node in &nodes {
        node.app().move_clock(8 * 24 * 3_600_000);
    }
    // One of them is revoked in the same moment, elsewhere.
    let path = format!("/v1/sign-flows/{}/revoke", flows[0].id);
    let revoked = channel
        .through(&nodes[2])
        .post(&path, &json!({ "reason": "重开" }))
        .await;
    assert!([200, 409].contains(&revoked.status.as_u16()));
    for flow in &flows {
        let end = ended(&channel, &nodes, flow).await;
        let expected: &[&str] = if flow.id == flows[0].id {
            &["3", "5"]
        } else {
            &["5"]
        };
        assert!(expected.contains(&end.as_str()), "{end}");
    }
    for node in nodes {
        node.stop().await;
    }
}

/// Such as one that a newer version has written so that this one cannot read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_that_cannot_be_ended_keeps_no_other_from_its_deadline() {
    let shared = Shared::start("unreadable").await;
    let node = shared.node().await;
    let channel = node.channel("lianjia").await;
    let first = channel.create_flow(receipt_for(&["张三"])).await;
    let second = channel.create_flow(receipt_for(&["李四"])).await;
    let (database, connection) = tokio_postgres::connect(&shared.database.url, NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let spoil = format!(
        "UPDATE flows SET body = '{{}}', expires_at = expires_at - 60000 WHERE id = '{}'",
        first.id
    );
    database.batch_execute(&spoil).await.unwrap();
    node.app().move_clock(8 * 24 * 3_600_000);
    assert_eq!(ended(&channel, &[], &second).await, "5");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealing_happens_once() {
    let shared = Shared::start("sealing").await;
    let nodes: [TestApp; 3] = shared.nodes().await;
    let channel = nodes[0].channel("lianjia").await;
    for round in 0..ROUNDS {
        let flow = channel
            .through(&nodes[round % 3])
            .create_flow(receipt())
            .await;
        let signer = nodes[0].signer("张三").through(&nodes[(round + 1) % 3]);
        signer.signs().await;
        assert_eq!(ended(&channel, &nodes, &flow).await, "2");
        let evidence = channel
            .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
            .await
            .json()
            .to_string();
        assert_eq!(
            evidence.matches("\"kind\":\"applied\"").count(),
            2,
            "{evidence}"
        );
        assert_eq!(
            evidence.matches("\"kind\":\"completed\"").count(),
            1,
            "{evidence}"
        );
        assert!(!evidence.contains("sealing_failed"), "{evidence}");
    }
    for node in nodes {
        node.stop().await;
    }
}
