//! Sign flows and their events: made, changed under optimistic concurrency, found, due.
//!
//! A change of state, its events and the callback it causes are one transaction. Whoever changes a flow hands back the version
//! they read; if another was faster they are told [`Committed::Conflict`], read again and apply again. So of several ends
//! that race, exactly one is kept.

use rusqlite::{named_params, params};
use sealpost_contract::{SignFlowId, UtcMillis};
use sealpost_flow::{Change, Digest, Event, Flow, SignerNo, Status, event};

use crate::callbacks::{self, NewCallback, Placed};
use crate::database::{Connection, One, OptionalExtension as _, Row};
use crate::error::{Error, Result};
use crate::idempotency::{self, IdempotencyKey, Remembered};
use crate::rows::{digest, json, parsed};
use crate::{Store, tokens};

/// A flow as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFlow {
    /// The flow.
    pub flow: Flow,
    /// How often it was changed, which a change must name.
    pub version: i64,
    /// The chain value of its last event.
    pub chain_head: Digest,
    /// The channel it belongs to.
    pub channel_id: String,
    /// Where its end is told, if not to the channel's address.
    pub callback_url: Option<String>,
    /// What a person searches it by.
    pub labels: Labels,
    /// JSON of the server's own, given at creation.
    pub details: Option<String>,
}

/// Texts by which people recognise a flow. Personal data only masked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The project.
    pub project: Option<String>,
    /// Building, unit and room.
    pub room: Option<String>,
    /// The payer's name, masked.
    pub payer_masked: Option<String>,
}

/// A flow to be kept for the first time.
#[derive(Debug, Clone, PartialEq)]
pub struct NewStoredFlow {
    /// The flow and all of its events, from the first on.
    pub change: Change,
    /// The channel it belongs to.
    pub channel_id: String,
    /// Where its end is to be told, if not to the channel's address.
    pub callback_url: Option<String>,
    /// What a person searches it by.
    pub labels: Labels,
    /// JSON of the server's own.
    pub details: Option<String>,
    /// What its links open.
    pub tokens: Vec<NewToken>,
    /// The `Idempotency-Key` of the request.
    pub idempotency: Option<IdempotencyKey>,
    /// Until when what there is to seal is the caller's own to do, as with [`Store::claim_flows_to_seal`].
    pub sealing_claim: Option<UtcMillis>,
}

/// The token of a link, by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewToken {
    /// The SHA-256 of the token.
    pub hash: Digest,
    /// The signer whose page it opens; `None`: it opens the file.
    pub signer: Option<SignerNo>,
}

/// What became of a new flow.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    /// It is kept.
    New(Box<StoredFlow>),
    /// Nothing was done: the idempotency key was used before, for this.
    Remembered(Remembered),
}

/// A change of a flow to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowCommit {
    /// The version that was read before the change.
    pub version: i64,
    /// The flow after it, and its events.
    pub change: Change,
    /// The callback that it causes.
    pub callback: Option<NewCallback>,
    /// The `Idempotency-Key` of the request; the flow must belong to its channel.
    pub idempotency: Option<IdempotencyKey>,
    /// Until when what there is to seal is the caller's own to do, as with [`Store::claim_flows_to_seal`].
    pub sealing_claim: Option<UtcMillis>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It is kept.
    Done {
        /// The flow's version now.
        version: i64,
        /// The chain value of its last event.
        chain_head: Digest,
        /// Where the callback was placed, if there was one.
        callback: Option<Placed>,
    },
    /// Nothing was done: the flow has been changed since it was read. Read it again and apply again.
    Conflict,
    /// Nothing was done: the idempotency key was used before, for this.
    Remembered(Remembered),
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// Its canonical JSON: the very bytes that the chain covers.
    pub json: String,
    /// The chain value after it.
    pub chain: Digest,
}

/// How much sealing waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SealingBacklog {
    /// Flows that have something to seal.
    pub waiting: u64,
    /// Those of them whose last attempt failed.
    pub failing: u64,
    /// When the longest waiting of them is or was due (or its claim ends).
    pub oldest_at: Option<UtcMillis>,
}

impl FlowCommit {
    /// The commit of a change to a flow as it was read.
    pub fn new(stored: &StoredFlow, change: Change) -> FlowCommit {
        FlowCommit {
            version: stored.version,
            change,
            callback: None,
            idempotency: None,
            sealing_claim: None,
        }
    }

    /// Whether others are to deliver or to seal what comes of it.
    fn leaves_something(&self) -> bool {
        let to_deliver = self
            .callback
            .as_ref()
            .is_some_and(|new| new.lease.is_none());
        let to_seal = self.change.flow.sealing.next_at.is_some() && self.sealing_claim.is_none();
        to_deliver || to_seal
    }

    /// With the callback that the change causes.
    pub fn with_callback(self, callback: Option<NewCallback>) -> FlowCommit {
        FlowCommit { callback, ..self }
    }

    /// With the claim on what the change leaves to seal.
    pub fn with_sealing_claim(self, sealing_claim: Option<UtcMillis>) -> FlowCommit {
        FlowCommit {
            sealing_claim,
            ..self
        }
    }

    /// With the idempotency key of the request.
    pub fn with_idempotency(self, idempotency: Option<IdempotencyKey>) -> FlowCommit {
        FlowCommit {
            idempotency,
            ..self
        }
    }
}

impl Store {
    /// Keeps a new flow with its events, its tokens and the request's idempotency key. Its documents must be kept already.
    ///
    /// # Errors
    /// Whatever keeps the store from writing; then nothing was kept.
    pub async fn create_flow(&self, new: NewStoredFlow) -> Result<Created> {
        let left = new.change.flow.sealing.next_at.is_some() && new.sealing_claim.is_none();
        let created = self
            .database
            .write(move |connection| create(connection, new))
            .await?;
        if left && matches!(created, Created::New(_)) {
            self.wake_others();
        }
        Ok(created)
    }

    /// Keeps a change with its events and its callback, if the flow is still as it was read.
    ///
    /// # Errors
    /// Whatever keeps the store from writing; then nothing was kept.
    pub async fn commit_flow(&self, commit: FlowCommit) -> Result<Committed> {
        let left = commit.leaves_something();
        let committed = self
            .database
            .write(move |connection| commit_change(connection, &commit))
            .await?;
        if left && matches!(committed, Committed::Done { .. }) {
            self.wake_others();
        }
        Ok(committed)
    }

    /// The flow of this id.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_flow(&self, id: &SignFlowId) -> Result<Option<StoredFlow>> {
        let id = id.clone();
        let sql = "SELECT * FROM flows WHERE id = ?1";
        let find = move |one: One<'_>| {
            one.prepare_cached(sql)?
                .query_row([id.as_str()], |row| Ok(stored(row)))
                .optional()
        };
        self.database.read_one(find).await?.transpose()
    }

    /// The events of a flow, in order; none if there is no such flow.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn events(&self, id: &SignFlowId) -> Result<Vec<StoredEvent>> {
        let id = id.clone();
        let read = move |one: One<'_>| {
            let sql = if one.is_postgres() {
                EVENTS_OF_MONTH
            } else {
                "SELECT body, chain FROM events WHERE flow_id = ?1 ORDER BY seq"
            };
            let statement = one.prepare_cached(sql)?;
            let rows = statement.query_and_then([id.as_str()], stored_event)?;
            rows.collect()
        };
        self.database.read_one(read).await
    }

    /// Flows that are being signed and whose deadline has passed, the longest overdue first, `limit` at most.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn flows_due_to_expire(&self, now: UtcMillis, limit: u32) -> Result<Vec<SignFlowId>> {
        let read = move |one: One<'_>| {
            let statement = one.prepare_cached(DUE_TO_EXPIRE)?;
            let rows = statement.query_and_then(params![now, limit], |row| parsed(row, "id"))?;
            rows.collect()
        };
        self.database.read_one(read).await
    }

    /// Flows that are being signed and whose deadline is at `until` or earlier, in the order of their deadlines: those after
    /// the deadline and id of `after`, `limit` at most. Reads an index and no flow.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn flows_expiring(
        &self,
        after: (UtcMillis, Option<SignFlowId>),
        until: UtcMillis,
        limit: u32,
    ) -> Result<Vec<(UtcMillis, SignFlowId)>> {
        self.flows_by_time(EXPIRING, after, until, limit).await
    }

    /// Flows whose newest timestamp over the whole document must be renewed by `until` or earlier, the most urgent first: those
    /// after the time and id of `after`, `limit` at most.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn flows_to_renew(
        &self,
        after: (UtcMillis, Option<SignFlowId>),
        until: UtcMillis,
        limit: u32,
    ) -> Result<Vec<(UtcMillis, SignFlowId)>> {
        self.flows_by_time(TO_RENEW, after, until, limit).await
    }

    /// How many of [`Store::flows_to_renew`] there are by `until`, counted up to `at_most`.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn count_flows_to_renew(&self, until: UtcMillis, at_most: u32) -> Result<u32> {
        let read = move |one: One<'_>| {
            one.prepare_cached(COUNT_TO_RENEW)?
                .query_row(params![until, at_most], |row| row.get(0))
        };
        self.database.read_one(read).await
    }

    /// The page of flows of `sql`, a statement that orders them by a time of theirs, named `at`, and their id.
    async fn flows_by_time(
        &self,
        sql: &'static str,
        after: (UtcMillis, Option<SignFlowId>),
        until: UtcMillis,
        limit: u32,
    ) -> Result<Vec<(UtcMillis, SignFlowId)>> {
        let read = move |one: One<'_>| {
            let statement = one.prepare_cached(sql)?;
            let id = after.1.as_ref().map_or("", SignFlowId::as_str);
            let row = params![after.0, id, until, limit];
            let rows =
                statement.query_and_then(row, |row| Ok((row.get("at")?, parsed(row, "id")?)))?;
            rows.collect()
        };
        self.database.read_one(read).await
    }

    /// Claims flows whose sealing is due, the longest waiting first, `limit` at most: until `lease_until` nobody else is given
    /// them. Whoever takes longer loses nothing, for a commit names the version it read.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn claim_flows_to_seal(
        &self,
        now: UtcMillis,
        lease_until: UtcMillis,
        limit: u32,
    ) -> Result<Vec<SignFlowId>> {
        let claim = move |one: One<'_>| {
            let sql = claim_to_seal(one.skip_locked());
            let statement = one.prepare_cached(&sql)?;
            let rows = statement
                .query_and_then(params![now, lease_until, limit], |row| parsed(row, "id"))?;
            rows.collect()
        };
        self.database.write_one(claim).await
    }

    /// How much sealing waits, and how much of it fails.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn sealing_backlog(&self) -> Result<SealingBacklog> {
        let read = |one: One<'_>| {
            let backlog = |row: &Row<'_>| {
                Ok(SealingBacklog {
                    waiting: row.get(0)?,
                    failing: row.get(1)?,
                    oldest_at: row.get(2)?,
                })
            };
            one.prepare_cached(SEALING_BACKLOG)?.query_row([], backlog)
        };
        self.database.read_one(read).await
    }

    /// How many flows there are of each status; one that none has is left out.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn flow_counts(&self) -> Result<Vec<(Status, u64)>> {
        let read = |one: One<'_>| {
            let statement = one
                .prepare_cached("SELECT status, CAST(sum(flows) AS BIGINT) AS n FROM flow_tallies GROUP BY status HAVING sum(flows) > 0")?;
            let rows =
                statement.query_and_then([], |row| Ok((parsed(row, "status")?, row.get("n")?)))?;
            rows.collect()
        };
        self.database.read_one(read).await
    }
}

const INSERT: &str = "
    INSERT INTO flows (id, channel_id, version, status, code, reference, project, room, payer_masked, callback_url,
        created_at, expires_at, ended_at, next_sealing_at, sealing_failures, chain_head, details, body)
    VALUES (:id, :channel_id, 1, :status, :code, :reference, :project, :room, :payer_masked, :callback_url,
        :created_at, :expires_at, :ended_at, :next_sealing_at, :sealing_failures, :chain_head, :details, :body)";

const UPDATE: &str = "
    UPDATE flows SET version = version + 1, status = :status, code = :code, ended_at = :ended_at,
        next_sealing_at = :next_sealing_at, sealing_failures = :sealing_failures, renew_by = :renew_by, chain_head = :chain_head,
        body = :body
    WHERE id = :id AND version = :version";

/// PostgreSQL keeps events by the month of their flow. Those of flow_at 0 the version before has written.
const EVENTS_OF_MONTH: &str = "
    SELECT body, chain FROM events WHERE flow_id = ?1 AND flow_at IN (0, (SELECT created_at FROM flows WHERE id = ?1))
    ORDER BY seq";

const DUE_TO_EXPIRE: &str = "
    SELECT id FROM flows WHERE status = 'signing' AND expires_at <= ?1 ORDER BY expires_at, id LIMIT ?2";

const EXPIRING: &str = "
    SELECT id, expires_at AS at FROM flows WHERE status = 'signing' AND (expires_at, id) > (?1, ?2) AND expires_at <= ?3
    ORDER BY expires_at, id LIMIT ?4";

const TO_RENEW: &str = "
    SELECT id, renew_by AS at FROM flows WHERE renew_by IS NOT NULL AND (renew_by, id) > (?1, ?2) AND renew_by <= ?3
    ORDER BY renew_by, id LIMIT ?4";

const COUNT_TO_RENEW: &str = "
    SELECT count(*) FROM (SELECT 1 FROM flows WHERE renew_by IS NOT NULL AND renew_by <= ?1 LIMIT ?2) AS due";

fn claim_to_seal(skip_locked: &str) -> String {
    format!(
        "WITH due AS MATERIALIZED (
            SELECT id FROM flows WHERE next_sealing_at <= ?1 ORDER BY next_sealing_at, id LIMIT ?3 {skip_locked})
        UPDATE flows SET next_sealing_at = ?2 WHERE id IN (SELECT id FROM due) RETURNING id"
    )
}

const SEALING_BACKLOG: &str = "
    SELECT count(*), count(*) FILTER (WHERE sealing_failures > 0), min(next_sealing_at)
    FROM flows WHERE next_sealing_at IS NOT NULL";

fn create(connection: &Connection, new: NewStoredFlow) -> Result<Created> {
    let flow = &new.change.flow;
    if let Some(key) = &new.idempotency
        && let Some(remembered) = idempotency::remember(connection, key, flow.id.as_str())?
    {
        return Ok(Created::Remembered(remembered));
    }
    let chained = chained(event::GENESIS, &new.change.events);
    let chain_head = chained.last().map_or(event::GENESIS, |(_, chain)| *chain);
    connection
        .prepare_cached(INSERT)?
        .execute_soon(named_params! {
            ":id": flow.id.as_str(),
            ":channel_id": new.channel_id,
            ":status": flow.state.status().as_str(),
            ":code": flow.state.status().code(),
            ":reference": flow.reference,
            ":project": new.labels.project,
            ":room": new.labels.room,
            ":payer_masked": new.labels.payer_masked,
            ":callback_url": new.callback_url,
            ":created_at": flow.created_at,
            ":expires_at": flow.expires_at,
            ":ended_at": flow.state.end().map(|(_, at)| at),
            ":next_sealing_at": next_sealing_at(flow, new.sealing_claim),
            ":sealing_failures": flow.sealing.failures,
            ":chain_head": chain_head.as_bytes(),
            ":details": new.details,
            ":body": json(flow)?,
        })?;
    insert_events(connection, flow, &new.change.events, &chained)?;
    for token in &new.tokens {
        tokens::insert(connection, flow, token)?;
    }
    Ok(Created::New(Box::new(StoredFlow {
        flow: new.change.flow,
        version: 1,
        chain_head,
        channel_id: new.channel_id,
        callback_url: new.callback_url,
        labels: new.labels,
        details: new.details,
    })))
}

/// When whoever asks may claim what there is to seal.
fn next_sealing_at(flow: &Flow, claimed_until: Option<UtcMillis>) -> Option<UtcMillis> {
    let next_at = flow.sealing.next_at?;
    Some(claimed_until.map_or(next_at, |until| until.max(next_at)))
}

/// The key goes first, so that of two nodes with one key the slower waits here and learns what it was used for.
fn commit_change(connection: &Connection, commit: &FlowCommit) -> Result<Committed> {
    if let Some(key) = &commit.idempotency
        && let Some(remembered) =
            idempotency::remember(connection, key, commit.change.flow.id.as_str())?
    {
        return Ok(Committed::Remembered(remembered));
    }
    let committed = commit_version(connection, commit)?;
    if let (Some(key), Committed::Conflict) = (&commit.idempotency, &committed) {
        idempotency::take_back(connection, key)?;
    }
    Ok(committed)
}

fn commit_version(connection: &Connection, commit: &FlowCommit) -> Result<Committed> {
    let Change { flow, events } = &commit.change;
    let current = connection
        .prepare_cached("SELECT version, chain_head FROM flows WHERE id = ?1")?
        .query_row([flow.id.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((version, chain_head)) = current.filter(|(version, _)| *version == commit.version)
    else {
        return Ok(Committed::Conflict);
    };
    let head = Digest::from_bytes(chain_head);
    let chained = chained(head, events);
    let chain_head = chained.last().map_or(head, |(_, chain)| *chain);
    let changed = connection.prepare_cached(UPDATE)?.execute(named_params! {
        ":id": flow.id.as_str(),
        ":version": version,
        ":status": flow.state.status().as_str(),
        ":code": flow.state.status().code(),
        ":ended_at": flow.state.end().map(|(_, at)| at),
        ":next_sealing_at": next_sealing_at(flow, commit.sealing_claim),
        ":sealing_failures": flow.sealing.failures,
        ":renew_by": flow.renew_by,
        ":chain_head": chain_head.as_bytes(),
        ":body": json(flow)?,
    })?;
    if changed == 0 {
        // Another node was faster by a moment.
        return Ok(Committed::Conflict);
    }
    insert_events(connection, flow, events, &chained)?;
    let callback = commit
        .callback
        .as_ref()
        .map(|new| callbacks::insert(connection, new))
        .transpose()?;
    Ok(Committed::Done {
        version: version + 1,
        chain_head,
        callback,
    })
}

/// Each event's canonical JSON with the chain value after it.
fn chained(mut head: Digest, events: &[Event]) -> Vec<(String, Digest)> {
    let link = |event: &Event| {
        let json = event.to_canonical_json();
        head = event::chain_json(&head, &json);
        (json, head)
    };
    events.iter().map(link).collect()
}

fn insert_events(
    connection: &Connection,
    flow: &Flow,
    events: &[Event],
    chained: &[(String, Digest)],
) -> Result<()> {
    let sql = if connection.is_postgres() {
        "INSERT INTO events (flow_id, seq, at, body, chain, flow_at) VALUES (:flow, :seq, :at, :body, :chain, :flow_at)"
    } else {
        "INSERT INTO events (flow_id, seq, at, body, chain) VALUES (:flow, :seq, :at, :body, :chain)"
    };
    let mut insert = connection.prepare_cached(sql)?;
    for (event, (json, chain)) in events.iter().zip(chained) {
        let row = named_params! {
            ":flow": flow.id.as_str(),
            ":seq": event.seq,
            ":at": event.at,
            ":body": json,
            ":chain": chain.as_bytes(),
            ":flow_at": flow.created_at,
        };
        // SQLite refuses a name that the statement does not have; it is the last.
        let row: &[_] = if connection.is_postgres() {
            row
        } else {
            &row[..5]
        };
        insert.execute_soon(row)?;
    }
    Ok(())
}

pub(crate) fn stored(row: &Row<'_>) -> Result<StoredFlow> {
    let body: String = row.get("body")?;
    Ok(StoredFlow {
        flow: serde_json::from_str(&body).map_err(|error| Error::undecodable("flow", error))?,
        version: row.get("version")?,
        chain_head: digest(row, "chain_head")?,
        channel_id: row.get("channel_id")?,
        callback_url: row.get("callback_url")?,
        labels: Labels {
            project: row.get("project")?,
            room: row.get("room")?,
            payer_masked: row.get("payer_masked")?,
        },
        details: row.get("details")?,
    })
}

fn stored_event(row: &Row<'_>) -> Result<StoredEvent> {
    let json: String = row.get("body")?;
    let event = serde_json::from_str(&json).map_err(|error| Error::undecodable("event", error))?;
    Ok(StoredEvent {
        event,
        json,
        chain: digest(row, "chain")?,
    })
}
