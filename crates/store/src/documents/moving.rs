//! Moving an installation's documents: folder to bucket, bucket to folder, or between two of a kind.
//!
//! The database says which there are: those that flows, their events and the kept seals name. Each is read from where it is to
//! go, and if it is not there, or not whole, it is read from where it was, compared with its name, and put. So a move that was
//! broken off is simply begun again, and afterwards every document that a row names is known to be there whole.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::params;
use sealpost_contract::SignFlowId;
use sealpost_flow::{Digest, Flow, Happening, Step};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{BucketOptions, Documents};
use crate::Store;
use crate::database::Connection;
use crate::error::{Error, Result};

/// Flows whose documents are looked up at once; after each such step `heard` is told.
const STEP: u32 = 200;

/// Documents on their way at one moment; each is held in memory.
const AT_ONCE: usize = 8;

/// Digests that are remembered as done: a seal's picture is named by every flow that it is on.
const REMEMBERED: usize = 10_000;

/// Lost documents that are named; there may be more.
const NAMED: usize = 20;

/// A place for documents.
#[derive(Debug, Clone)]
pub enum DocumentsAt {
    /// A folder, made if it is missing.
    Folder(PathBuf),
    /// A bucket.
    Bucket(BucketOptions),
}

impl DocumentsAt {
    fn open(&self) -> Result<Arc<Documents>> {
        let documents = match self {
            DocumentsAt::Folder(folder) => Documents::folder(folder),
            DocumentsAt::Bucket(options) => Documents::bucket(options),
        };
        documents.map(Arc::new)
    }
}

/// How far a move has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MovedDocuments {
    /// Flows gone through.
    pub flows: u64,
    /// Documents that were put where they go.
    pub copied: u64,
    /// The bytes of these.
    pub bytes: u64,
    /// Documents that were there whole.
    pub there: u64,
    /// Documents that a row names and that are missing or damaged in both places.
    pub lost: u64,
    /// The first of these, with what is wrong.
    pub lost_first: Vec<String>,
}

impl Store {
    /// Puts every document that this store's database names from one place into another. `heard` is told how far it has come.
    /// What this store itself keeps documents in does not matter.
    ///
    /// # Errors
    /// Either place or the database fails, or both places are one. Then it can be done again. Documents that are lost are no
    /// error but counted.
    pub async fn move_documents(
        &self,
        from: &DocumentsAt,
        to: &DocumentsAt,
        mut heard: impl FnMut(&MovedDocuments) + Send,
    ) -> Result<MovedDocuments> {
        let (from, to) = (from.open()?, to.open()?);
        if from.place()? == to.place()? {
            return Err(Error::SamePlace);
        }
        let mut moving = Moving {
            from,
            to,
            done: HashSet::new(),
            moved: MovedDocuments::default(),
            under_way: JoinSet::new(),
        };
        for digest in self.documents_of_seals().await? {
            moving.bring(digest, false).await?;
        }
        let mut after = String::new();
        loop {
            let flows = self.flows_with_documents(after, STEP).await?;
            let last = flows.len() < STEP as usize;
            after = flows
                .last()
                .map_or_else(String::new, |named| named.flow.as_str().to_owned());
            for named in flows {
                let mut certain = named.certain;
                for event in self.events(&named.flow).await? {
                    certain.extend(of_event(&event.event.what));
                }
                for digest in named.possible.difference(&certain) {
                    moving.bring(*digest, false).await?;
                }
                for digest in certain {
                    moving.bring(digest, true).await?;
                }
                moving.moved.flows += 1;
            }
            // What is told is done.
            moving.settle(0).await?;
            heard(&moving.moved);
            if last {
                return Ok(moving.moved);
            }
        }
    }

    async fn flows_with_documents(&self, after: String, limit: u32) -> Result<Vec<Named>> {
        let read = move |connection: &Connection| {
            let sql = "SELECT body, details FROM flows WHERE id > ?1 ORDER BY id LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_and_then(params![after, limit], |row| {
                let body: String = row.get("body")?;
                let flow: Flow = serde_json::from_str(&body)
                    .map_err(|error| Error::undecodable("flow", error))?;
                let details: Option<String> = row.get("details")?;
                Ok(Named {
                    possible: details.as_deref().map(digests_in).unwrap_or_default(),
                    certain: of_flow(&flow),
                    flow: flow.id,
                })
            })?;
            rows.collect()
        };
        self.database.read(read).await
    }

    async fn documents_of_seals(&self) -> Result<BTreeSet<Digest>> {
        let seals = self.seals(None).await?;
        Ok(seals
            .iter()
            .flat_map(|seal| digests_in(&seal.spec))
            .collect())
    }
}

/// The documents that a flow names.
struct Named {
    flow: SignFlowId,
    /// Those that must be there.
    certain: BTreeSet<Digest>,
    /// What looks like one in the server's own words about the flow.
    possible: BTreeSet<Digest>,
}

fn of_flow(flow: &Flow) -> BTreeSet<Digest> {
    let mut named = BTreeSet::from([flow.original, flow.document]);
    named.extend(flow.archived);
    for signer in &flow.signers {
        match &signer.step {
            Step::Signed { intent } => named.extend(intent.mark),
            Step::Applied {
                intent, document, ..
            } => {
                named.insert(*document);
                named.extend(intent.mark);
            }
            Step::Waiting | Step::Open { .. } | Step::Rejected { .. } => {}
        }
    }
    named
}

fn of_event(what: &Happening) -> Vec<Digest> {
    match what {
        Happening::Created { document, .. }
        | Happening::Applied { document, .. }
        | Happening::Preserved { document, .. }
        | Happening::Completed { document } => vec![*document],
        Happening::Signed { mark, document, .. } => {
            mark.iter().chain([document]).copied().collect()
        }
        // Named one by one, so that whoever adds an event thinks of its documents.
        Happening::Started
        | Happening::Opened { .. }
        | Happening::Viewed { .. }
        | Happening::Reminded { .. }
        | Happening::Notified { .. }
        | Happening::Authenticated { .. }
        | Happening::Agreed { .. }
        | Happening::Downgraded { .. }
        | Happening::SealingFailed { .. }
        | Happening::Revoked { .. }
        | Happening::Expired
        | Happening::Rejected { .. } => Vec::new(),
    }
}

/// Every text in some JSON that reads as a digest; nothing of what is no JSON.
fn digests_in(json: &str) -> BTreeSet<Digest> {
    fn walk(value: &Value, found: &mut BTreeSet<Digest>) {
        match value {
            Value::String(text) => found.extend(text.parse::<Digest>()),
            Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            Value::Object(members) => members.values().for_each(|value| walk(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = BTreeSet::new();
    if let Ok(value) = serde_json::from_str(json) {
        walk(&value, &mut found);
    }
    found
}

/// A move under way.
struct Moving {
    from: Arc<Documents>,
    to: Arc<Documents>,
    /// What was brought, and whether it had to be there.
    done: HashSet<(Digest, bool)>,
    moved: MovedDocuments,
    under_way: JoinSet<Result<Brought>>,
}

/// What became of a document.
enum Brought {
    There,
    Copied(u64),
    Lost(String),
    /// It was none.
    Nothing,
}

impl Moving {
    /// Begins to bring a document, once there is room for one more. One that need not be one may be missing.
    async fn bring(&mut self, digest: Digest, certain: bool) -> Result<()> {
        if self.done.len() >= REMEMBERED {
            self.done.clear();
        }
        if self.done.contains(&(digest, true)) || !self.done.insert((digest, certain)) {
            return Ok(());
        }
        self.settle(AT_ONCE - 1).await?;
        let (from, to) = (Arc::clone(&self.from), Arc::clone(&self.to));
        self.under_way
            .spawn(async move { bring(&from, &to, digest, certain).await });
        Ok(())
    }

    /// Waits until no more than so many are on their way.
    async fn settle(&mut self, left: usize) -> Result<()> {
        while self.under_way.len() > left {
            let Some(brought) = self.under_way.join_next().await else {
                return Ok(());
            };
            match brought.map_err(|_| Error::Stopped)?? {
                Brought::There => self.moved.there += 1,
                Brought::Copied(bytes) => {
                    self.moved.copied += 1;
                    self.moved.bytes += bytes;
                }
                Brought::Lost(what) => {
                    self.moved.lost += 1;
                    if self.moved.lost_first.len() < NAMED {
                        self.moved.lost_first.push(what);
                    }
                }
                Brought::Nothing => {}
            }
        }
        Ok(())
    }
}

async fn bring(from: &Documents, to: &Documents, digest: Digest, certain: bool) -> Result<Brought> {
    match to.read(&digest).await {
        Ok(_) => return Ok(Brought::There),
        // S3 forbids to read what is not there to whoever may not list the bucket; whether it is forbidden indeed, putting shows.
        Err(
            Error::DocumentMissing(_) | Error::DocumentDamaged(_) | Error::BucketRefused { .. },
        ) => {}
        Err(error) => return Err(error),
    }
    let bytes = match from.read(&digest).await {
        Ok(bytes) => bytes,
        Err(Error::DocumentMissing(_)) if !certain => return Ok(Brought::Nothing),
        Err(error @ (Error::DocumentMissing(_) | Error::DocumentDamaged(_))) => {
            return Ok(Brought::Lost(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let length = bytes.len() as u64;
    to.put(bytes).await?;
    Ok(Brought::Copied(length))
}
