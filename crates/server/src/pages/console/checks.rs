//! The contract check of a channel's endpoint: begun, watched while it runs, and its last result.

mod chinese;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use sealpost_store::Role;
use serde_json::Value;

use super::Words;
use super::session::{Action, Signed};
use super::view::{Badge, CheckPage, CheckSummary, FindingRow, Section};
use crate::app::App;
use crate::app::contract_check::{CheckState, ShownCheck};
use crate::pages::lang::Lang;
use crate::problem::Problem;

/// `GET /console/channels/{id}/check`: the last check.
pub(crate) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Response, Response> {
    let words = Words::of(&app, signed.reader.lang);
    let found = async {
        let channel = app.channel(&id).await?;
        Ok::<_, Problem>((channel, app.find_contract_check(&id).await?))
    };
    let (channel, check) = found.await.map_err(|problem| signed.problem(&problem))?;
    let mut cases: Vec<&Value> = check.iter().flat_map(|check| &check.report.cases).collect();
    // What needs someone's hand comes first.
    let ranks = ["breaks", "may"];
    cases.sort_by_key(|case| {
        ranks
            .iter()
            .position(|rank| case["verdict"] == *rank)
            .unwrap_or(2)
    });
    let page = CheckPage {
        frame: signed.frame(Section::Channels),
        channel: id,
        name: channel.name,
        url: check
            .as_ref()
            .map(|check| check.report.url.clone())
            .or(channel.callback_url)
            .unwrap_or_default(),
        by: check
            .as_ref()
            .map(|check| check.report.started_by.clone())
            .unwrap_or_default(),
        read_only: check.as_ref().is_none_or(|check| check.report.read_only),
        failure: check
            .as_ref()
            .and_then(|check| check.report.failure.clone()),
        rows: cases.into_iter().map(|case| row(&words, case)).collect(),
        can_check: signed.operator.role >= Role::Operator,
        check: check.map(|check| summary(&words, &check)),
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

/// `POST /console/channels/{id}/check`: `everything=1` sends what must be acknowledged too.
pub(crate) async fn begin(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let read_only = action.text("everything") != "1";
    let operate = app.operate(&signed.principal);
    let begun = operate.begin_contract_check(&id, read_only).await;
    begun.map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to(&format!("/console/channels/{id}/check")).into_response())
}

/// A check in a line.
pub(super) fn summary(words: &Words<'_>, check: &ShownCheck) -> CheckSummary {
    let report = &check.report;
    let breaks = report.count("breaks");
    let (class, text) = match check.state {
        CheckState::Running => ("open", words.say("检查中", "Running")),
        CheckState::CutShort => ("plain", words.say("已中断", "Cut short")),
        CheckState::Finished if report.failure.is_some() => {
            ("stop", words.say("无法检查", "Could not be checked"))
        }
        CheckState::Finished if breaks > 0 => {
            ("stop", words.say("不符合约定", "Breaks the contract"))
        }
        CheckState::Finished => ("done", words.say("符合约定", "Keeps the contract")),
    };
    CheckSummary {
        badge: Badge { class, text },
        at: words.time(check.ended_at.unwrap_or(check.started_at)),
        running: check.state == CheckState::Running,
        keeps: report.count("keeps"),
        may: report.count("may"),
        breaks,
    }
}

/// One finding. What was sent and came, byte by byte, is the same in both languages.
fn row(words: &Words<'_>, case: &Value) -> FindingRow {
    let text = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
    let (class, verdict) = match case["verdict"].as_str() {
        Some("keeps") => ("done", words.say("符合", "keeps")),
        Some("may") => ("open", words.say("允许", "may")),
        _ => ("stop", words.say("违反", "breaks")),
    };
    let came = &case["came"];
    let told = match (came["failure"].as_str(), came["status"].as_u64()) {
        (Some(failure), _) => failure.to_owned(),
        (None, status) => format!(
            "HTTP {} · {} · {} ms",
            status.unwrap_or_default(),
            came["response_code"].as_str().unwrap_or("–"),
            came["ms"]
        ),
    };
    FindingRow {
        verdict: Badge {
            class,
            text: verdict,
        },
        about: told_in(words, text("about"), |about| {
            chinese::about(&text("rule"), about)
        }),
        contract: told_in(words, text("contract"), chinese::contract),
        rule: text("rule"),
        came: told,
        answer: came["body"].as_str().unwrap_or_default().to_owned(),
        sent: text("sent"),
        remark: told_in(words, text("remark"), chinese::remark),
    }
}

/// The words of a check in the reader's language; where there are none in Chinese, as they are.
fn told_in(
    words: &Words<'_>,
    english: String,
    chinese: impl FnOnce(&str) -> Option<String>,
) -> String {
    match words.lang {
        Lang::Zh => chinese(&english).unwrap_or(english),
        Lang::En => english,
    }
}
