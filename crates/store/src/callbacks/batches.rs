//! Whole batches of callbacks by single statements over arrays, which only PostgreSQL has: kept, claimed, finished.
//!
//! Each does what its namesake for one does, row by row, in `callbacks` and `claims`; a round trip to the server for each row
//! is what it saves. Every test of callbacks runs over both forms.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use sealpost_contract::UtcMillis;

use super::claims::{Claim, Claimed, Outcome, kept_answer, written};
use super::{
    Accepted, CallbackId, Holder, LaneId, Lease, NewCallback, Placed, accept, lane, origin,
};
use crate::database::Connection;
use crate::error::Result;
use crate::postgres::Session;

/// Lanes by channel and origin.
type Lanes<'a> = HashMap<(&'a str, &'a str), LaneId>;

/// Keeps callbacks; see [`accept`].
pub(super) fn accept_all(
    connection: &Connection,
    session: &Session,
    news: &[NewCallback],
) -> Result<Vec<Accepted>> {
    let lanes = lanes(connection, session, news)?;
    let lane_of = |new: &NewCallback, origin| {
        lanes
            .get(&(new.channel_id.as_str(), origin))
            .map_or(0, |lane| lane.0)
    };
    let channel_lanes: Vec<i64> = news.iter().map(|new| lane_of(new, "")).collect();
    let own_lanes: Vec<i64> = news
        .iter()
        .map(|new| lane_of(new, own_origin(new)))
        .collect();
    let ids: Vec<i64> = news.iter().map(|new| new.id.0).collect();
    let flows: Vec<&str> = news.iter().map(|new| new.sign_flow_id.as_str()).collect();
    let urls: Vec<Option<&str>> = news.iter().map(|new| new.url.as_deref()).collect();
    let bodies: Vec<&[u8]> = news.iter().map(|new| &new.body[..]).collect();
    let due: Vec<i64> = news
        .iter()
        .map(|new| new.lease.map_or(new.due_at, |lease| lease.until))
        .collect();
    let holders: Vec<Option<i64>> = news
        .iter()
        .map(|new| new.lease.map(|lease| lease.holder.0))
        .collect();
    let inserted = session.query_arrays(
        "INSERT INTO callbacks (id, channel_lane, lane_id, sign_flow_id, url, body, state, round, attempts, due_at, holder, fence)
         SELECT id, channel_lane, lane_id, flow, url, body, 0, 1, 0, due_at, holder, CASE WHEN holder IS NULL THEN 0 ELSE 1 END
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bytea[], $7::bigint[], $8::bigint[])
             AS new (id, channel_lane, lane_id, flow, url, body, due_at, holder)
         WHERE NOT EXISTS (SELECT FROM flows WHERE flows.id = new.flow)
         ORDER BY flow
         ON CONFLICT DO NOTHING RETURNING id, channel_lane, sign_flow_id",
        &[&ids, &channel_lanes, &own_lanes, &flows, &urls, &bodies, &due, &holders],
    )?;
    let mut inserted: HashSet<(i64, i64, String)> = inserted
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let each = news.iter().zip(channel_lanes).zip(own_lanes);
    each.map(|((new, channel_lane), lane)| {
        if inserted.remove(&(new.id.0, channel_lane, new.sign_flow_id.as_str().to_owned())) {
            let fence = i64::from(new.lease.is_some());
            Ok(Accepted::New(Placed {
                id: new.id,
                lane: LaneId(lane),
                fence,
            }))
        } else {
            // Kept before, one of our own flows, or an id that is taken: too seldom to be done in bulk.
            accept(connection, new)
        }
    })
    .collect()
}

fn own_origin(new: &NewCallback) -> &str {
    new.url.as_deref().map_or("", origin)
}

/// The lanes that the callbacks need.
fn lanes<'a>(
    connection: &Connection,
    session: &Session,
    news: &'a [NewCallback],
) -> Result<Lanes<'a>> {
    let wanted = |new: &'a NewCallback| {
        [
            (new.channel_id.as_str(), ""),
            (new.channel_id.as_str(), own_origin(new)),
        ]
    };
    // In one order, so that of two nodes that make the same ones neither waits for the other in turn.
    let wanted: BTreeSet<(&str, &str)> = news.iter().flat_map(wanted).collect();
    let (channels, origins): (Vec<&str>, Vec<&str>) = wanted.iter().copied().unzip();
    let found = session.query_arrays(
        "SELECT lanes.id, lanes.channel_id, lanes.origin FROM unnest($1::text[], $2::text[]) AS wanted (channel_id, origin)
         JOIN lanes ON lanes.channel_id = wanted.channel_id AND lanes.origin = wanted.origin",
        &[&channels, &origins],
    )?;
    let found: HashMap<(&str, &str), LaneId> = found
        .iter()
        .map(|row| ((row.get(1), row.get(2)), LaneId(row.get(0))))
        .collect();
    let mut lanes = Lanes::new();
    for key in wanted {
        let known = found.get(&key).copied();
        lanes.insert(
            key,
            known.map_or_else(|| lane(connection, key.0, key.1), Ok)?,
        );
    }
    Ok(lanes)
}

/// Claims what is due in several lanes; see [`claim`](super::claims::claim).
pub(super) fn claim_all(
    session: &Session,
    asks: &[(LaneId, usize)],
    lease: Lease,
    now: UtcMillis,
) -> Result<Vec<Claim>> {
    // A claim that is lost with the server's memory is a lease that nobody knows of: it is due again.
    session.batch("SET LOCAL synchronous_commit = off")?;
    let lanes: Vec<i64> = asks.iter().map(|(lane, _)| lane.0).collect();
    let limits: Vec<i64> = asks
        .iter()
        .map(|(_, limit)| i64::try_from(*limit).unwrap_or(i64::MAX))
        .collect();
    // By an array, for which the planner reads the index; for a subquery, whose size it cannot know, it may read the table.
    let taken = session.query_arrays(
        "WITH due AS MATERIALIZED (
             SELECT first.id FROM unnest($1::bigint[], $2::bigint[]) AS asked (lane, rows), LATERAL (
                 SELECT id FROM callbacks WHERE state = 0 AND lane_id = asked.lane AND due_at <= $3
                 ORDER BY due_at LIMIT asked.rows FOR UPDATE SKIP LOCKED) AS first)
         UPDATE callbacks SET due_at = $4, holder = $5, fence = fence + 1 WHERE id = ANY (ARRAY(SELECT id FROM due))
         RETURNING id, lane_id, url, body, attempts, fence",
        &[&lanes, &limits, &now, &lease.until, &lease.holder.0],
    )?;
    let mut claims: HashMap<i64, Vec<Claimed>> = HashMap::new();
    for row in &taken {
        let lane: i64 = row.get(1);
        claims.entry(lane).or_default().push(Claimed {
            id: CallbackId(row.get(0)),
            lane: LaneId(lane),
            url: row.get(2),
            body: Bytes::from(row.get::<_, Vec<u8>>(3)),
            attempts: u32::try_from(row.get::<_, i64>(4)).unwrap_or(u32::MAX),
            fence: row.get(5),
            lease_until: lease.until,
        });
    }
    let next = session.query_arrays(
        "SELECT (SELECT min(due_at) FROM callbacks WHERE state = 0 AND lane_id = asked.lane)
         FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (lane, place) ORDER BY place",
        &[&lanes],
    )?;
    let each = lanes.iter().zip(&next);
    Ok(each
        .map(|(lane, next)| {
            let mut taken = claims.remove(lane).unwrap_or_default();
            taken.sort_by_key(|claimed| claimed.id);
            Claim {
                taken,
                next_due_at: next.get(0),
            }
        })
        .collect())
}

/// Records outcomes; see [`finish`](super::claims::finish).
pub(super) fn finish_all(
    session: &Session,
    holder: Holder,
    outcomes: &[Outcome],
) -> Result<Vec<bool>> {
    // The same outcome twice counts once.
    let mut seen = HashSet::new();
    let first: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| seen.insert((outcome.id, outcome.fence)))
        .collect();
    let ids: Vec<i64> = first.iter().map(|outcome| outcome.id.0).collect();
    let fences: Vec<i64> = first.iter().map(|outcome| outcome.fence).collect();
    let next: Vec<_> = first.iter().map(|outcome| written(outcome.next)).collect();
    let states: Vec<i64> = next.iter().map(|(state, _, _)| state.number()).collect();
    let due: Vec<Option<i64>> = next.iter().map(|(_, due_at, _)| *due_at).collect();
    let ended: Vec<Option<i64>> = next.iter().map(|(_, _, ended_at)| *ended_at).collect();
    let attempts: Vec<_> = first
        .iter()
        .map(|outcome| outcome.attempt.as_ref())
        .collect();
    // Without an attempt nothing is counted and no row is made; the other columns are then of no account.
    let counted: Vec<i64> = attempts
        .iter()
        .map(|attempt| i64::from(attempt.is_some()))
        .collect();
    let at: Vec<Option<i64>> = attempts
        .iter()
        .map(|attempt| attempt.map(|attempt| attempt.at))
        .collect();
    let durations: Vec<Option<i64>> = attempts
        .iter()
        .map(|attempt| attempt.map(|attempt| attempt.duration_ms.into()))
        .collect();
    let statuses: Vec<Option<i64>> = attempts
        .iter()
        .map(|attempt| {
            attempt
                .and_then(|attempt| attempt.http_status)
                .map(i64::from)
        })
        .collect();
    let reasons: Vec<Option<&str>> = attempts
        .iter()
        .map(|attempt| attempt.and_then(|attempt| attempt.reason))
        .collect();
    let details: Vec<Option<&str>> = attempts
        .iter()
        .map(|attempt| attempt.and_then(|attempt| attempt.detail.as_deref()))
        .collect();
    let answers: Vec<Option<&[u8]>> = attempts
        .iter()
        .map(|attempt| attempt.and_then(kept_answer))
        .collect();
    // Whoever is leased waits; `state < 1` says so without `state = 0`, which would let the planner go through all that wait, by
    // their index, in search of the holder.
    let changed = session.query_arrays(
        "WITH changed AS (
             UPDATE callbacks SET state = outcome.state, due_at = coalesce(outcome.due_at, callbacks.due_at),
                 ended_at = outcome.ended_at, attempts = callbacks.attempts + outcome.counted, holder = NULL
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                 $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::bytea[])
             AS outcome (id, fence, state, due_at, ended_at, counted, at, duration_ms, http_status, reason, detail, answer)
             WHERE callbacks.id = outcome.id AND callbacks.fence = outcome.fence AND callbacks.holder = $13 AND callbacks.state < 1
             RETURNING callbacks.id, callbacks.fence, round, attempts, counted, at, duration_ms, http_status, reason, detail, answer),
         attempted AS (
             INSERT INTO attempts (callback_id, round, number, at, duration_ms, http_status, reason, detail, answer)
             SELECT id, round, attempts, at, duration_ms, http_status, reason, detail, answer FROM changed WHERE counted = 1)
         SELECT id, fence FROM changed",
        &[
            &ids, &fences, &states, &due, &ended, &counted, &at, &durations, &statuses, &reasons, &details, &answers, &holder.0,
        ],
    )?;
    let mut changed: HashSet<(i64, i64)> =
        changed.iter().map(|row| (row.get(0), row.get(1))).collect();
    Ok(outcomes
        .iter()
        .map(|outcome| changed.remove(&(outcome.id.0, outcome.fence)))
        .collect())
}
