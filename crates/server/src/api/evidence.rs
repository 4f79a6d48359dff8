//! `GET /v1/sign-flows/{id}/evidence`: everything that an auditor needs to judge a flow without us.

mod report;
pub(crate) mod timeline;

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use sealpost_flow::{Happening, SignerNo, Step, event};
use sealpost_store::{StoredEvent, StoredFlow};
use serde_json::{Value, json};

use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};

use super::sign_flows::{own_flow, sign_flow};
use super::time;
use crate::app::App;
use crate::app::flows::Caller;
use crate::pages::lang::Lang;
use crate::problem::Problem;
use crate::web::{Fields, Query};

/// `GET /v1/sign-flows/{id}/evidence`
pub(crate) async fn show_evidence(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query,
) -> Result<Response, Problem> {
    let format = format_of(query)?;
    let stored = own_flow(&app, &caller, id).await?;
    match format {
        Format::Json => Ok(JsonAnswer(evidence(&app, &stored).await?).into_response()),
        Format::Report(language) => report_answer(&app, &stored, language).await,
    }
}

/// What evidence is handed out as.
pub(super) enum Format {
    Json,
    Report(Lang),
}

/// The format that a query asks for; it must hold nothing else.
pub(super) fn format_of(mut query: Fields) -> Result<Format, Problem> {
    let is_report = query.find_word("format", &[("json", false), ("pdf", true)]);
    let languages = [("zh", Lang::Zh), ("en", Lang::En)];
    let language = query.find_word("language", &languages).unwrap_or(Lang::Zh);
    query.finish()?;
    Ok(match is_report {
        Some(true) => Format::Report(language),
        _ => Format::Json,
    })
}

/// The evidence as a sealed report, for the API and the console.
pub(crate) async fn report_answer(
    app: &App,
    stored: &StoredFlow,
    language: Lang,
) -> Result<Response, Problem> {
    let pdf = report::report(app, stored, language).await?;
    let name = format!("{}-evidence-{}.pdf", stored.flow.id, language.short());
    let headers = [
        (CONTENT_TYPE, "application/pdf".to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, pdf).into_response())
}

/// The evidence as a sealed report.
pub(crate) use report::report as sealed_report;

/// The evidence of a flow, for the API and the console.
pub(crate) async fn evidence(app: &App, stored: &StoredFlow) -> Result<Value, Problem> {
    let flow = &stored.flow;
    let stored_events = app.store().events(&flow.id).await?;
    let signers: Vec<Value> = flow
        .signers
        .iter()
        .map(|signer| shown_signer(signer, &stored_events))
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
    let document = app.store().document(&flow.newest()).await?;
    let report = app.verify(document.into()).await?;
    let (subject, validity) = app.authority_subject();
    Ok(json!({
        "made_at": time(app.now()),
        "sign_flow": without_links(sign_flow(app, stored)),
        "signers": signers,
        "documents": {
            "original_sha256": flow.original.to_string(),
            "current_sha256": flow.document.to_string(),
            "archived_sha256": flow.archived.map(|archived| archived.to_string()),
        },
        "events": events,
        "chain": {
            "rule": "chain(n) = SHA-256(chain(n-1) || canonical_json(n)); chain(0) is 32 zero bytes; canonical JSON after RFC 8785",
            "genesis": event::GENESIS.to_string(),
            "head": stored.chain_head.to_string(),
        },
        "signatures": super::verify::shown(&report),
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

/// What a signer agreed to last, as the events have it.
fn consent(events: &[StoredEvent], no: SignerNo) -> Value {
    let found = events
        .iter()
        .rev()
        .find_map(|stored| match &stored.event.what {
            Happening::Agreed {
                signer,
                consent,
                digest,
                language,
            } if *signer == no => Some(json!({
                "text": consent,
                "sha256": digest.to_string(),
                "language": language,
                "at": time(stored.event.at),
            })),
            _ => None,
        });
    found.unwrap_or_default()
}

/// How a signer proved who they are, as the events have it.
fn authentication(events: &[StoredEvent], signer: &sealpost_flow::Signer) -> Value {
    if signer.party.is_automatic() {
        return json!({ "method": "automatic_seal" });
    }
    let found = events
        .iter()
        .rev()
        .find_map(|stored| match &stored.event.what {
            Happening::Authenticated {
                signer: no,
                method,
                contact,
            } if *no == signer.no => Some(json!({
                "method": method,
                "contact": contact,
                "at": time(stored.event.at),
            })),
            _ => None,
        });
    found.unwrap_or_else(|| json!({ "method": "link" }))
}

fn shown_signer(signer: &sealpost_flow::Signer, events: &[StoredEvent]) -> Value {
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
        "authentication": authentication(events, signer),
        "consent": consent(events, signer.no),
        "signed": intent.map(|intent| json!({
            "at": time(intent.at),
            "address": intent.address,
            "mark_sha256": intent.mark.map(|mark| mark.to_string()),
            "document_sha256": intent.document.to_string(),
        })),
        "applied": applied,
    })
}
