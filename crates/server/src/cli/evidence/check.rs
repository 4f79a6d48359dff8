//! Recomputes the evidence of a flow offline: from its events alone, and against the PDF. Trusts nothing that the evidence
//! says about itself but what follows from the hash chain.

use std::collections::BTreeSet;

use sealpost_flow::event::{GENESIS, chain_json};
use sealpost_pdf::Report;
use serde_json::Value;

/// Checks the evidence of a completed flow against the report on its PDF.
///
/// # Errors
/// The first thing that does not hold, in words.
pub(in crate::cli) fn check(evidence: &Value, report: &Report) -> Result<(), String> {
    let events = evidence["events"]
        .as_array()
        .ok_or("there are no events in it")?;
    let mut chain = GENESIS;
    for (seq, entry) in (1_u64..).zip(events) {
        let json = entry["canonical_json"]
            .as_str()
            .ok_or_else(|| format!("event {seq} has no canonical JSON"))?;
        let event: Value = serde_json::from_str(json)
            .map_err(|error| format!("event {seq} is no JSON: {error}"))?;
        if event["seq"] != seq {
            return Err(format!(
                "event {seq} is numbered {}: one is missing or was put in",
                event["seq"]
            ));
        }
        if event != entry["event"] {
            return Err(format!(
                "event {seq} is shown as something else than what was chained"
            ));
        }
        chain = chain_json(&chain, json);
        if entry["chain"] != chain.to_string() {
            return Err(format!(
                "the chain breaks at event {seq}: it or one before it was changed"
            ));
        }
    }
    if evidence["chain"]["head"] != chain.to_string() {
        return Err(
            "the chain does not lead to its head: events are missing at the end".to_owned(),
        );
    }
    let happened = |kind: &'static str| {
        events
            .iter()
            .map(|entry| &entry["event"]["what"])
            .filter(move |what| what["kind"] == kind)
    };
    let flow = &evidence["sign_flow"]["sign_flow_id"];
    if happened("created")
        .next()
        .is_none_or(|created| created["sign_flow_id"] != *flow)
    {
        return Err("its events are another flow's".to_owned());
    }
    // What was archived after the end is the completed document with its timestamps renewed.
    if happened("completed").next().is_none()
        || !happened("completed")
            .chain(happened("preserved"))
            .any(|made| made["document"] == report.file_sha256.as_str())
    {
        return Err("the PDF is not the document that the flow was completed with".to_owned());
    }
    let signed: BTreeSet<&str> = report
        .signatures
        .iter()
        .filter_map(|signature| Some(signature.signer.as_ref()?.serial.as_str()))
        .collect();
    match happened("applied").find(|applied| {
        !applied["certificate"]
            .as_str()
            .is_some_and(|serial| signed.contains(serial))
    }) {
        Some(applied) => Err(format!(
            "the PDF has no signature by the certificate {}",
            applied["certificate"]
        )),
        None => Ok(()),
    }
}
