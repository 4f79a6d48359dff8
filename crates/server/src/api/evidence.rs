//! `GET /v1/sign-flows/{id}/evidence`: everything that an auditor needs to judge a flow without us.

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use sealpost_flow::{Happening, Party, SignerNo, Step, event};
use sealpost_store::{StoredEvent, StoredFlow};
use serde_json::{Value, json};

use super::sign_flows::{own_flow, sign_flow};
use super::time;
use crate::app::App;
use crate::app::flows::Caller;
use crate::problem::Problem;

/// `GET /v1/sign-flows/{id}/evidence`
pub(crate) async fn show_evidence(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let stored = own_flow(&app, &caller, id).await?;
    Ok(JsonAnswer(evidence(&app, &stored).await?).into_response())
}

/// The evidence of a flow, for the API and the console.
pub(crate) async fn evidence(app: &App, stored: &StoredFlow) -> Result<Value, Problem> {
    let flow = &stored.flow;
    let stored_events = app.store().events(&flow.id).await?;
    let signers: Vec<Value> = flow
        .signers
        .iter()
        .map(|signer| shown_signer(signer, agreement(&stored_events, signer.no)))
        .collect();
    let events: Vec<Value> = stored_events
        .iter()
        .map(|stored| {
            json!({
                "event": serde_json::from_str::<Value>(&stored.json).unwrap_or_default(),
                "canonical_json": stored.json,
                "at": time(stored.event.at),
                "chain": stored.chain.to_string(),
            })
        })
        .collect();
    let document = app.store().document(&flow.document).await?;
    let report = app.verify(document.into()).await?;
    let (subject, validity) = app.authority_subject();
    Ok(json!({
        "made_at": time(app.now()),
        "sign_flow": without_links(sign_flow(app, stored)),
        "signers": signers,
        "documents": {
            "original_sha256": flow.original.to_string(),
            "current_sha256": flow.document.to_string(),
        },
        "events": events,
        "chain": {
            "rule": "chain(n) = SHA-256(chain(n-1) || canonical_json(n)); chain(0) is 32 zero bytes; canonical JSON after RFC 8785",
            "genesis": event::GENESIS.to_string(),
            "head": stored.chain_head.to_string(),
        },
        "signatures": report,
        "authority": {
            "subject": subject,
            "licensed": false,
            "not_before": time(validity.not_before),
            "not_after": time(validity.not_after),
            "certificate_pem": app.authority_pem(),
        },
    }))
}

/// Evidence is handed on to others, who must not be able to sign with it.
fn without_links(mut sign_flow: Value) -> Value {
    let signers = sign_flow.get_mut("signers").and_then(Value::as_array_mut);
    for signer in signers.into_iter().flatten() {
        if let Some(signer) = signer.as_object_mut() {
            signer.remove("sign_url");
        }
    }
    sign_flow
}

/// What a signer agreed to last, and how they proved who they are, as the events have it.
fn agreement(events: &[StoredEvent], no: SignerNo) -> Option<(&str, Option<&str>)> {
    events
        .iter()
        .rev()
        .find_map(|stored| match &stored.event.what {
            Happening::Agreed {
                signer,
                consent,
                verified,
            } if *signer == no => Some((consent.as_str(), verified.as_deref())),
            _ => None,
        })
}

fn shown_signer(signer: &sealpost_flow::Signer, agreement: Option<(&str, Option<&str>)>) -> Value {
    let intent = match &signer.step {
        Step::Signed { intent } | Step::Applied { intent, .. } => Some(intent),
        Step::Waiting | Step::Open { .. } | Step::Rejected { .. } => None,
    };
    let applied = match &signer.step {
        Step::Applied {
            at,
            document,
            certificate,
            ..
        } => Some(json!({
            "at": time(*at),
            "document_sha256": document.to_string(),
            "certificate_serial": certificate,
        })),
        _ => None,
    };
    json!({
        "number": signer.no,
        "name": signer.party.name(),
        "authentication": match (&signer.party, agreement) {
            (Party::Organization { automatic: true, .. }, _) => "automatic seal".to_owned(),
            (_, Some((_, Some(verified)))) => format!("secret link, {verified}"),
            (_, _) => "secret link".to_owned(),
        },
        "consent": agreement.map(|(consent, _)| consent),
        "signed": intent.map(|intent| json!({
            "at": time(intent.at),
            "address": intent.address,
            "mark_sha256": intent.mark.map(|mark| mark.to_string()),
            "document_sha256": intent.document.to_string(),
        })),
        "applied": applied,
    })
}
