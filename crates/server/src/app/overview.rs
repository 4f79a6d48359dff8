//! The figures of the overview: flows by state and day, callbacks by channel, and what needs someone's hand.

use sealpost_contract::UtcMillis;
use sealpost_flow::Status;
use sealpost_store::{Backlog, Channel, ChannelFigures, DayCount, SealingBacklog};

use super::App;
use crate::problem::Problem;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Days of flows, and of callbacks.
pub(crate) const FLOW_DAYS: i64 = 30;
pub(crate) const CALLBACK_DAYS: i64 = 7;

/// The figures, as of a moment.
#[derive(Debug)]
pub(crate) struct Overview {
    pub(crate) as_of: UtcMillis,
    /// Flows by their status now.
    pub(crate) totals: Vec<(Status, u64)>,
    /// The midnight that begins the first day of `days`.
    pub(crate) first_day: UtcMillis,
    /// Flows by the day of their creation, in the platform's zone, and their status now.
    pub(crate) days: Vec<DayCount>,
    pub(crate) backlog: Backlog,
    pub(crate) sealing: SealingBacklog,
    /// How the callbacks of each channel went.
    pub(crate) channels: Vec<(Channel, ChannelFigures)>,
}

impl Overview {
    /// Flows that have one of these states.
    pub(crate) fn total(&self, wanted: &[Status]) -> u64 {
        let of_these = self
            .totals
            .iter()
            .filter(|(status, _)| wanted.contains(status));
        of_these.map(|(_, flows)| flows).sum()
    }

    /// The midnights of its days.
    pub(crate) fn midnights(&self) -> impl Iterator<Item = UtcMillis> {
        let first = self.first_day;
        (0..FLOW_DAYS).map(move |day| first + day * DAY)
    }
}

impl App {
    /// The figures of the overview.
    pub(crate) async fn overview(&self) -> Result<Overview, Problem> {
        let (store, now) = (self.store(), self.now());
        // The zone is ahead of UTC by this much today. A day on which it changes is an hour off, in a chart.
        let offset = jiff::Timestamp::from_millisecond(now).map_or(0, |time| {
            i64::from(self.config().time_zone.to_offset(time).seconds()) * 1000
        });
        let today = (now + offset).div_euclid(DAY) * DAY - offset;
        let first_day = today - (FLOW_DAYS - 1) * DAY;
        let figures = store.channel_figures(now - CALLBACK_DAYS * DAY).await?;
        let with_figures = |channel: Channel| {
            let own = figures.iter().find(|own| own.channel_id == channel.id);
            (channel, own.cloned().unwrap_or_default())
        };
        Ok(Overview {
            as_of: now,
            totals: store.flow_counts().await?,
            first_day,
            days: store.flows_by_day(first_day, offset).await?,
            backlog: store.backlog(now).await?,
            sealing: store.sealing_backlog().await?,
            channels: store
                .channels()
                .await?
                .into_iter()
                .map(with_figures)
                .collect(),
        })
    }
}
