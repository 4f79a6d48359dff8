//! Whole batches of callbacks by single statements over arrays, which only PostgreSQL has: kept, claimed, finished.
//!
//! Each does what its namesake for one does, row by row, in `callbacks` and `claims`; a round trip to the server for each row
//! is what it saves. Every test of callbacks runs over both forms.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use sealpost_contract::UtcMillis;

use super::claims::{Claim, Claimed, Outcome, kept_answer, written};
use super::{Accepted, CallbackId, Holder, LaneId, Lease, NewCallback, Placed, origin};
use crate::error::Result;
use crate::postgres::{Single, WithArrays};

/// Keeps the callbacks of which nothing is known yet; `None` for the others, which are left to [`accept`](super::accept): those
/// that were kept before, are of one of our own flows, are the first of their lane, or have an id that is taken. All of them are
/// too seldom to be done in bulk.
pub(super) fn accept_new(
    single: Single<'_>,
    news: &[NewCallback],
) -> Result<Vec<Option<Accepted>>> {
    // Of two with one id one is tried, and is then known by it.
    let mut seen = HashSet::new();
    let tried: Vec<&NewCallback> = news.iter().filter(|new| seen.insert(new.id)).collect();
    let ids: Vec<i64> = tried.iter().map(|new| new.id.0).collect();
    let channels: Vec<&str> = tried.iter().map(|new| new.channel_id.as_str()).collect();
    let origins: Vec<&str> = tried
        .iter()
        .map(|new| new.url.as_deref().map_or("", origin))
        .collect();
    let flows: Vec<&str> = tried.iter().map(|new| new.sign_flow_id.as_str()).collect();
    let urls: Vec<Option<&str>> = tried.iter().map(|new| new.url.as_deref()).collect();
    let bodies: Vec<&[u8]> = tried.iter().map(|new| &new.body[..]).collect();
    let due: Vec<i64> = tried
        .iter()
        .map(|new| new.lease.map_or(new.due_at, |lease| lease.until))
        .collect();
    let holders: Vec<Option<i64>> = tried
        .iter()
        .map(|new| new.lease.map(|lease| lease.holder.0))
        .collect();
    // In the order of those that are done one by one, which is that of the bytes.
    let inserted = single.query_arrays((
        "INSERT INTO callbacks (id, channel_lane, lane_id, sign_flow_id, url, body, state, round, attempts, due_at, holder, fence)
         SELECT new.id, of_channel.id, own.id, flow, url, body, 0, 1, 0, due_at, holder, CASE WHEN holder IS NULL THEN 0 ELSE 1 END
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bigint[], $8::bigint[])
             AS new (id, channel_id, origin, flow, url, body, due_at, holder)
         JOIN lanes AS of_channel ON of_channel.channel_id = new.channel_id AND of_channel.origin = ''
         JOIN lanes AS own ON own.channel_id = new.channel_id AND own.origin = new.origin
         WHERE NOT EXISTS (SELECT FROM flows WHERE flows.id = new.flow)
         ORDER BY flow COLLATE \"C\", new.channel_id COLLATE \"C\"
         ON CONFLICT DO NOTHING RETURNING id, lane_id",
        &[&ids, &channels, &origins, &flows, &urls, &bodies, &due, &holders],
    ))?;
    let mut inserted: HashMap<i64, i64> = inserted
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let mut accepted = |new: &NewCallback| {
        // Taken out, so that it is the first of those with its id, which was tried.
        let lane = inserted.remove(&new.id.0)?;
        Some(Accepted::New(Placed {
            id: new.id,
            lane: LaneId(lane),
            fence: i64::from(new.lease.is_some()),
        }))
    };
    Ok(news.iter().map(&mut accepted).collect())
}

/// Claims what is due in several lanes; see [`claim`](super::claims::claim).
pub(super) fn claim_all(
    single: Single<'_>,
    asks: &[(LaneId, usize)],
    lease: Lease,
    now: UtcMillis,
) -> Result<Vec<Claim>> {
    let lanes: Vec<i64> = asks.iter().map(|(lane, _)| lane.0).collect();
    let limits: Vec<i64> = asks
        .iter()
        .map(|(_, limit)| i64::try_from(*limit).unwrap_or(i64::MAX))
        .collect();
    // By an array, for which the planner reads the index; for a subquery, whose size it cannot know, it may read the table.
    let claim: WithArrays<'_> = (
        "WITH due AS MATERIALIZED (
             SELECT first.id FROM unnest($1::bigint[], $2::bigint[]) AS asked (lane, rows), LATERAL (
                 SELECT id FROM callbacks WHERE state = 0 AND lane_id = asked.lane AND due_at <= $3
                 ORDER BY due_at LIMIT asked.rows FOR UPDATE SKIP LOCKED) AS first)
         UPDATE callbacks SET due_at = $4, holder = $5, fence = fence + 1 WHERE id = ANY (ARRAY(SELECT id FROM due))
         RETURNING id, lane_id, url, body, attempts, fence",
        &[&lanes, &limits, &now, &lease.until, &lease.holder.0],
    );
    let next: WithArrays<'_> = (
        "SELECT (SELECT min(due_at) FROM callbacks WHERE state = 0 AND lane_id = asked.lane)
         FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (lane, place) ORDER BY place",
        &[&lanes],
    );
    // A claim that is lost with the server's memory is a lease that nobody knows of: it is due again.
    let (taken, next) = single.query_quickly(claim, next)?;
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
    single: Single<'_>,
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
    let changed = single.query_arrays((
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
    ))?;
    let mut changed: HashSet<(i64, i64)> =
        changed.iter().map(|row| (row.get(0), row.get(1))).collect();
    Ok(outcomes
        .iter()
        .map(|outcome| changed.remove(&(outcome.id.0, outcome.fence)))
        .collect())
}
