//! The overview: flows by day, callbacks by channel, and what needs someone's hand.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use sealpost_flow::Status;
use sealpost_store::{Channel, ChannelFigures};

use super::session::Signed;
use super::view::{ChannelLine, OverviewPage, Section, Tile};
use super::{Words, chart};
use crate::app::App;
use crate::app::overview::Overview;
use crate::problem::Problem;

/// `GET /console`.
pub(crate) async fn show(State(app): State<App>, signed: Signed) -> Result<Response, Response> {
    let words = Words::of(&app, signed.reader.lang);
    let page = overview(&app, &signed, &words)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

async fn overview(app: &App, signed: &Signed, words: &Words<'_>) -> Result<OverviewPage, Problem> {
    let figures = app.overview().await?;
    let (now, backlog, sealing) = (figures.as_of, figures.backlog, figures.sealing);
    let oldest = backlog
        .oldest_due_at
        .map(|due| now - due)
        .filter(|late| *late > 5_000);
    let tiles = vec![
        Tile::new(
            words.say("签署中", "Being signed"),
            figures.total(&[Status::Signing]),
            "/console/flows?status=1",
        ),
        Tile::new(
            words.say("已完成", "Completed"),
            figures.total(&[Status::Completed]),
            "/console/flows?status=2",
        ),
        Tile::new(
            words.say("等待投递", "Callbacks waiting"),
            backlog.waiting,
            "/console/callbacks?state=waiting",
        )
        .note(oldest.map(|late| {
            format!(
                "{} {}",
                words.say("最久已到期", "oldest due for"),
                words.span(late)
            )
        })),
        Tile::new(
            words.say("投递失败", "Callbacks failed"),
            backlog.failed,
            "/console/callbacks?state=failed",
        )
        .alarm(backlog.failed > 0),
        Tile::new(
            words.say("待封印", "To be sealed"),
            sealing.waiting,
            "/console/flows?status=1",
        )
        .note(
            (sealing.failing > 0)
                .then(|| format!("{} {}", sealing.failing, words.say("个封印出错", "failing"))),
        )
        .alarm(sealing.failing > 0),
    ];
    let names = [
        words.say("已完成", "Completed"),
        words.say("进行中", "Under way"),
        words.say("未成", "Not completed"),
    ];
    Ok(OverviewPage {
        frame: signed.frame(Section::Overview),
        tiles,
        chart: chart::days(
            &days(words, &figures),
            names,
            words.say("近 30 天发起的流程", "Sign flows of the last 30 days"),
        ),
        names,
        channels: figures
            .channels
            .iter()
            .map(|(channel, own)| line(words, channel, own))
            .collect(),
        as_of: words.time(now),
    })
}

fn days(words: &Words<'_>, figures: &Overview) -> Vec<chart::Day> {
    let day = |at| {
        let mut stacked = [0; 3];
        for count in figures.days.iter().filter(|count| count.day == at) {
            let series = match count.status {
                Status::Completed => 0,
                Status::Draft | Status::Signing | Status::Sealing => 1,
                Status::Revoked | Status::Expired | Status::Rejected => 2,
            };
            stacked[series] += count.flows;
        }
        chart::Day {
            label: words.day(at),
            counts: stacked,
        }
    };
    figures.midnights().map(day).collect()
}

fn line(words: &Words<'_>, channel: &Channel, own: &ChannelFigures) -> ChannelLine {
    let ended = own.acknowledged + own.failed;
    let duration = |millis: Option<u32>| {
        millis.map_or_else(|| "–".to_owned(), |millis| words.duration(millis))
    };
    ChannelLine {
        id: channel.id.clone(),
        name: channel.name.clone(),
        paused: channel.paused.is_some(),
        share: chart::share(&[
            ("s-done", own.acknowledged),
            ("s-open", own.waiting),
            ("s-stop", own.failed),
        ]),
        acknowledged: own.acknowledged,
        waiting: own.waiting,
        failed: own.failed,
        success: if ended == 0 {
            "–".to_owned()
        } else {
            format!("{:.1}%", own.acknowledged as f64 * 100.0 / ended as f64)
        },
        median: duration(own.median_ms),
        p95: duration(own.p95_ms),
    }
}
