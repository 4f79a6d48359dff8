//! What is done to one flow on different nodes at one moment ends it once, and tells of one end.

use std::time::Instant;

use serde_json::json;

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
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
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
