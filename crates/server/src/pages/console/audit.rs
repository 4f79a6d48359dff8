//! The audit log, newest first.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Words;
use super::session::Signed;
use super::view::{AuditPage, AuditRow, Section};
use crate::app::App;
use crate::web;

const ROWS: u32 = 50;

/// `GET /console/audit`, with `?before=` an entry's number.
pub(crate) async fn list(
    State(app): State<App>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    let before = query.find_integer("before", 1..=i64::MAX);
    let words = Words::of(&app, signed.reader.lang);
    let entries = app
        .operate(&signed.principal)
        .audit_log(before, ROWS)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    let more = (entries.len() == ROWS as usize)
        .then(|| entries.last().map(|(number, _)| *number))
        .flatten();
    let row = |(_, entry): (i64, sealpost_store::AuditEntry)| AuditRow {
        at: words.time(entry.at),
        operator: entry.operator,
        action: entry.action,
        subject: entry.subject.unwrap_or_default(),
        detail: entry.detail.unwrap_or_default(),
        address: entry.address.unwrap_or_default(),
    };
    let page = AuditPage {
        frame: signed.frame(Section::Audit),
        rows: entries.into_iter().map(row).collect(),
        more,
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}
