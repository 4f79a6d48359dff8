//! Callbacks: the queue that the delivery engine drains, and the record of every attempt.
//!
//! The database is the queue. A callback's row is inserted in the transaction that ends its sign flow, or by
//! [`Store::accept_callback`] for flows that ended elsewhere; it is never deleted. Waiting, it has a time at which it is due;
//! whoever takes it ([`Store::claim_due`]) moves that time to the end of a lease, so a holder that dies gives everything back
//! by doing nothing. Leases save work; what keeps outcomes right is the fence, a number that grows with every lease.
//!
//! This file keeps and inserts; `claims` leases and finishes; `batches` does both in bulk; `lists` reads; `redeliver` starts
//! new rounds, `redeliveries` for many. When to try again and what an answer means is decided by the delivery engine.

mod batches;
mod claims;
mod lists;
mod redeliver;
mod redeliveries;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use rusqlite::params;
use sealpost_contract::{SignFlowId, UtcMillis};

pub use claims::{Claim, Claimed, DueLane, Finished, Next, Outcome};
pub use lists::{Attempt, Backlog, CallbackFilter, StoredCallback};
pub use redeliver::{FailedSince, Redelivered, RedeliveredOnce};
pub use redeliveries::{NotARedeliveryId, Redelivery, RedeliveryId};

use crate::Store;
use crate::database::{Connection, Database, OptionalExtension as _};
use crate::error::Result;
use crate::postgres::batch::Work;

/// The most that is kept of an answer, in bytes.
pub const MAX_KEPT_ANSWER: usize = 4096;

/// How many of an id's bits tell callbacks of one millisecond apart.
const ID_RANDOM_BITS: u32 = 22;

/// Names a callback; also the `webhook-id` of each of its attempts. Ids are ordered by the time they were made.
///
/// Written `cb_` and 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallbackId(i64);

impl CallbackId {
    /// An id made at `now`; of `random`, the lowest 22 bits are used.
    pub fn new(now: UtcMillis, random: u32) -> Self {
        let low = i64::from(random & ((1 << ID_RANDOM_BITS) - 1));
        Self(now.clamp(0, i64::MAX >> ID_RANDOM_BITS) << ID_RANDOM_BITS | low)
    }

    /// The lowest id that can be made at `at`; everything older is below it.
    pub fn first_at(at: UtcMillis) -> Self {
        Self::new(at, 0)
    }

    /// When the id was made.
    pub fn created_at(self) -> UtcMillis {
        self.0 >> ID_RANDOM_BITS
    }

    /// The id as the number it is kept as.
    pub fn number(self) -> i64 {
        self.0
    }

    pub(crate) fn from_number(number: i64) -> Self {
        Self(number)
    }
}

impl fmt::Display for CallbackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cb_{:016x}", self.0)
    }
}

/// The text is not a callback's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a callback's id is cb_ and 16 lower-case hexadecimal digits")]
pub struct NotACallbackId;

impl FromStr for CallbackId {
    type Err = NotACallbackId;

    fn from_str(text: &str) -> Result<Self, NotACallbackId> {
        let digits = text.strip_prefix("cb_").ok_or(NotACallbackId)?;
        if digits.len() != 16
            || !digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(NotACallbackId);
        }
        i64::from_str_radix(digits, 16)
            .map(Self)
            .map_err(|_| NotACallbackId)
    }
}

/// Names a lane: one endpoint of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub i64);

/// Names one run of one delivery engine, as the holder of leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder(pub i64);

/// A lease taken in the very transaction that inserts a callback, so that it can be handed to the engine without a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Who takes it.
    pub holder: Holder,
    /// When it ends.
    pub until: UtcMillis,
}

/// A callback that is to be kept and delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCallback {
    /// Its id, made by the caller with [`CallbackId::new`]; if it is taken, the next free one is used.
    pub id: CallbackId,
    /// The channel it goes to.
    pub channel_id: String,
    /// The address it goes to, normalised; `None`: the channel's, as it is at the time of an attempt.
    pub url: Option<String>,
    /// The sign flow that ended.
    pub sign_flow_id: SignFlowId,
    /// The four members, encoded; every attempt sends these bytes.
    pub body: Bytes,
    /// When the first attempt is due.
    pub due_at: UtcMillis,
    /// Set to hand the callback to an engine right after the commit; `None` leaves it in the queue.
    pub lease: Option<Lease>,
}

/// Where an inserted callback stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its id, possibly not the one that was proposed.
    pub id: CallbackId,
    /// Its lane.
    pub lane: LaneId,
    /// The fence of the lease, if one was taken.
    pub fence: i64,
}

/// What became of a callback that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is safe on disk.
    New(Placed),
    /// The same flow with the same members has been handed over before.
    Before(CallbackId),
    /// The same flow has been handed over with other members, or is one of our own, whose end we tell ourselves.
    Conflict,
}

/// The state of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallbackState {
    /// An attempt is due now or later, or being made.
    Waiting,
    /// The channel has answered `000`.
    Acknowledged,
    /// All attempts of the round have failed. It is kept, and can be redelivered.
    Failed,
}

impl CallbackState {
    /// The state's name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Acknowledged => "acknowledged",
            Self::Failed => "failed",
        }
    }

    fn number(self) -> i64 {
        match self {
            Self::Waiting => 0,
            Self::Acknowledged => 1,
            Self::Failed => 2,
        }
    }
}

impl Store {
    /// Keeps a callback of a flow that ended elsewhere. Once it answers [`Accepted::New`], the callback is safe on disk.
    ///
    /// # Errors
    /// Whatever keeps the store from writing; then nothing was kept.
    pub async fn accept_callback(&self, new: NewCallback) -> Result<Accepted> {
        match &*self.database {
            // Its last statement is the one that may fail; a lane made before it does no harm.
            Database::Sqlite(sqlite) => {
                let accept = move |connection: &Connection| accept(connection, &new);
                sqlite.write_whole(accept).await
            }
            Database::Postgres(_) => {
                let left = new.lease.is_none();
                let (all, rest) = (batches::accept_new, accept_rest);
                let accepted = self
                    .accepting
                    .add(&self.database, new, Work { all, rest })
                    .await?;
                if left && matches!(accepted, Accepted::New(_)) {
                    self.wake_others();
                }
                Ok(accepted)
            }
        }
    }
}

/// Keeps callbacks one by one within one transaction.
fn accept_rest(connection: &Connection, news: &[NewCallback]) -> Result<Vec<Accepted>> {
    let wanted = |new: &NewCallback| {
        let own = new.url.as_deref().map_or("", origin).to_owned();
        [String::new(), own].map(|origin| (new.channel_id.clone(), origin))
    };
    // In one order, so that of two nodes that make the same ones neither waits for the other in turn.
    let wanted: BTreeSet<(String, String)> = news.iter().flat_map(wanted).collect();
    for (channel_id, origin) in &wanted {
        lane(connection, channel_id, origin)?;
    }
    // The same goes for the flows; those that name one flow twice stay in their order.
    let mut ordered: Vec<(usize, &NewCallback)> = news.iter().enumerate().collect();
    ordered.sort_by_key(|(_, new)| (new.sign_flow_id.as_str(), new.channel_id.as_str()));
    let accept = |(place, new)| Ok((place, accept(connection, new)?));
    let mut accepted: Vec<(usize, Accepted)> =
        ordered.into_iter().map(accept).collect::<Result<_>>()?;
    accepted.sort_by_key(|(place, _)| *place);
    Ok(accepted.into_iter().map(|(_, accepted)| accepted).collect())
}

fn accept(connection: &Connection, new: &NewCallback) -> Result<Accepted> {
    let channel_lane = lane(connection, &new.channel_id, "")?;
    // Almost always it is new, so that is tried first and asked about only when it fails.
    if !is_ours(connection, &new.sign_flow_id)?
        && let Some(placed) = insert_in(connection, new, channel_lane)?
    {
        return Ok(Accepted::New(placed));
    }
    Ok(known(connection, new, channel_lane)?.unwrap_or(Accepted::Conflict))
}

/// Whether it is a flow of our own, whose end we tell ourselves.
fn is_ours(connection: &Connection, flow: &SignFlowId) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM flows WHERE id = ?1")?
        .exists([flow.as_str()])
}

/// What the flow's callback, if it was handed over before, makes of this one.
fn known(
    connection: &Connection,
    new: &NewCallback,
    channel_lane: LaneId,
) -> Result<Option<Accepted>> {
    let found = connection
        .prepare_cached(
            "SELECT id, body = ?3 FROM callbacks WHERE sign_flow_id = ?1 AND channel_lane = ?2",
        )?
        .query_row(
            params![new.sign_flow_id.as_str(), channel_lane.0, &new.body[..]],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    Ok(found.map(|(id, same)| {
        if same {
            Accepted::Before(CallbackId(id))
        } else {
            Accepted::Conflict
        }
    }))
}

/// Inserts a callback within the caller's transaction: the one that ends its sign flow.
pub(crate) fn insert(connection: &Connection, new: &NewCallback) -> Result<Placed> {
    let channel_lane = lane(connection, &new.channel_id, "")?;
    // A flow of ours ends once, and its id cannot be handed over from elsewhere.
    let placed = insert_in(connection, new, channel_lane)?;
    placed.ok_or_else(|| rusqlite::Error::StatementChangedRows(0).into())
}

/// `None`: the flow has a callback to this channel.
fn insert_in(
    connection: &Connection,
    new: &NewCallback,
    channel_lane: LaneId,
) -> Result<Option<Placed>> {
    let lane = match &new.url {
        None => channel_lane,
        Some(url) => lane(connection, &new.channel_id, origin(url))?,
    };
    let fence = i64::from(new.lease.is_some());
    // Values and no SELECT: for what may insert several rows, SQLite keeps a copy of each page that it changes.
    let mut insert = connection.prepare_cached(
        "INSERT INTO callbacks (id, channel_lane, lane_id, sign_flow_id, url, body, state, round, attempts, due_at, holder, fence)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 1, 0, ?7, ?8, ?9)
         ON CONFLICT DO NOTHING",
    )?;
    let mut id = new.id;
    loop {
        let inserted = insert.execute(params![
            id.0,
            channel_lane.0,
            lane.0,
            new.sign_flow_id.as_str(),
            new.url,
            &new.body[..],
            new.lease.map_or(new.due_at, |lease| lease.until),
            new.lease.map(|lease| lease.holder.0),
            fence,
        ])?;
        if inserted == 1 {
            return Ok(Some(Placed { id, lane, fence }));
        }
        let taken = connection
            .prepare_cached("SELECT 1 FROM callbacks WHERE id = ?1")?
            .exists([id.0])?;
        if !taken {
            return Ok(None);
        }
        // Two callbacks of one millisecond drew the same bits; the next number is free or the one after it.
        id = CallbackId(id.0 + 1);
    }
}

/// The lane of a channel and an origin, made if there is none yet.
fn lane(connection: &Connection, channel_id: &str, origin: &str) -> Result<LaneId> {
    let found = connection
        .prepare_cached("SELECT id FROM lanes WHERE channel_id = ?1 AND origin = ?2")?
        .query_row([channel_id, origin], |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(LaneId(id));
    }
    // Another node may be making the same one: then this waits for it, and finds it.
    let made = connection
        .prepare_cached(
            "INSERT INTO lanes (channel_id, origin) VALUES (?1, ?2)
             ON CONFLICT (channel_id, origin) DO UPDATE SET origin = excluded.origin RETURNING id",
        )?
        .query_row([channel_id, origin], |row| row.get(0))?;
    Ok(LaneId(made))
}

/// Scheme, host and port of a normalised URL.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    &url[..end]
}
