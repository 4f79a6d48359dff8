//! The overview: flows by day, callbacks by channel, and what needs someone's hand.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use sealpost_contract::UtcMillis;
use sealpost_flow::Status;
use sealpost_store::{Channel, ChannelFigures, DayCount};

use super::session::Signed;
use super::view::{ChannelLine, OverviewPage, Section, Tile};
use super::{Words, chart};
use crate::app::App;
use crate::problem::Problem;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Days of flows, and of callbacks.
const FLOW_DAYS: i64 = 30;
const CALLBACK_DAYS: i64 = 7;

/// `GET /console`.
pub(crate) async fn show(State(app): State<App>, signed: Signed) -> Result<Response, Response> {
    let words = Words::of(&app, signed.reader.lang);
    let page = overview(&app, &signed, &words)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

async fn overview(app: &App, signed: &Signed, words: &Words<'_>) -> Result<OverviewPage, Problem> {
    let now = app.now();
    let store = app.store();
    let offset = offset(words, now);
    let today = (now + offset).div_euclid(DAY) * DAY - offset;
    let first = today - (FLOW_DAYS - 1) * DAY;

    let counts = store.flows_by_day(first, offset).await?;
    let totals = store.flow_counts().await?;
    let total = |wanted: &[Status]| {
        totals
            .iter()
            .filter(|(status, _)| wanted.contains(status))
            .map(|(_, n)| n)
            .sum::<u64>()
    };
    let backlog = store.backlog(now).await?;
    let sealing = store.sealing_backlog().await?;
    let channels = store.channels().await?;
    let figures = store.channel_figures(now - CALLBACK_DAYS * DAY).await?;

    let oldest = backlog
        .oldest_due_at
        .map(|due| now - due)
        .filter(|late| *late > 5_000);
    let tiles = vec![
        Tile::new(
            words.say("签署中", "Being signed"),
            total(&[Status::Signing]),
            "/console/flows?status=1",
        ),
        Tile::new(
            words.say("已完成", "Completed"),
            total(&[Status::Completed]),
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
            &days(words, first, &counts),
            names,
            words.say("近 30 天发起的流程", "Sign flows of the last 30 days"),
        ),
        names,
        channels: channels
            .iter()
            .map(|channel| line(words, channel, &figures))
            .collect(),
        as_of: words.time(now),
    })
}

/// The platform's zone is ahead of UTC by this much today. A day on which it changes is an hour off, in a chart.
fn offset(words: &Words<'_>, now: UtcMillis) -> i64 {
    jiff::Timestamp::from_millisecond(now).map_or(0, |time| {
        i64::from(words.zone.to_offset(time).seconds()) * 1000
    })
}

fn days(words: &Words<'_>, first: UtcMillis, counts: &[DayCount]) -> Vec<chart::Day> {
    let day = |place: i64| {
        let at = first + place * DAY;
        let mut stacked = [0; 3];
        for count in counts.iter().filter(|count| count.day == at) {
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
    (0..FLOW_DAYS).map(day).collect()
}

fn line(words: &Words<'_>, channel: &Channel, figures: &[ChannelFigures]) -> ChannelLine {
    let own = figures
        .iter()
        .find(|figures| figures.channel_id == channel.id)
        .cloned()
        .unwrap_or_default();
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
