//! Sign flows: found, one with everything that happened to it, revoked, reminded.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, header};
use sealpost_contract::SignFlowId;
use sealpost_flow::{Event, Flow, Party, Step};
use sealpost_pdf::Verdict;
use sealpost_store::{Cursor, FlowFilter, Role, StoredFlow};

use super::Words;
use super::session::{Action, Signed};
use super::view::{
    Badge, FactRow, FlowPage, FlowRow, FlowsPage, Section, SignatureRow, SignerRow, TimelineRow,
};
use crate::api::evidence::timeline::{tell, tell_who};
use crate::app::App;
use crate::pages::signing::page_image_of;
use crate::problem::Problem;
use crate::web;

const ROWS: u32 = 50;

/// `GET /console/flows`: `?q=` (an id, or part of a reference, project, room or masked payer), `?status=`, `?channel=`,
/// `?after=`.
pub(crate) async fn list(
    State(app): State<App>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    let text = query.find_text("q", 1..=64).unwrap_or_default();
    let status = query.find_text("status", 1..=16).unwrap_or_default();
    let channel = query.find_text("channel", 1..=64).unwrap_or_default();
    let from = query.find_text("from", 10..=10).unwrap_or_default();
    let to = query.find_text("to", 10..=10).unwrap_or_default();
    let after = query
        .find_text("after", 1..=200)
        .and_then(|text| text.parse::<Cursor>().ok());
    if let Ok(id) = SignFlowId::try_from(text.clone())
        && let Ok(Some(_)) = app.store().find_flow(&id).await
    {
        return Ok(Redirect::to(&format!("/console/flows/{id}")).into_response());
    }
    let words = Words::of(&app, signed.reader.lang);
    let filter = FlowFilter {
        text: (!text.is_empty()).then(|| text.clone()),
        status: sealpost_flow::Status::ALL
            .into_iter()
            .find(|known| known.code() == status),
        channel_id: (!channel.is_empty()).then(|| channel.clone()),
        created_from: words.midnight(&from, 0),
        created_before: words.midnight(&to, 1),
        ..FlowFilter::default()
    };
    let found = async {
        let page = app.list_flows(filter, after, ROWS).await?;
        Ok::<_, Problem>((page, app.channels().await?))
    };
    let (page, channels) = found.await.map_err(|problem| signed.problem(&problem))?;
    let name_of = |id: &str| {
        channels
            .iter()
            .find(|channel| channel.id == id)
            .map(|channel| channel.name.clone())
            .unwrap_or_default()
    };
    let row = |stored: &StoredFlow| FlowRow {
        id: stored.flow.id.to_string(),
        title: stored.flow.title.clone(),
        reference: stored.flow.reference.clone(),
        place: [&stored.labels.project, &stored.labels.room]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" "),
        payer: stored.labels.payer_masked.clone().unwrap_or_default(),
        channel: name_of(&stored.channel_id),
        status: words.status(stored.flow.state.status()),
        created: words.time(stored.flow.created_at),
    };
    let page = FlowsPage {
        frame: signed.frame(Section::Flows),
        rows: page.items.iter().map(row).collect(),
        next: page.next.map(|next| next.to_string()),
        channels: channels
            .into_iter()
            .map(|channel| (channel.id, channel.name))
            .collect(),
        text,
        status,
        channel,
        from,
        to,
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

/// `GET /console/flows/{id}`.
pub(crate) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    let done = query.find_text("done", 1..=32);
    let words = Words::of(&app, signed.reader.lang);
    let shown = async {
        let stored = app.flow_of_any_channel(&id).await?;
        flow_page(&app, &signed, &words, &stored, done).await
    };
    let page = shown.await.map_err(|problem| signed.problem(&problem))?;
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

async fn flow_page(
    app: &App,
    signed: &Signed,
    words: &Words<'_>,
    stored: &StoredFlow,
    done: Option<String>,
) -> Result<FlowPage, Problem> {
    let flow = &stored.flow;
    let view = app.view(stored).await?;
    let events = app.store().events(&flow.id).await?;
    let callback = app
        .find_callback_of_flow(&stored.channel_id, &flow.id)
        .await?;
    let status = flow.state.status();
    Ok(FlowPage {
        id: flow.id.to_string(),
        title: flow.title.clone(),
        status: words.status(status),
        reason: view.end.as_ref().and_then(|end| end.reason.clone()),
        facts: facts(words, stored, &view.requested_by)
            .into_iter()
            .chain(view.facts.iter().map(|fact| FactRow {
                label: words.lang.say(fact.label_zh, fact.label_en),
                value: fact.value.clone(),
            }))
            .collect(),
        signers: flow
            .signers
            .iter()
            .zip(&view.signers)
            .map(|(signer, seen)| SignerRow {
                order: signer.order,
                name: signer.party.name().to_owned(),
                kind: kind(words, &signer.party),
                step: step(words, &signer.step),
                sign_url: seen
                    .sign_url
                    .clone()
                    // Whoever has the link can sign: it is not for those who may only look.
                    .filter(|_| signed.operator.role >= Role::Operator)
                    .filter(|_| matches!(signer.step, Step::Open { .. })),
            })
            .collect(),
        timeline: events
            .iter()
            .map(|stored| timeline(words, flow, &stored.event))
            .collect(),
        chain_head: stored.chain_head.to_string(),
        signatures: signatures(app, words, flow).await?,
        pages: (1..=view.pages.min(20)).collect(),
        callback: callback
            .map(|callback| (callback.id.to_string(), words.callback(callback.state))),
        sealing_failure: flow
            .sealing
            .last_failure
            .clone()
            .filter(|_| flow.sealing.failures > 0),
        can_revoke: !status.is_final() && signed.operator.role >= Role::Operator,
        can_remind: status == sealpost_flow::Status::Signing
            && signed.operator.role >= Role::Operator,
        remind_from: flow
            .remindable_at()
            .filter(|at| *at > app.now())
            .map(|at| words.time(at)),
        done,
        frame: signed.frame(Section::Flows),
    })
}

fn facts(words: &Words<'_>, stored: &StoredFlow, channel: &str) -> Vec<FactRow> {
    let flow = &stored.flow;
    let row = |zh, en, value: String| FactRow {
        label: words.say(zh, en),
        value,
    };
    let mut rows = vec![
        row("流程编号", "Flow id", flow.id.to_string()),
        row("业务编号", "Reference", flow.reference.clone()),
        row("渠道", "Channel", channel.to_owned()),
        row("发起时间", "Created", words.time(flow.created_at)),
        row("截止时间", "Deadline", words.time(flow.expires_at)),
    ];
    if let Some((_, at)) = flow.state.end() {
        rows.push(row("结束时间", "Ended", words.time(at)));
    }
    if let Some(level) = flow.level {
        let level = match &flow.downgrade {
            None => format!("PAdES {level}"),
            Some(lower) => format!("PAdES {level} ← {}: {}", lower.wanted, lower.reason),
        };
        rows.push(row("签名级别", "Level of signatures", level));
    }
    if let Some(at) = flow.renew_by {
        rows.push(row(
            "时间戳须在此前续期",
            "Renew timestamps by",
            words.time(at),
        ));
    }
    rows
}

fn kind(words: &Words<'_>, party: &Party) -> &'static str {
    match party {
        Party::Person { .. } => words.say("个人", "Person"),
        Party::Organization {
            automatic: true, ..
        } => words.say("机构 · 自动盖章", "Organization, seals by itself"),
        Party::Organization {
            automatic: false, ..
        } => words.say("机构", "Organization"),
    }
}

fn step(words: &Words<'_>, step: &Step) -> Badge {
    let (class, zh, en) = match step {
        Step::Waiting => ("plain", "等待", "Waiting"),
        Step::Open {
            viewed_at: None, ..
        } => ("open", "待签", "To sign"),
        Step::Open {
            viewed_at: Some(_), ..
        } => ("open", "待签 · 已查看", "To sign, viewed"),
        Step::Signed { .. } => ("open", "已签，封印中", "Signed, sealing"),
        Step::Applied { .. } => ("done", "已签", "Signed"),
        Step::Rejected { .. } => ("stop", "已拒签", "Rejected"),
    };
    Badge {
        class,
        text: words.say(zh, en),
    }
}

/// One event in words.
fn timeline(words: &Words<'_>, flow: &Flow, event: &Event) -> TimelineRow {
    let told = tell(flow, &event.what, words.lang);
    TimelineRow {
        seq: event.seq,
        at: words.time(event.at),
        what: told.what,
        more: told.more,
        by: tell_who(flow, &event.by, words.lang),
        address: event
            .address
            .map(|address| address.to_string())
            .unwrap_or_default(),
    }
}

/// What verification says of each signature that is in the document.
async fn signatures(
    app: &App,
    words: &Words<'_>,
    flow: &Flow,
) -> Result<Vec<SignatureRow>, Problem> {
    if !flow.signers.iter().any(|signer| signer.step.is_applied()) {
        return Ok(Vec::new());
    }
    let pdf = app.store().document(&flow.document).await?;
    let report = app.verify(pdf.into()).await?;
    let row = |signature: &sealpost_pdf::verify::SignatureReport| {
        let (class, zh, en) = match signature.verdict {
            Verdict::Valid => ("done", "有效", "Valid"),
            Verdict::Indeterminate => ("open", "无法判定", "Indeterminate"),
            Verdict::Invalid | Verdict::Unsigned => ("stop", "无效", "Invalid"),
        };
        let signer = signature.signer.as_ref();
        SignatureRow {
            name: signer
                .map(|party| party.name().to_owned())
                .unwrap_or_default(),
            issuer: signer.map(|party| party.issuer.clone()).unwrap_or_default(),
            serial: signer.map(|party| party.serial.clone()).unwrap_or_default(),
            verdict: Badge {
                class,
                text: words.say(zh, en),
            },
        }
    };
    Ok(report.signatures.iter().map(row).collect())
}

/// `GET /console/flows/{id}/pages/{n}.png`.
pub(crate) async fn page_image(
    State(app): State<App>,
    Path((id, file)): Path<(String, String)>,
    _: Signed,
    web::Query(mut query): web::Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let width = query.find_integer("width", 1..=4000);
    let stored = app.flow_of_any_channel(&id).await?;
    page_image_of(&app, &stored, &file, width, &headers).await
}

/// `GET /console/flows/{id}/file`: what may be handed out of the flow's document.
pub(crate) async fn fetch_file(
    State(app): State<App>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Response, Response> {
    let fetched = app.operate(&signed.principal).fetch_file(&id).await;
    let pdf = fetched.map_err(|problem| signed.problem(&problem))?;
    let disposition = format!("attachment; filename=\"{}\"", pdf.name);
    let headers = [
        (header::CONTENT_TYPE, "application/pdf".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, pdf.bytes).into_response())
}

/// `GET /console/flows/{id}/evidence`: what an auditor needs, as the API gives it; with `?format=pdf` as a sealed report.
pub(crate) async fn fetch_evidence(
    State(app): State<App>,
    Path(id): Path<String>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    if query.find_text("format", 1..=8).as_deref() == Some("pdf") {
        let lang = signed.reader.lang;
        let fetched = app.operate(&signed.principal).fetch_report(&id, lang).await;
        return fetched.map_err(|problem| signed.problem(&problem));
    }
    let fetched = app.operate(&signed.principal).fetch_evidence(&id).await;
    let evidence = fetched.map_err(|problem| signed.problem(&problem))?;
    let disposition = format!("attachment; filename=\"{id}-evidence.json\"");
    Ok(([(header::CONTENT_DISPOSITION, disposition)], Json(evidence)).into_response())
}

/// `POST /console/flows/{id}/revoke`.
pub(crate) async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let operate = app.operate(&signed.principal);
    let revoked = operate.revoke_flow(&id, action.text("reason"), None).await;
    revoked.map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to(&format!("/console/flows/{id}?done=revoke")).into_response())
}

/// `POST /console/flows/{id}/remind`.
pub(crate) async fn remind(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let reminded = app
        .operate(&signed.principal)
        .remind_signers(&id, None)
        .await;
    reminded.map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to(&format!("/console/flows/{id}?done=remind")).into_response())
}
